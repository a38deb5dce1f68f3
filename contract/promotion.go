package contract

import (
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// A SignedVote is a vote as it travels: the Sigstore bundle (v0.3, DSSE) whose
// statement says what the approver decided. Nothing outside the bundle counts.
type SignedVote struct {
	Bundle string `json:"bundle"` // JSON text
}

// VoteInput asks an activity to verify a vote against the request.
type VoteInput struct {
	Request approval.Request `json:"request"`
	Vote    SignedVote       `json:"vote"`
}

// TellInput is something that people should know of a ballot. A notice decides
// nothing.
type TellInput struct {
	Ballot approval.Ballot `json:"ballot"`
	Event  string          `json:"event"` // "opened", "escalated", "reminded", "ended"
}

// Standing is which votes of a ballot have lost it.
type Standing struct {
	Losses []approval.Loss `json:"losses,omitempty"`
}

// BeginInput uses the approval that a ballot holds, once. Use names who uses
// it: the same use again is the same, another is refused.
type BeginInput struct {
	Ballot approval.Ballot `json:"ballot"`
	Use    string          `json:"use"`
}

// Begun is the ballot after its approval was used, or why it was not: lost
// votes, which put it back, or its new outcome. Review is the ballot that a
// broken glass has opened.
type Begun struct {
	Ballot approval.Ballot   `json:"ballot"`
	Losses []approval.Loss   `json:"losses,omitempty"`
	Review *approval.Request `json:"review,omitempty"`
}

// PromotionInput carries the plan by digest; the plan is what is approved.
type PromotionInput struct {
	Subject
	Action    string              `json:"action"` // id of the action, "promote-<uuid>"
	Requester string              `json:"requester"`
	Plan      artifact.Descriptor `json:"plan"` // blob of a [promotion.Plan]
}

// CheckInput asks whether a plan still fits the world: its package verifies,
// what it observed has not moved. The kind is that of the plan's blob:
// "promotion", "policy" or "tuning".
type CheckInput struct {
	Subject
	Action    string              `json:"action"`
	Kind      string              `json:"kind"`
	Requester string              `json:"requester"`
	Plan      artifact.Descriptor `json:"plan"`
}

// Checked is the plan with its risk, and the ballot it needs (Need 0: none).
type Checked struct {
	Plan    promotion.Plan   `json:"plan"`
	Risk    int              `json:"risk"` // 0..100
	Request approval.Request `json:"request"`
	Grant   promotion.Grant  `json:"grant,omitzero"` // once it may run; see MintGrant
}

// Phases of a change of the data plane.
const (
	PhaseLoad   = "load"   // regions get the package, before any route points to it
	PhaseSwitch = "switch" // the route moves to the plan's version
	PhasePolicy = "policy" // regions get the plan's policy
	PhaseBack   = "back"   // the route, or the regions' policy, goes back to what the plan observed
	PhaseCanary = "canary" // a share of a region's answers is the plan's version's
	PhaseShadow = "shadow" // a share of a region's requests is copied to the plan's version
	PhaseGive   = "give"   // a region whose canary passed is given to the plan's version
)

// PublishInput changes what the data plane runs in Regions: one Phase of the
// plan. It is refused as stale when what the plan observed has moved by another
// hand. An action publishes a phase once for the same regions: see Step.
type PublishInput struct {
	Subject
	Action  string          `json:"action"`
	Phase   string          `json:"phase"`
	Plan    promotion.Plan  `json:"plan"`
	Regions []string        `json:"regions"`
	ShareBP int             `json:"shareBP,omitempty"` // of a canary or a shadow, in basis points
	Grant   promotion.Grant `json:"grant,omitzero"`
}

// Step names what is published at most once per action: the phase, its regions
// and, of a canary or a shadow, its share.
func (in PublishInput) Step() string {
	step := in.Phase + "/" + strings.Join(in.Regions, ",")
	if in.Phase == PhaseCanary || in.Phase == PhaseShadow {
		step += "/" + strconv.Itoa(in.ShareBP)
	}
	return step
}

// SnapshotRef names a published, signed snapshot.
type SnapshotRef struct {
	Version int64           `json:"version"`
	Digest  artifact.Digest `json:"digest"`
}

// ActiveInput waits until a region's runtime reports what it should run.
type ActiveInput struct {
	Subject
	Region  string         `json:"region"`
	Phase   string         `json:"phase"`
	Plan    promotion.Plan `json:"plan"`
	Version int64          `json:"version"` // snapshot version to have reached
	Seconds int            `json:"seconds"`
}

// Evidence is what a region's runtime said of itself.
type Evidence struct {
	Region   string          `json:"region"`
	Snapshot int64           `json:"snapshot"`
	Package  artifact.Digest `json:"package,omitempty"`
	Policy   artifact.Digest `json:"policy,omitempty"`

	Delivered int64 `json:"delivered,omitempty"` // newest snapshot that its runtime has received; 0 from one that does not say
	Verified  int64 `json:"verified,omitempty"`  // of these, the newest whose signature it has verified
}

// Outcomes of an action.
const (
	Applied   = "applied"
	Suggested = "suggested" // a tuning that was not asked to apply
	Unchanged = "nothing"   // a tuning that found nothing to suggest; Cause says why
	Rejected  = "rejected"
	Expired   = "expired"
	Stale     = "stale"
	Failed    = "failed"
)

// OutcomeInput records how an action ended. Plan is empty for a tuning that
// found nothing to suggest.
type OutcomeInput struct {
	Subject
	Action   string              `json:"action"`
	Kind     string              `json:"kind"`
	Outcome  string              `json:"outcome"`
	Cause    string              `json:"cause,omitempty"`
	Plan     artifact.Digest     `json:"plan"`
	Snapshot SnapshotRef         `json:"snapshot"`
	Evidence []Evidence          `json:"evidence"`
	Bundle   artifact.Descriptor `json:"bundle"`
	Restored *Recovered          `json:"restored,omitempty"` // of a restore that was applied
	Grant    promotion.Grant     `json:"grant,omitzero"`     // of what was applied
}

// EvidenceInput asks for the evidence pack of a promotion that was applied.
type EvidenceInput struct {
	Subject
	Action string          `json:"action"`
	Plan   artifact.Digest `json:"plan"`
}

// Packed is a pack, and what a signature will say of it.
type Packed struct {
	Pack      artifact.Descriptor `json:"pack"`
	Predicate artifact.Descriptor `json:"predicate"`
}

// KeepInput is a pack with the bundle over it, to be kept with the promotion.
type KeepInput struct {
	Subject
	Action string              `json:"action"`
	Pack   artifact.Descriptor `json:"pack"`
	Bundle artifact.Descriptor `json:"bundle"`
}

// PromotionResult is how a promotion ended.
type PromotionResult struct {
	Action   string      `json:"action"`
	Outcome  string      `json:"outcome"`
	Cause    string      `json:"cause,omitempty"`
	Snapshot SnapshotRef `json:"snapshot"`
	Evidence []Evidence  `json:"evidence"`
}

// RolloutInput starts a policy rollout; the plan's Policy is the new document.
type RolloutInput struct {
	Subject
	Action    string              `json:"action"`
	Requester string              `json:"requester"`
	Plan      artifact.Descriptor `json:"plan"`
}

// RolloutResult is how a rollout ended.
type RolloutResult struct {
	Action   string          `json:"action"`
	Outcome  string          `json:"outcome"`
	Cause    string          `json:"cause,omitempty"`
	Policy   artifact.Digest `json:"policy"`
	Evidence []Evidence      `json:"evidence"`
}

// PushPolicyInput packs a policy document as an OCI artifact.
type PushPolicyInput struct {
	Subject
	Action string          `json:"action"`
	Plan   promotion.Plan  `json:"plan"`
	Grant  promotion.Grant `json:"grant,omitzero"`
}

// A PolicyPackage is a policy bundle in the policy hub.
type PolicyPackage struct {
	Repository string              `json:"repository"`
	Package    artifact.Descriptor `json:"package"`
	Policy     artifact.Descriptor `json:"policy"`
	Revision   int64               `json:"revision,omitempty"` // of the policy
	Closed     []string            `json:"closed,omitempty"`   // of the plan's regions, those where it lets nobody be answered
}

// AttachInput attaches a bundle to a package as its referrer, and verifies what
// the registry gives back.
type AttachInput struct {
	Subject
	Repository    string              `json:"repository"`
	Package       artifact.Descriptor `json:"package"`
	PredicateType string              `json:"predicateType"`
	Bundle        artifact.Descriptor `json:"bundle"`
	Grant         promotion.Grant     `json:"grant,omitzero"` // of a policy; a package is signed by its round
}

// TuneInput asks for a scorecard of a model and one suggestion.
type TuneInput struct {
	Subject
	Action      string `json:"action"`
	Requester   string `json:"requester"`
	Environment string `json:"environment"` // "dev", "staging", "production"
	Apply       bool   `json:"apply"`
	Study       string `json:"study,omitempty"` // whose best trial is the suggestion; empty asks the model's finished runs
}

// A Scorecard is the blob of a scorecard and its integer verdict.
type Scorecard struct {
	Subject
	Action string              `json:"action"`
	Card   artifact.Descriptor `json:"card"`
	Score  int                 `json:"score"`  // 0..100
	Status string              `json:"status"` // "PASS", "FAIL", "NO_DATA"
	Study  string              `json:"study,omitempty"`
}

// A Suggestion is the plan of a tuning; empty Plan means nothing to suggest,
// and Reason says why.
type Suggestion struct {
	Plan   artifact.Descriptor `json:"plan"`
	Reason string              `json:"reason"`
}

// ApplyInput applies a suggestion that was allowed.
type ApplyInput struct {
	Subject
	Action string              `json:"action"`
	Plan   artifact.Descriptor `json:"plan"`
	Grant  promotion.Grant     `json:"grant,omitzero"`
}

// TuneResult is how a tuning ended; Reason says what was found, or why it ended
// so.
type TuneResult struct {
	Action  string          `json:"action"`
	Outcome string          `json:"outcome"`
	Reason  string          `json:"reason,omitempty"`
	Card    artifact.Digest `json:"card"`
	Plan    artifact.Digest `json:"plan,omitempty"`
	Score   int             `json:"score"`
}
