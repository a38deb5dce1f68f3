package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// Rounds that run come before the report, the report is signed before it is
// recorded, and what fails for a passing reason is tried until it is done.
func TestAWithdrawalReachesRoundsFirst(t *testing.T) {
	for name, failing := range map[string]string{
		"at once": "", "while rounds cannot be reached": "EnforceWithdrawal/tumour", "while nothing can be reported": "ReportWithdrawal",
		"while nobody signs": "SignStatement", "while nothing is recorded": "RecordWithdrawal/" + string(script.Blob("bundle").Digest),
	} {
		t.Run(name, func(t *testing.T) {
			w := &script.World{Errors: map[string]error{}, Passing: map[string]int{}}
			if failing != "" {
				w.Passing[failing] = 3
			}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.ConsentWithdrawal.Name, script.Withdrawal())
			record := result[contract.WithdrawalRecord](t, env)
			require.True(t, record.Undecided)
			require.NotEmpty(t, record.Bundle.Digest)
			var order []string
			for _, call := range w.Calls() {
				if len(order) == 0 || order[len(order)-1] != call {
					order = append(order, call)
				}
			}
			require.Equal(t, []string{"EnforceWithdrawal/tumour", "ReportWithdrawal", "SignStatement", "RecordWithdrawal/" + string(record.Bundle.Digest)}, order)
		})
	}
}
