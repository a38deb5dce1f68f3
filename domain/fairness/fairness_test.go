package fairness_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/fairness"
)

type figures struct {
	DemographicParityDifference, DemographicParityRatio, EqualizedOddsDifference, EqualizedOddsRatio float64
	EqualOpportunityDifference, GeneralizedEntropy, Theil                                            float64
}

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/fairness/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestPublished(t *testing.T) {
	var v struct {
		figures
		Tolerance        float64
		Truth, Predicted []int
		Groups           []string
	}
	vectors(t, "published.json", &v)
	groups := []fairness.Group{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	for i, name := range v.Groups {
		g := &groups[name[0]-'a']
		*[2][2]*int64{{&g.TN, &g.FP}, {&g.FN, &g.TP}}[v.Truth[i]][v.Predicted[i]]++
	}
	r, err := fairness.Judge(groups, fairness.Defaults())
	require.NoError(t, err)
	require.Equal(t, fairness.Insufficient, r.Status)
	require.Equal(t, []string{"a", "b", "c"}, r.Small)
	require.InDelta(t, v.DemographicParityDifference, r.Measures.DemographicParityDifference, v.Tolerance)
	require.InDelta(t, v.DemographicParityRatio, r.Measures.DemographicParityRatio, v.Tolerance)
	require.InDelta(t, v.EqualizedOddsDifference, r.Measures.EqualizedOddsDifference, v.Tolerance)
	require.InDelta(t, v.EqualizedOddsRatio, r.Measures.EqualizedOddsRatio, v.Tolerance)
	require.InDelta(t, v.EqualOpportunityDifference, r.Measures.EqualOpportunityDifference, v.Tolerance)
}

func TestScikitLearn(t *testing.T) {
	var v struct {
		Cases []struct {
			figures
			Groups []fairness.Group
			Rates  map[string][]float64
		}
	}
	vectors(t, "sklearn.json", &v)
	require.Len(t, v.Cases, 3)
	for _, c := range v.Cases {
		m, err := fairness.Measure(c.Groups)
		require.NoError(t, err)
		require.InDelta(t, c.DemographicParityDifference, m.DemographicParityDifference, 1e-12)
		require.InDelta(t, c.DemographicParityRatio, m.DemographicParityRatio, 1e-12)
		require.InDelta(t, c.EqualizedOddsDifference, m.EqualizedOddsDifference, 1e-12)
		require.InDelta(t, c.EqualizedOddsRatio, m.EqualizedOddsRatio, 1e-12)
		require.InDelta(t, c.EqualOpportunityDifference, m.EqualOpportunityDifference, 1e-12)
		require.InDelta(t, c.GeneralizedEntropy, m.GeneralizedEntropy, 1e-12)
		require.InDelta(t, c.Theil, m.Theil, 1e-12)
		var benefits []float64
		r, err := fairness.Judge(c.Groups, fairness.Defaults())
		require.NoError(t, err)
		require.Len(t, r.Rates, 3*len(c.Groups), "no group is dropped")
		for i, g := range c.Groups {
			for j, name := range []string{"selection", "sensitivity", "falseAlarm"} {
				rate := r.Rates[3*i+j]
				require.Equal(t, name, rate.Name)
				require.Equal(t, g.Name, rate.Group)
				require.InDelta(t, c.Rates[name][i], rate.Value, 1e-12)
				require.True(t, rate.Low <= rate.Value && rate.Value <= rate.High)
			}
			for b, n := range []int64{g.FN, g.TP + g.TN, g.FP} {
				for range n {
					benefits = append(benefits, float64(b))
				}
			}
		}
		ge, theil, err := fairness.Entropies(benefits)
		require.NoError(t, err)
		require.InDelta(t, c.GeneralizedEntropy, ge, 1e-12)
		require.InDelta(t, c.Theil, theil, 1e-12)
	}
}

func TestJudge(t *testing.T) {
	fair := fairness.Group{Name: "a", TP: 4500, FN: 500, FP: 500, TN: 4500}
	like := func(name string, tp, fn, fp, tn int64) fairness.Group {
		return fairness.Group{Name: name, TP: tp, FN: fn, FP: fp, TN: tn}
	}
	const pass, fail, insufficient = fairness.Pass, fairness.Fail, fairness.Insufficient
	tests := []struct {
		name   string
		groups []fairness.Group
		want   fairness.Status
		small  []string
	}{
		{"equal rates on many rows", []fairness.Group{fair, like("b", 4400, 600, 510, 4490)}, pass, nil},
		{"misses one group far more often", []fairness.Group{fair, like("b", 3000, 2000, 500, 4500)}, fail, nil},
		{"accuses one group far more often", []fairness.Group{fair, like("b", 4500, 500, 2000, 3000)}, fail, nil},
		{"a group of five", []fairness.Group{fair, like("b", 2, 0, 0, 3)}, insufficient, []string{"b"}},
		{"a declared group that nobody is in", []fairness.Group{fair, like("b", 4500, 500, 500, 4500), {Name: "c"}}, insufficient, []string{"c"}},
		{"no negatives", []fairness.Group{fair, like("b", 900, 100, 0, 0)}, insufficient, []string{"b"}},
		{"29 positives", []fairness.Group{fair, like("b", 26, 3, 500, 4500)}, insufficient, []string{"b"}},
		{"30 of each, and an interval that holds the limit", []fairness.Group{fair, like("b", 27, 3, 3, 27)}, insufficient, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := fairness.Judge(tt.groups, fairness.Defaults())
			require.NoError(t, err)
			require.Equal(t, tt.want, r.Status, "%+v", r.Gaps)
			require.Equal(t, tt.small, r.Small)
			require.Len(t, r.Gaps, 3)
		})
	}
	_, err := fairness.Judge([]fairness.Group{fair}, fairness.Defaults())
	require.ErrorIs(t, err, fairness.ErrGroups)
	_, err = fairness.Judge([]fairness.Group{fair, fair}, fairness.Defaults())
	require.ErrorIs(t, err, fairness.ErrGroups)
	_, err = fairness.Judge([]fairness.Group{fair, like("b", -1, 0, 0, 0)}, fairness.Defaults())
	require.ErrorIs(t, err, fairness.ErrCount)
	_, _, err = fairness.Entropies([]float64{0, 0})
	require.ErrorIs(t, err, fairness.ErrEmpty)
	_, _, err = fairness.Entropies([]float64{1, math.NaN()})
	require.ErrorIs(t, err, fairness.ErrCount)
}

// The interval covers the greatest difference whichever pair it is of, the
// order of groups is nothing, and every gap lies in its interval.
func TestGapsLieInTheirIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(0, 500)
		var groups, reversed []fairness.Group
		for i := range rapid.IntRange(2, 6).Draw(t, "groups") {
			g := fairness.Group{Name: string(rune('a' + i)), TP: count.Draw(t, "tp") + 1, FP: count.Draw(t, "fp") + 1, TN: count.Draw(t, "tn"), FN: count.Draw(t, "fn")}
			groups, reversed = append(groups, g), append([]fairness.Group{g}, reversed...)
		}
		a, err := fairness.Judge(groups, fairness.Defaults())
		require.NoError(t, err)
		b, err := fairness.Judge(reversed, fairness.Defaults())
		require.NoError(t, err)
		require.Equal(t, a.Status, b.Status)
		for i, g := range a.Gaps {
			require.InDelta(t, g.Value, b.Gaps[i].Value, 1e-12)
			require.InDelta(t, g.Low, b.Gaps[i].Low, 1e-12)
			require.InDelta(t, g.High, b.Gaps[i].High, 1e-12)
			require.GreaterOrEqual(t, g.Low, 0.0)
			require.LessOrEqual(t, g.Low, g.Value+1e-12)
			require.GreaterOrEqual(t, g.High, g.Value-1e-12)
		}
		require.InDelta(t, a.Measures.DemographicParityDifference, a.Gaps[0].Value, 1e-12)
		require.InDelta(t, a.Measures.EqualOpportunityDifference, a.Gaps[1].Value, 1e-12)
		require.InDelta(t, a.Measures.EqualizedOddsDifference, a.Gaps[2].Value, 1e-12)
	})
}
