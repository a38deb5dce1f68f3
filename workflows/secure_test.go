package workflows_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

func securedRegion(need int) contract.RegionInput {
	return contract.RegionInput{
		Subject: script.Subject(), Run: "run-1", Number: 3, Kind: round.Train, Region: "apac.1", Host: "eu", Sites: 5, Need: need,
		Params: script.SecuredParams(10), Manifest: script.Blob("manifest 3"), Signature: script.Blob("bundle"), Secured: true, Enough: 4,
	}
}

func fiveAnswer() map[string][]round.Counts {
	return map[string][]round.Counts{"apac.1": {{Selected: 5, Accepted: 5}}}
}

// The whole sequence, each step once: nobody is told the survivors before they
// are written and signed, and nobody is asked for a share before that.
func TestSecuredRegionPlaysEveryStage(t *testing.T) {
	w := &script.World{Counts: fiveAnswer()}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.RegionRound.Name, securedRegion(2))

	got := result[contract.RegionResult](t, env)
	require.Equal(t, contract.RegionResult{
		Region: "apac.1", Counts: round.Counts{Selected: 5, Accepted: 5}, Partial: script.Blob("unmasked sum of apac.1"), Weight: 90_000,
		Metrics: round.Metrics{Examples: 90, Evaluated: 20, Correct: 19, LossMicros: 2_000_000},
	}, got)
	require.Equal(t, []string{
		"OpenStage/apac.1", "AwaitStage/apac.1", "AdvanceStage/apac.1/advertise", "AdvanceStage/apac.1/share",
		"CommitSurvivors/apac.1", "SignStatement", "AdvanceStage/apac.1/mask", "AdvanceStage/apac.1/check", "AggregateMasked/apac.1",
	}, w.Calls())
	signed := w.Signed()
	require.Len(t, signed, 1)
	require.Equal(t, artifact.PredicateSurvivors, signed[0].PredicateType)
	require.Equal(t, script.Blob("survivors of apac.1").Digest, signed[0].Digest)
	for _, in := range w.Advances() {
		require.Equal(t, 30, in.Seconds, "the deadline of the short stages, not of training")
		bundle := artifact.Descriptor{}
		if in.Stage == round.StageMask {
			bundle = script.Blob("bundle of " + string(signed[0].Digest))
		}
		require.Equal(t, bundle, in.Signature, in.Stage)
	}
}

func TestSecuredRegionEndsWithACause(t *testing.T) {
	few := func(stage round.Stage) map[string]script.Step {
		return map[string]script.Step{"AdvanceStage/apac.1/" + string(stage): {Answers: 2, Dropped: []string{"h1/s1: malformed message"}}}
	}
	cause := func(call, words string) map[string]script.Step {
		return map[string]script.Step{call: {Cause: words}}
	}
	tests := []struct {
		name   string
		counts []round.Counts
		steps  map[string]script.Step
		cause  string
		last   string // call
	}{
		{"when two sites are ready, though the round needs but one", []round.Counts{{Selected: 5, Accepted: 2}, {Selected: 5, Accepted: 2}}, nil,
			"2 of 5 sites delivered, 0 were refused, 3 are needed", "AwaitStage/apac.1"},
		{"when too few share", nil, few(round.StageAdvertise), "stage share: 2 of 5 sites answered, 0 were refused, 3 are needed", "AdvanceStage/apac.1/advertise"},
		{"when too few mask", nil, few(round.StageShare), "stage mask: 2 of 5 sites answered, 0 were refused, 3 are needed", "AdvanceStage/apac.1/share"},
		{"when too few check", nil, few(round.StageMask), "stage check: 2 of 5 sites answered, 0 were refused, 3 are needed", "AdvanceStage/apac.1/mask"},
		{"when no roster can be formed", nil, cause("AdvanceStage/apac.1/advertise", "stage advertise: 5 of 5 sites answered, 3 were refused: too few"),
			"stage advertise: 5 of 5 sites answered, 3 were refused: too few", "AdvanceStage/apac.1/advertise"},
		{"when the survivors are too few", nil, cause("CommitSurvivors/apac.1", "stage mask: 4 of 5 sites answered, 2 were refused: fewer sites than the threshold"),
			"stage mask: 4 of 5 sites answered, 2 were refused: fewer sites than the threshold", "CommitSurvivors/apac.1"},
		{"when the masks stay on", nil, cause("AggregateMasked/apac.1", "stage unmask: 3 of 5 sites answered, 0 were refused: fewer sites than the threshold"),
			"stage unmask: 3 of 5 sites answered, 0 were refused: fewer sites than the threshold", "AggregateMasked/apac.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Counts: fiveAnswer(), Steps: tt.steps}
			if tt.counts != nil {
				w.Counts["apac.1"] = tt.counts
			}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.RegionRound.Name, securedRegion(1))

			got := result[contract.RegionResult](t, env)
			require.Equal(t, tt.cause, got.Cause)
			require.Empty(t, got.Partial)
			require.LessOrEqual(t, got.Counts.Accepted+got.Counts.Rejected, got.Counts.Selected)
			calls := w.Calls()
			require.Equal(t, tt.last, calls[len(calls)-1], "nothing is done after that")
		})
	}
}

// Whoever is refused before the sum is counted as refused; whoever sends
// nonsense after the survivors are written is named, and is in the sum.
func TestSecuredRegionNamesWhoWasDropped(t *testing.T) {
	many := make([]string, 9)
	for i := range many {
		many[i] = fmt.Sprintf("h2/s%d: malformed message", i)
	}
	w := &script.World{Counts: fiveAnswer(), Steps: map[string]script.Step{
		"AdvanceStage/apac.1/advertise": {Dropped: []string{"h1/s1: the identity of the site is not known here"}},
		"CommitSurvivors/apac.1":        {Dropped: []string{"h1/s2: its masked vector is not there"}},
		"AdvanceStage/apac.1/check":     {Dropped: []string{"h1/s3: the signature does not verify"}},
		"AggregateMasked/apac.1":        {Dropped: many},
	}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.RegionRound.Name, securedRegion(1))

	got := result[contract.RegionResult](t, env)
	require.Empty(t, got.Cause)
	require.Equal(t, 2, got.Counts.Rejected)
	require.Len(t, got.Dropped, 10)
	require.Equal(t, []string{"h1/s1", "h1/s2", "h1/s3", "h2/s0"}, firsts(got.Dropped[:4]))
}

func firsts(dropped []string) []string {
	var names []string
	for _, d := range dropped {
		name, _, _ := strings.Cut(d, ":")
		names = append(names, name)
	}
	return names
}

func TestSecuredRegionOutlastsFailuresThatPass(t *testing.T) {
	w := &script.World{Counts: fiveAnswer(), Passing: map[string]int{}}
	for _, call := range []string{"AdvanceStage/apac.1/advertise", "AdvanceStage/apac.1/share", "CommitSurvivors/apac.1", "SignStatement",
		"AdvanceStage/apac.1/mask", "AdvanceStage/apac.1/check", "AggregateMasked/apac.1"} {
		w.Passing[call] = 3
	}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.RegionRound.Name, securedRegion(1))
	require.Empty(t, result[contract.RegionResult](t, env).Cause)
}

func TestSecuredRegionIsCanceled(t *testing.T) {
	w := &script.World{Counts: fiveAnswer()}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "CommitSurvivors/apac.1" {
			env.CancelWorkflow()
		}
	}
	env.ExecuteWorkflow(contract.RegionRound.Name, securedRegion(1))
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Zero(t, count(w, "AggregateMasked/apac.1"))
}

// A plain group does what it always did.
func TestPlainRegionNeverAdvances(t *testing.T) {
	w := &script.World{Counts: fiveAnswer()}
	env := environment(t, w)
	in := securedRegion(1)
	in.Secured = false
	env.ExecuteWorkflow(contract.RegionRound.Name, in)
	require.Equal(t, []string{"OpenStage/apac.1", "AwaitStage/apac.1", "AggregateRegion/apac.1"}, w.Calls())
	require.Equal(t, script.Blob("sum of apac.1"), result[contract.RegionResult](t, env).Partial)
}

// Groups are children by their name, on the queue of their host, and know what
// the plan says; the quorum counts the regions that sums are made in.
func TestFederatedRoundOfGroups(t *testing.T) {
	cohort := []round.Cohort{
		{Region: "eu", Sites: 3, Group: "eu.0"}, {Region: "eu", Sites: 4, Group: "eu.1"}, {Region: "us", Sites: 3},
	}
	in := roundInput(false)
	in.Params = script.SecuredParams(10)
	tests := []struct {
		name    string
		regions int
		broken  string // group
		kind    string
	}{
		{"two regions make the sums", 2, "", ""},
		{"a bucket of a region is not the region", 2, "eu.0", ""},
		{"a region is lost", 2, "us", contract.NoQuorum},
		{"a quorum of regions that hide together is out of reach, and was met by the plan", 3, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Cohort: cohort, Secured: true, Steps: map[string]script.Step{}}
			if tt.broken != "" {
				w.Steps["CommitSurvivors/"+tt.broken] = script.Step{Cause: "too few"}
			}
			env := environment(t, w)
			in.Params.Quorum, in.Params.QuorumRegions = 6, tt.regions
			env.ExecuteWorkflow(contract.FederatedRound.Name, in)
			require.Equal(t, tt.kind, kindOf(env.GetWorkflowError()))

			opened := w.Regions()
			slices.SortFunc(opened, func(a, b contract.RegionInput) int { return strings.Compare(a.Region, b.Region) })
			require.Len(t, opened, 3)
			for i, c := range cohort {
				require.Equal(t, c.Name(), opened[i].Region)
				require.Equal(t, c.Region, opened[i].Host)
				require.True(t, opened[i].Secured)
				require.Equal(t, 1, opened[i].Need, "the other groups alone could reach the quorum")
			}
			end := w.Rounds()[0]
			require.Equal(t, []string{"eu.0", "eu.1", "us"}, []string{end.Regions[0].Region, end.Regions[1].Region, end.Regions[2].Region})
		})
	}
}
