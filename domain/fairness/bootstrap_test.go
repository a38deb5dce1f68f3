package fairness_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/fairness"
)

// A percentile of so many draws is known to about six thousandths of a standard
// deviation of what is drawn, and to one row; the interval is four of them.
func TestBootstrapVectors(t *testing.T) {
	var v struct {
		Cases []struct {
			Groups                          []fairness.Group
			Parity, Opportunity, Odds, Wald [2]float64
		}
	}
	vectors(t, "bootstrap.json", &v)
	require.Len(t, v.Cases, 5)
	for i, c := range v.Cases {
		row := 0.0
		for _, g := range c.Groups {
			row = max(row, 1/float64(g.Positives()), 1/float64(g.Negatives()))
		}
		near := func(want [2]float64, got fairness.Interval, draws int, name string) {
			tolerance := row + 0.25*(want[1]-want[0])*3*math.Sqrt(0.025*0.975/float64(draws))/0.058
			require.InDelta(t, want[0], got.Low, tolerance, "case %d, %s, %d draws", i, name, draws)
			require.InDelta(t, want[1], got.High, tolerance, "case %d, %s, %d draws", i, name, draws)
		}
		for _, draws := range []int{fairness.Draws, 200_000} {
			got, err := fairness.Bootstrap(c.Groups, draws, fairness.Seed)
			require.NoError(t, err)
			near(c.Parity, got.Parity, draws, "parity")
			near(c.Opportunity, got.Opportunity, draws, "opportunity")
			near(c.Odds, got.Odds, draws, "odds")
			if c.Wald[0] > 0.1 { // far from where the absolute value folds
				near(c.Wald, got.Opportunity, draws, "the normal approximation")
			}
		}
	}
}

// Large counts are drawn as the normal that they are by then: on both sides of
// that border the interval is Wald's.
func TestBootstrapOfLargeCounts(t *testing.T) {
	for _, n := range []int64{1e6, 1e9, 4e9, 1e12, 1e18} {
		a, b := fairness.Group{Name: "a", TP: n / 2, FN: n / 2, FP: n / 2, TN: n / 2}, fairness.Group{Name: "b", TP: n / 4, FN: n / 4 * 3, FP: n / 4, TN: n / 4 * 3}
		got, err := fairness.Bootstrap([]fairness.Group{a, b}, fairness.Draws, fairness.Seed)
		require.NoError(t, err)
		se := math.Sqrt(0.25/float64(n) + 0.1875/float64(n))
		require.InEpsilon(t, 2*1.96*se, got.Opportunity.High-got.Opportunity.Low, 0.1, "%g rows", float64(n))
		require.InDelta(t, 0.25, (got.Opportunity.High+got.Opportunity.Low)/2, se/4, "%g rows", float64(n))
	}
}

// Over repeated samples of two groups that differ, the interval holds the true
// difference about as often as it says.
func TestBootstrapCovers(t *testing.T) {
	const seed, worlds, n = 7, 400, 600
	random, covered := rand.New(rand.NewPCG(seed, 0)), 0
	draw := func(p float64) (hits int64) {
		for range n {
			if random.Float64() < p {
				hits++
			}
		}
		return hits
	}
	for range worlds {
		a, b := draw(0.9), draw(0.7)
		got, err := fairness.Bootstrap([]fairness.Group{{Name: "a", TP: a, FN: n - a, TN: n}, {Name: "b", TP: b, FN: n - b, TN: n}}, 400, random.Uint64())
		require.NoError(t, err)
		if got.Opportunity.Low <= 0.2 && 0.2 <= got.Opportunity.High {
			covered++
		}
	}
	// 95 % of 400 is 380, with a standard deviation of 4.4.
	require.InDelta(t, 0.95*worlds, covered, 16, "seed %d", seed)
}

// No draw lacks a group, the same counts have the same interval, and the order
// of groups is nothing.
func TestBootstrapIsOfTheCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(0, 40)
		var groups []fairness.Group
		for i := range rapid.IntRange(2, 6).Draw(t, "groups") {
			groups = append(groups, fairness.Group{Name: string(rune('a' + i)), TP: count.Draw(t, "tp"), FP: count.Draw(t, "fp"), TN: count.Draw(t, "tn"), FN: count.Draw(t, "fn")})
		}
		a, err := fairness.Bootstrap(groups, 200, 3)
		require.NoError(t, err)
		slices.Reverse(groups)
		b, err := fairness.Bootstrap(groups, 200, 3)
		require.NoError(t, err)
		require.Equal(t, a, b)
		for _, i := range []fairness.Interval{a.Parity, a.Opportunity, a.Odds} {
			require.True(t, 0 <= i.Low && i.Low <= i.High && i.High <= 1, "%+v", i)
		}
		for _, g := range groups {
			if g.Positives() == 0 {
				require.Equal(t, fairness.Interval{Low: 0, High: 1}, a.Opportunity, "nothing is known of %s", g.Name)
			}
		}
	})
	_, err := fairness.Bootstrap([]fairness.Group{{Name: "a"}, {Name: "b"}}, 39, 1)
	require.ErrorIs(t, err, fairness.ErrDraws)
	_, err = fairness.Bootstrap([]fairness.Group{{Name: "a"}}, 200, 1)
	require.ErrorIs(t, err, fairness.ErrGroups)
}

// Where the two intervals disagree, nothing passes and nothing fails: groups
// without a mistake leave the bootstrap no width, and the pairs' interval does
// not let them pass.
func TestBothIntervalsDecide(t *testing.T) {
	r, err := fairness.Judge([]fairness.Group{{Name: "a", TP: 31, TN: 31}, {Name: "b", TP: 31, TN: 31}}, fairness.Defaults())
	require.NoError(t, err)
	require.Equal(t, fairness.Interval{}, r.Gaps[1].Drawn)
	require.Equal(t, fairness.Insufficient, r.Gaps[1].Status)

	// The other way round: counts for which the bootstrap reaches further up, or
	// down, than the pairs' interval. The limit is between both ends.
	up := []fairness.Group{{Name: "a", TP: 189, FP: 5, TN: 37, FN: 59}, {Name: "b", TP: 70, FP: 118, TN: 223, FN: 51}}
	down := []fairness.Group{{Name: "a", TP: 19, FP: 119, TN: 25, FN: 160}, {Name: "b", TP: 7, FP: 249, TN: 0, FN: 393}}
	for i, groups := range [][]fairness.Group{up, down} {
		wide, err := fairness.Judge(groups, fairness.Limits{Parity: 1, Opportunity: 1, Odds: 1, Least: 20})
		require.NoError(t, err)
		odds, opportunity := wide.Gaps[2], wide.Gaps[1]
		limits := fairness.Limits{Parity: 1, Opportunity: 1, Odds: (odds.High + odds.Drawn.High) / 2, Least: 20}
		gap := 2
		if i == 1 {
			limits.Odds, limits.Opportunity, gap = 1, (opportunity.Low+opportunity.Drawn.Low)/2, 1
			require.Less(t, opportunity.Drawn.Low, opportunity.Low)
		} else {
			require.Greater(t, odds.Drawn.High, odds.High)
		}
		got, err := fairness.Judge(groups, limits)
		require.NoError(t, err)
		require.Equal(t, fairness.Insufficient, got.Gaps[gap].Status, "%+v", got.Gaps[gap])
	}
}
