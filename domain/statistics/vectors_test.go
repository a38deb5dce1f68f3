package statistics_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/statistics"
)

var alternatives = map[string]statistics.Alternative{
	"two-sided": statistics.TwoSided, "less": statistics.Less, "greater": statistics.Greater,
}

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/statistics/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestPublished(t *testing.T) {
	var v struct {
		MannWhitney struct {
			Tolerance, U      float64
			X, Y              []float64
			Asymptotic, Exact map[string]float64
		}
		KolmogorovSmirnov map[string]json.RawMessage
		ChiSquare         struct {
			Tolerance, P       float64
			Reference, Current []float64
		}
	}
	vectors(t, "published.json", &v)
	require.Len(t, v.MannWhitney.Asymptotic, 3)
	require.Len(t, v.MannWhitney.Exact, 3)
	for name, alt := range alternatives {
		mw := v.MannWhitney
		got, err := statistics.MannWhitney(mw.X, mw.Y, alt)
		require.NoError(t, err)
		require.Equal(t, mw.U, got.Statistic)
		require.InDelta(t, mw.Asymptotic[name], got.P, mw.Tolerance, name)
		got, err = statistics.MannWhitneyExact(mw.X, mw.Y, alt)
		require.NoError(t, err)
		require.Equal(t, mw.U, got.Statistic)
		require.InDelta(t, mw.Exact[name], got.P, mw.Tolerance, name)

		var x, y []float64
		for i := range 100 {
			x = append(x, float64(i+1))
		}
		for i := range 110 {
			y = append(y, 1+99*float64(i)/109+20.1)
		}
		var want struct{ D, P float64 }
		require.NoError(t, json.Unmarshal(v.KolmogorovSmirnov[name], &want))
		// 100·110 is above ExactPairs: the vector is of the exact distribution.
		got, err = statistics.KolmogorovSmirnovExact(x, y, alt)
		require.NoError(t, err)
		require.InDelta(t, want.D, got.Statistic, 1e-6, name)
		require.InDelta(t, want.P, got.P, 1e-6, name)
	}
	var expected []float64
	var n, m float64
	for i := range v.ChiSquare.Reference {
		n, m = n+v.ChiSquare.Reference[i], m+v.ChiSquare.Current[i]
	}
	for _, count := range v.ChiSquare.Reference {
		expected = append(expected, count*m/n)
	}
	got, err := statistics.ChiSquare(v.ChiSquare.Current, expected)
	require.NoError(t, err)
	require.InDelta(t, v.ChiSquare.P, got.P, v.ChiSquare.Tolerance)
}

// near compares p-values relatively, down to where both are nothing.
func near(t *testing.T, want, got float64, about any) {
	t.Helper()
	require.InDelta(t, want, got, 1e-9*math.Abs(want)+1e-200, "%v", about)
}

func TestSciPy(t *testing.T) {
	type pair struct {
		X, Y           []float64
		Alternative    string
		U, Asymptotic  float64
		Exact          *float64
		D, T, DF, P    float64
		Table          []int64
		Odds           *float64
		Name           string
		N, M           int64
		TwoSided, Side float64
	}
	var v struct {
		MannWhitney, Smirnov, Welch, Fisher []pair
		Limits                              []struct {
			N, M                  int64
			D, TwoSided, OneSided float64
		}
		Counts []struct {
			Reference, Current, Expected []float64
			Chi, G, Homogeneity          [2]float64
		}
		Distributions []struct {
			Name     string
			X, DF, P float64
		}
		BenjaminiHochberg []struct{ P, Q []float64 }
	}
	vectors(t, "scipy.json", &v)
	require.Len(t, v.MannWhitney, 15)
	exact := 0
	for _, c := range v.MannWhitney {
		got, err := statistics.MannWhitney(c.X, c.Y, alternatives[c.Alternative])
		require.NoError(t, err)
		require.Equal(t, c.U, got.Statistic)
		near(t, c.Asymptotic, got.P, c)
		got, err = statistics.MannWhitneyExact(c.X, c.Y, alternatives[c.Alternative])
		if c.Exact == nil {
			continue
		}
		exact++
		require.NoError(t, err)
		near(t, *c.Exact, got.P, c)
	}
	require.Equal(t, 9, exact)
	require.Len(t, v.Smirnov, 18)
	for _, c := range v.Smirnov {
		got, err := statistics.KolmogorovSmirnov(c.X, c.Y, alternatives[c.Alternative])
		require.NoError(t, err)
		require.InDelta(t, c.D, got.Statistic, 1e-12)
		near(t, c.P, got.P, c.Alternative)
	}
	require.Len(t, v.Limits, 4)
	for _, c := range v.Limits {
		near(t, c.TwoSided, statistics.SmirnovLimit(c.D, c.N, c.M, statistics.TwoSided), c)
		near(t, c.OneSided, statistics.SmirnovLimit(c.D, c.N, c.M, statistics.Greater), c)
	}
	require.Len(t, v.Welch, 12)
	for _, c := range v.Welch {
		got, err := statistics.Welch(c.X, c.Y, alternatives[c.Alternative])
		require.NoError(t, err)
		near(t, c.T, got.Statistic, c)
		near(t, c.DF, got.DF, c)
		near(t, c.P, got.P, c)
	}
	require.Len(t, v.Counts, 3)
	for _, c := range v.Counts {
		chi, err := statistics.ChiSquare(c.Current, c.Expected)
		require.NoError(t, err)
		near(t, c.Chi[0], chi.Statistic, c)
		near(t, c.Chi[1], chi.P, c)
		g, err := statistics.GTest(c.Current, c.Expected)
		require.NoError(t, err)
		near(t, c.G[0], g.Statistic, c)
		near(t, c.G[1], g.P, c)
		h, err := statistics.Homogeneity(c.Reference, c.Current)
		require.NoError(t, err)
		near(t, c.Homogeneity[0], h.Statistic, c)
		near(t, c.Homogeneity[1], h.P, c)
	}
	require.Len(t, v.Fisher, 21)
	for _, c := range v.Fisher {
		got, err := statistics.Fisher(c.Table[0], c.Table[1], c.Table[2], c.Table[3], alternatives[c.Alternative])
		require.NoError(t, err)
		near(t, c.P, got.P, c)
		if c.Odds == nil {
			require.True(t, math.IsInf(got.Statistic, 1))
			continue
		}
		near(t, *c.Odds, got.Statistic, c)
	}
	require.Len(t, v.Distributions, 39)
	for _, c := range v.Distributions {
		of := map[string]func() float64{
			"chiSquare":  func() float64 { return statistics.ChiSquareSurvival(c.X, c.DF) },
			"student":    func() float64 { return statistics.StudentSurvival(c.X, c.DF) },
			"kolmogorov": func() float64 { return statistics.KolmogorovSurvival(c.X) },
			"normal":     func() float64 { return statistics.NormalSurvival(c.X) },
			"quantile":   func() float64 { return statistics.NormalQuantile(c.X) },
		}
		require.InDelta(t, c.P, of[c.Name](), 1e-9*math.Abs(c.P)+1e-12, "%+v", c)
	}
	require.Len(t, v.BenjaminiHochberg, 5)
	for _, c := range v.BenjaminiHochberg {
		q, err := statistics.BenjaminiHochberg(c.P)
		require.NoError(t, err)
		require.InDeltaSlice(t, c.Q, q, 1e-15)
	}
}

func TestWhatIsNoSampleIsRefused(t *testing.T) {
	nan, inf, good := math.NaN(), math.Inf(1), []float64{1, 2, 3}
	tests := []struct {
		name string
		x    []float64
		want error
	}{
		{"an empty window", nil, statistics.ErrEmpty},
		{"a value that is not a number", []float64{1, nan, 2}, statistics.ErrNotFinite},
		{"an infinite value", []float64{1, 2, inf}, statistics.ErrNotFinite},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, xs := range [][2][]float64{{tt.x, good}, {good, tt.x}} {
				_, err := statistics.MannWhitney(xs[0], xs[1], statistics.TwoSided)
				require.ErrorIs(t, err, tt.want)
				_, err = statistics.MannWhitneyExact(xs[0], xs[1], statistics.TwoSided)
				require.ErrorIs(t, err, tt.want)
				_, err = statistics.Welch(xs[0], xs[1], statistics.TwoSided)
				require.ErrorIs(t, err, tt.want)
				_, err = statistics.KolmogorovSmirnov(xs[0], xs[1], statistics.TwoSided)
				require.ErrorIs(t, err, tt.want)
			}
		})
	}
	_, err := statistics.KolmogorovSmirnov([]float64{2, 1}, good, statistics.TwoSided)
	require.ErrorIs(t, err, statistics.ErrOrder)
	_, err = statistics.MannWhitneyExact([]float64{1, 4}, good, statistics.TwoSided)
	require.ErrorIs(t, err, statistics.ErrTies)
	_, err = statistics.MannWhitney([]float64{1, 1}, []float64{1}, statistics.TwoSided)
	require.ErrorIs(t, err, statistics.ErrDegenerate)
	_, err = statistics.Welch([]float64{1, 1}, []float64{2, 2}, statistics.TwoSided)
	require.ErrorIs(t, err, statistics.ErrDegenerate)
	_, err = statistics.ChiSquare([]float64{1, 2}, []float64{3, 0})
	require.ErrorIs(t, err, statistics.ErrCount)
	_, err = statistics.ChiSquare([]float64{1, 2}, []float64{3})
	require.ErrorIs(t, err, statistics.ErrShape)
	_, err = statistics.GTest([]float64{1, nan}, []float64{3, 1})
	require.ErrorIs(t, err, statistics.ErrNotFinite)
	_, err = statistics.ChiSquare([]float64{7, 0}, []float64{7, 0})
	require.ErrorIs(t, err, statistics.ErrEmpty)
	_, err = statistics.Homogeneity([]float64{0, 0}, []float64{1, 2})
	require.ErrorIs(t, err, statistics.ErrEmpty)
	_, err = statistics.Fisher(1, -1, 0, 2, statistics.TwoSided)
	require.ErrorIs(t, err, statistics.ErrCount)
	_, err = statistics.Fisher(0, 0, 1, 2, statistics.TwoSided)
	require.ErrorIs(t, err, statistics.ErrDegenerate)
	_, err = statistics.BenjaminiHochberg([]float64{0.1, nan})
	require.ErrorIs(t, err, statistics.ErrProbability)
	_, err = statistics.Quantile([]float64{1}, 1.1)
	require.ErrorIs(t, err, statistics.ErrProbability)
}

// Type 7 of Hyndman and Fan, by hand.
func TestQuantileAndMoments(t *testing.T) {
	x := []float64{1, 2, 4, 8}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 1: 8, 0.25: 1.75} {
		got, err := statistics.Quantile(x, q)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	mean, variance, err := statistics.Moments(x)
	require.NoError(t, err)
	require.InDelta(t, 3.75, mean, 1e-15)
	require.InDelta(t, (2.75*2.75+1.75*1.75+0.25*0.25+4.25*4.25)/3, variance, 1e-13)
	require.True(t, slices.IsSorted(x))
}

// 0.05/m of the two tails: for one interval 1.96, for three the 99.17 % point.
func TestSimultaneousIntervals(t *testing.T) {
	require.InDelta(t, statistics.Z95, statistics.Simultaneous(1), 1e-12)
	require.InDelta(t, 2.3939797998185104, statistics.Simultaneous(3), 1e-12) // scipy.stats.norm.isf(0.025/3)
}
