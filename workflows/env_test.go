package workflows_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/tests/replay/script"
	"github.com/atom-fabric/fabric/worker"
)

// opened is when scripted ballots open: the environment's clock starts there.
func opened() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }

// environment returns a time-skipping environment over the scripted world.
func environment(t *testing.T, w *script.World) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(opened())
	env.SetTestTimeout(20 * time.Second)
	w.Bind(env)
	worker.BindWorkflows(env)
	return env
}

// kindOf returns the type of the application error that ended a workflow.
func kindOf(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Type()
	}
	return ""
}

// causeOf returns its words.
func causeOf(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Message()
	}
	return ""
}

// result decodes what a workflow returned.
func result[T any](t *testing.T, env *testsuite.TestWorkflowEnvironment) T {
	t.Helper()
	var out T
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	require.NoError(t, env.GetWorkflowResult(&out))
	return out
}

// count returns how often a call was made.
func count(w *script.World, call string) int {
	n := 0
	for _, c := range w.Calls() {
		if c == call {
			n++
		}
	}
	return n
}

// vote delivers a vote by signal to the ballot of an action.
func vote(env *testsuite.TestWorkflowEnvironment, action string, after time.Duration, v approval.Vote) {
	v.At = opened().Add(after)
	env.RegisterDelayedCallback(func() {
		_ = env.SignalWorkflowByID(contract.ApprovalID(action), contract.CastVote.Name, script.Vote(v)) // late votes find it closed
	}, after)
}

// continued says whether a workflow continued as new, and with what.
func continued(t *testing.T, env *testsuite.TestWorkflowEnvironment) contract.RunInput {
	t.Helper()
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &next)
	var in contract.RunInput
	require.NoError(t, decode(next, &in))
	return in
}
