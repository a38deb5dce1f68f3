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
}

// RunResult is how a run ended. Status is "completed", "stopped" or "failed".
type RunResult struct {
	Run     string              `json:"run"`
	Status  string              `json:"status"`
	Cause   string              `json:"cause,omitempty"` // why it failed, in words for its owner
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
}

// RoundPlan is what a round will do, before it is signed. Manifest is the blob
// of a [round.Manifest]; Base is the weights that it names (made by PlanRound
// when the run had none).
type RoundPlan struct {
	Manifest artifact.Descriptor `json:"manifest"`
	Base     artifact.Descriptor `json:"base"`
	Cohort   []round.Cohort      `json:"cohort"`
}

// RegionInput starts the part of a round that happens in one region.
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
}

// StageRef names one region's stage of a round.
type StageRef struct {
	Subject
	Run    string     `json:"run"`
	Number int        `json:"number"`
	Kind   round.Kind `json:"kind"`
	Region string     `json:"region"`
}

// AwaitInput waits for a stage: until everybody has answered, or for Seconds.
type AwaitInput struct {
	StageRef
	Seconds int `json:"seconds"`
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
	Cause   string              `json:"cause,omitempty"` // why the region delivered nothing
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
}

// Combined is the weights after the round.
type Combined struct {
	Weights artifact.Descriptor `json:"weights"`
	Metrics round.Metrics       `json:"metrics"`
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
}

// A Candidate is a package in the registry that nobody has vouched for yet.
type Candidate struct {
	Repository string              `json:"repository"`
	Package    artifact.Descriptor `json:"package"`   // the OCI manifest
	Predicate  artifact.Descriptor `json:"predicate"` // blob: what the signature will say about it
}

// SignInput asks for one statement: predicate of predicateType about subject.
type SignInput struct {
	Subject
	Name          string              `json:"name"` // of the subject, for people
	Digest        artifact.Digest     `json:"digest"`
	PredicateType string              `json:"predicateType"`
	Predicate     artifact.Descriptor `json:"predicate"` // blob holding the predicate; empty means {}
}

// Signed is the bundle that holds the statement and its signature.
type Signed struct {
	Bundle artifact.Descriptor `json:"bundle"`
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
}

// RoundResult is what a round leaves to the next one.
type RoundResult struct {
	Number  int                 `json:"number"`
	Base    artifact.Descriptor `json:"base"` // what Metrics were measured on
	Weights artifact.Descriptor `json:"weights"`
	Metrics round.Metrics       `json:"metrics"`
	Version Version             `json:"version"`
	Cause   string              `json:"cause,omitempty"`
}

// CloseRunInput ends a run.
type CloseRunInput struct {
	Subject
	RunResult
}
