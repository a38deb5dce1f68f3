// Package api speaks HTTP: it knows who asks, checks what is asked against
// openapi.yaml and the domain's rules, hands it to a port, and answers with a
// value of the contract or a problem document.
//
// Invariant: an answer that says something was done is written in the same
// transaction as what was done, so the same request sent twice is done once
// and answered the same. Nothing of another tenant is ever told apart from
// nothing at all.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// What ports say. An adapter may wrap them; anything else that it returns is
// an internal failure, of which the caller learns the trace id only.
var (
	ErrNotFound    = errors.New("not found")                          // absent, or of another tenant
	ErrConflict    = errors.New("conflicts with what exists")         // e.g. a second key of a site
	ErrInProgress  = errors.New("a request with this key is running") // its transaction is open
	ErrKeyReuse    = errors.New("key was used for another request")   // other fingerprint
	ErrStale       = errors.New("the world has moved since then")     // a plan that no longer holds
	ErrClosed      = errors.New("closed")                             // stage or ballot takes no more
	ErrUnavailable = errors.New("not available now")                  // a dependency is away; try again
	ErrUnverified  = errors.New("does not verify")                    // bundle, signature, digest
)

// A Caller is who asks. Tenant scopes every row that a port may touch: an
// adapter uses it for row-level security and nothing else decides visibility.
type Caller struct {
	Tenant      string
	Subject     string // "sub" of the token; "simulated" for a simulated caller; the site's id for a site
	Roles       []string
	Simulated   bool
	TraceID     string // 32 hex digits
	Traceparent string // W3C, of the request's span; kept in the outbox row
}

// A Command is a caller's wish to change something, once. With an empty
// KeyHash nothing is remembered (simulated callers may leave the key out).
type Command struct {
	Caller
	Operation   string          // operationId of openapi.yaml
	KeyHash     artifact.Digest // of the Idempotency-Key; the key itself is never kept
	Fingerprint artifact.Digest // of method, path and body
}

// An Answer is what a command is answered with, kept for an exact replay.
type Answer struct {
	Status   int
	Body     json.RawMessage
	Replayed bool // it was stored by an earlier request
}

// A Reply makes the answer from what was written. The adapter calls it inside
// the transaction, at most once, and stores the answer in it when there is a
// key. An error rolls everything back.
type Reply[T any] func(written T) (Answer, error)

// A Start is a workflow to start after the commit: a row of the outbox, in the
// transaction of the command. Input is encoded with encoding/json.
type Start struct {
	Workflow   string // type name, of contract
	ID         string // workflow id, of contract
	Queue      string
	Input      any
	Summary    string // one line for the Temporal Web UI; nothing personal
	Attributes Attributes
}

// Attributes are the search attributes of a start; the JSON names are those of
// contract.Attr*.
type Attributes struct {
	Tenant   string `json:"FabricTenant,omitempty"`
	Model    string `json:"FabricModel,omitempty"`
	Stage    string `json:"FabricStage,omitempty"`
	Approval string `json:"FabricApproval,omitempty"`
	Risk     *int64 `json:"FabricRisk,omitempty"`
}

// A Page asks for at most Limit items after the item whose key is After (empty:
// from the start). The order is the method's; the key is named there.
type Page struct {
	After string
	Limit int // 1..201
}

// Every method below that takes a Command is one transaction that holds the
// idempotency row (tenant, operation, key hash, fingerprint, answer), the change, the
// audit leaf named in its comment, and the outbox row if there is a Start.
// With a KeyHash it inserts the idempotency row first (on conflict do nothing):
// found done and the same fingerprint -> the stored Answer with Replayed and
// no change; another fingerprint -> ErrKeyReuse; still open after 2 s ->
// ErrInProgress. Leaves carry the Caller's tenant, subject, trace id and
// simulated mark.

// Idempotency remembers answers.
type Idempotency interface {
	// Recall returns the stored answer of the same command, if there is one.
	// It is asked before any check whose result may have changed meanwhile.
	Recall(ctx context.Context, cmd Command) (Answer, bool, error)
	// Keep stores the answer of a command whose effect is idempotent by itself
	// and was done elsewhere (a vote). It returns the answer that is stored now.
	Keep(ctx context.Context, cmd Command, answer Answer) (Answer, error)
}

// Catalog keeps features and consent.
type Catalog interface {
	// Register writes the feature as the version that follows the newest one of
	// the same id when schema or fingerprint differ, else leaves the version as
	// it is, and records the consent given. feature.Tenant is cmd.Tenant;
	// feature.Version, Registered and the times of Consent are set by the
	// adapter. Leaf: feature.registered, "feature/<tenant>/<id>", fingerprint.
	Register(ctx context.Context, cmd Command, feature catalog.Feature, reply Reply[catalog.Feature]) (Answer, error)
	// Withdraw ends the consent of a feature; twice is once. ErrNotFound.
	// Leaf: consent.withdrawn.
	Withdraw(ctx context.Context, cmd Command, feature string, reply Reply[catalog.Feature]) (Answer, error)
	// Features returns the newest version of each feature of the caller's
	// tenant, by id (the key).
	Features(ctx context.Context, caller Caller, page Page) ([]catalog.Feature, error)
	// ConsentedFeatures returns the newest version of the named features (none
	// named: all) of the tenants, by tenant and id, with consent as grantee
	// sees it now. It is the same as the activities' port: it crosses tenants
	// on purpose and is never served as such.
	ConsentedFeatures(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error)
}

// Runs keeps training runs and their rounds.
type Runs interface {
	// StartRun writes the run as "accepted" with its start.
	// Leaf: run.accepted, "run/<id>".
	StartRun(ctx context.Context, cmd Command, run Run, start Start, reply Reply[Run]) (Answer, error)
	// RecordStop notes that a stop was asked for. ErrNotFound.
	// Leaf: run.stop_requested.
	RecordStop(ctx context.Context, cmd Command, run, reason string, reply Reply[Run]) (Answer, error)
	// RecordPause notes that the run is to hold, or to go on; twice is once.
	// ErrNotFound. Leaf: run.pause_requested or run.resume_requested.
	RecordPause(ctx context.Context, cmd Command, run string, paused bool, reply Reply[Run]) (Answer, error)
	// Checkpoint returns what a closed round of the caller's tenant left.
	// ErrNotFound.
	Checkpoint(ctx context.Context, caller Caller, run string, number int) (Checkpoint, error)
	// Run returns a run of the caller's tenant with its rounds by number.
	Run(ctx context.Context, caller Caller, id string) (Run, error)
	// Runs returns runs without rounds, newest first; the key is the id, which
	// sorts by time (page.After: ids below it).
	Runs(ctx context.Context, caller Caller, filter RunFilter, page Page) ([]Run, error)
	// Progress returns what the rounds of a run of the caller's tenant have
	// received and cost. ErrNotFound.
	Progress(ctx context.Context, caller Caller, run string) (RunProgress, error)
}

// A Run is a training run as its owner sees it. Status is "accepted",
// "running", "completed", "stopped" or "failed".
type Run struct {
	ID        string
	Tenant    string
	ModelID   string
	Tenants   []string
	Params    round.Params
	Requester string
	Status    string
	Cause     string
	Metrics   round.Metrics // of the last evaluation
	Weights   artifact.Digest
	Version   int // registered version, 0 for none yet
	Rounds    []Round
	Done      int // rounds that were run
	CreatedAt time.Time
	EndedAt   *time.Time
	Simulated bool
	TraceID   string
	Paused    bool   // it holds, or will before its next round
	Study     string // that it is a trial of; empty for none
}

// A Checkpoint is what a run can start from: weights after a round, and the
// state of the strategy that they were moved by.
type Checkpoint struct {
	ModelID string
	Params  round.Params // of the run
	Weights artifact.Descriptor
	State   artifact.Descriptor // empty when the strategy carries none
	Clip    float64             // clipping norm of the round after it; 0 where it does not adapt
}

// A Round is one round of a run. Status is "open", "closed" or "failed".
type Round struct {
	Number    int
	Kind      round.Kind
	Status    string
	Cause     string
	Manifest  artifact.Digest
	Weights   artifact.Digest
	Metrics   round.Metrics
	Regions   []RoundRegion // by name
	Clip      float64       // that updates were clipped to, where it adapts
	StartedAt time.Time
	EndedAt   *time.Time

	Provenance artifact.Digest // of the bundle that says where the weights come from
	Statement  artifact.Digest // identity of what it says
}

// A RoundRegion is a region's part of a round.
type RoundRegion struct {
	Region  string
	Counts  round.Counts
	Dropped []string // sites that were refused, each with the reason
	Cause   string
}

// Sites keeps the sites and what they are asked to do. The tenant of a site
// may differ from the tenant that owns the run: stages and submissions belong
// to the owner, and these methods cross that line for exactly the stages whose
// cohort holds the site.
type Sites interface {
	// Enrol writes the site once; the same key again is the same site, another
	// key under its name is ErrConflict. EnrolledAt is set by the adapter.
	// Leaf (first time): site.enrolled, "site/<tenant>/<id>", digest of the key.
	Enrol(ctx context.Context, caller Caller, s site.Site) (site.Site, error)
	// Site returns an enrolled site. ErrNotFound.
	Site(ctx context.Context, tenant, id string) (site.Site, error)
	// Sites returns the sites of the caller's tenant, by id (the key).
	Sites(ctx context.Context, caller Caller, page Page) ([]site.Site, error)
	// ActiveSites returns the enrolled sites of the tenants, by tenant and id
	// (the same as the activities' port).
	ActiveSites(ctx context.Context, tenants []string) ([]site.Site, error)
	// Work returns the open stages whose cohort holds the site and that it has
	// not answered, by run and number. It returns as soon as there is one, else
	// nothing after wait, or when its tenant withdraws something meanwhile. A stage
	// that a withdrawal has taken from the site is not among them. It notes that
	// the site was seen.
	Work(ctx context.Context, tenant, id string, wait time.Duration) ([]Work, error)
	// Runs returns the runs that have not ended and have asked the site in some
	// round, by tenant and id.
	Runs(ctx context.Context, tenant, id string) ([]OpenRun, error)
	// Floors returns what the withdrawals of a tenant have ended, and its epoch.
	Floors(ctx context.Context, tenant string) ([]consent.Floor, int64, error)
	// Stage returns an open stage of the site, answered or not; an empty stage
	// is [round.StageUpdate]. ErrNotFound when the site is not in it, ErrClosed
	// when it takes no more submissions.
	Stage(ctx context.Context, tenant, id, run string, number int, stage round.Stage) (Work, error)
	// Readable returns the descriptor of the blob under digest when an open
	// stage of the site gives it to the site: base weights, optimiser state, or
	// its inbox. ErrNotFound otherwise.
	Readable(ctx context.Context, tenant, id string, digest artifact.Digest) (artifact.Descriptor, error)
	// Submit writes the site's answer once, and wakes whoever waits for the
	// stage. The same statement again is a success; another one is ErrConflict.
	// ErrClosed when the stage was closed. Leaf: submission.accepted or
	// submission.rejected, "round/<run>/<n>", digest of the statement.
	Submit(ctx context.Context, caller Caller, s Submission) error
}

// An OpenRun names a run that has not ended.
type OpenRun struct{ Tenant, Run string }

// Work is one open stage that a site is in.
type Work struct {
	Stage     contract.StageRef   // Subject.Tenant is the owner of the run
	Manifest  artifact.Descriptor // blob of the round manifest
	Signature artifact.Descriptor // blob of the bundle over it
	Base      artifact.Descriptor
	Inbox     artifact.Descriptor // what this stage gives the site beside the manifest; empty in the first one
	Deadline  time.Time
}

// A Submission is a site's answer in a stage. Update is empty in a round that
// only evaluates, and in the stages of a secured round other than mask, where
// it is the masked vector; Message is empty in a plain round. Reason is set for
// one that was refused.
type Submission struct {
	Stage     contract.StageRef
	Tenant    string // of the site
	Site      string
	Update    artifact.Descriptor
	Metrics   round.Metrics
	Message   artifact.Descriptor // blob of what the site says to the protocol
	Bundle    artifact.Descriptor // blob of the site's signed statement
	Statement artifact.Digest     // digest of the bundle's payload
	Reason    string
	Norm      float64 // of an update that the control plane can read; 0 where it cannot
	From      int     // train round whose weights a late update started from; 0 is this one
}

// Blobs keeps content by digest (the same as the activities' port).
type Blobs interface {
	// Put keeps nothing when content fails before its end.
	Put(ctx context.Context, mediaType string, content io.Reader) (artifact.Descriptor, error)
	// Open fails the last Read when the content differs from digest. ErrNotFound.
	Open(ctx context.Context, digest artifact.Digest) (io.ReadCloser, error)
}

// A Verifier accepts a bundle only for exactly this predicate type and subject,
// with exactly one signature by a trusted key, and returns the predicate (the
// same as the activities' port). An *artifact.VerifyError refuses; with any
// other error nothing was judged.
type Verifier interface {
	Verify(ctx context.Context, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error)
	// VerifyIn is Verify for a subject that is kept in a repository: whose
	// signature counts there may differ from elsewhere.
	VerifyIn(ctx context.Context, repository string, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error)
}

// Packages is the registry as uploads need it. Every push is addressed by
// content: twice is once.
type Packages interface {
	PushBlob(ctx context.Context, repository string, blob artifact.Descriptor, open func(context.Context) (io.ReadCloser, error)) error
	// PushManifest uploads the exact bytes of a manifest whose blobs are there.
	PushManifest(ctx context.Context, repository, mediaType string, manifest []byte) error
	// Attach, Manifest and Blob are the same as the activities' port.
	Attach(ctx context.Context, repository string, subject artifact.Descriptor, predicateType string, bundle []byte) error
	Manifest(ctx context.Context, repository string, digest artifact.Digest) ([]byte, error)
	Blob(ctx context.Context, repository string, digest artifact.Digest) (io.ReadCloser, error)
}

// Rules decide whether a run may start, beside our own checks: the rules that
// ship, or those of an operator's OPA. An error admits nothing.
type Rules interface {
	Admit(ctx context.Context, run policy.Admission) (allowed bool, reasons []string, err error)
	// Admission is Admit, as a decision to be logged: d says who asked, when and
	// why, and the answer adds what was decided, by what, on which masked input.
	Admission(ctx context.Context, d policy.Decision, run policy.Admission) (policy.Decision, error)
}

// SiteTokens mints the short-lived token that an enrolled site works with.
type SiteTokens interface {
	MintSite(tenant, site, region string, ttl time.Duration) (token string, expires time.Time, err error)
}

// Ports is everything the services need. A service that is mounted without
// one of its ports is a mistake of the wiring, which the constructors refuse.
type Ports struct {
	Idempotency Idempotency
	Catalog     Catalog
	Consents    Consents
	Runs        Runs
	Sites       Sites
	Models      Models
	Actions     Actions
	Approvals   Approvals
	Workflows   Workflows
	Snapshots   Snapshots
	AuditLog    AuditLog
	Scorecards  Scorecards
	Blobs       Blobs
	Uploads     Uploads
	Verifier    Verifier
	Packages    Packages
	SiteTokens  SiteTokens
	Rules       Rules
	Budgets     Budgets
	Replicas    Replicas
	Recoveries  Recoveries
	Decisions   Decisions
	Rollouts    Rollouts
	Revocations Revocations
	Verdicts    Verdicts
	Replayer    Replayer
	Proposals   Proposals
	Studies     Studies
	Statistics  Statistics
}
