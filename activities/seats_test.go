package activities_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// crowd is a world with so many sites in each region.
func crowd(t *testing.T, regions map[string]int) *activitytest.World {
	t.Helper()
	w := world(t)
	w.Sites = nil
	for _, region := range []string{"apac", "eu", "us"} {
		for i := range regions[region] {
			w.Sites = append(w.Sites, site.Site{Tenant: []string{"clinic", "north"}[i%2], ID: fmt.Sprintf("%s-%02d", region, i), Region: region})
		}
	}
	return w
}

// planned begins a round and reads its manifest.
func plannedRound(t *testing.T, w *activitytest.World, in contract.RoundInput) (contract.RoundPlan, round.Manifest, error) {
	t.Helper()
	plan, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, in)
	var m round.Manifest
	if err == nil {
		require.NoError(t, artifact.DecodeStrict(w.Content[plan.Manifest.Digest], &m))
		require.Equal(t, m.Cohort, plan.Cohort)
		require.Equal(t, m.Secured, plan.Secured)
		require.Equal(t, m.State, plan.State)
	}
	return plan, m, err
}

func TestHowARoundIsDividedIntoGroups(t *testing.T) {
	robust := round.Strategy{Rule: round.RuleMedian}
	tests := []struct {
		name     string
		regions  map[string]int
		kind     round.Kind
		mode     string
		strategy round.Strategy
		secured  bool
		want     []round.Cohort
		fails    string
	}{
		{"in the open by region", map[string]int{"eu": 4, "us": 1}, round.Train, round.SecureOff, round.Strategy{}, false,
			[]round.Cohort{{Region: "eu", Sites: 4}, {Region: "us", Sites: 1}}, ""},
		{"hidden where three take part", map[string]int{"eu": 3, "us": 3}, round.Train, round.SecureAuto, round.Strategy{}, true,
			[]round.Cohort{{Region: "eu", Sites: 3}, {Region: "us", Sites: 3}}, ""},
		{"small regions together", map[string]int{"apac": 1, "eu": 2, "us": 5}, round.Statistics, round.SecureOn, round.Strategy{}, true,
			[]round.Cohort{{Region: "eu", Sites: 3}, {Region: "us", Sites: 5}}, ""},
		{"in the open where only two take part", map[string]int{"eu": 2}, round.Train, round.SecureAuto, round.Strategy{}, false,
			[]round.Cohort{{Region: "eu", Sites: 2}}, ""},
		{"not at all where only two take part and it must be hidden", map[string]int{"eu": 2}, round.Train, round.SecureOn, round.Strategy{}, false,
			nil, "secure aggregation hides nobody among fewer than 3"},
		{"in buckets of three for a robust rule", map[string]int{"eu": 7, "us": 5}, round.Train, round.SecureOn, robust, true,
			[]round.Cohort{{Region: "eu", Sites: 4, Group: "eu.0"}, {Region: "eu", Sites: 3, Group: "eu.1"}, {Region: "us", Sites: 5}}, ""},
		{"in buckets as large as was asked for", map[string]int{"eu": 12}, round.Train, round.SecureOn, round.Strategy{Rule: round.RuleMedian, BucketSites: 5}, true,
			[]round.Cohort{{Region: "eu", Sites: 6, Group: "eu.0"}, {Region: "eu", Sites: 6, Group: "eu.1"}}, ""},
		{"whole, where a rule does not choose", map[string]int{"eu": 7}, round.Evaluate, round.SecureOn, robust, true,
			[]round.Cohort{{Region: "eu", Sites: 7}}, ""},
		{"not at all with fewer buckets than the rule needs", map[string]int{"eu": 12}, round.Train, round.SecureOn,
			round.Strategy{Rule: round.RuleKrum, Byzantine: 1}, false, nil, "krum over 4 vectors of 12 sites"},
		{"the same sites in the open are enough for it", map[string]int{"eu": 12}, round.Train, round.SecureOff,
			round.Strategy{Rule: round.RuleKrum, Byzantine: 1}, false, []round.Cohort{{Region: "eu", Sites: 12}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := roundInput(1, tt.kind)
			in.Params.Secure.Mode, in.Params.Strategy = tt.mode, tt.strategy
			w := crowd(t, tt.regions)
			plan, m, err := plannedRound(t, w, in)
			if tt.fails != "" {
				require.Equal(t, contract.NoSites, kind(err))
				require.ErrorContains(t, err, tt.fails)
				require.Empty(t, w.Rounds)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, plan.Cohort)
			require.Equal(t, tt.secured, m.Secured)
			require.Equal(t, len(w.Sites), m.Enrolled)
			require.Equal(t, round.CohortRoot(w.Sites), m.CohortRoot)
			bucketed := strings.Contains(tt.want[0].Group, ".")
			require.Equal(t, bucketed, m.SampleSeed != 0, "a draw is recorded, and only a draw")
			_, again, err := plannedRound(t, crowd(t, tt.regions), in)
			require.NoError(t, err)
			require.Equal(t, m, again, "the same sites are seated the same")
		})
	}
}

func TestATrainRoundAsksASampleThatAnybodyCanCheck(t *testing.T) {
	in := roundInput(3, round.Train)
	in.Params.SampleBP, in.Params.OverBP, in.Params.Seed = 2000, 5000, 9
	w := crowd(t, map[string]int{"eu": 20, "us": 10})
	_, m, err := plannedRound(t, w, in)
	require.NoError(t, err)
	sites := 0
	for _, c := range m.Cohort {
		sites += c.Sites
	}
	require.Equal(t, 9, sites, "a fifth of thirty, and half of that on top")
	require.Equal(t, 30, m.Enrolled)
	require.Equal(t, round.SampleSeed(9, 3), m.SampleSeed)
	require.Equal(t, round.CohortRoot(round.Sample(w.Sites, in.Params, m.SampleSeed)), m.CohortRoot, "from the manifest and who was enrolled")

	in.Number = 4
	_, next, err := plannedRound(t, w, in)
	require.NoError(t, err)
	require.NotEqual(t, m.CohortRoot, next.CohortRoot)
	in.Number, in.Kind = 5, round.Evaluate
	_, all, err := plannedRound(t, w, in)
	require.NoError(t, err)
	require.Equal(t, round.CohortRoot(w.Sites), all.CohortRoot, "all of them are evaluated on")
	require.Zero(t, all.SampleSeed)

	in.Number, in.Kind, in.Params.Quorum = 6, round.Train, 31
	_, _, err = plannedRound(t, w, in)
	require.Equal(t, contract.NoSites, kind(err))
}

func TestPublicBoundsAreTheNormalisation(t *testing.T) {
	in := roundInput(1, round.Train)
	in.Params.Bounds = [][2]float64{{-3, 7}, {0, 1}}
	w := world(t)
	plan, _, err := plannedRound(t, w, in)
	require.NoError(t, err)
	base, err := artifact.ParseTensors(w.Content[plan.Base.Digest])
	require.NoError(t, err)
	mean, _ := base.Get(round.TensorMean)
	scale, _ := base.Get(round.TensorScale)
	require.Equal(t, []float32{2, .5}, mean.F32)
	require.Equal(t, []float32{5, .5}, scale.F32)
}

func TestARoundStartsFromTheStateOfItsRun(t *testing.T) {
	in := roundInput(2, round.Train)
	w := world(t)
	in.State = w.Keep(artifact.MediaTypeWeights, []byte("momentum"))
	_, m, err := plannedRound(t, w, in)
	require.NoError(t, err)
	require.Equal(t, in.State, m.State)
}

func TestAPrivateRoundBeginsWithinItsBudget(t *testing.T) {
	in := roundInput(1, round.Train)
	in.Params.Bounds = [][2]float64{{0, 1}, {0, 1}}
	in.Params.Privacy = round.Privacy{Mechanism: round.PrivacyCentral, NoiseMultiplier: 4}
	in.Params.Secure.Mode = ""
	var err error
	in.Params, err = in.Params.Validate()
	require.NoError(t, err)

	w := crowd(t, map[string]int{"eu": 4})
	w.Exhausted = &privacy.RefusalError{Tenant: "north", Feature: "radius", Left: .25, Asked: 1, Limit: 2, Err: privacy.ErrExhausted}
	_, _, err = plannedRound(t, w, in)
	require.Equal(t, contract.NoBudget, kind(err))
	require.ErrorContains(t, err, "radius")
	require.ErrorContains(t, err, "0.25")
	require.Empty(t, w.Rounds)

	w.Exhausted = nil
	_, _, err = plannedRound(t, w, in)
	require.NoError(t, err)
	cost := w.Rounds["run-1/1"].Cost
	require.True(t, cost.Private())
	require.Len(t, cost.Features, 4)
}
