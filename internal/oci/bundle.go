package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// maxBundles is the number of referrers of one subject and predicate type from
// which the list is refused: we write one, and reading more serves an attacker.
const maxBundles = 64

// ErrReferrers says that a subject has more referrers than anybody needs.
var ErrReferrers = fmt.Errorf("%w: more than 64 bundles refer to it", activities.ErrRefused)

// ErrLost says that a registry forgets what was attached.
var ErrLost = errors.New("attached, but not listed afterwards")

// Annotations of a bundle's manifest, as cosign writes them.
const (
	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
	contentDSSE         = "dsse-envelope"
)

// Attach pushes a bundle as a referrer of subject, in the form that cosign
// reads. Idempotent: one bundle is one manifest.
//
// A registry without the referrers API keeps the list under a tag that its
// clients rewrite, and writers at the same time lose each other's lines
// without an error. So the list is read back, and the bundle attached again
// while it is not in it.
// Errors: [*RegistryError], with [ErrLost] when it never is.
func (r *Registry) Attach(ctx context.Context, repository string, subject artifact.Descriptor, predicateType string, bundle []byte) error {
	repo, err := r.repository(repository)
	if err != nil {
		return err
	}
	if len(bundle) > artifact.MaxBundle {
		return fault(repository, subject.Digest, artifact.ErrTooLarge)
	}
	empty := artifactDescriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: artifact.DigestOf([]byte("{}")), Size: 2}
	layer := describe(artifact.Describe(artifact.MediaTypeBundle, bundle))
	target := describe(subject)
	m := manifest{
		SchemaVersion: 2,
		MediaType:     ocispec.MediaTypeImageManifest,
		ArtifactType:  artifact.MediaTypeBundle,
		Config:        descriptor{artifactDescriptor: empty},
		Layers:        []descriptor{{artifactDescriptor: layer}},
		Subject:       &target,
		Annotations:   map[string]string{contentAnnotation: contentDSSE, predicateAnnotation: predicateType},
	}
	if err := r.pushBlob(ctx, repo, empty, fromBytes([]byte("{}"))); err != nil {
		return fault(repository, empty.Digest, err)
	}
	if err := r.pushBlob(ctx, repo, layer, fromBytes(bundle)); err != nil {
		return fault(repository, layer.Digest, err)
	}
	for attempt := range 6 {
		if err := pause(ctx, time.Duration(attempt)*50*time.Millisecond); err != nil {
			return fault(repository, subject.Digest, err)
		}
		pushed, err := pushManifest(ctx, repo, repository, m)
		if err != nil {
			return err
		}
		listed, err := list(ctx, repo, subject.Digest)
		if err != nil {
			return fault(repository, subject.Digest, err)
		}
		if slices.ContainsFunc(listed, func(d ocispec.Descriptor) bool { return d.Digest == digest.Digest(pushed.Digest) }) {
			return nil
		}
	}
	return fault(repository, subject.Digest, ErrLost)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// list returns what the registry says refers to subject.
func list(ctx context.Context, repo *remote.Repository, subject artifact.Digest) ([]ocispec.Descriptor, error) {
	var all []ocispec.Descriptor
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(subject)}
	err := repo.Referrers(ctx, target, "", func(page []ocispec.Descriptor) error {
		all = append(all, page...)
		return nil
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil // nobody has pushed to the repository
	}
	return all, err
}

// Bundles returns the bundles of a predicate type that refer to subject, by
// ascending digest of their manifests. What is listed but is no bundle of it
// (another type, another subject, compressed, too large) is passed over: it
// proves nothing, and must not hide what does. Nothing has been verified.
// Errors: [*RegistryError], with [ErrReferrers] or [artifact.ErrContent].
func (r *Registry) Bundles(ctx context.Context, repository string, subject artifact.Digest, predicateType string) ([][]byte, error) {
	repo, err := r.repository(repository)
	if err != nil {
		return nil, err
	}
	if _, err := artifact.ParseDigest(string(subject)); err != nil {
		return nil, err
	}
	listed, err := list(ctx, repo, subject)
	if err != nil {
		return nil, fault(repository, subject, err)
	}
	listed = slices.DeleteFunc(listed, func(d ocispec.Descriptor) bool {
		said, ok := d.Annotations[predicateAnnotation]
		return ok && said != predicateType // not every registry repeats annotations in the list
	})
	if len(listed) > maxBundles {
		return nil, fault(repository, subject, fmt.Errorf("%d: %w", len(listed), ErrReferrers))
	}
	slices.SortFunc(listed, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	var bundles [][]byte
	for _, d := range listed {
		bundle, ok, err := r.bundle(ctx, repository, artifact.Digest(d.Digest), subject, predicateType)
		if err != nil {
			return nil, err
		}
		if ok {
			bundles = append(bundles, bundle)
		}
	}
	return bundles, nil
}

// bundle fetches the bundle that a manifest carries, if it is one of subject.
func (r *Registry) bundle(ctx context.Context, repository string, digest, subject artifact.Digest, predicateType string) ([]byte, bool, error) {
	raw, err := r.Manifest(ctx, repository, digest)
	if errors.Is(err, activities.ErrNotFound) || errors.Is(err, artifact.ErrDigest) {
		return nil, false, nil // listed, but not there
	}
	if err != nil {
		return nil, false, err
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, false, nil
	}
	wanted := m.MediaType == ocispec.MediaTypeImageManifest && m.ArtifactType == artifact.MediaTypeBundle &&
		m.Subject != nil && m.Subject.Digest == subject &&
		m.Annotations[predicateAnnotation] == predicateType &&
		len(m.Layers) == 1 && m.Layers[0].MediaType == artifact.MediaTypeBundle && m.Layers[0].Size <= artifact.MaxBundle
	if !wanted {
		return nil, false, nil
	}
	content, err := r.Blob(ctx, repository, m.Layers[0].Digest)
	if err != nil {
		return nil, false, err
	}
	defer content.Close()
	bundle, err := io.ReadAll(artifact.Limit(content, artifact.MaxBundle))
	if errors.Is(err, artifact.ErrTooLarge) {
		return nil, false, nil // its manifest lied about the size
	}
	if err != nil {
		return nil, false, fault(repository, m.Layers[0].Digest, err)
	}
	return bundle, true, nil
}
