package contract

import (
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Nothing is the output of what has none.
type Nothing struct{}

// A Subject is whose work it is. Every input carries one: activities use the
// tenant for row-level security and the trace id for the global trace.
type Subject struct {
	Tenant  string `json:"tenant"`
	ModelID string `json:"modelId"`
	TraceID string `json:"traceId"`
}

// RunInput starts a training run. Base, Round and Metrics are empty at first
// and carry the checkpoint when the run continues as new: it is the one
// payload that crosses deployments.
type RunInput struct {
	Subject
	Run     string              `json:"run"`
	Tenants []string            `json:"tenants"`
	Params  round.Params        `json:"params"`
	Round   int                 `json:"round"` // the next round to run
	Base    artifact.Descriptor `json:"base"`
	Metrics round.Metrics       `json:"metrics"` // last measured
	Stopped bool                `json:"stopped"`
	State   artifact.Descriptor `json:"state,omitzero"` // optimiser state beside Base
	Best    round.Metrics       `json:"best,omitzero"`  // best measured, for patience
	Idle    int                 `json:"idle,omitempty"` // train rounds since
	Paused  bool                `json:"paused,omitempty"`
	Clip    float64             `json:"clip,omitempty"` // clipping norm of the next round, where it adapts

	Previous artifact.Digest `json:"previous,omitempty"` // identity of the last round's statement

	Trial *StudyRun `json:"trial,omitempty"` // of a study: the run publishes nothing
}

// RunResult is how a run ended. Status is "completed", "stopped" or "failed".
type RunResult struct {
	Run     string              `json:"run"`
	Status  string              `json:"status"`
	Cause   string              `json:"cause,omitempty"` // why it failed or ended early, in words for its owner
	Rounds  int                 `json:"rounds"`
	Weights artifact.Descriptor `json:"weights"`
	Metrics round.Metrics       `json:"metrics"` // of the last evaluation
	Version Version             `json:"version"`
}

// StopRequest asks a run to end after the open round.
type StopRequest struct {
	Actor  string `json:"actor"`
	Reason string `json:"reason"`
}

// PauseRequest asks a run to begin no further round, or to go on.
type PauseRequest struct {
	Actor  string `json:"actor"`
	Reason string `json:"reason"`
	Paused bool   `json:"paused"`
}

// RoundInput starts one round. Publish asks for a candidate package.
type RoundInput struct {
	Subject
	Run     string              `json:"run"`
	Number  int                 `json:"number"`
	Kind    round.Kind          `json:"kind"`
	Tenants []string            `json:"tenants"`
	Params  round.Params        `json:"params"`
	Base    artifact.Descriptor `json:"base"` // empty for the first round of a run
	Publish bool                `json:"publish"`
	State   artifact.Descriptor `json:"state,omitzero"`
	Clip    float64             `json:"clip,omitempty"` // clipping norm, where it adapts; 0 is what the run begins with

	Previous artifact.Digest `json:"previous,omitempty"` // identity of the statement about the round before
}

// RoundPlan is what a round will do, before it is signed. Manifest is the blob
// of a [round.Manifest]; Base is the weights that it names (made by PlanRound
// when the run had none).
type RoundPlan struct {
	Manifest artifact.Descriptor `json:"manifest"`
	Base     artifact.Descriptor `json:"base"`
	Cohort   []round.Cohort      `json:"cohort"`
	Secured  bool                `json:"secured,omitempty"`
	State    artifact.Descriptor `json:"state,omitzero"`
	Clip     float64             `json:"clip,omitempty"` // clipping norm of the round, where it adapts
}

// RegionInput starts the part of a round that happens in one region: a group
// of its sites, named by Region. Host is the region whose worker sums them,
// Region itself when empty.
type RegionInput struct {
	Subject
	Run       string              `json:"run"`
	Number    int                 `json:"number"`
	Kind      round.Kind          `json:"kind"`
	Region    string              `json:"region"`
	Sites     int                 `json:"sites"`
	Need      int                 `json:"need,omitempty"` // sites below which the round's quorum is out of reach; 0 means 1
	Params    round.Params        `json:"params"`
	Manifest  artifact.Descriptor `json:"manifest"`
	Signature artifact.Descriptor `json:"signature"` // bundle over the manifest
	Host      string              `json:"host,omitempty"`
	Secured   bool                `json:"secured,omitempty"`
	Enough    int                 `json:"enough,omitempty"` // answers after which nobody else is waited for; 0 waits for all
}

// StageRef names one group's stage of a round.
type StageRef struct {
	Subject
	Run    string      `json:"run"`
	Number int         `json:"number"`
	Kind   round.Kind  `json:"kind"`
	Region string      `json:"region"`
	Stage  round.Stage `json:"stage,omitempty"` // empty is the only stage of a plain round
}

// AwaitInput waits for a stage: until everybody has answered, or Enough have,
// or for Seconds.
type AwaitInput struct {
	StageRef
	Seconds int `json:"seconds"`
	Enough  int `json:"enough,omitempty"`
}

// AdvanceInput closes the stage that StageRef names, opens the one after it and
// waits for that: until everybody has answered, or enough have, or for Seconds.
// Signature is the control plane's bundle over the survivor set, for the step
// from mask to check.
type AdvanceInput struct {
	StageRef
	Seconds   int                 `json:"seconds"` // deadline of the stage that is opened
	Signature artifact.Descriptor `json:"signature,omitzero"`
}

// Advanced is the stage that was opened: so many sites are asked, and below
// Need nothing can go on. Counts is what had come when the wait for it ended.
// Refused is how many answers to the stage before were refused; Dropped names
// them, at most ten, each with the reason. Cause is why the group cannot go on;
// nothing was opened then.
type Advanced struct {
	StageRef
	Sites   int          `json:"sites"`
	Need    int          `json:"need"`
	Counts  round.Counts `json:"counts,omitzero"`
	Refused int          `json:"refused,omitempty"`
	Dropped []string     `json:"dropped,omitempty"`
	Cause   string       `json:"cause,omitempty"`
}

// Survivors is the write-once set of sites whose masked vectors are summed.
type Survivors struct {
	Set     artifact.Descriptor `json:"set"`
	Sites   int                 `json:"sites"`
	Refused int                 `json:"refused,omitempty"`
	Dropped []string            `json:"dropped,omitempty"`
	Cause   string              `json:"cause,omitempty"`
}

// StageCounts is what was counted when the wait ended.
type StageCounts struct {
	round.Counts
}

// RegionResult is all that leaves a region: a sum, its weight and counts.
// Partial is empty for a round that only evaluates. Dropped names the sites
// that answered and were refused, at most ten, each with the reason.
type RegionResult struct {
	Region  string              `json:"region"`
	Counts  round.Counts        `json:"counts"`
	Partial artifact.Descriptor `json:"partial"`
	Metrics round.Metrics       `json:"metrics"`
	Dropped []string            `json:"dropped,omitempty"`
	Cause   string              `json:"cause,omitempty"`  // why the region delivered nothing
	Weight  int64               `json:"weight,omitempty"` // what the sum is divided by, in thousandths; 0 is 1000 an example
	Updates artifact.Descriptor `json:"updates,omitzero"` // the list of single updates, for a robust rule in an open round
	Within  float64             `json:"within,omitempty"` // noised count about zero of the updates within the norm, where it adapts
}

// CombineInput adds the regions' sums and divides.
type CombineInput struct {
	Subject
	Run     string              `json:"run"`
	Number  int                 `json:"number"`
	Kind    round.Kind          `json:"kind"`
	Params  round.Params        `json:"params"`
	Base    artifact.Descriptor `json:"base"`
	Regions []RegionResult      `json:"regions"`
	State   artifact.Descriptor `json:"state,omitzero"`
	Clip    float64             `json:"clip,omitempty"` // that the round clipped to, where it adapts
}

// Combined is the weights after the round, and the optimiser's state.
type Combined struct {
	Weights artifact.Descriptor `json:"weights"`
	Metrics round.Metrics       `json:"metrics"`
	State   artifact.Descriptor `json:"state,omitzero"`
	Clip    float64             `json:"clip,omitempty"` // clipping norm of the next round, where it adapts
}

// AttestInput asks for what a round's statement says: a predicate, not signed
// yet, about the weights.
type AttestInput struct {
	Subject
	Run      string              `json:"run"`
	Number   int                 `json:"number"`
	Manifest artifact.Descriptor `json:"manifest"`
	Previous artifact.Digest     `json:"previous,omitempty"`
	Weights  artifact.Descriptor `json:"weights"`
	State    artifact.Descriptor `json:"state,omitzero"`
	Metrics  round.Metrics       `json:"metrics"`
	Regions  []RegionResult      `json:"regions"` // that delivered
}

// CandidateInput packs weights as a model package.
type CandidateInput struct {
	Subject
	Run      string              `json:"run"`
	Number   int                 `json:"number"`
	Params   round.Params        `json:"params"`
	Weights  artifact.Descriptor `json:"weights"`
	Manifest artifact.Descriptor `json:"manifest"` // of the round that made them
	Metrics  round.Metrics       `json:"metrics"`

	Provenance artifact.Digest `json:"provenance,omitempty"` // identity of that round's statement
}

// A Candidate is a package in the registry that nobody has vouched for yet.
type Candidate struct {
	Repository string              `json:"repository"`
	Package    artifact.Descriptor `json:"package"`   // the OCI manifest
	Predicate  artifact.Descriptor `json:"predicate"` // blob: what the signature will say about it
	// Also is what else is to be said about it, in the words of other tools.
	Also []Claim `json:"also,omitempty"`
}

// A Claim is a statement that is to be signed: predicate of predicateType about
// subject.
type Claim struct {
	Digest        artifact.Digest     `json:"digest"` // the subject
	PredicateType string              `json:"predicateType"`
	Predicate     artifact.Descriptor `json:"predicate"` // blob holding the predicate; empty means {}
}

// SignInput asks for one statement: predicate of predicateType about subject.
type SignInput struct {
	Subject
	Name          string              `json:"name"` // of the subject, for people
	Digest        artifact.Digest     `json:"digest"`
	PredicateType string              `json:"predicateType"`
	Predicate     artifact.Descriptor `json:"predicate"` // blob holding the predicate; empty means {}
	Also          []Claim             `json:"also,omitempty"`
}

// Signed is the bundle that holds the statement and its signature, and those of
// the other claims in their order.
type Signed struct {
	Bundle artifact.Descriptor   `json:"bundle"`
	Also   []artifact.Descriptor `json:"also,omitempty"`

	Statement artifact.Digest `json:"statement,omitempty"` // identity of what Bundle says, whoever signs it again
}

// RegisterInput makes a signed candidate a version.
type RegisterInput struct {
	Subject
	Run       string              `json:"run"`
	Number    int                 `json:"number"`
	Candidate Candidate           `json:"candidate"`
	Bundle    artifact.Descriptor `json:"bundle"`
	Weights   artifact.Descriptor `json:"weights"`
	Metrics   round.Metrics       `json:"metrics"`
	// Also is the bundles of the candidate's other claims, in their order.
	Also []artifact.Descriptor `json:"also,omitempty"`
}

// A Version is a package that was verified and may be promoted. Number counts
// from 1 per model.
type Version struct {
	Number     int             `json:"number"`
	Repository string          `json:"repository"`
	Package    artifact.Digest `json:"package"`
	Weights    artifact.Digest `json:"weights"`
}

// CloseRoundInput ends a round. Cause is empty when it succeeded.
type CloseRoundInput struct {
	Subject
	Run      string              `json:"run"`
	Number   int                 `json:"number"`
	Kind     round.Kind          `json:"kind"`
	Base     artifact.Descriptor `json:"base"`
	Weights  artifact.Descriptor `json:"weights"`
	Manifest artifact.Descriptor `json:"manifest"`
	Metrics  round.Metrics       `json:"metrics"`
	Version  Version             `json:"version"`
	Regions  []RegionResult      `json:"regions"`
	Cause    string              `json:"cause,omitempty"`
	State    artifact.Descriptor `json:"state,omitzero"`

	Provenance Signed  `json:"provenance,omitzero"` // of a round that succeeded
	Clip       float64 `json:"clip,omitempty"`      // that the round clipped to, where it adapts
	NextClip   float64 `json:"nextClip,omitempty"`  // of the round after it
}

// RoundResult is what a round leaves to the next one.
type RoundResult struct {
	Number  int                 `json:"number"`
	Base    artifact.Descriptor `json:"base"` // what Metrics were measured on
	Weights artifact.Descriptor `json:"weights"`
	Metrics round.Metrics       `json:"metrics"`
	Version Version             `json:"version"`
	Cause   string              `json:"cause,omitempty"`
	State   artifact.Descriptor `json:"state,omitzero"`

	Provenance artifact.Digest `json:"provenance,omitempty"` // identity of its statement
	Clip       float64         `json:"clip,omitempty"`       // clipping norm of the next round, where it adapts
}

// CloseRunInput ends a run.
type CloseRunInput struct {
	Subject
	RunResult
}
