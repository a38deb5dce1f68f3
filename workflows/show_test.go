package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkpb "go.temporal.io/api/sdk/v1"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// What the page of an open ballot says in the Web UI.
func TestBallotIsShown(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	var page string
	for i, v := range []approval.Vote{script.Yes("eve", owner), script.Yes("bob", owner)} {
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, time.Duration(i+1)*time.Minute)
	}
	env.RegisterDelayedCallback(func() {
		value, err := env.QueryWorkflow("__temporal_workflow_metadata")
		require.NoError(t, err)
		var metadata sdkpb.WorkflowMetadata
		require.NoError(t, value.Get(&metadata))
		page = metadata.CurrentDetails
	}, 3*time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(2).Request)

	require.Equal(t, `**pending**: production of m1: version 3 -> version 4

- promotion in production, risk 60, asked for by ann
- plan: `+"`"+script.PlanBlob().Digest.Short()+"`"+`
- still needed: 1 of 2, until 2026-11-22T11:00:00Z
- bob (owner): approve
- not counted, eve: its signer may not decide this action`, page)
}

// What the page of a run says between its rounds.
func TestRunIsShown(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 2))
	value, err := env.QueryWorkflow("__temporal_workflow_metadata")
	require.NoError(t, err)
	var metadata sdkpb.WorkflowMetadata
	require.NoError(t, value.Get(&metadata))
	require.Contains(t, metadata.CurrentDetails, "**m1** of consortium: completed\n\n- rounds done: 2 of 2\n- last measured: accuracy 95.00 % on 60 held-out rows\n")
}
