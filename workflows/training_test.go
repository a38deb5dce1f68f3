package workflows_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

func decode(next *workflow.ContinueAsNewError, in *contract.RunInput) error {
	return converter.GetDefaultDataConverter().FromPayloads(next.Input, in)
}

func TestTrainingRun(t *testing.T) {
	exec := script.Run("run-1", 2)
	exec.Params.Model.Trainer = round.TrainerExec
	resumed := script.Run("run-1", 2)
	resumed.Round, resumed.Base = 2, script.Blob("weights after 1")
	halted := script.Run("run-1", 2)
	halted.Round, halted.Base, halted.Stopped = 2, script.Blob("weights after 1"), true

	bounded := script.Run("run-1", 2)
	bounded.Params.Bounds = [][2]float64{{0, 1}}

	tests := []struct {
		name   string
		in     contract.RunInput
		world  *script.World
		stop   string // call during which a stop arrives
		rounds []int
		status string
		cause  string
		done   int
	}{
		{"measures the columns, trains, evaluates and publishes", script.Run("run-1", 2), &script.World{}, "", []int{0, 1, 2, 3}, "completed", "", 2},
		{"leaves normalisation to a foreign trainer", exec, &script.World{}, "", []int{1, 2, 3}, "completed", "", 2},
		{"takes no statistics where public bounds are the normalisation", bounded, &script.World{}, "", []int{1, 2, 3}, "completed", "", 2},
		{"goes on from its checkpoint", resumed, &script.World{}, "", []int{2, 3}, "completed", "", 2},
		{"stops after the open round and publishes nothing", script.Run("run-1", 5), &script.World{}, "CombineRegions/1", []int{0, 1}, "stopped", "enough", 1},
		{"stays stopped when it continues as new", halted, &script.World{}, "", nil, "stopped", "", 1},
		{"completes when the stop comes in its last round", script.Run("run-1", 1), &script.World{}, "CombineRegions/2", []int{0, 1, 2}, "completed", "", 1},
		{"fails with its round, in words", script.Run("run-1", 5),
			&script.World{Errors: map[string]error{"PlanRound/2": script.Final(contract.NoConsent, "feature wdbc of h2 is not consented")}},
			"", []int{0, 1, 2}, "failed", "round 2: feature wdbc of h2 is not consented", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tt.world
			w.Cohort = script.FiveSites()
			env := environment(t, w)
			w.OnCall = func(key string) {
				if key == tt.stop {
					env.SignalWorkflow(contract.StopRun.Name, contract.StopRequest{Actor: "ann", Reason: "enough"})
				}
			}
			env.ExecuteWorkflow(contract.TrainingRun.Name, tt.in)

			var ran []int
			for _, r := range w.Rounds() {
				ran = append(ran, r.Number)
			}
			require.Equal(t, tt.rounds, ran)
			require.Len(t, w.Runs(), 1, "the end is recorded once")
			got := w.Runs()[0].RunResult
			require.Equal(t, tt.status, got.Status)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.done, got.Rounds)
			require.Equal(t, tt.status == "completed", got.Version.Number == 4, "only a completed run publishes")
			require.NotEmpty(t, got.Weights.Digest, "the last weights are kept")
			if tt.status == "failed" {
				require.Equal(t, contract.RunFailed, kindOf(env.GetWorkflowError()))
			} else {
				require.Equal(t, got, result[contract.RunResult](t, env))
			}
		})
	}
}

func TestTrainingRunContinuesAsNew(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 30))

	in := continued(t, env)
	require.Equal(t, 20, in.Round, "rounds 0 to 19 are done")
	require.Equal(t, script.Blob("weights after 19"), in.Base)
	require.EqualValues(t, 60, in.Metrics.Evaluated)
	require.False(t, in.Stopped)
	require.Empty(t, w.Runs(), "the run is not over")

	w = &script.World{Cohort: script.FiveSites()}
	env = environment(t, w)
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	require.Equal(t, 30, result[contract.RunResult](t, env).Rounds)
	require.Len(t, w.Rounds(), 12, "rounds 20 to 31")
}

// The norm of a round is what the round before has left, also across executions:
// each train round of the script adds 1 to it.
func TestTrainingRunHandsTheClippingNormOn(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	in := script.Run("run-1", 30)
	in.Params.Privacy.ClipNorm, in.Params.Privacy.Adaptive.Quantile = 0.5, 0.7
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	in = continued(t, env)
	require.Equal(t, 19.5, in.Clip)
	rounds := w.Rounds()
	require.Equal(t, 0.5, rounds[0].Clip, "statistics clip nothing and count nobody")
	require.Equal(t, 0.5, rounds[0].NextClip)
	require.Equal(t, 0.5, rounds[1].Clip)
	require.Equal(t, 1.5, rounds[2].Clip)

	w = &script.World{Cohort: script.FiveSites()}
	env = environment(t, w)
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	require.Equal(t, 19.5, w.Rounds()[0].Clip)
	require.Equal(t, 20.5, w.Rounds()[0].NextClip)
}

func TestTrainingRunContinuesAsNewWhenTheServerSaysSo(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	env.SetContinueAsNewSuggested(true)
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 30))
	require.Equal(t, 1, continued(t, env).Round, "one round at least, else it would never end")
}

// A stop that arrives with the last event of an execution must not be lost
// between it and the next one.
func TestTrainingRunTakesAStopAlongWhenItContinuesAsNew(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "CloseRound/19" {
			env.SignalWorkflow(contract.StopRun.Name, contract.StopRequest{Actor: "ann", Reason: "enough"})
		}
	}
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 30))
	require.Equal(t, "stopped", result[contract.RunResult](t, env).Status)
}

func TestTrainingRunRecordsItsCancellation(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "PlanRound/1" {
			env.CancelWorkflow()
		}
	}
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 5))

	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Len(t, w.Runs(), 1)
	require.Equal(t, "stopped", w.Runs()[0].Status)
	require.Equal(t, "it was canceled", w.Runs()[0].Cause)
}

func pausing(paused bool) contract.PauseRequest {
	return contract.PauseRequest{Actor: "ann", Reason: "the sites are busy", Paused: paused}
}

// The clock of the environment jumps to the next timer, so a run that goes on
// only after an hour was held for it.
func TestAPausedRunHoldsBeforeTheNextRound(t *testing.T) {
	tests := []struct {
		name   string
		ends   func(*testsuite.TestWorkflowEnvironment)
		rounds int
		status string
		after  time.Duration
	}{
		{"until it is resumed", func(env *testsuite.TestWorkflowEnvironment) {
			env.SignalWorkflow(contract.PauseRun.Name, pausing(false))
		}, 4, "completed", time.Hour},
		{"until it is stopped", func(env *testsuite.TestWorkflowEnvironment) {
			env.SignalWorkflow(contract.StopRun.Name, contract.StopRequest{Actor: "ann", Reason: "enough"})
		}, 2, "stopped", time.Hour},
		{"until it is canceled", func(env *testsuite.TestWorkflowEnvironment) { env.CancelWorkflow() }, 2, "stopped", time.Hour},
		{"though it is asked to once more", func(env *testsuite.TestWorkflowEnvironment) {
			env.SignalWorkflow(contract.PauseRun.Name, pausing(true))
			env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.PauseRun.Name, pausing(false)) }, time.Hour)
		}, 4, "completed", 2 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Cohort: script.FiveSites()}
			env := environment(t, w)
			held := 0
			w.OnCall = func(key string) {
				if key != "CombineRegions/1" {
					return
				}
				env.SignalWorkflow(contract.PauseRun.Name, pausing(true))
				env.RegisterDelayedCallback(func() {
					held = len(w.Rounds())
					tt.ends(env)
				}, time.Hour)
			}
			env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 2))
			require.Equal(t, 2, held, "the open round ends, and no other begins")
			require.Len(t, w.Rounds(), tt.rounds)
			require.Equal(t, tt.status, w.Runs()[0].Status)
			require.GreaterOrEqual(t, env.Now().Sub(opened()), tt.after)
		})
	}
}

func TestAPauseAndItsEndBetweenTwoRoundsHoldNothing(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "CombineRegions/1" {
			env.SignalWorkflow(contract.PauseRun.Name, pausing(true))
			env.SignalWorkflow(contract.PauseRun.Name, pausing(false))
		}
	}
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 2))
	require.Equal(t, "completed", result[contract.RunResult](t, env).Status)
}

func TestAPauseOutlivesTheExecution(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "CloseRound/19" {
			env.SignalWorkflow(contract.PauseRun.Name, pausing(true))
		}
	}
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 30))
	in := continued(t, env)
	require.True(t, in.Paused)
	require.Equal(t, 20, in.Round)

	w = &script.World{Cohort: script.FiveSites()}
	env = environment(t, w)
	env.RegisterDelayedCallback(func() {
		require.Empty(t, w.Rounds(), "it holds from its first line")
		env.SignalWorkflow(contract.PauseRun.Name, pausing(false))
	}, time.Hour)
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	require.Equal(t, 30, result[contract.RunResult](t, env).Rounds)
	require.Len(t, w.Rounds(), 12)
}

func TestARunThatHasConvergedIsEvaluatedAtOnce(t *testing.T) {
	loss := func(micros ...int64) map[int]round.Metrics {
		out := map[int]round.Metrics{}
		for i, m := range micros {
			out[i+1] = round.Metrics{Evaluated: 100, Correct: 90 + int64(i), LossMicros: m}
		}
		return out
	}
	tests := []struct {
		name     string
		change   func(*round.Params)
		measured map[int]round.Metrics
		kinds    []round.Kind
		rounds   int
		cause    string
	}{
		{"when it has reached its target", func(p *round.Params) { p.TargetBP = 9200 }, loss(9, 8, 7, 6),
			[]round.Kind{"statistics", "train", "train", "train", "evaluate"}, 3, "the accuracy has reached 9200 basis points"},
		{"when its loss no longer falls", func(p *round.Params) { p.Patience = 2 }, loss(9, 8, 8, 8, 1),
			[]round.Kind{"statistics", "train", "train", "train", "train", "evaluate"}, 4, "the loss has not fallen for 2 rounds"},
		{"or not at all, if that is not asked for", func(*round.Params) {}, loss(9, 9, 9, 9, 9, 9),
			[]round.Kind{"statistics", "train", "train", "train", "train", "train", "train", "evaluate"}, 6, ""},
		{"or never, if it does not converge", func(p *round.Params) { p.TargetBP, p.Patience = 9900, 3 }, loss(9, 8, 7, 6, 5, 4, 3),
			[]round.Kind{"statistics", "train", "train", "train", "train", "train", "train", "evaluate"}, 6, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Cohort: script.FiveSites(), Measured: tt.measured}
			env := environment(t, w)
			in := script.Run("run-1", 6)
			tt.change(&in.Params)
			env.ExecuteWorkflow(contract.TrainingRun.Name, in)
			got := result[contract.RunResult](t, env)
			var kinds []round.Kind
			for i, r := range w.Rounds() {
				require.Equal(t, i, r.Number)
				kinds = append(kinds, r.Kind)
			}
			require.Equal(t, tt.kinds, kinds)
			require.Equal(t, "completed", got.Status)
			require.Equal(t, tt.rounds, got.Rounds)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, 4, got.Version.Number, "what has converged is published")
		})
	}
}

func TestPatienceOutlivesTheExecution(t *testing.T) {
	flat := map[int]round.Metrics{}
	for i := range 40 {
		flat[i] = round.Metrics{Evaluated: 100, Correct: 90, LossMicros: 5}
	}
	w := &script.World{Cohort: script.FiveSites(), Measured: flat}
	env := environment(t, w)
	in := script.Run("run-1", 30)
	in.Params.Patience = 20
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	in = continued(t, env)
	require.Equal(t, 18, in.Idle, "rounds 2 to 19")

	env = environment(t, &script.World{Cohort: script.FiveSites(), Measured: flat})
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	require.Equal(t, 21, result[contract.RunResult](t, env).Rounds)
}

func TestTheOptimisersStateGoesFromRoundToRound(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	in := script.Run("run-1", 21)
	in.Params.Strategy.Name = round.FedAdam
	env.ExecuteWorkflow(contract.TrainingRun.Name, in)
	var state artifact.Descriptor
	for number := 1; number < 20; number++ {
		state = script.Blob(fmt.Sprintf("%s and the state after %d", state.Digest, number))
		require.Equal(t, state, w.Rounds()[number].State, "round %d", number)
	}
	require.Equal(t, state, continued(t, env).State)
}
