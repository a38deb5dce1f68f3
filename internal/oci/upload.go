package oci

import (
	"bytes"
	"context"
	"io"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// An uploaded package arrives with its manifest already written and signed, so
// its bytes are pushed as they are: writing them again would change the digest
// that the signature names.

// PushBlob uploads one blob of a package. Idempotent: a blob that the registry
// has is not sent again.
// Errors: [*RegistryError]; [ErrRepository]; what open returns.
func (r *Registry) PushBlob(ctx context.Context, repository string, blob artifact.Descriptor, open func(context.Context) (io.ReadCloser, error)) error {
	repo, err := r.repository(repository)
	if err != nil {
		return err
	}
	if err := r.pushBlob(ctx, repo, describe(blob), open); err != nil {
		return fault(repository, blob.Digest, err)
	}
	return nil
}

// PushManifest uploads the exact bytes of a manifest whose blobs are there.
// Idempotent. Errors: [*RegistryError]; [ErrRepository].
func (r *Registry) PushManifest(ctx context.Context, repository, mediaType string, manifest []byte) error {
	repo, err := r.repository(repository)
	if err != nil {
		return err
	}
	d := artifact.Describe(mediaType, manifest)
	if err := repo.Manifests().Push(ctx, oras(describe(d)), bytes.NewReader(manifest)); err != nil {
		return fault(repository, d.Digest, err)
	}
	return nil
}
