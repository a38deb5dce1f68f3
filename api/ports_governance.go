package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Models keeps models and their versions.
type Models interface {
	// Models returns the models of the caller's tenant without versions, by id
	// (the key).
	Models(ctx context.Context, caller Caller, page Page) ([]Model, error)
	// Model returns a model with its versions, newest first, at most 100.
	Model(ctx context.Context, caller Caller, id string) (Model, error)
	// ModelVersion returns a version; number 0 is the newest. ErrNotFound.
	ModelVersion(ctx context.Context, caller Caller, id string, number int) (ModelVersion, error)
	// RegisterUpload gives an uploaded, verified package the next number of its
	// model, once per package. Leaf: model.uploaded, "model/<tenant>/<id>/<n>", package digest.
	RegisterUpload(ctx context.Context, cmd Command, version ModelVersion, reply Reply[ModelVersion]) (Answer, error)
	// LastGood returns the version that served an environment before the one that
	// does. ErrNotFound when none did.
	LastGood(ctx context.Context, caller Caller, model, environment string) (int, error)
	// Served says whether a version has served an environment before.
	Served(ctx context.Context, caller Caller, model, environment string, version int) (bool, error)
	// Aliases returns where the aliases of a model stand, or stood at a time (the
	// zero time is now), by environment and name. ErrNotFound without the model.
	Aliases(ctx context.Context, caller Caller, model string, at time.Time) ([]Alias, error)
	// AliasMoves returns the moves of a model's aliases, newest first, at most 100.
	AliasMoves(ctx context.Context, caller Caller, model string) ([]Alias, error)
	// MoveAlias moves an alias to a version whose package is pkg, which a
	// verified statement says. ErrNotFound without the version;
	// modelpack.ErrMove when its package is another; modelpack.ErrSuperseded
	// when the move does not begin where the alias stands, and of two at once
	// one gets that. Leaf: alias.moved, "model/<tenant>/<id>/<environment>/<alias>",
	// package digest, digest of the bundle.
	MoveAlias(ctx context.Context, cmd Command, move modelpack.Move, pkg artifact.Digest, bundle artifact.Descriptor, reply Reply[Alias]) (Answer, error)
}

// An Alias is where an alias of a model stands since a move, or stood after it.
// Bundle is the signed statement that moved it: that of the alias, or that of
// the promotion Action.
type Alias struct {
	Tenant      string
	ModelID     string
	Environment string
	Alias       string
	Sequence    int64 // counts the moves of this alias from 1
	Version     int
	Package     artifact.Digest
	Previous    artifact.Digest // package before; empty at first
	Bundle      artifact.Descriptor
	Actor       string
	Action      string
	At          time.Time
}

// A Model is what versions are versions of.
type Model struct {
	Tenant    string
	ID        string
	Latest    int            // newest version number
	Champions map[string]int // environment -> version that was promoted there
	Versions  []ModelVersion
	CreatedAt time.Time
	Taints    []Taint // withdrawals that reach its versions
}

// A ModelVersion is a verified package.
type ModelVersion struct {
	Tenant       string
	ModelID      string
	Number       int
	Repository   string
	Package      artifact.Descriptor // the OCI manifest
	Weights      artifact.Descriptor
	Bundle       artifact.Descriptor // blob of the bundle over the package
	Run          string              // empty for an upload
	Round        int
	Metrics      round.Metrics
	RegisteredAt time.Time
	Simulated    bool // made for a simulated caller: never production
	// Blobs of the bundle over its files (OpenSSF Model Signing) and of the
	// cosign signature over its manifest.
	FilesBundle artifact.Descriptor
	Signature   artifact.Descriptor
}

// Actions keeps promotions, policy rollouts and tunings.
type Actions interface {
	// SavePlan writes the action as "planned". A planned action with the same
	// tenant, kind and plan digest is the same one: it keeps its id.
	// Leaf: <kind>.planned, "<kind>/<id>", plan digest.
	SavePlan(ctx context.Context, cmd Command, action Action, reply Reply[Action]) (Answer, error)
	// Planned returns the planned action with this plan. ErrNotFound;
	// ErrConflict when it was started already.
	Planned(ctx context.Context, caller Caller, kind string, plan artifact.Digest) (Action, error)
	// Apply moves a planned action to "started", with its start; Requester
	// becomes cmd.Subject. ErrConflict when it is not planned any more.
	// Leaf: <kind>.started.
	Apply(ctx context.Context, cmd Command, id string, start Start, reply Reply[Action]) (Answer, error)
	// Begin writes an action that needs no plan beforehand as "started".
	// Leaf: <kind>.started.
	Begin(ctx context.Context, cmd Command, action Action, start Start, reply Reply[Action]) (Answer, error)
	// Action returns an action of the caller's tenant and of this kind.
	Action(ctx context.Context, caller Caller, kind, id string) (Action, error)
	// Actions returns actions of the caller's tenant and of this kind, newest
	// first; the key is the time and the id (see [ActionKey]).
	Actions(ctx context.Context, caller Caller, kind string, page Page) ([]Action, error)
	// Policies returns the policy revisions that were rolled out, newest first;
	// the key is the revision as decimal text (page.After: revisions below it).
	Policies(ctx context.Context, page Page) ([]PolicyRevision, error)
}

// Kinds of action.
const (
	KindPromotion = "promotion"
	KindPolicy    = "policy"
	KindTuning    = "tuning"
)

// An Action is a promotion, a policy rollout or a tuning. State is "planned",
// "started", or an outcome of contract.OutcomeInput or contract.TuneResult.
type Action struct {
	ID          string // "promote-<uuid>", "policy-<uuid>", "tune-<uuid>"
	Kind        string
	Tenant      string
	ModelID     string
	Environment string
	Requester   string
	Plan        artifact.Descriptor // blob of a promotion.Plan; empty for a tuning
	Risk        int
	Need        int // approvals
	State       string
	Cause       string
	Snapshot    contract.SnapshotRef
	Evidence    []contract.Evidence
	CreatedAt   time.Time
	EndedAt     *time.Time
	Simulated   bool
	TraceID     string
	Pack        artifact.Descriptor // evidence of an applied promotion; empty until it is made
	PackBundle  artifact.Descriptor // over it
}

// A PolicyRevision is a policy document that was rolled out.
type PolicyRevision struct {
	Revision  int64
	Digest    artifact.Digest // of the signed document's bytes
	Document  json.RawMessage
	Action    string
	CreatedAt time.Time
}

// Approvals keeps ballots and who may vote in them.
type Approvals interface {
	// Ballots returns the ballots of the caller's tenant that pass the filter,
	// newest first; the key is the action id within opening time, so page.After
	// is the text "<RFC 3339 openedAt>|<action id>".
	Ballots(ctx context.Context, caller Caller, filter BallotFilter, page Page) ([]approval.Ballot, error)
	// Ballot returns the ballot of an action. ErrNotFound.
	Ballot(ctx context.Context, caller Caller, action string) (approval.Ballot, error)
	// Approvers returns who may vote for the tenant, by name (the same as the
	// activities' port).
	Approvers(ctx context.Context, tenant string) ([]approval.Approver, error)
	// AddApprover writes an approver once. ErrConflict when the name has
	// another key, or the key another name. Leaf: approver.added, "approver/<tenant>/<name>", key.
	AddApprover(ctx context.Context, cmd Command, approver approval.Approver, reply Reply[approval.Approver]) (Answer, error)
	// RevokeApprover ends the registration of a name and returns the ballots that
	// wait and hold a vote of it, which must be told. ErrNotFound.
	// Leaf: approver.revoked.
	RevokeApprover(ctx context.Context, cmd Command, name, reason string, reply Reply[approval.Approver]) (Answer, []string, error)
	// Standing returns what has changed about people: revoked keys, delegations.
	Standing(ctx context.Context, tenant string) (approval.Standing, error)
	// Delegate writes a delegation once. ErrConflict when its nonce is another's,
	// or its delegator was revoked. Leaf: delegation.granted.
	Delegate(ctx context.Context, cmd Command, granted approval.Granted, reply Reply[approval.Granted]) (Answer, error)
	// RevokeDelegation ends it, and returns the ballots that wait and hold a vote
	// by it. by is the digest of a statement, or a subject. Leaf: delegation.revoked.
	RevokeDelegation(ctx context.Context, cmd Command, granted approval.Granted, by string, reply Reply[approval.Granted]) (Answer, []string, error)
}

// A BallotFilter selects ballots: those that wait for one of the named
// approvers, or else those in a state; the zero value is all.
type BallotFilter struct {
	State   approval.Outcome
	Awaited []string
}

// Workflows reaches running workflows. [NewTemporal] is the adapter.
type Workflows interface {
	// Vote casts a vote and returns the ballot after it. The same vote twice is
	// one vote. ErrNotFound without a ballot, ErrClosed when it is over.
	Vote(ctx context.Context, action string, vote contract.SignedVote) (approval.Ballot, error)
	// Reconsider tells a ballot that somebody's standing has changed. Without a
	// ballot there is nobody to tell, which is no error.
	Reconsider(ctx context.Context, action string) error
	// StopRun asks a run to end after its open round. ErrNotFound when it has
	// not started or is over.
	StopRun(ctx context.Context, run string, stop contract.StopRequest) error
	// PauseRun asks a run to begin no further round, or to go on. ErrNotFound
	// as for StopRun.
	PauseRun(ctx context.Context, run string, pause contract.PauseRequest) error
	// StopStudy asks a study to begin no further trial, and its runs to end after
	// their open rounds. ErrNotFound as for StopRun.
	StopStudy(ctx context.Context, study string, stop contract.StopRequest) error
	// SteerRollout tells the rollout of a promotion what a person asks, and
	// returns where it is then; the same id twice is the same request. ErrNotFound
	// when it has not begun or is over, ErrClosed when it turns the request away.
	SteerRollout(ctx context.Context, action, id string, steer contract.Steer) (contract.CanaryState, error)
	// SteerPolicy is the same for the rollout of a policy that watches a region.
	SteerPolicy(ctx context.Context, action, id string, steer contract.Steer) (contract.CanaryState, error)
}

// Snapshots is what the data plane runs.
type Snapshots interface {
	// Latest returns the newest snapshot; version 0 when there is none.
	Latest(ctx context.Context) (routing.Snapshot, error)
	// SignedAfter returns the newest signed snapshot when its version is above
	// after, as soon as there is one, and false when wait is over.
	SignedAfter(ctx context.Context, after int64, wait time.Duration) (routing.Signed, int64, bool, error)
}

// AuditLog is the transparency log.
type AuditLog interface {
	// Leaves returns at most limit leaves from index on.
	Leaves(ctx context.Context, from int64, limit int) ([]AuditEntry, error)
	// Search returns at most limit leaves of a tenant from index on whose kind,
	// subject, actor, digest or trace holds the text, whatever its case.
	Search(ctx context.Context, tenant, text string, from int64, limit int) ([]AuditEntry, error)
	// Own returns at most limit leaves of a tenant from index on, or, with
	// before above 0, the newest first of those from index on and below it. It
	// looks through so many leaves at the most that it may return fewer; next is
	// where to go on, 0 at the end.
	Own(ctx context.Context, tenant string, from, before int64, limit int) (found []AuditEntry, next int64, err error)
	// Checkpoint returns the newest checkpoint.
	Checkpoint(ctx context.Context) (AuditCheckpoint, error)
	// Proof returns the inclusion proof of a leaf in the tree of size leaves.
	// Size 0 is the newest tree. ErrNotFound when index is not in it.
	Proof(ctx context.Context, index, size int64) (AuditProof, error)
	// Consistency returns the proof that the tree of size leaves begins with the
	// tree of old. Size 0 is the newest tree. ErrNotFound when there is none.
	Consistency(ctx context.Context, old, size int64) (AuditStep, error)
	// Tile returns the hashes of a tile, 32 bytes each. ErrNotFound while the
	// log does not fill it.
	Tile(ctx context.Context, tile audit.Tile) ([]byte, error)
}

// An AuditEntry is a numbered leaf: its exact bytes, of which Hash is the
// RFC 6962 leaf hash.
type AuditEntry struct {
	Index  int64
	Tenant string
	Hash   artifact.Digest
	Leaf   json.RawMessage
}

// An AuditCheckpoint commits to a tree. Note is the signed text when the log
// signs its checkpoints.
type AuditCheckpoint struct {
	Origin string
	Size   int64
	Root   artifact.Digest
	Note   string
}

// An AuditStep is how the tree of To leaves extends the tree of From.
type AuditStep struct {
	From, To         int64
	FromRoot, ToRoot artifact.Digest
	Hashes           []artifact.Digest
}

// An AuditProof is the path from a leaf to the root, lowest first.
type AuditProof struct {
	Index  int64
	Size   int64
	Hash   artifact.Digest
	Root   artifact.Digest
	Hashes []artifact.Digest
}

// Scorecards reads what scorecards are computed from.
type Scorecards interface {
	// Trials returns the closed runs of a model of the tenant, oldest first.
	Trials(ctx context.Context, caller Caller, model string) ([]Trial, error)
	// Facts returns what the card of a subject of the caller's tenant is made of:
	// the model's closed runs, without a version all of them, and what the fabric
	// saw of its rounds and requests. No trials where there is no such subject.
	Facts(ctx context.Context, caller Caller, subject scorecard.Subject) (scorecard.Facts, error)
}

// A Trial is a finished run with what it was given and what came of it.
type Trial struct {
	Run     string
	Params  round.Params
	Metrics round.Metrics
	Status  string
	EndedAt time.Time
}
