package activities

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Telemetry is what the policy loop reads: Prometheus, or our own tables.
type Telemetry interface {
	// Windows returns what a metric of [feedback.Metrics] was in each of the
	// spans, in their order, for every target that has reported it in one of them.
	// A span without anything is an empty window: absence is not an error.
	Windows(ctx context.Context, tenant, metric string, spans []feedback.Span) (map[string][]feedback.Window, error)
}

// Verdicts is the decision log.
type Verdicts interface {
	// Verdicts returns at most limit decisions of the tenant since a time, oldest
	// first, after the one with this key; the key of the last one goes on. An empty
	// list is the end. What routers have decided is among them, as questions about
	// routing that were allowed.
	Verdicts(ctx context.Context, tenant string, since time.Time, after string, limit int) (found []policy.Decision, last string, err error)
}

// Proposals keeps what the policy loop proposed.
type Proposals interface {
	// Propose writes the proposal and its rollout as an action that was started,
	// in one transaction, once by action. ErrConflictingProposal when the key has
	// another one that is open. Leaf: proposal.made, "proposal/<action>", predicate, bundle.
	Propose(ctx context.Context, p Proposal) error
	// History returns the proposals of the tenant since a time, oldest first, each
	// with how its rollout stands.
	History(ctx context.Context, tenant string, since time.Time) ([]feedback.Past, error)
	// NoteRegion writes a state of a policy in a region, once. Leaf:
	// policy.<state>, "policy/<action>/<region>", digest of the policy.
	NoteRegion(ctx context.Context, in contract.RegionStateInput) error
}

// A Proposal is what is kept of one.
type Proposal struct {
	feedback.Proposal
	Tenant     string
	TraceID    string
	Action     string
	Evaluation string
	Requester  string
	Plan       artifact.Descriptor
	Risk       int
	Need       int // approvals
	Predicate  artifact.Digest
	Bundle     artifact.Digest
}

// A Replayer decides logged decisions again under two policies.
type Replayer interface {
	Replay(ctx context.Context, from, to policy.Document, source func(context.Context) ([]policy.Decision, error)) (policy.Impact, error)
}
