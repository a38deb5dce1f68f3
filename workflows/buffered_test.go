package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// A whole buffered run, in the open and behind masks: every train round goes on
// with its groups' parts of the buffer, while statistics and evaluation wait for
// everybody. A site that never answers in time costs no extension.
func TestABufferedRunGoesOnWithItsBuffer(t *testing.T) {
	tests := []struct {
		name   string
		in     contract.RunInput
		cohort []round.Cohort
		enough map[string]int // of a train round, by group
	}{
		{"in the open", script.Run("run-1", 2), []round.Cohort{{Region: "eu", Sites: 6}, {Region: "us", Sites: 4}}, map[string]int{"eu": 3, "us": 2}},
		{"behind masks", script.Run("run-1", 2), []round.Cohort{{Region: "eu", Sites: 6}, {Region: "us", Sites: 4}}, map[string]int{"eu": 3, "us": 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in
			in.Params.Strategy = round.Strategy{Name: round.FedBuff, Buffer: 5}
			in.Params.Quorum, in.Params.QuorumRegions = 4, 2
			in.Params.Secure.Mode = round.SecureOff
			if tt.name == "behind masks" {
				in.Params.Secure.Mode = round.SecureOn
			}
			var err error
			in.Params, err = in.Params.Validate()
			require.NoError(t, err)
			w := &script.World{Cohort: tt.cohort, Secured: tt.name == "behind masks", Counts: map[string][]round.Counts{
				"eu": {{Selected: 6, Accepted: 3}}, "us": {{Selected: 4, Accepted: 3}},
			}}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.TrainingRun.Name, in)
			require.Equal(t, "completed", result[contract.RunResult](t, env).Status)

			seen := 0
			for _, r := range w.Regions() {
				want := 0
				if r.Kind == round.Train {
					want, seen = tt.enough[r.Region], seen+1
				}
				require.Equal(t, want, r.Enough, "%s round %d in %s", r.Kind, r.Number, r.Region)
			}
			require.Equal(t, 4, seen)
			awaits := map[string]int{}
			for _, call := range w.Calls() {
				awaits[call]++
			}
			require.Equal(t, 4, awaits["AwaitStage/eu"], "once a round: %v", awaits)
		})
	}
}
