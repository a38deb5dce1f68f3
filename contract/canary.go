package contract

import (
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// CanaryID names the one rollout of a promotion.
func CanaryID(action string) string { return "canary/" + action }

// HalfID and HoldID name the ballots on the way of a rollout: before half of a
// region's answers, and where the n-th look-out for a person is.
func HalfID(action string) string        { return action + "-half" }
func HoldID(action string, n int) string { return fmt.Sprintf("%s-hold-%d", action, n) }

// MintInput asks for the grant of a plan. What people agreed to is looked up,
// not taken from here.
type MintInput struct {
	CheckInput
}

// CanaryInput is a rollout whose package is loaded in all regions.
type CanaryInput struct {
	Subject
	Action    string              `json:"action"`
	Requester string              `json:"requester"`
	Plan      promotion.Plan      `json:"plan"`
	Blob      artifact.Descriptor `json:"blob"` // of the plan
	Grant     promotion.Grant     `json:"grant"`
}

// CanaryResult is how a rollout ended. Record is what it saw and did.
type CanaryResult struct {
	Outcome  string          `json:"outcome"`
	Cause    string          `json:"cause,omitempty"`
	Snapshot SnapshotRef     `json:"snapshot"`
	Evidence []Evidence      `json:"evidence"`
	Record   artifact.Digest `json:"record,omitempty"`
}

// LookInput asks for one look: what both sides answered since the step began.
// Last is the look of the last step before a region is given over whole: it has
// the second opinion.
type LookInput struct {
	Subject
	Action string         `json:"action"`
	Plan   promotion.Plan `json:"plan"`
	Number int            `json:"number"` // of the fact that the look becomes
	Step   canary.Step    `json:"step"`
	From   time.Time      `json:"from"`
	To     time.Time      `json:"to"`
	Last   bool           `json:"last,omitempty"`
}

// Looked is a look's verdict. The numbers are in the blob: none of them decides
// in a workflow.
type Looked struct {
	Verdict canary.Verdict  `json:"verdict"`
	Look    artifact.Digest `json:"look"` // blob of a [canary.Look]
	Words   string          `json:"words"`
}

// AskInput opens a ballot on the way of a rollout, over the same plan. Look is
// what the people are to look at, absent before half.
type AskInput struct {
	CheckInput
	Ballot string          `json:"ballot"`
	Why    string          `json:"why"`
	Look   artifact.Digest `json:"look,omitempty"`
	Always bool            `json:"always,omitempty"` // somebody must agree, whatever the risk
}

// A CanaryNote is one fact of a rollout, written once by its number.
type CanaryNote struct {
	Subject
	Action string `json:"action"`
	canary.Fact
}

// CanaryEnd asks for the record of a rollout that is over, and says how it
// ended; the answer names the record.
type CanaryEnd struct {
	Subject
	Action string          `json:"action"`
	Plan   artifact.Digest `json:"plan"`
	Facts  int             `json:"facts"` // number of the last one
	Result CanaryResult    `json:"result"`
}

// What a person may ask of a rollout.
const (
	SteerPause  = "pause"  // hold the share; it is looked at still
	SteerResume = "resume" // go on with the step, with a new deadline
	SteerAbort  = "abort"  // back to what served before
)

// Steer is what a person asks of a rollout.
type Steer struct {
	Actor  string `json:"actor"`
	Do     string `json:"do"`
	Reason string `json:"reason,omitempty"`
}

// CanaryState is where a rollout is.
type CanaryState struct {
	Step    canary.Step    `json:"step"`
	Verdict canary.Verdict `json:"verdict"`
	Paused  bool           `json:"paused"`
	Waits   string         `json:"waits,omitempty"` // ballot that it waits for
}

// NotSteered ends an update of a rollout that is over, or asks for nothing.
const NotSteered = "NotSteered"

// Regressed ends a rollout whose canary was worse than its margins.
const Regressed = "Regressed"
