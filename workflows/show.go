package workflows

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// labels are the search attributes of a piece of work.
func labels(s contract.Subject, stage string) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(
		contract.AttrTenant.ValueSet(s.Tenant),
		contract.AttrModel.ValueSet(s.ModelID),
		contract.AttrStage.ValueSet(stage),
	)
}

// label shows where a workflow stands, in the list of workflows.
func label(ctx workflow.Context, updates ...temporal.SearchAttributeUpdate) {
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		workflow.GetLogger(ctx).Warn("search attributes were not set", "error", err)
	}
}

// begin labels a workflow that was started from outside.
func begin(ctx workflow.Context, s contract.Subject, stage string) {
	label(ctx,
		contract.AttrTenant.ValueSet(s.Tenant),
		contract.AttrModel.ValueSet(s.ModelID),
		contract.AttrStage.ValueSet(stage),
	)
}

// stage shows the step that a workflow is at.
func stage(ctx workflow.Context, name string) {
	label(ctx, contract.AttrStage.ValueSet(name))
}

// show sets what the page of a workflow says, in Markdown, one line each.
func show(ctx workflow.Context, lines ...string) {
	workflow.SetCurrentDetails(ctx, strings.Join(lines, "\n"))
}

// measured shows metrics, or nothing when no row was evaluated.
func measured(m round.Metrics) string {
	bp, ok := m.AccuracyBP()
	if !ok {
		return "not measured yet"
	}
	return fmt.Sprintf("accuracy %d.%02d %% on %d held-out rows", bp/100, bp%100, m.Evaluated)
}

// A failure is an end in words that its owner may read.
type failure struct {
	kind  string // one of the contract's
	words string
}

func (f *failure) Error() string { return f.words }

// final returns the failure as the error that ends a workflow.
func (f *failure) final() error {
	return temporal.NewNonRetryableApplicationError(f.words, f.kind, nil)
}

// explain says why something failed. Only messages of the contract's kinds are
// passed on, for they were written to be read; any other text stays in the
// history. fallback is the kind of what has none.
func explain(err error, fallback string) *failure {
	var own *failure
	if errors.As(err, &own) {
		return own
	}
	if temporal.IsCanceledError(err) {
		return &failure{fallback, "it was canceled"}
	}
	what := "it"
	var activity *temporal.ActivityError
	var sub *temporal.ChildWorkflowExecutionError
	switch {
	case errors.As(err, &activity):
		what = activity.ActivityType().GetName()
	case errors.As(err, &sub):
		what = sub.WorkflowType()
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) && named(app.Type()) {
		return &failure{app.Type(), app.Message()}
	}
	var late *temporal.TimeoutError
	if errors.As(err, &late) {
		return &failure{fallback, what + " did not answer in time"}
	}
	var killed *temporal.TerminatedError
	if errors.As(err, &killed) {
		return &failure{fallback, what + " was terminated by an operator"}
	}
	return &failure{fallback, what + " failed"}
}

// named says whether a kind of error is the contract's.
func named(kind string) bool {
	switch kind {
	case contract.NoConsent, contract.NoSites, contract.NoBudget, contract.BadUpdate, contract.BadPackage,
		contract.StalePlan, contract.OldPlan, contract.BadPlan, contract.NoGrant, contract.NotActive, contract.NotHeld, contract.NoQuorum, contract.RoundFailed, contract.RunFailed:
		return true
	}
	return false
}

// words is the cause that is recorded: empty when nothing failed.
func words(err error, fallback string) string {
	if err == nil {
		return ""
	}
	return explain(err, fallback).words
}
