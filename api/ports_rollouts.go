package api

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Rollouts reads what rollouts saw and did, and what the data plane ran when.
type Rollouts interface {
	// Facts returns the facts of a promotion's rollout by number; none for one
	// without a rollout.
	Facts(ctx context.Context, caller Caller, action string) ([]canary.Fact, error)
	// Load returns how many calls of a model were answered in an environment
	// since then, by region.
	Load(ctx context.Context, caller Caller, model, environment string, since time.Time) (map[string]int64, error)
	// Unproven returns why the newest scorecard of a version does not let it be
	// promoted, or "".
	Unproven(ctx context.Context, caller Caller, model string, version int) (string, error)
	// RanAt returns the snapshot that the data plane was given last by then, and
	// the publications by which actions about the model changed what it answers,
	// newest first. ErrNotFound before the first snapshot.
	RanAt(ctx context.Context, caller Caller, model string, at time.Time) (Ran, error)
}

// A Ran is what the data plane ran at a time.
type Ran struct {
	Snapshot routing.Snapshot
	Digest   artifact.Digest
	At       time.Time // of its publication
	Moves    []Publication
}

// A Publication is a step of an action that changed what a model answers.
type Publication struct {
	Snapshot int64
	Action   string
	Step     string // contract.PublishInput's
	At       time.Time
}
