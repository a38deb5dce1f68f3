package oci

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
)

var _ activities.Carrier = (*Registry)(nil)

// attaches is how often a manifest is attached again that is not listed.
const attaches = 6

// Referrers returns the digests of what a registry says refers to subject,
// ascending. A digest that is none is passed over.
// Errors: [*RegistryError], with [ErrReferrers] from 65 on.
func (r *Registry) Referrers(ctx context.Context, repository string, subject artifact.Digest) ([]artifact.Digest, error) {
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
	if len(listed) > maxBundles {
		return nil, fault(repository, subject, fmt.Errorf("%d: %w", len(listed), ErrReferrers))
	}
	var digests []artifact.Digest
	for _, d := range listed {
		if parsed, err := artifact.ParseDigest(string(d.Digest)); err == nil {
			digests = append(digests, parsed)
		}
	}
	slices.Sort(digests)
	return slices.Compact(digests), nil
}

// AttachManifest uploads a manifest that refers to subject as it is, and again
// while the registry does not list it: see [Registry.Attach].
// Errors: [*RegistryError], with [ErrLost] when it never is.
func (r *Registry) AttachManifest(ctx context.Context, repository string, subject artifact.Digest, mediaType string, manifest []byte) error {
	repo, err := r.repository(repository)
	if err != nil {
		return err
	}
	want := digest.Digest(artifact.DigestOf(manifest))
	for attempt := range attaches {
		if err := pause(ctx, time.Duration(attempt)*50*time.Millisecond); err != nil {
			return fault(repository, subject, err)
		}
		if attempt > 0 || !r.lists(ctx, repository, subject, want) {
			if err := r.PushManifest(ctx, repository, mediaType, manifest); err != nil {
				return err
			}
		}
		listed, err := list(ctx, repo, subject)
		if err != nil {
			return fault(repository, subject, err)
		}
		if slices.ContainsFunc(listed, func(d ocispec.Descriptor) bool { return d.Digest == want }) {
			return nil
		}
	}
	return fault(repository, subject, ErrLost)
}

// lists says whether a manifest is attached and there, so that a copy that is
// made again rewrites no list.
func (r *Registry) lists(ctx context.Context, repository string, subject artifact.Digest, want digest.Digest) bool {
	listed, err := r.Referrers(ctx, repository, subject)
	if err != nil || !slices.Contains(listed, artifact.Digest(want)) {
		return false
	}
	_, err = r.Manifest(ctx, repository, artifact.Digest(want))
	return err == nil
}
