package dp_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/dp"
)

func seedOf(n uint64) (s dp.Seed) {
	binary.LittleEndian.PutUint64(s[:], n)
	return s
}

func TestClip(t *testing.T) {
	tests := []struct {
		name  string
		parts [][]float64
		bound float64
		norm  float64
		want  [][]float64
	}{
		{"leaves what is within", [][]float64{{3}, {4}}, 6, 5, [][]float64{{3}, {4}}},
		{"takes all parts as one vector", [][]float64{{30}, {40}}, 5, 50, [][]float64{{3}, {4}}},
		{"leaves zero", [][]float64{{0, 0}}, 1, 0, [][]float64{{0, 0}}},
		{"leaves nothing", nil, 1, 0, nil},
		{"squares may overflow", [][]float64{{3e200, -4e200}}, 5, 5e200, [][]float64{{3, -4}}},
		{"squares may vanish", [][]float64{{3e-200, 4e-200}}, 5e-201, 5e-200, [][]float64{{3e-201, 4e-201}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			norm, err := dp.Clip(tt.bound, tt.parts...)
			require.NoError(t, err)
			require.InDelta(t, tt.norm, norm, 1e-12*tt.norm)
			for i := range tt.want {
				for j := range tt.want[i] {
					require.InDelta(t, tt.want[i][j], tt.parts[i][j], 3e-7*math.Abs(tt.want[i][j]))
				}
			}
		})
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		x := []float64{1, bad, 7}
		_, err := dp.Clip(1, x)
		require.ErrorIs(t, err, dp.ErrNotFinite)
		require.Equal(t, 7.0, x[2], "a refused vector is left")
		_, err = dp.Clip(bad, []float64{1})
		require.ErrorIs(t, err, dp.ErrParameter)
	}
	_, err := dp.Clip(0, []float64{1})
	require.ErrorIs(t, err, dp.ErrParameter)
}

// Norms are summed with less error than float64 has to check the bound that
// must hold: whatever rounding does, a clipped vector is within.
func TestAClippedVectorIsWithinItsBound(t *testing.T) {
	for n := range uint64(200) {
		r := rand.New(rand.NewPCG(n, 1))
		x := make([]float32, 1+r.IntN(5000))
		for i := range x {
			x[i] = float32(r.NormFloat64() * math.Exp(3*r.NormFloat64()))
		}
		whole, err := dp.Norm(x)
		require.NoError(t, err)
		bound := whole * math.Exp2(4*r.Float64()-3) // a few are within, most just above
		before, err := dp.Clip(bound, x)
		require.NoError(t, err)
		sum, lost := 0.0, 0.0 // compensated
		for _, f := range x {
			y := float64(f)*float64(f) - lost
			next := sum + y
			lost = next - sum - y
			sum = next
		}
		require.LessOrEqual(t, math.Sqrt(sum), bound, "seed %d", n)
		if before <= bound*(1-1e-6) {
			require.InDelta(t, before, math.Sqrt(sum), 1e-12*before, "seed %d: left as it was", n)
		} else {
			require.Greater(t, math.Sqrt(sum), bound*(1-1e-6), "seed %d: not more than is needed", n)
		}
	}
}

func TestAdaptiveClipping(t *testing.T) {
	a, err := dp.NewAdaptive(100)
	require.NoError(t, err)
	require.Equal(t, dp.Adaptive{ClipNorm: 0.1, Quantile: 0.5, Rate: 0.2, CountStddev: 5}, a, "constants as published")
	// z_Δ by hand: (1 - 1/100)^-1/2
	z, err := a.UpdateMultiplier(1)
	require.NoError(t, err)
	require.InDelta(t, 1/math.Sqrt(0.99), z, 1e-15)
	_, err = a.UpdateMultiplier(10)
	require.ErrorIs(t, err, dp.ErrParameter, "the count alone spends all of it")
	require.Equal(t, 0.5, a.Indicator(0.1))
	require.Equal(t, -0.5, a.Indicator(0.11))
	// 80 of 100 within: C shrinks by exp(-0.2·0.3)
	next, err := a.Next(80*0.5-20*0.5, 100)
	require.NoError(t, err)
	require.InDelta(t, 0.1*math.Exp(-0.06), next.ClipNorm, 1e-15)
	next, err = a.Next(-1e9, 100)
	require.NoError(t, err)
	require.InDelta(t, 0.1*math.Exp(0.1), next.ClipNorm, 1e-15, "noise beyond none within")
	_, err = a.Next(math.NaN(), 100)
	require.ErrorIs(t, err, dp.ErrParameter)
	_, err = dp.NewAdaptive(0)
	require.ErrorIs(t, err, dp.ErrParameter)
}

// The trap: to update C first and scale the noise of this round with the next
// C. The updates were clipped with this round's.
func TestNoiseIsOfTheNormThatClipped(t *testing.T) {
	a, err := dp.NewAdaptive(100)
	require.NoError(t, err)
	next, err := a.Next(50, 100) // all within: the next norm is smaller
	require.NoError(t, err)
	require.Less(t, next.ClipNorm, a.ClipNorm)
	stddev, err := a.UpdateStddev(1)
	require.NoError(t, err)
	require.InDelta(t, 0.1/math.Sqrt(0.99), stddev, 1e-15)
	wrong, err := next.UpdateStddev(1)
	require.NoError(t, err)
	require.Less(t, wrong, stddev, "the next norm's noise would be too small for this round")
}

func TestTheNormFollowsItsQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	a, err := dp.NewAdaptive(1000)
	require.NoError(t, err)
	for range 200 {
		count := 0.0
		for range 1000 {
			count += a.Indicator(math.Exp(r.NormFloat64())) // median 1
		}
		a, err = a.Next(count+r.NormFloat64()*a.CountStddev, 1000)
		require.NoError(t, err)
	}
	require.InDelta(t, 1, a.ClipNorm, 0.15)
}

func TestSensitivity(t *testing.T) {
	require.Equal(t, dp.Sensitivity{Unit: dp.UnitSite, L2: 2}, dp.OfSum(dp.UnitSite, 2))
	uniform, err := dp.OfUniformMean(dp.UnitSite, 2, 4)
	require.NoError(t, err)
	require.Equal(t, 0.5, uniform.L2)
	same, err := dp.OfWeightedMean(dp.UnitSite, 2, []float64{3, 3, 3, 3})
	require.NoError(t, err)
	require.Equal(t, uniform, same, "equal weights are the uniform mean")
	for _, bad := range [][]float64{nil, {0, 0}, {1, -1}, {1, math.NaN()}, {1, math.Inf(1)}} {
		_, err := dp.OfWeightedMean(dp.UnitSite, 1, bad)
		require.ErrorIs(t, err, dp.ErrParameter)
	}
	_, err = dp.OfUniformMean(dp.UnitSite, 1, 0)
	require.ErrorIs(t, err, dp.ErrParameter)
}

// The trap: noise for clip/n under weights by examples. One large site moves
// the mean by more, and the promise would be broken: measured on the mean itself.
func TestUniformSensitivityIsWrongUnderWeights(t *testing.T) {
	const clip = 1.0
	weights := []float64{10, 20, 30, 940}
	mean := func(x []float64) float64 {
		sum, w := 0.0, 0.0
		for i := range x {
			sum += weights[i] * x[i]
			w += weights[i]
		}
		return sum / w
	}
	with, without := mean([]float64{0, 0, 0, clip}), mean([]float64{0, 0, 0, 0})
	moved := math.Abs(with - without)
	uniform, err := dp.OfUniformMean(dp.UnitSite, clip, len(weights))
	require.NoError(t, err)
	weighted, err := dp.OfWeightedMean(dp.UnitSite, clip, weights)
	require.NoError(t, err)
	require.Greater(t, moved, uniform.L2, "the uniform formula does not bound the weighted mean")
	require.InDelta(t, moved, weighted.L2, 1e-15, "the weighted one does, and is met")
	// with noise for the first and z = 1 the loss is that of multiplier 0.27
	promised, err := dp.Epsilon([]dp.Event{{Mechanism: dp.Gaussian, NoiseMultiplier: 1, SampleRate: 1, Count: 1}}, 1e-5)
	require.NoError(t, err)
	kept, err := dp.Epsilon([]dp.Event{{Mechanism: dp.Gaussian, NoiseMultiplier: uniform.L2 / moved, SampleRate: 1, Count: 1}}, 1e-5)
	require.NoError(t, err)
	require.Greater(t, kept.Epsilon, 4*promised.Epsilon)
}

func TestCentralNoise(t *testing.T) {
	c, err := dp.NewCentral(0.37)
	require.NoError(t, err)
	require.Equal(t, 0x1p-32, c.Grid, "2^-2 < 0.37 < 2^-1, and 31 below") // Frexp gives 2^-1
	const n = 300_000
	sum := make([]float64, n)
	for i := range sum {
		sum[i] = 5
	}
	require.NoError(t, c.AddAt(sum, seedOf(1), 0))
	mean, square := 0.0, 0.0
	for _, v := range sum {
		require.Equal(t, math.Trunc(v/c.Grid), v/c.Grid, "off the grid")
		mean += (v - 5) / n
		square += (v - 5) * (v - 5) / n
	}
	require.InDelta(t, 0, mean, 5*0.37/math.Sqrt(n))
	require.InDelta(t, 0.37*0.37, square, 5*0.37*0.37*math.Sqrt(2.0/n))
	require.InDelta(t, 3.7, c.Effective(0.1, 1_000_000), 1e-4)
	require.InDelta(t, 0.37/(0.1+0x1p-12), c.Effective(0.1, 1<<40), 1e-12, "2^20 · 2^-32")

	again := make([]float64, dp.Block)
	for i := range again {
		again[i] = 5
	}
	require.NoError(t, c.AddAt(again, seedOf(1), 2*dp.Block))
	require.Equal(t, sum[2*dp.Block:3*dp.Block], again, "the noise is of the place")
	require.ErrorIs(t, c.AddAt([]float64{math.NaN()}, seedOf(1), 0), dp.ErrNotFinite)
	require.ErrorIs(t, c.AddAt([]float64{1e9}, seedOf(1), 0), dp.ErrRange)
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		_, err := dp.NewCentral(bad)
		require.ErrorIs(t, err, dp.ErrParameter)
	}
}
