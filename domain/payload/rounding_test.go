package payload_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// Where a step of the ring is hundreds of times the clipping norm, the noise is
// scaled to what rounding can move, as docs/protocol/privacy.md has it: for one
// row, rate·clip + 2√d·(step + limit·2^-24).
func TestNoiseCoversCoarseSteps(t *testing.T) {
	const rows, sites, z, inputs = 1 << 30, 1000, 2.0, 1 << 13
	f, err := payload.For(manifest(t, round.Train, sites, func(p *round.Params) {
		private(round.PrivacyCentral, round.UnitExample)(p)
		p.Secure.MaxExamples = rows
		p.Model.Inputs, p.Bounds = inputs, slices.Repeat([][2]float64{{0, 1}}, inputs)
	}), digest, "eu")
	require.NoError(t, err)
	require.Greater(t, f.Codec.Step(), 100.0, "else the rounding does not show beside 0.5")
	const dim = 2*inputs + 2
	v, _, err := f.Encode(payload.Input{
		Tensors: artifact.Tensors{
			{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: make([]float32, 2)},
			{Name: "linear.weight", DType: artifact.F32, Shape: []int{inputs, 2}, F32: make([]float32, 2*inputs)},
		},
		Metrics: round.Metrics{Examples: 1}, RosterSites: 3,
	})
	require.NoError(t, err)
	sum, err := f.Open(v, 1, seed(3))
	require.NoError(t, err)
	squares := 0.0
	for _, tensor := range sum.Tensors {
		for _, x := range tensor.F64 {
			squares += x * x
		}
	}
	limit := 0.5 * 1 * rows
	want := z * (0.5*1 + 2*math.Sqrt(dim)*(f.Codec.Step()+limit/(1<<24)))
	require.InEpsilon(t, want, math.Sqrt(squares/dim), 5/math.Sqrt(2*dim))
}

// Where tensors end makes no difference to a rounding: the vector is that of
// all values in one piece.
func TestTensorsAreRoundedAsOneVector(t *testing.T) {
	f, err := payload.For(manifest(t, round.Train, 3, nil), digest, "eu")
	require.NoError(t, err)
	values := make([]float32, 8)
	for i := range values {
		values[i] = float32(0.37 * f.Codec.Step()) // up in about every third bit of the seed
	}
	for s := range 50 {
		v, _, err := f.Encode(payload.Input{Tensors: deltas(values), Metrics: round.Metrics{Examples: 1}, Rounding: seed(s)})
		require.NoError(t, err)
		whole := make([]uint32, 8)
		_, err = ring.Encode(f.Codec, whole, values, 1, ring.Source{Seed: seed(s)})
		require.NoError(t, err)
		_, tail, err := ring.Split(f.Layout, v.U32)
		require.NoError(t, err)
		require.Equal(t, whole, tail, "seed %d", s)
	}
}

// Where a site is the unit each counts once, however many rows it has: its
// clipped update is added with weight 1.
func TestSitesThatAreUnitsCountOnce(t *testing.T) {
	const n = 4
	f, err := payload.For(manifest(t, round.Train, n, private(round.PrivacyCentral, round.UnitSite)), digest, "eu")
	require.NoError(t, err)
	sum := f.NewSum()
	for k := range n {
		v, cut, err := f.Encode(payload.Input{
			Tensors: deltas([]float32{0.25, 0, 0, 0, 0, 0, 0, -0.5}), Metrics: round.Metrics{Examples: int64(1 + 70*k)}, RosterSites: n, Rounding: seed(k),
		})
		require.NoError(t, err)
		require.Zero(t, cut)
		require.NoError(t, sum.AddAt(0, v.Bytes()))
	}
	got, err := f.Decode(sum, n)
	require.NoError(t, err)
	require.EqualValues(t, 1000*n, got.Weight)
	require.InDelta(t, 0.25*n, got.Tensors[0].F64[0], n*f.Codec.Step())
	require.InDelta(t, -0.5*n, got.Tensors[1].F64[5], n*f.Codec.Step())
}
