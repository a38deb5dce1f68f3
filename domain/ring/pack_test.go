package ring_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
)

// Packed by hand: -1, 2 and -128 in bytes of one element of 32 bits.
func TestPackGolden(t *testing.T) {
	c := ring.Codec{Bits: ring.Z32, Field: 8, Range: 100, Sites: 1}
	require.Equal(t, 4, c.PerElement())
	require.Equal(t, 2, c.Elements(5))
	minus := func(n uint32) uint32 { return -n }
	dst := make([]uint32, 1)
	require.NoError(t, ring.Pack(c, dst, []uint32{minus(1), 2, minus(128)}))
	// -1 + 2·2^8 - 128·2^16 = 512 - 1 - 8388608 = -8388097
	require.Equal(t, minus(8388097), dst[0])
	back := make([]uint32, 3)
	require.NoError(t, ring.Unpack(c, back, dst))
	require.Equal(t, []uint32{minus(1), 2, minus(128)}, back)
	require.ErrorIs(t, ring.Pack(c, dst, make([]uint32, 5)), ring.ErrShape)
	require.ErrorIs(t, ring.Unpack(c, make([]uint32, 5), dst), ring.ErrShape)
}

// A packed sum under masks is the sum: every site at either end of the range,
// in both rings and with every width. One level more would reach the neighbour.
func TestPackedSumsDoNotWrap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sites := rapid.IntRange(1, 60).Draw(rt, "sites")
		field := rapid.SampledFrom([]int{8, 10, 16}).Draw(rt, "field")
		size := rapid.SampledFrom([]ring.Bits{ring.Z32, ring.Z64}).Draw(rt, "ring")
		n := rapid.IntRange(1, 23).Draw(rt, "coordinates")
		seed := rapid.Uint64().Draw(rt, "seed")
		headroom := rapid.Int64Range(0, 20).Draw(rt, "headroom")
		c, err := ring.NewPacked(size, field, 0.7, sites, headroom)
		require.NoError(rt, err)
		require.LessOrEqual(rt, int64(sites)*c.Levels()+headroom, int64(1)<<(field-1)-1)
		if size == ring.Z64 {
			packed[uint64](rt, c, n, seed)
		} else {
			packed[uint32](rt, c, n, seed)
		}
	})
}

func packed[E ring.Element](t require.TestingT, c ring.Codec, n int, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	sum, want := make([]E, c.Elements(n)), make([]float64, n)
	for k := range c.Sites {
		x := make([]float64, n)
		for i := range x {
			x[i] = 0.7 * float64(random.IntN(3)-1) // the ends of the range, and 0
			if random.IntN(4) == 0 {
				x[i] = 1.4*random.Float64() - 0.7
			}
			want[i] += x[i]
		}
		plain, wire := make([]E, n), make([]E, c.Elements(n))
		cut, err := ring.Encode(c, plain, x, 1, ring.Source{Seed: dp.Seed{byte(seed), byte(k)}})
		require.NoError(t, err)
		require.Zero(t, cut)
		require.NoError(t, ring.Pack(c, wire, plain))
		mask := make([]E, len(wire))
		for j := range mask {
			mask[j] = E(random.Uint64())
			wire[j] += mask[j]
		}
		require.NoError(t, ring.Add(sum, wire))
		for j := range mask {
			sum[j] -= mask[j]
		}
	}
	back, got := make([]E, n), make([]float64, n)
	require.NoError(t, ring.Unpack(c, back, sum))
	require.NoError(t, ring.Decode(c, got, back, 1))
	for i, w := range want {
		require.LessOrEqual(t, math.Abs(w-got[i]), float64(c.Sites)*c.Step(), "coordinate %d", i)
	}
}

func TestPackedCodecsThatCannotBe(t *testing.T) {
	for _, field := range []int{1, 3, 17, 32, -8} {
		_, err := ring.NewPacked(ring.Z32, field, 1, 3, 0)
		require.ErrorIs(t, err, ring.ErrParameter, "%d bits", field)
	}
	_, err := ring.NewPacked(ring.Z32, 8, 1, 127, 0)
	require.NoError(t, err)
	_, err = ring.NewPacked(ring.Z32, 8, 1, 128, 0)
	require.ErrorIs(t, err, ring.ErrOverflow, "128 sites leave not one level of 127")
}
