package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

func watched(w *script.World) contract.RolloutInput {
	w.Checked = script.Watched(0)
	return contract.RolloutInput{Subject: script.Subject(), Action: "policy-1", Requester: "ann", Plan: script.PlanBlob()}
}

// times counts the calls of one key.
func times(w *script.World, key string) int {
	n := 0
	for _, c := range w.Calls() {
		if c == key {
			n++
		}
	}
	return n
}

func TestAPolicyIsWatchedRegionByRegion(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(w))
	got := result[contract.RolloutResult](t, env)
	require.Equal(t, contract.Applied, got.Outcome, got.Cause)
	calls := w.Calls()
	require.Equal(t, 3, times(w, "GuardRegion/eu"), "a minute, every twenty seconds")
	for _, state := range []string{"published", "active"} {
		require.Equal(t, 1, times(w, "NoteRegion/eu/"+state))
	}
	require.Less(t, index(calls, "GuardRegion/eu"), index(calls, "PublishSnapshot/policy/us"), "us waits for eu")
}

func index(calls []string, key string) int {
	for i, c := range calls {
		if c == key {
			return i
		}
	}
	return -1
}

func TestARegressionGoesBackByItself(t *testing.T) {
	w := &script.World{Guarded: map[string][]canary.Verdict{"us": {canary.Pass, canary.Fail}}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(w))
	got := result[contract.RolloutResult](t, env)
	require.Equal(t, contract.Failed, got.Outcome)
	require.Contains(t, got.Cause, "us regressed")
	require.Contains(t, got.Cause, "switched back to policy revision")
	require.Equal(t, 2, times(w, "GuardRegion/us"), "the first failure ends it")
	require.Equal(t, 1, times(w, "PublishSnapshot/back/eu,us"))
	require.Equal(t, 1, times(w, "NoteRegion/eu/rolled-back"))
	require.Equal(t, 1, times(w, "NoteRegion/us/rolled-back"))
}

// No data halts: it neither passes nor fails. It goes on by itself when data
// comes back.
func TestNoDataHaltsUntilDataComesBack(t *testing.T) {
	none := make([]canary.Verdict, 9) // until well after the deadline
	for i := range none {
		none[i] = canary.NoData
	}
	w := &script.World{Guarded: map[string][]canary.Verdict{"eu": append(none, canary.Pass)}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(w))
	got := result[contract.RolloutResult](t, env)
	require.Equal(t, contract.Applied, got.Outcome, got.Cause)
	require.Equal(t, 1, times(w, "NoteRegion/eu/halted"))
	require.Zero(t, times(w, "PublishSnapshot/back/eu"))
}

func TestNoDataGoesBackWhenNobodyResumes(t *testing.T) {
	w := &script.World{Guarded: map[string][]canary.Verdict{"eu": {canary.NoData}}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(w))
	got := result[contract.RolloutResult](t, env)
	require.Equal(t, contract.Failed, got.Outcome)
	require.Contains(t, got.Cause, "stayed halted, and nobody resumed it")
	require.Equal(t, 1, times(w, "PublishSnapshot/back/eu"))
	require.Zero(t, times(w, "PublishSnapshot/policy/us"), "the next region was never reached")
}

func TestAPersonResumesOrAborts(t *testing.T) {
	tests := []struct {
		do      string
		outcome string
		cause   string
	}{
		{contract.SteerAbort, contract.Failed, "aborted by olga: looks bad"},
		{contract.SteerResume, contract.Failed, "stayed halted"}, // a new deadline; nothing comes, and it halts again
	}
	for _, tt := range tests {
		t.Run(tt.do, func(t *testing.T) {
			w := &script.World{Guarded: map[string][]canary.Verdict{"eu": {canary.NoData}}}
			env := environment(t, w)
			steered := &steered{}
			env.RegisterDelayedCallback(func() {
				env.UpdateWorkflow(contract.Steering.Name, "u1", steered, contract.Steer{Actor: "olga", Do: tt.do, Reason: "looks bad"})
			}, 5*time.Minute)
			env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(w))
			got := result[contract.RolloutResult](t, env)
			require.NoError(t, steered.rejected)
			require.Equal(t, tt.outcome, got.Outcome)
			require.Contains(t, got.Cause, tt.cause)
			if tt.do == contract.SteerResume {
				require.Greater(t, times(w, "GuardRegion/eu"), 12, "it was watched anew")
			}
		})
	}
}

// steered collects what an update is answered with.
type steered struct{ rejected, err error }

func (s *steered) Accept()                   {}
func (s *steered) Reject(err error)          { s.rejected = err }
func (s *steered) Complete(_ any, err error) { s.err = err }

// A worker that dies at any step runs that step again: whatever fails once in
// passing, in turn, the rollout ends alike and each effect is counted once.
func TestAPolicyRolloutResumesAtEachStep(t *testing.T) {
	clean := &script.World{}
	env := environment(t, clean)
	env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(clean))
	require.Equal(t, contract.Applied, result[contract.RolloutResult](t, env).Outcome)
	steps := map[string]bool{}
	for _, c := range clean.Calls() {
		steps[c] = true
	}
	require.Greater(t, len(steps), 12)
	for step := range steps {
		t.Run(step, func(t *testing.T) {
			w := &script.World{Passing: map[string]int{step: 2}}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.PolicyRollout.Name, watched(w))
			got := result[contract.RolloutResult](t, env)
			require.Equal(t, contract.Applied, got.Outcome, got.Cause)
			require.Len(t, got.Evidence, 2)
			require.Equal(t, times(clean, step)+2, times(w, step), "twice in vain, then as without a failure")
			for other := range steps {
				if other != step {
					require.Equal(t, times(clean, other), times(w, other), other)
				}
			}
		})
	}
}

func TestAnEvaluationProposesAndStartsItsRollout(t *testing.T) {
	w := &script.World{Checked: script.Watched(0)}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.Feedback.Name, script.Evaluation())
	got := result[contract.FeedbackResult](t, env)
	require.Equal(t, []string{"policy-1"}, got.Proposed)
	require.Equal(t, 1, times(w, "ProposePolicy"))

	t.Run("a proposal that is not kept starts nothing", func(t *testing.T) {
		w := &script.World{Refused: "another is open"}
		env := environment(t, w)
		env.ExecuteWorkflow(contract.Feedback.Name, script.Evaluation())
		require.Empty(t, result[contract.FeedbackResult](t, env).Proposed)
		require.Zero(t, times(w, "CheckPlan"))
	})
	t.Run("in shadow it signs nothing", func(t *testing.T) {
		w := &script.World{}
		env := environment(t, w)
		in := script.Evaluation()
		in.Shadow = true
		env.ExecuteWorkflow(contract.Feedback.Name, in)
		require.Empty(t, result[contract.FeedbackResult](t, env).Proposed)
		require.Zero(t, times(w, "SignStatement"))
	})
	t.Run("each step may fail twice in passing", func(t *testing.T) {
		for _, step := range []string{"ReadTelemetry", "EvaluateTelemetry", "ReplayDecisions", "ProposePolicy"} {
			w := &script.World{Checked: script.Watched(0), Passing: map[string]int{step: 2}}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.Feedback.Name, script.Evaluation())
			require.Equal(t, []string{"policy-1"}, result[contract.FeedbackResult](t, env).Proposed, step)
		}
	})
}
