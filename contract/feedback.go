package contract

import (
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// FeedbackInput asks for one evaluation of the policy loop. Seconds is the
// length of a window; the baseline is Baseline windows before the last three.
// Evaluation is its id; empty: the workflow's run.
type FeedbackInput struct {
	Subject
	Evaluation  string `json:"evaluation,omitempty"`
	Environment string `json:"environment"` // that the policy governs
	Seconds     int    `json:"seconds"`
	Baseline    int    `json:"baseline"`
	Requester   string `json:"requester"`        // in whose name it proposes
	Shadow      bool   `json:"shadow,omitempty"` // evaluate and replay, propose nothing

	Guard *promotion.Guard `json:"guard,omitempty"` // of the rollouts; absent: the default one
}

// Telemetry is a blob of []feedback.Series. Missing names the metrics that no
// target reports.
type Telemetry struct {
	Series  artifact.Descriptor `json:"series"`
	Targets int                 `json:"targets"`
	Missing []string            `json:"missing,omitempty"`
}

// EvaluateInput judges telemetry under the policy in force.
type EvaluateInput struct {
	FeedbackInput
	Telemetry Telemetry `json:"telemetry"`
}

// Evaluated is the blob of all findings, and a draft of each that proposes.
type Evaluated struct {
	Report artifact.Descriptor `json:"report"`
	Drafts []Draft             `json:"drafts,omitempty"`
	Words  string              `json:"words"` // for people
}

// A Draft is a proposal that was not replayed yet: its predicate, and the policy
// document that it would bring into force.
type Draft struct {
	Key      string              `json:"key"`
	Proposal artifact.Descriptor `json:"proposal"`
	Document artifact.Descriptor `json:"document"`
}

// ReplayInput replays the decision log under the policy in force and a draft.
type ReplayInput struct {
	FeedbackInput
	Draft Draft `json:"draft"`
}

// Replayed is the draft with its replay, the plan of its rollout and the action
// that would roll it out. Alone says that no person has to agree.
type Replayed struct {
	Draft     Draft               `json:"draft"`
	Plan      artifact.Descriptor `json:"plan"`
	Action    string              `json:"action"`
	Risk      int                 `json:"risk"`
	Need      int                 `json:"need,omitempty"` // approvals
	Decisions int                 `json:"decisions"`
	Opened    int                 `json:"opened"`
	Closed    int                 `json:"closed"`
	Alone     bool                `json:"alone,omitempty"`
	Words     string              `json:"words"`
}

// ProposeInput keeps a signed proposal, and its rollout as an action that was
// started.
type ProposeInput struct {
	FeedbackInput
	Replayed Replayed            `json:"replayed"`
	Bundle   artifact.Descriptor `json:"bundle"`
}

// Proposed says whether the proposal is new. One that is not was kept before,
// and its rollout with it; Refused says why one is not kept at all.
type Proposed struct {
	Action  string `json:"action"`
	Refused string `json:"refused,omitempty"`
}

// FeedbackResult is what an evaluation came to.
type FeedbackResult struct {
	Report   artifact.Digest `json:"report"`
	Proposed []string        `json:"proposed,omitempty"` // actions that were started
	Words    string          `json:"words"`
}

// GuardInput asks how a region does under a policy that is being rolled out,
// beside how it did before.
type GuardInput struct {
	Subject
	Action string          `json:"action"`
	Region string          `json:"region"`
	Guard  promotion.Guard `json:"guard"`
	Since  int64           `json:"since"` // when the region was found active, Unix seconds
	Until  int64           `json:"until"`
	Looks  int             `json:"looks"` // of it so far
}

// Guarded is a look's verdict. What was measured is in the blob.
type Guarded struct {
	Verdict canary.Verdict  `json:"verdict"`
	Words   string          `json:"words"`
	Look    artifact.Digest `json:"look"`
}

// RegionStateInput writes what is known of a policy in a region.
type RegionStateInput struct {
	Subject
	Action   string          `json:"action"`
	Region   string          `json:"region"`
	Revision int64           `json:"revision"`
	Policy   artifact.Digest `json:"policy"`
	State    string          `json:"state"`
	Snapshot int64           `json:"snapshot"`
	Words    string          `json:"words,omitempty"`

	Delivered int64 `json:"delivered,omitempty"`
	Verified  int64 `json:"verified,omitempty"`
}

// States of a policy in a region, in their order; each is evidence of its own.
// Halted and RolledBack end a rollout there.
const (
	PolicyPublished  = "published" // the signed snapshot that holds it is written
	PolicyDelivered  = "delivered" // the region's runtime has that snapshot
	PolicyVerified   = "verified"  // and has verified its signature
	PolicyActive     = "active"    // and decides by the policy
	PolicyHalted     = "halted"    // the rollout waits there
	PolicyRolledBack = "rolled-back"
)

// FeedbackID names the evaluations of a tenant's loop that somebody asked for.
func FeedbackID(evaluation string) string { return "feedback/" + evaluation }

// FeedbackSchedule names the schedule of a tenant's loop.
func FeedbackSchedule(tenant string) string { return "feedback-" + tenant }
