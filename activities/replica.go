package activities

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a mirror does not hold a package.
var (
	ErrShape        = errors.New("not a manifest that can be copied: one config, at most 1024 layers of known size, nothing elsewhere")
	ErrLostReferrer = errors.New("a signature or statement of the package is not attached there")
)

// Limits of what is copied.
const (
	maxLayers   = 1024
	maxReferrer = 1 << 20 // of a referrer's manifest, config and layer
	beatEvery   = 8 << 20 // bytes between two heartbeats
)

// A MirrorCopy copies packages to the regions' mirrors and looks at what they
// hold.
type MirrorCopy struct {
	Blobs    Blobs
	Mirrors  Mirrors
	Replicas Replicas
	Verifier Verifier
	Now      func() time.Time
}

// CopyPackage copies a package and what refers to it to a region's mirror:
// layers first, then the manifest, then its referrers. Nothing is copied before
// it verifies at the source. Idempotent and resumable by layer: what the mirror
// has is not sent again. Statements about other regions' replicas stay where
// they are. Final: [contract.BadPackage].
func (m *MirrorCopy) CopyPackage(ctx context.Context, in contract.ReplicaInput) (contract.Copied, error) {
	copied, err := m.copyPackage(ctx, in)
	return copied, within(err, "copy %s@%s to %s", in.Repository, in.Package.Digest.Short(), in.Region)
}

func (m *MirrorCopy) copyPackage(ctx context.Context, in contract.ReplicaInput) (contract.Copied, error) {
	source, mirror := m.Mirrors.Source(), m.Mirrors.Mirror(in.Region)
	if _, err := checkPackage(ctx, source, m.Verifier, packageAt(in)); err != nil {
		return contract.Copied{}, err
	}
	text, blobs, err := contents(ctx, source, in)
	if err != nil {
		return contract.Copied{}, err
	}
	referrers, err := source.Referrers(ctx, in.Repository, in.Package.Digest)
	if err != nil {
		return contract.Copied{}, crowded(err)
	}
	same := source.URL() == mirror.URL()
	if !same {
		for i, d := range blobs {
			activity.RecordHeartbeat(ctx, i)
			if err := mirror.PushBlob(ctx, in.Repository, d, from(source, in.Repository, d)); err != nil {
				return contract.Copied{}, err
			}
			// If we crash here, the next run finds the layer and goes on with the next.
		}
		if err := mirror.PushManifest(ctx, in.Repository, in.Package.MediaType, text); err != nil {
			return contract.Copied{}, err
		}
	}
	var copied contract.Copied
	for _, digest := range referrers {
		activity.RecordHeartbeat(ctx, len(blobs))
		r, ok, err := readReferrer(ctx, source, in, digest)
		if err != nil {
			return contract.Copied{}, err
		}
		if !ok {
			continue
		}
		if !same {
			if err := r.copyTo(ctx, source, mirror, in); err != nil {
				return contract.Copied{}, err
			}
		}
		copied.Referrers = append(copied.Referrers, digest)
	}
	return copied, nil
}

// packageAt is what the package of a replication must be, wherever it is.
func packageAt(in contract.ReplicaInput) packageOf {
	return packageOf{Repository: in.Repository, Package: in.Package.Digest, Weights: in.Weights, Tenant: in.Tenant, Model: in.ModelID}
}

// contents returns a package's manifest and the blobs that it names, config
// first, each once.
func contents(ctx context.Context, at Registry, in contract.ReplicaInput) ([]byte, []artifact.Descriptor, error) {
	text, err := at.Manifest(ctx, in.Repository, in.Package.Digest)
	if err != nil {
		return nil, nil, err
	}
	blobs, err := named(text)
	if err != nil {
		return nil, nil, permanent(contract.BadPackage, err)
	}
	return text, blobs, nil
}

// A blobRef is a descriptor in a manifest.
type blobRef struct {
	MediaType string          `json:"mediaType"`
	Digest    artifact.Digest `json:"digest"`
	Size      int64           `json:"size"`
	URLs      []string        `json:"urls"`
}

// named returns the blobs that a manifest names. Foreign fields are no fault of
// a manifest; content that is elsewhere is.
func named(text []byte) ([]artifact.Descriptor, error) {
	var m struct {
		Config blobRef   `json:"config"`
		Layers []blobRef `json:"layers"`
	}
	if err := json.Unmarshal(text, &m); err != nil || len(m.Layers) > maxLayers {
		return nil, ErrShape
	}
	var all []artifact.Descriptor
	for _, d := range append([]blobRef{m.Config}, m.Layers...) {
		if _, err := artifact.ParseDigest(string(d.Digest)); err != nil || d.Size < 0 || len(d.URLs) > 0 {
			return nil, ErrShape
		}
		known := slices.IndexFunc(all, func(o artifact.Descriptor) bool { return o.Digest == d.Digest })
		if known >= 0 && all[known].SizeBytes != d.Size {
			return nil, ErrShape
		}
		if known < 0 {
			all = append(all, artifact.Descriptor{Digest: d.Digest, SizeBytes: d.Size, MediaType: d.MediaType})
		}
	}
	return all, nil
}

// from opens a blob of the source, no longer than it says, and heartbeats while
// it is read.
func from(source Registry, repository string, d artifact.Descriptor) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		content, err := source.Blob(ctx, repository, d.Digest)
		if err != nil {
			return nil, err
		}
		return pulsing{Reader: artifact.Limit(content, d.SizeBytes), Closer: content, ctx: ctx, beat: new(int64)}, nil
	}
}

// A pulsing reader heartbeats as bytes go by.
type pulsing struct {
	io.Reader
	io.Closer
	ctx  context.Context
	beat *int64
}

func (b pulsing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	*b.beat += int64(n)
	if *b.beat >= beatEvery {
		*b.beat = 0
		activity.RecordHeartbeat(b.ctx)
	}
	return n, err
}

// A referrer is a manifest that refers to a package: one bundle.
type referrer struct {
	digest    artifact.Digest
	mediaType string
	text      []byte
	blobs     []artifact.Descriptor
}

// readReferrer returns what refers to the package. What is listed but is not
// there, is no bundle of it, or is about a replica, is passed over.
func readReferrer(ctx context.Context, at Registry, in contract.ReplicaInput, digest artifact.Digest) (referrer, bool, error) {
	text, err := at.Manifest(ctx, in.Repository, digest)
	if errors.Is(err, ErrNotFound) {
		return referrer{}, false, nil
	}
	if err != nil {
		return referrer{}, false, err
	}
	var m struct {
		MediaType    string            `json:"mediaType"`
		ArtifactType string            `json:"artifactType"`
		Subject      *blobRef          `json:"subject"`
		Annotations  map[string]string `json:"annotations"`
	}
	blobs, shape := named(text)
	if json.Unmarshal(text, &m) != nil || shape != nil || len(text) > maxReferrer || m.Subject == nil || m.Subject.Digest != in.Package.Digest ||
		m.ArtifactType != artifact.MediaTypeBundle || m.Annotations[predicateAnnotation] == artifact.PredicateReplication {
		return referrer{}, false, nil
	}
	for _, d := range blobs {
		if d.SizeBytes > maxReferrer {
			return referrer{}, false, nil
		}
	}
	return referrer{digest, m.MediaType, text, blobs}, true, nil
}

// predicateAnnotation is where cosign writes what a bundle says.
const predicateAnnotation = "dev.sigstore.bundle.predicateType"

func (r referrer) copyTo(ctx context.Context, source Registry, mirror Carrier, in contract.ReplicaInput) error {
	for _, d := range r.blobs {
		if err := mirror.PushBlob(ctx, in.Repository, d, from(source, in.Repository, d)); err != nil {
			return err
		}
	}
	return mirror.AttachManifest(ctx, in.Repository, in.Package.Digest, r.mediaType, r.text)
}
