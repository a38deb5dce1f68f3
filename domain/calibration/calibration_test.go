package calibration_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/calibration"
)

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/calibration/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func truths(labels []int) []bool {
	out := make([]bool, len(labels))
	for i, l := range labels {
		out[i] = l == 1
	}
	return out
}

func TestPublished(t *testing.T) {
	var v struct {
		Tolerance float64
		Brier     []struct {
			Truth  []int
			Scores []float64
			Score  float64
		}
	}
	vectors(t, "published.json", &v)
	require.Len(t, v.Brier, 4)
	for _, c := range v.Brier {
		got, err := calibration.Brier(c.Scores, truths(c.Truth))
		require.NoError(t, err)
		require.InDelta(t, c.Score, got, v.Tolerance)
	}
}

func TestScikitLearn(t *testing.T) {
	type figures struct{ ECE, RMSCE, MCE float64 }
	var v struct {
		Bins  int
		Cases []struct {
			Scores                []float64
			Truth                 []int
			Brier                 float64
			Curve                 struct{ Rate, Score []float64 }
			EqualWidth, EqualMass figures
		}
	}
	vectors(t, "sklearn.json", &v)
	require.Len(t, v.Cases, 3)
	for _, c := range v.Cases {
		bins, err := calibration.Count(c.Scores, truths(c.Truth), v.Bins)
		require.NoError(t, err)
		got, err := calibration.Judge(bins)
		require.NoError(t, err)
		require.Len(t, got.Curve, len(c.Curve.Rate))
		for i, p := range got.Curve {
			require.InDelta(t, c.Curve.Rate[i], p.Rate, 1e-12)
			require.InDelta(t, c.Curve.Score[i], p.Score, 1e-6)
		}
		require.InDelta(t, c.Brier, got.Brier, 1e-6)
		require.InDelta(t, c.EqualWidth.ECE, got.ECE, 1e-6)
		require.InDelta(t, c.EqualWidth.RMSCE, got.RMSCE, 1e-6)
		require.InDelta(t, c.EqualWidth.MCE, got.MCE, 1e-6)
		mass, err := calibration.EqualMass(c.Scores, truths(c.Truth), v.Bins)
		require.NoError(t, err)
		require.Len(t, mass.Curve, v.Bins)
		require.InDelta(t, c.Brier, mass.Brier, 1e-12)
		require.InDelta(t, c.EqualMass.ECE, mass.ECE, 1e-12)
		require.InDelta(t, c.EqualMass.RMSCE, mass.RMSCE, 1e-12)
		require.InDelta(t, c.EqualMass.MCE, mass.MCE, 1e-12)
	}
}

// Bins of sites, added up, are the bins of all rows.
func TestBinsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "bins")
		sum := make([]calibration.Bin, n)
		var scores []float64
		var truth []bool
		for range rapid.IntRange(1, 4).Draw(t, "sites") {
			s := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 50).Draw(t, "scores")
			y := rapid.SliceOfN(rapid.Bool(), len(s), len(s)).Draw(t, "truth")
			bins, err := calibration.Count(s, y, n)
			require.NoError(t, err)
			for i := range sum {
				sum[i].Add(bins[i])
			}
			scores, truth = append(scores, s...), append(truth, y...)
		}
		whole, err := calibration.Count(scores, truth, n)
		require.NoError(t, err)
		require.Equal(t, whole, sum)
		r, err := calibration.Judge(sum)
		require.NoError(t, err)
		require.LessOrEqual(t, r.ECE, r.RMSCE+1e-12)
		require.LessOrEqual(t, r.RMSCE, r.MCE+1e-12)
	})
}

func TestTiesStayTogether(t *testing.T) {
	// Ten rows in five bins, six of them with one score: by hand the bins are
	// {0.1 x6}, {0.2, 0.3} and {0.4, 0.5}: cuts at 2 and 4 fall into the ties.
	scores := []float64{.1, .1, .1, .1, .1, .1, .2, .3, .4, .5}
	r, err := calibration.EqualMass(scores, make([]bool, 10), 5)
	require.NoError(t, err)
	require.Len(t, r.Curve, 3)
	require.EqualValues(t, []int64{6, 2, 2}, []int64{r.Curve[0].N, r.Curve[1].N, r.Curve[2].N})
}

func TestWhatCannotBeJudged(t *testing.T) {
	_, err := calibration.Count([]float64{}, nil, 15)
	require.ErrorIs(t, err, calibration.ErrEmpty)
	_, err = calibration.Count([]float64{0.5}, nil, 15)
	require.ErrorIs(t, err, calibration.ErrBins)
	for _, p := range []float64{math.NaN(), -0.1, 1.1} {
		_, err = calibration.Count([]float64{p}, []bool{true}, 15)
		require.ErrorIs(t, err, calibration.ErrScore)
		_, err = calibration.EqualMass([]float64{p}, []bool{true}, 15)
		require.ErrorIs(t, err, calibration.ErrScore)
		_, err = calibration.Brier([]float64{p}, []bool{true})
		require.ErrorIs(t, err, calibration.ErrScore)
	}
	_, err = calibration.Judge(make([]calibration.Bin, 3))
	require.ErrorIs(t, err, calibration.ErrEmpty)
	_, err = calibration.Judge([]calibration.Bin{{N: 1, Positives: 2}})
	require.ErrorIs(t, err, calibration.ErrBins)
	require.Equal(t, 0, calibration.Index(0, 15))
	require.Equal(t, 0, calibration.Index(0.2, 5), "right-closed")
	require.Equal(t, 14, calibration.Index(1, 15))
}
