package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
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
