package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
)

const mediaTypeIndex = "application/vnd.oci.image.index.v1+json"

// referrers lists, for each repository and subject, who refers to it.
type referrers map[[2]string]map[artifact.Digest]referrer

// A referrer is the descriptor of a manifest that has a subject.
type referrer struct {
	MediaType    string            `json:"mediaType"`
	Digest       artifact.Digest   `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// add notes a manifest if it refers to another.
func (i referrers) add(e entry, size int64, m manifest) {
	if m.Subject == nil || m.Subject.Digest == "" {
		return
	}
	key := [2]string{e.Repository, string(m.Subject.Digest)}
	if i[key] == nil {
		i[key] = map[artifact.Digest]referrer{}
	}
	kind := m.ArtifactType
	if kind == "" {
		kind = m.Config.MediaType // as the specification says; upstream always takes this one
	}
	i[key][e.Digest] = referrer{MediaType: e.MediaType, Digest: e.Digest, Size: size, ArtifactType: kind, Annotations: m.Annotations}
}

// listReferrers answers the referrers API, by ascending digest. A subject that
// nobody has pushed has none.
func (r *Registry) listReferrers(w http.ResponseWriter, req *http.Request, repository, reference string) {
	subject, err := artifact.ParseDigest(reference)
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "invalid digest")
		return
	}
	kind := req.URL.Query().Get("artifactType")
	list := []referrer{}
	r.mu.Lock()
	for _, one := range r.index[[2]string{repository, string(subject)}] {
		if kind == "" || one.ArtifactType == kind {
			list = append(list, one)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b referrer) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if kind != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", mediaTypeIndex)
	_ = json.NewEncoder(w).Encode(struct { // the caller has gone
		SchemaVersion int        `json:"schemaVersion"`
		MediaType     string     `json:"mediaType"`
		Manifests     []referrer `json:"manifests"`
	}{2, mediaTypeIndex, list})
}
