package api

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Verdicts is the decision log of the rules.
type Verdicts interface {
	// Record writes a decision, once by id.
	Record(ctx context.Context, d policy.Decision) error
	// List returns the decisions of the caller's tenant, newest first; the key is
	// "<RFC 3339 at>|<id>".
	List(ctx context.Context, caller Caller, page Page) ([]policy.Decision, error)
	// Verdicts is the same as the activities' port: oldest first, for a replay.
	Verdicts(ctx context.Context, tenant string, since time.Time, after string, limit int) ([]policy.Decision, string, error)
}

// Replayer decides logged decisions again under two policies.
type Replayer interface {
	Replay(ctx context.Context, from, to policy.Document, source func(context.Context) ([]policy.Decision, error)) (policy.Impact, error)
	// Pack returns the bundle of the rules over a document, as a stock OPA loads it.
	Pack(document policy.Document) ([]byte, error)
}

// Proposals keeps what the policy loop saw and proposed.
type Proposals interface {
	// List returns the proposals of the caller's tenant, newest first; the key is
	// "<RFC 3339 proposedAt>|<action>".
	List(ctx context.Context, caller Caller, page Page) ([]KeptProposal, error)
	// Proposal returns one. ErrNotFound.
	Proposal(ctx context.Context, caller Caller, action string) (KeptProposal, error)
	// Regions returns how far the policy of a rollout came in each region.
	Regions(ctx context.Context, caller Caller, action string) ([]RegionState, error)
	// Evaluate starts an evaluation. Leaf: feedback.asked, "feedback/<id>".
	Evaluate(ctx context.Context, cmd Command, id string, start Start, reply Reply[string]) (Answer, error)
	// Observe writes telemetry that was reported, once by metric, target and time.
	Observe(ctx context.Context, tenant string, observed []Observation) error
}

// A KeptProposal is a proposal with how its rollout stands.
type KeptProposal struct {
	Action     string
	Evaluation string
	Template   string
	Target     string
	From       int64
	To         int64
	Direction  string
	Summary    string
	Predicate  artifact.Digest // blob
	Bundle     artifact.Digest // blob
	ProposedAt time.Time
	ExpiresAt  time.Time
	State      string // of the action
	Cause      string
	Risk       int
	EndedAt    *time.Time
	Ballot     string // its outcome; empty without one
}

// A RegionState is one state of a policy in one region, and its evidence.
type RegionState struct {
	Region   string
	State    string // see contract.PolicyPublished
	Revision int64
	Policy   artifact.Digest
	Snapshot int64
	Why      string
	At       time.Time
}

// An Observation is one measurement for the policy loop.
type Observation struct {
	Metric string
	Target string
	At     time.Time
	Value  float64
	Total  float64
}
