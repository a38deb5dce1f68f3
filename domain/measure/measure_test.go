package measure_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/calibration"
	"github.com/atom-fabric/fabric/domain/fairness"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

var spec = round.Measurement{
	GroupColumn: "sex", Groups: []round.MeasuredGroup{{Name: "f", Value: 1}, {Name: "m", Value: 2}},
	ScoreBins: 2, Floor: 2,
	Features: []round.MeasuredFeature{{Column: "age", Low: 0, High: 100, Bins: 4, Importance: 2}},
}

// Eight rows, counted by hand.
func TestCounts(t *testing.T) {
	c, err := measure.NewCounter(spec, 2, []string{"age", "sex"})
	require.NoError(t, err)
	rows := []struct {
		age, sex         float64
		label, predicted int
		score            float64
	}{
		{10, 1, 1, 1, 0.9}, {25, 1, 1, 1, 0.75}, {26, 1, 0, 0, 0.25}, {90, 1, 0, 0, 0.5},
		{150, 2, 1, 0, 0.125}, {-4, 2, 1, 1, 1}, {30, 2, 0, 1, 0.625},
		{math.NaN(), 3, 0, 0, 0}, // of no declared group
	}
	for _, r := range rows {
		c.Add([]float64{r.age, r.sex}, r.label, r.predicted, r.score)
	}
	counts := c.Counts()
	require.Equal(t, []int64{
		2, 0, 2, 0, // f: two right, two rightly not
		1, 1, 0, 1, // m
		4, 1, 875_000, 62_500 + 250_000 + 765_625, // 0..0.5
		4, 3, 3_275_000, 10_000 + 62_500 + 390_625, // 0.5..1
		3, 2, 0, 2, 1, // age, right-closed; beyond the ends counts in the last bins; one missing
	}, counts)
	require.True(t, measure.Possible(spec, counts, 8))
	require.False(t, measure.Possible(spec, counts, 6), "7 rows are of a group")

	got, err := measure.Read(spec, counts)
	require.NoError(t, err)
	require.Equal(t, []fairness.Group{{Name: "f", TP: 2, TN: 2}, {Name: "m", TP: 1, FN: 1}}, got.Groups)
	require.Equal(t, []string{"negatives of group m"}, got.Withheld, "one row is below the floor of two")
	require.Equal(t, calibration.Bin{N: 4, Positives: 3, ScoreSum: 3_275_000, SquaredSum: 463_125}, got.Bins[1])
	require.Equal(t, []int64{3, 2, 0, 2}, got.Features[0].Sketch.Counts)
	require.EqualValues(t, 1, got.Features[0].Sketch.Missing)

	back, err := measure.FromTensors(measure.ToTensors(counts), spec.Len())
	require.NoError(t, err)
	require.Equal(t, counts, back)
	_, err = measure.NewCounter(spec, 2, []string{"age"})
	require.ErrorIs(t, err, measure.ErrColumn)
	_, err = measure.Read(spec, counts[1:])
	require.ErrorIs(t, err, measure.ErrCounts)
	_, err = measure.Add(counts, counts[1:])
	require.ErrorIs(t, err, measure.ErrCounts)
	_, err = measure.Add([]int64{measure.Most}, []int64{1})
	require.ErrorIs(t, err, measure.ErrCounts)
}

// However rows are spread over sites, the sum says the same, and no cell below
// the floor is ever shown.
func TestSumsDoNotDependOnSites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := spec
		m.Floor = rapid.IntRange(1, 8).Draw(t, "floor")
		all, err := measure.NewCounter(m, 3, []string{"sex", "age"})
		require.NoError(t, err)
		sites := make([]*measure.Counter, rapid.IntRange(1, 4).Draw(t, "sites"))
		for i := range sites {
			sites[i], err = measure.NewCounter(m, 3, []string{"sex", "age"})
			require.NoError(t, err)
		}
		n := rapid.IntRange(0, 60).Draw(t, "rows")
		for range n {
			row := []float64{float64(rapid.IntRange(0, 3).Draw(t, "sex")), rapid.Float64Range(-10, 120).Draw(t, "age")}
			label, said, score := rapid.IntRange(0, 2).Draw(t, "label"), rapid.IntRange(0, 2).Draw(t, "said"), rapid.Float64Range(0, 1).Draw(t, "score")
			all.Add(row, label, said, score)
			sites[rapid.IntRange(0, len(sites)-1).Draw(t, "site")].Add(row, label, said, score)
		}
		var sum []int64
		for _, s := range sites {
			sum, err = measure.Add(sum, s.Counts())
			require.NoError(t, err)
		}
		require.Equal(t, all.Counts(), sum)
		require.True(t, measure.Possible(m, sum, int64(n)))
		got, err := measure.Read(m, sum)
		require.NoError(t, err)
		shown := func(n int64) { require.True(t, n == 0 || n >= m.AtLeast(), "%d", n) }
		for _, g := range got.Groups {
			shown(g.Positives())
			shown(g.Negatives())
		}
		for _, b := range got.Bins {
			shown(b.N)
		}
		for _, c := range got.Features[0].Sketch.Counts {
			shown(c)
		}
	})
}
