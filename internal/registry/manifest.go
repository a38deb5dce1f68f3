package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A tag, by the OCI distribution specification.
var tagName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// putManifest keeps a manifest. Its bytes become durable first, then the line
// of the journal that names them, then it can be seen, then it is answered. A
// crash after the first step leaves bytes that nothing names; after the
// second, a manifest that its sender will send again.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, repository, reference string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "manifest too large")
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the body broke off")
		return
	}
	e := entry{
		Repository: repository,
		Reference:  reference,
		Digest:     artifact.DigestOf(body),
		MediaType:  req.Header.Get("Content-Type"),
	}
	_, notDigest := artifact.ParseDigest(reference)
	switch {
	case notDigest != nil && !tagName.MatchString(reference):
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "invalid tag")
		return
	case notDigest == nil && reference != string(e.Digest):
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "digest does not match contents")
		return
	}
	m, err := parseManifest(body, e.MediaType)
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "not a manifest of its media type")
		return
	}
	if _, err := r.blobs.Put(req.Context(), e.MediaType, bytes.NewReader(body)); err != nil {
		r.log.Error("registry cannot keep a manifest", "repository", repository, "error", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the manifest could not be kept")
		return
	}
	err = r.commit(req.Context(), e, body, m)
	if errors.Is(err, errChild) {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "the index lists a manifest that is not here")
		return
	}
	if err != nil {
		r.log.Error("registry cannot keep a manifest", "repository", repository, "error", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the manifest could not be kept")
		return
	}
	if m.Subject != nil {
		w.Header().Set("OCI-Subject", string(m.Subject.Digest)) // tells clients not to write a fallback tag
	}
	w.Header().Set("Location", "/v2/"+repository+"/manifests/"+string(e.Digest))
	w.Header().Set("Docker-Content-Digest", string(e.Digest))
	w.WriteHeader(http.StatusCreated)
}

// commit writes the journal and shows the manifest, in the same order for all.
func (r *Registry) commit(ctx context.Context, e entry, body []byte, m manifest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, child := range m.children {
		if !r.journal.knows(e.Repository, child) { // upstream refuses it, now and at every replay
			return errChild
		}
	}
	if err := r.journal.append(e); err != nil {
		return err
	}
	return r.show(ctx, e, body, m)
}

// show tells upstream and the index of referrers.
func (r *Registry) show(ctx context.Context, e entry, body []byte, m manifest) error {
	target := url.URL{Scheme: "http", Host: "registry", Path: "/v2/" + e.Repository + "/manifests/" + e.Reference}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPut, target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", e.MediaType)
	answer := status{header: http.Header{}}
	r.next.ServeHTTP(&answer, req)
	if answer.code != http.StatusCreated {
		return fmt.Errorf("manifest %s: upstream answered %d", e.Digest.Short(), answer.code)
	}
	r.index.add(e, int64(len(body)), m)
	return nil
}

// A status takes an answer and keeps only whether it was a good one.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) WriteHeader(code int)        { s.code = code }
func (s *status) Write(p []byte) (int, error) { return len(p), nil }

// replay shows what the journal holds, each manifest compared with its digest.
func (r *Registry) replay() (int, error) {
	var count int
	err := r.journal.read(func(e entry) error {
		body, err := r.readBlob(e.Digest)
		if err != nil {
			return err
		}
		m, err := parseManifest(body, e.MediaType)
		if err != nil {
			return err
		}
		count++
		return r.show(context.Background(), e, body, m)
	})
	return count, err
}

func (r *Registry) readBlob(digest artifact.Digest) ([]byte, error) {
	content, err := r.blobs.Open(context.Background(), digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(artifact.Limit(content, maxManifest))
}

// A manifest is what is read of one.
type manifest struct {
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Config       struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
	Subject *struct {
		Digest artifact.Digest `json:"digest"`
	} `json:"subject"`
	Annotations map[string]string `json:"annotations"`
	children    []artifact.Digest // of an index
}

var (
	errManifest = errors.New("not a manifest of its media type")
	errChild    = errors.New("the index lists a manifest that is not here")
)

// parseManifest refuses a body that calls itself something else than its
// header does: two readers must not see two kinds of content.
func parseManifest(body []byte, mediaType string) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return manifest{}, fmt.Errorf("%w: %w", errManifest, err)
	}
	if mediaType == "" || (m.MediaType != "" && m.MediaType != mediaType) {
		return manifest{}, errManifest
	}
	if !types.MediaType(mediaType).IsIndex() {
		return m, nil
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(body)) // as upstream does, so that it finds nothing else
	if err != nil {
		return manifest{}, fmt.Errorf("%w: %w", errManifest, err)
	}
	for _, child := range index.Manifests {
		m.children = append(m.children, artifact.Digest(child.Digest.String()))
	}
	return m, nil
}
