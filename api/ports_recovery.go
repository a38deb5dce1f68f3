package api

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Replicas keeps what each region's mirror holds.
type Replicas interface {
	// Held returns what is known of a version, by region.
	Held(ctx context.Context, caller Caller, model string, version int) ([]Replica, error)
	// Replicate starts a replication to each of the regions in which none is
	// under way, and answers with those. ErrNotFound without the version.
	// Leaf: model.replication-asked, "model/<tenant>/<id>/<n>".
	Replicate(ctx context.Context, cmd Command, model string, version int, regions []string, reply Reply[[]string]) (Answer, error)
}

// A Replica is what a region's mirror holds of a version. State is "asked",
// "held" or "failed".
type Replica struct {
	Region    string
	State     string
	Cause     string
	Registry  string // base URL
	Package   artifact.Digest
	Layers    int
	Referrers int
	SizeBytes int64
	Statement artifact.Digest // of the bundle over the replication statement
	AskedAt   time.Time
	CheckedAt *time.Time
}

// Recoveries keeps recovery points.
type Recoveries interface {
	// List returns the points of the caller's tenant, newest first; the key is
	// the sequence as decimal text (page.After: those below it).
	List(ctx context.Context, caller Caller, page Page) ([]RecoveryPoint, error)
	// Get returns a point; sequence 0 is the newest. ErrNotFound.
	Get(ctx context.Context, caller Caller, sequence int64) (RecoveryPoint, error)
	// Take writes the start of the workflow that takes a point.
	// Leaf: recovery.asked, "recovery/<action>".
	Take(ctx context.Context, cmd Command, action string, start Start, reply Reply[string]) (Answer, error)
}

// A RecoveryPoint is a signed list of what a tenant ran.
type RecoveryPoint struct {
	Sequence int64
	Digest   artifact.Digest
	Previous artifact.Digest
	Point    artifact.Descriptor // blob of a recovery.Point
	Bundle   artifact.Descriptor
	Action   string
	Snapshot int64
	Items    int
	Reason   string
	Actor    string
	At       time.Time
}
