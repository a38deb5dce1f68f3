package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// Sites are asked, heard, and what they said is published; what fails for a
// passing reason is tried until it is done, and whatever else ends it, the
// attempt is ended, so that its budget is settled.
func TestStatisticsAreAskedHeardAndPublished(t *testing.T) {
	whole := []string{"AskStatistics/tumour", "AwaitStatistics/tumour", "PublishStatistics"}
	tests := []struct {
		name   string
		change func(*script.World)
		want   []string
		state  string
		cause  string
	}{
		{"at once", func(*script.World) {}, whole, "published", ""},
		{"while the question cannot be signed", func(w *script.World) { w.Passing["AskStatistics/tumour"] = 3 }, whole, "published", ""},
		{"while the wait breaks off", func(w *script.World) { w.Passing["AwaitStatistics/tumour"] = 3 }, whole, "published", ""},
		{"while nothing can be written", func(w *script.World) { w.Passing["PublishStatistics"] = 3 }, whole, "published", ""},
		{"without a grant", func(w *script.World) {
			w.Errors["AskStatistics/tumour"] = script.Final(contract.NoConsent, "the grant was withdrawn")
		}, []string{"AskStatistics/tumour", "PublishStatistics/the grant was withdrawn"}, "failed", "the grant was withdrawn"},
		{"without a site", func(w *script.World) {
			w.Errors["AskStatistics/tumour"] = script.Final(contract.NoSites, "no site is enrolled")
		}, []string{"AskStatistics/tumour", "PublishStatistics/no site is enrolled"}, "failed", "no site is enrolled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Errors: map[string]error{}, Passing: map[string]int{}}
			tt.change(w)
			env := environment(t, w)
			env.ExecuteWorkflow(contract.FeatureStatistics.Name, script.Statistics())
			got := result[contract.StatisticsResult](t, env)
			require.Equal(t, tt.state, got.State)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.want, once(w.Calls()))
		})
	}
}

// Somebody who cancels it ends the attempt, too.
func TestCanceledStatisticsAreEnded(t *testing.T) {
	w := &script.World{Errors: map[string]error{}, Passing: map[string]int{"AwaitStatistics/tumour": 1000}}
	env := environment(t, w)
	env.RegisterDelayedCallback(env.CancelWorkflow, 5*time.Second)
	env.ExecuteWorkflow(contract.FeatureStatistics.Name, script.Statistics())
	require.True(t, env.IsWorkflowCompleted())
	require.Error(t, env.GetWorkflowError())
	calls := once(w.Calls())
	require.Equal(t, "PublishStatistics/it was canceled", calls[len(calls)-1])
}

// once drops repetitions that follow one another.
func once(calls []string) (order []string) {
	for _, call := range calls {
		if len(order) == 0 || order[len(order)-1] != call {
			order = append(order, call)
		}
	}
	return order
}
