package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// pathAnnotation is where ModelPack writes a layer's file name.
const pathAnnotation = "org.cncf.model.filepath"

// A manifest is an OCI image manifest as it is pushed and read. Keys are few on
// purpose: there is no time of creation, so one package is one digest.
type manifest struct {
	SchemaVersion int                 `json:"schemaVersion"`
	MediaType     string              `json:"mediaType"`
	ArtifactType  string              `json:"artifactType,omitempty"`
	Config        descriptor          `json:"config"`
	Layers        []descriptor        `json:"layers"`
	Subject       *artifactDescriptor `json:"subject,omitempty"`
	Annotations   map[string]string   `json:"annotations,omitempty"`
}

// artifactDescriptor is an OCI descriptor without annotations.
type artifactDescriptor struct {
	MediaType string          `json:"mediaType"`
	Digest    artifact.Digest `json:"digest"`
	Size      int64           `json:"size"`
}

type descriptor struct {
	artifactDescriptor
	Annotations map[string]string `json:"annotations,omitempty"`
}

func describe(d artifact.Descriptor) artifactDescriptor {
	return artifactDescriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.SizeBytes}
}

func oras(d artifactDescriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}
}

// Push uploads the layers, the config and, last of all, the manifest that names
// them, and returns its descriptor. Idempotent: what the registry has is not
// sent again, and equal packages have equal manifests. A crash in between
// leaves blobs that nothing refers to.
// Errors: [*RegistryError]; [ErrRepository]; what a layer's Open returns.
func (r *Registry) Push(ctx context.Context, repository string, pkg activities.Package) (artifact.Descriptor, error) {
	repo, err := r.repository(repository)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	m := manifest{
		SchemaVersion: 2,
		MediaType:     ocispec.MediaTypeImageManifest,
		ArtifactType:  pkg.ArtifactType,
		Config:        descriptor{artifactDescriptor: describe(artifact.Describe(pkg.ConfigType, pkg.Config))},
		Layers:        []descriptor{},
		Annotations:   pkg.Annotations,
	}
	if err := r.pushBlob(ctx, repo, m.Config.artifactDescriptor, fromBytes(pkg.Config)); err != nil {
		return artifact.Descriptor{}, fault(repository, m.Config.Digest, err)
	}
	for _, layer := range pkg.Layers {
		d := descriptor{artifactDescriptor: describe(layer.Descriptor), Annotations: map[string]string{pathAnnotation: layer.Path}}
		if err := r.pushBlob(ctx, repo, d.artifactDescriptor, layer.Open); err != nil {
			return artifact.Descriptor{}, fault(repository, d.Digest, err)
		}
		m.Layers = append(m.Layers, d)
	}
	return pushManifest(ctx, repo, repository, m)
}

func fromBytes(content []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// pushBlob streams a blob unless the registry has it. The registry compares
// the digest before it keeps the blob, and so does the reader.
func (r *Registry) pushBlob(ctx context.Context, repo *remote.Repository, d artifactDescriptor, open func(context.Context) (io.ReadCloser, error)) error {
	if r.place != nil {
		_ = r.place(d.Digest) // if it is not there now, it is sent
	}
	exists, err := repo.Blobs().Exists(ctx, oras(d))
	if err != nil {
		return err
	}
	if exists {
		return nil
	}
	content, err := open(ctx)
	if err != nil {
		return err
	}
	defer content.Close()
	return repo.Blobs().Push(ctx, oras(d), artifact.Expect(content, d.Digest))
}

func pushManifest(ctx context.Context, repo *remote.Repository, repository string, m manifest) (artifact.Descriptor, error) {
	encoded, err := artifact.Canonical(m)
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("manifest for %s: %w", repository, err)
	}
	out := artifact.Describe(m.MediaType, encoded)
	if err := repo.Manifests().Push(ctx, oras(describe(out)), bytes.NewReader(encoded)); err != nil {
		return artifact.Descriptor{}, fault(repository, out.Digest, err)
	}
	return out, nil
}
