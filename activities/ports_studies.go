package activities

import (
	"context"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// Studies keeps studies, their trials and the runs of these. Every method is
// one transaction; tenant scopes the rows.
type Studies interface {
	// Study returns a study with its trials by number. ErrNotFound.
	Study(ctx context.Context, tenant, id string) (Study, error)
	// AddTrial writes a trial with its point, once by its number; again changes
	// nothing. ErrStale when another trial has the point.
	AddTrial(ctx context.Context, ref contract.TrialRef, point tuning.Point) error
	// BegunRun returns the run of a repeat, if one was begun.
	BegunRun(ctx context.Context, ref contract.TrialRef) (run string, params round.Params, ok bool, err error)
	// AddRun writes the run of a repeat as accepted, once by the repeat, under
	// that id or the one that is written, which it returns. Leaf: run.accepted.
	AddRun(ctx context.Context, ref contract.TrialRef, run string, params round.Params) (string, error)
	// SaveTrial writes what became of a trial, if so many of its runs were over
	// before; else ErrStale.
	SaveTrial(ctx context.Context, ref contract.TrialRef, before int, after tuning.Job) error
	// Facts returns how a run ended and what it cost. ErrNotFound.
	Facts(ctx context.Context, tenant, run string) (RunFacts, error)
	// CloseStudy writes the end of a study once, with that of its trials and runs
	// that were left open, and starts tune, if there is one. It returns what is
	// written. Leaf: study.<status>.
	CloseStudy(ctx context.Context, in contract.CloseStudyInput, best int, tune *contract.TuneInput) (contract.StudyResult, error)
}

// A Study is a study of training runs. Base is what each of its runs is but for
// its point, its seed and its id: its parameters are as they were asked for.
type Study struct {
	ID          string
	Environment string
	Requester   string
	Simulated   bool
	Apply       bool // the suggestion is applied, as far as its environment lets it
	Spec        tuning.Study
	Prior       []tuning.Trial
	Base        contract.RunInput
	Rounds      int // compute budget in train rounds; 0 is none
	Jobs        []tuning.Job
}

// RunFacts is how a run stands: Charges are what it took from the budgets of
// the features that it read.
type RunFacts struct {
	Status   string
	Cause    string
	Metrics  round.Metrics
	Rounds   int
	Uploaded int64
	Charges  []privacy.Ledger
}

// An Admission asks what POST /train/round asks before it accepts a run: its
// parameters, consent, the sites, the rules and the privacy budgets.
type Admission interface {
	// Admit returns the run's parameters complete, or a [*tuning.Refusal].
	Admit(ctx context.Context, in contract.RunInput, simulated bool) (round.Params, error)
}
