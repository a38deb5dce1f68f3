package api

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Decisions keeps what routers decided.
type Decisions interface {
	// Record writes the decisions of a batch that have not arrived yet, and counts
	// them, in one transaction: each once, however often and in whatever
	// pieces it is sent. Sequence numbers that are skipped are written as a gap.
	// It returns the number that is waited for next. Leaf: decisions.recorded,
	// "router/<spool>", digest of the batch's body.
	Record(ctx context.Context, batch DecisionBatch) (next int64, err error)
	// Decision returns a decision that the tenant asked for or that its model
	// answered; the empty tenant sees all. ErrNotFound.
	Decision(ctx context.Context, tenant, id string) (Decision, error)
	// Endpoints returns how runtimes answered calls of a tenant's models since
	// then, by the latest calls at most.
	Endpoints(ctx context.Context, tenant string, since time.Time) ([]EndpointLoad, error)
	// Spools returns how far each router has arrived, by spool.
	Spools(ctx context.Context) ([]DecisionSpool, error)
}

// A DecisionBatch is a piece of a router's spool.
type DecisionBatch struct {
	Router    string // id of the spool, 32 hex digits
	Region    string // of the router; empty for one that belongs to none
	Digest    artifact.Digest
	Decisions []Decision // by ascending sequence
}

// A DecisionSpool is how far a router's decisions have arrived.
type DecisionSpool struct {
	Router string
	Region string
	Next   int64 // sequence number that is waited for
	Lost   int64 // decisions that never will arrive
	At     time.Time
}

// A Decision is what a router decided and how it ended, by the names of its own
// record. A mirrored one is of a copy that a version on trial was sent: nobody
// was answered with what came of it.
type Decision struct {
	Sequence       int64           `json:"seq"`
	ID             string          `json:"decision_id"`
	At             time.Time       `json:"at"`
	Caller         string          `json:"tenant"`
	Owner          string          `json:"owner"`
	Model          string          `json:"model"`
	Environment    string          `json:"environment"`
	Version        int             `json:"version,omitempty"`
	Manifest       artifact.Digest `json:"manifest,omitempty"`
	Region         string          `json:"region,omitempty"`
	Endpoint       string          `json:"endpoint,omitempty"`
	Lineage        string          `json:"lineage,omitempty"`
	Canary         bool            `json:"canary,omitempty"`
	Output         artifact.Digest `json:"output,omitempty"`
	Snapshot       int64           `json:"snapshot"`
	Policy         int64           `json:"policy"`
	TraceID        string          `json:"trace_id"`
	Status         int             `json:"status"`
	Problem        string          `json:"problem,omitempty"`
	LatencyMicros  int64           `json:"latency_micros,omitempty"`
	UpstreamMicros int64           `json:"upstream_micros,omitempty"`
	KeyID          string          `json:"key_id,omitempty"`
	Header         string          `json:"header,omitempty"`
	Simulated      bool            `json:"simulated,omitempty"`
	Mirrored       bool            `json:"mirrored,omitempty"`
	Router         string          `json:"-"`
}
