package activities

import (
	"context"
	"time"
)

// A Census is what is open in the whole control plane at one moment, in numbers
// that an operator is told by. It names no tenant, run or person.
type Census struct {
	Runs         int           // that have not ended
	Rounds       int           // that are open
	OldestRound  time.Duration // since the oldest open round began
	SilentStage  time.Duration // longest that an open stage has been waiting without a word from a site
	OverdueStage time.Duration // longest that a stage is open after its deadline
	MissingSites int           // asked in an open stage, and not heard of yet
	Sites        int           // enrolled
	SilentSites  int           // of these, those that asked for work none of the last five minutes

	Ballots    int           // open
	BallotLeft time.Duration // until the first of them expires; 0 for none
	Rollouts   int           // that have begun and not ended
	HeldBack   int           // of these, those that wait for a person
	WentBack   int           // rollouts that ever went back

	Budgets     int     // privacy budgets that rounds have taken from
	Exhausted   int     // of these, those that another round like their dearest does not fit into
	BudgetLeast float64 // what is left of the one with least, as a share of its limit; 1 for none

	Leaves   int64         // of the audit log
	Unsigned time.Duration // since the newest leaf came, if its head was not signed
}

// A Mark is a place in the list of stages that have closed. The zero value is
// before the first.
type Mark struct {
	At  time.Time
	Key string
}

// A ClosedStage is a stage that takes no more answers, in numbers. It names no
// tenant, run or site: Key stands for them, and is the same at every look.
type ClosedStage struct {
	Mark
	Region  string // whose worker sums it
	Step    string // of the round: update, or a step of a secured one
	Seconds float64
	Asked   int
	Dropped int // of the asked: not heard of when the stage closed, at its deadline or later
	Answers int
	Refused int       // of the answers
	Norms   []float64 // of the trained updates that can be read and count
}

// A Censor counts: the port by which the worker of the control queue looks.
type Censor interface {
	Census(ctx context.Context) (Census, error)
	// ClosedStages returns at most so many stages after a mark, in the order in
	// which they closed. A stage may appear a little before others that were seen.
	ClosedStages(ctx context.Context, after Mark, most int) ([]ClosedStage, error)
}
