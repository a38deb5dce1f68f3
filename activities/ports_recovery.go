package activities

import (
	"context"
	"io"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/recovery"
)

// A Carrier is a registry that packages are copied from and to, byte by byte:
// writing a manifest again would change the digest that its signature names.
type Carrier interface {
	Registry
	// PushBlob uploads a blob that is not there yet. Twice is once.
	PushBlob(ctx context.Context, repository string, blob artifact.Descriptor, open func(context.Context) (io.ReadCloser, error)) error
	// PushManifest uploads a manifest whose blobs are there. Twice is once.
	PushManifest(ctx context.Context, repository, mediaType string, manifest []byte) error
	// Referrers lists the manifests that refer to subject, at most 64, by
	// ascending digest. What a registry lists is a hint.
	Referrers(ctx context.Context, repository string, subject artifact.Digest) ([]artifact.Digest, error)
	// AttachManifest uploads the exact bytes of a manifest that refers to subject,
	// again while the registry does not list it.
	AttachManifest(ctx context.Context, repository string, subject artifact.Digest, mediaType string, manifest []byte) error
}

// Mirrors are the registries that the regions' runtimes pull from.
type Mirrors interface {
	// Source is the registry that packages are pushed to.
	Source() Carrier
	// Mirror is a region's. A region that has none of its own pulls from the
	// source.
	Mirror(region string) Carrier
}

// A Replica is what a region holds of a version.
type Replica struct {
	Region    string
	State     string // "asked", contract.ReplicaHeld or contract.ReplicaFailed
	Cause     string
	Registry  string // base URL of the mirror
	Package   artifact.Digest
	Weights   artifact.Digest
	Bundle    artifact.Descriptor // of the replication statement
	Input     contract.ReplicaInput
	Referrers int
}

// Replicas is the index of record of what each region holds.
type Replicas interface {
	// Replicas returns what is known of a version, by region. ErrNotFound
	// without the version.
	Replicas(ctx context.Context, tenant, model string, version int) ([]Replica, error)
	// Ask starts a replication to each of the regions in which none is under
	// way. With again it also starts one where the version is held already.
	Ask(ctx context.Context, subject contract.Subject, version int, regions []string, again bool) error
	// RecordReplica ends an attempt, once, with its leaf.
	RecordReplica(ctx context.Context, in contract.ReplicaOutcome) error
}

// Points is the index of record of recovery points.
type Points interface {
	// InUse returns the versions of a tenant that the aliases name, that are the
	// newest of their model or that served lists, and the aliases.
	InUse(ctx context.Context, tenant string, served []recovery.Model) ([]recovery.Model, []recovery.Alias, error)
	// NewestPoint returns the newest point; false when there is none.
	NewestPoint(ctx context.Context, tenant string) (PointRow, bool, error)
	// Points returns the points from a sequence on, ascending, at most limit.
	Points(ctx context.Context, tenant string, from int64, limit int) ([]PointRow, error)
	// Taken returns the point that an action took.
	Taken(ctx context.Context, tenant, action string) (PointRow, bool, error)
	// RecordPoint writes a point with its leaf, once per action. ErrStale when
	// it is not the next.
	RecordPoint(ctx context.Context, in contract.RecordPointInput, point recovery.Point) error
}

// A PointRow is a point that was recorded.
type PointRow struct {
	Sequence int64
	Digest   artifact.Digest
	Previous artifact.Digest
	Bundle   artifact.Descriptor
}

// Heads keeps short texts that say what is newest, outside the database: who
// sets the database back to an older day does not set these back with it.
type Heads interface {
	// Head returns a head and the tag that Swap must name. ErrNotFound.
	Head(ctx context.Context, name string) (content []byte, tag string, err error)
	// Swap moves a head from the state of tag; "" is none. ErrStale.
	Swap(ctx context.Context, name, tag string, content []byte) error
}
