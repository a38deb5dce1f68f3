package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// roundsPerExecution bounds the history of one execution of a run.
const roundsPerExecution = 20

// Ends of a run.
const (
	completed = "completed"
	stopped   = "stopped"
	failed    = "failed"
)

// TrainingRun strings rounds: statistics, then the train rounds, then one that
// evaluates and publishes. A stop takes effect between rounds: nothing is
// published and the last weights are kept. A failed round fails the run.
// Between rounds it may continue as new, with its checkpoint as input. However
// it ends, CloseRun records it.
func TrainingRun(ctx workflow.Context, in contract.RunInput) (contract.RunResult, error) {
	t := newTraining(in)
	begin(ctx, in.Subject, "accepted")
	err := t.rounds(ctx)
	if workflow.IsContinueAsNewError(err) {
		return contract.RunResult{}, err
	}
	t.conclude(ctx, err)
	stage(ctx, t.result.Status)
	t.show(ctx, t.result.Status)

	done, cancel := closing(ctx)
	defer cancel()
	result, lost := contract.CloseRun.Execute(quick(done, "record the end of the run"), contract.CloseRunInput{Subject: in.Subject, RunResult: t.result})
	switch {
	case canceled(ctx, err):
		return result, err
	case err != nil:
		return result, temporal.NewNonRetryableApplicationError(t.result.Cause, contract.RunFailed, nil)
	}
	return result, lost
}

// training is the state of a run. in is its checkpoint, kept up to date.
type training struct {
	in     contract.RunInput
	result contract.RunResult
	ran    int    // rounds of this execution
	why    string // of the stop
}

func newTraining(in contract.RunInput) *training {
	if in.Round == 0 && in.Params.Model.Trainer == round.TrainerExec {
		in.Round = 1 // a foreign trainer normalises as it likes
	}
	return &training{in: in}
}

func (t *training) last() int { return t.in.Params.Rounds + 1 }

// rounds runs what is left of the run. Signals are taken up here, between
// rounds: nothing waits for one, and none is lost when it continues as new.
func (t *training) rounds(ctx workflow.Context) error {
	for t.in.Round <= t.last() {
		t.hear(ctx)
		if t.in.Stopped {
			return nil
		}
		if t.ran >= roundsPerExecution || t.ran > 0 && workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, contract.TrainingRun.Name, t.in)
		}
		if err := t.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

// hear takes up every stop that has arrived.
func (t *training) hear(ctx workflow.Context) {
	for {
		stop, ok := contract.StopRun.Poll(ctx)
		if !ok {
			return
		}
		t.in.Stopped, t.why = true, stop.Reason
	}
}

// round runs the next round and moves the checkpoint behind it.
func (t *training) round(ctx workflow.Context) error {
	in := t.in
	kind := t.kind()
	name := fmt.Sprintf("%s, round %d of %d", kind, in.Round, in.Params.Rounds)
	stage(ctx, name)
	t.show(ctx, name)

	id := contract.RoundID(in.Run, in.Round)
	opts := child(ctx, id, contract.QueueControl, name+" of "+in.ModelID, 0, labels(in.Subject, string(kind)))
	result, err := contract.FederatedRound.Execute(opts, contract.RoundInput{
		Subject: in.Subject,
		Run:     in.Run,
		Number:  in.Round,
		Kind:    kind,
		Tenants: in.Tenants,
		Params:  in.Params,
		Base:    in.Base,
		Publish: kind == round.Evaluate,
	})
	if err != nil {
		return err
	}
	t.in.Base = result.Weights
	if result.Metrics.Evaluated > 0 {
		t.in.Metrics = result.Metrics
	}
	t.result.Version = result.Version
	t.in.Round++
	t.ran++
	return nil
}

func (t *training) kind() round.Kind {
	switch t.in.Round {
	case 0:
		return round.Statistics
	case t.last():
		return round.Evaluate
	}
	return round.Train
}

// conclude fills in the result from the checkpoint.
func (t *training) conclude(ctx workflow.Context, err error) {
	t.result.Run = t.in.Run
	t.result.Rounds = min(max(t.in.Round-1, 0), t.in.Params.Rounds)
	t.result.Weights = t.in.Base
	t.result.Metrics = t.in.Metrics
	switch {
	case canceled(ctx, err):
		t.result.Status, t.result.Cause = stopped, "it was canceled"
	case err != nil:
		t.result.Status, t.result.Cause = failed, fmt.Sprintf("round %d: %s", t.in.Round, words(err, contract.RoundFailed))
	case t.in.Round <= t.last():
		t.result.Status, t.result.Cause = stopped, t.why
	default:
		t.result.Status = completed
	}
}

func (t *training) show(ctx workflow.Context, now string) {
	show(ctx,
		fmt.Sprintf("**%s** of %s: %s", t.in.ModelID, t.in.Tenant, now),
		"",
		fmt.Sprintf("- rounds done: %d of %d", min(max(t.in.Round-1, 0), t.in.Params.Rounds), t.in.Params.Rounds),
		"- last measured: "+measured(t.in.Metrics),
		"- weights: `"+t.in.Base.Digest.Short()+"`",
		t.result.Cause)
}
