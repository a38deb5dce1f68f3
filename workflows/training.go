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
// evaluates and publishes. The train rounds end early once they have converged
// by the run's own rule. A stop takes effect between rounds: nothing is
// published and the last weights are kept; a pause holds there until somebody
// resumes or stops the run. The run of a study's trial publishes nothing, and
// asks at its rungs whether to go on. A failed round fails the run. Between rounds it may
// continue as new, with its checkpoint as input. However it ends, CloseRun
// records it.
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
		return result, temporal.NewNonRetryableApplicationError(t.result.Cause, contract.RunFailed, nil, explain(err, contract.RoundFailed).kind)
	}
	return result, lost
}

// training is the state of a run. in is its checkpoint, kept up to date.
type training struct {
	in     contract.RunInput
	result contract.RunResult
	ran    int    // rounds of this execution
	done   bool   // the last evaluation is over
	early  string // why it came early
	why    string // of the stop
	pause  contract.PauseRequest
}

func newTraining(in contract.RunInput) *training {
	if in.Round == 0 && (in.Params.Model.Trainer == round.TrainerExec || len(in.Params.Bounds) > 0) {
		in.Round = 1 // a foreign trainer normalises as it likes, and public bounds are a normalisation
	}
	return &training{in: in}
}

func (t *training) last() int { return t.in.Params.Rounds + 1 }

// rounds runs what is left of the run. Signals are taken up here, between
// rounds: only a paused run waits for one, and none is lost when it continues
// as new.
func (t *training) rounds(ctx workflow.Context) error {
	for !t.done {
		t.hear(ctx)
		if t.in.Stopped {
			return nil
		}
		if t.ran >= roundsPerExecution || t.ran > 0 && workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, contract.TrainingRun.Name, t.in)
		}
		if t.in.Paused {
			if err := t.hold(ctx); err != nil {
				return err
			}
			continue
		}
		if err := t.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

// hear takes up every stop and every pause that has arrived. Of the pauses the
// last one counts.
func (t *training) hear(ctx workflow.Context) {
	for {
		stop, ok := contract.StopRun.Poll(ctx)
		if !ok {
			break
		}
		t.in.Stopped, t.why = true, stop.Reason
	}
	for {
		pause, ok := contract.PauseRun.Poll(ctx)
		if !ok {
			return
		}
		t.in.Paused, t.pause = pause.Paused, pause
	}
}

// hold waits for a signal and says so meanwhile.
func (t *training) hold(ctx workflow.Context) error {
	now := fmt.Sprintf("paused before round %d", t.in.Round)
	if t.pause.Actor != "" {
		now += " by " + t.pause.Actor
	}
	if t.pause.Reason != "" {
		now += ": " + t.pause.Reason
	}
	stage(ctx, "paused")
	t.show(ctx, now)
	return workflow.Await(ctx, func() bool { return contract.StopRun.Waiting(ctx)+contract.PauseRun.Waiting(ctx) > 0 })
}

// round runs the next round and moves the checkpoint behind it.
func (t *training) round(ctx workflow.Context) error {
	in := t.in
	kind := t.kind()
	name := fmt.Sprintf("%s, round %d of %d", kind, in.Round, in.Params.Rounds)
	stage(ctx, name)
	if kind == round.Evaluate {
		t.early = t.converged()
		t.result.Cause = t.early // is shown with it
	}
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
		Publish: kind == round.Evaluate && in.Trial == nil,
		State:   in.State,
		Clip:    in.Clip,

		Previous: in.Previous,
	})
	if err != nil {
		return err
	}
	t.in.Base, t.in.State, t.in.Previous = result.Weights, result.State, result.Provenance
	t.in.Clip = result.Clip
	if result.Metrics.Evaluated > 0 {
		t.in.Metrics = result.Metrics
	}
	if kind == round.Train && t.in.Params.Patience > 0 {
		sofar := t.progress().After(result.Metrics)
		t.in.Best, t.in.Idle = sofar.Best, sofar.Idle
	}
	t.result.Version = result.Version
	t.done = kind == round.Evaluate
	t.in.Round++
	t.ran++
	if kind == round.Train {
		return t.ask(ctx, in.Round, result.Metrics)
	}
	return nil
}

// ask asks at a rung whether the run of a trial goes on, with what was measured
// there. After the last train round nothing is saved any more.
func (t *training) ask(ctx workflow.Context, number int, measured round.Metrics) error {
	trial := t.in.Trial
	if trial == nil || number >= t.in.Params.Rounds || !trial.Asks(number) {
		return nil
	}
	rung, err := contract.AskRung.Execute(quick(ctx, "does the trial go on?"), contract.RungInput{
		TrialRef: contract.TrialRef{Subject: t.in.Subject, Study: trial.Study, Number: trial.Number, Repeat: trial.Repeat},
		Run:      t.in.Run, Round: number, Metrics: measured,
	})
	if err != nil {
		return err
	}
	if rung.Stop {
		t.in.Stopped, t.why = true, rung.Cause
	}
	return nil
}

func (t *training) kind() round.Kind {
	switch {
	case t.in.Round == 0:
		return round.Statistics
	case t.in.Round >= t.last() || t.converged() != "":
		return round.Evaluate
	}
	return round.Train
}

// converged says why no further train round is needed. It is asked of the
// checkpoint, so an execution that has just begun knows it too.
func (t *training) converged() string {
	if t.in.Round < 2 {
		return "" // nothing was trained yet, whatever was measured
	}
	return t.in.Params.Converged(t.in.Metrics, t.progress())
}

func (t *training) progress() round.Progress { return round.Progress{Best: t.in.Best, Idle: t.in.Idle} }

// trained is how many train rounds are over: all before the next one, but for
// the last evaluation.
func (t *training) trained() int {
	before := t.in.Round - 1
	if t.done {
		before--
	}
	return min(max(before, 0), t.in.Params.Rounds)
}

// conclude fills in the result from the checkpoint.
func (t *training) conclude(ctx workflow.Context, err error) {
	t.result.Run = t.in.Run
	t.result.Rounds = t.trained()
	t.result.Weights = t.in.Base
	t.result.Metrics = t.in.Metrics
	switch {
	case canceled(ctx, err):
		t.result.Status, t.result.Cause = stopped, "it was canceled"
	case err != nil:
		t.result.Status, t.result.Cause = failed, fmt.Sprintf("round %d: %s", t.in.Round, words(err, contract.RoundFailed))
	case !t.done:
		t.result.Status, t.result.Cause = stopped, t.why
	default:
		t.result.Status, t.result.Cause = completed, t.early
	}
}

func (t *training) show(ctx workflow.Context, now string) {
	show(ctx,
		fmt.Sprintf("**%s** of %s: %s", t.in.ModelID, t.in.Tenant, now),
		"",
		fmt.Sprintf("- rounds done: %d of %d", t.trained(), t.in.Params.Rounds),
		"- last measured: "+measured(t.in.Metrics),
		"- weights: `"+t.in.Base.Digest.Short()+"`",
		t.result.Cause)
}
