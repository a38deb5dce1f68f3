package ring_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
)

func TestCountsAreExact(t *testing.T) {
	t.Run("Z32", func(t *testing.T) { exactCounts[uint32](t, ring.Z32) })
	t.Run("Z64", func(t *testing.T) { exactCounts[uint64](t, ring.Z64) })
}

func exactCounts[E ring.Element](t *testing.T, size ring.Bits) {
	_, r := seeded(1)
	l := ring.Layout{Bits: size, Counts: 4, Dim: 2}
	sum, want := make([]E, l.Len()), make([]int64, 4)
	for range 300 {
		v := make([]E, l.Len())
		counts := []int64{r.Int64N(ring.MaxCount + 1), 0, ring.MaxCount, r.Int64N(100)}
		require.NoError(t, ring.EncodeCounts(l, v, counts))
		require.NoError(t, ring.Add(sum, v))
		for i, n := range counts {
			want[i] += n
		}
	}
	got, err := ring.DecodeCounts(l, sum)
	require.NoError(t, err)
	require.Equal(t, want, got)
	head, payload, err := ring.Split(l, sum)
	require.NoError(t, err)
	require.Len(t, head, l.Head())
	require.Equal(t, []E{0, 0}, payload)
}

// 65,536 sites, each with the largest limb in every place: no limb wraps, and
// what passes an int64 is refused instead of read as negative.
func TestLimbsOfEverySiteDoNotWrap(t *testing.T) {
	l := ring.Layout{Bits: ring.Z32, Counts: 1}
	v := make([]uint32, l.Len())
	require.NoError(t, ring.EncodeCounts(l, v, []int64{1<<32 - 1})) // limbs ffff, ffff, 0
	for i := range v {
		v[i] *= ring.MaxSites
	}
	got, err := ring.DecodeCounts(l, v)
	require.NoError(t, err)
	require.Equal(t, []int64{(1<<32 - 1) << 16}, got)

	require.NoError(t, ring.EncodeCounts(l, v, []int64{ring.MaxCount}))
	for i := range v {
		v[i] *= ring.MaxSites
	}
	_, err = ring.DecodeCounts(l, v)
	require.ErrorIs(t, err, ring.ErrOverflow)
	_, err = ring.DecodeCounts(l, []uint32{0, math.MaxUint32, math.MaxUint32}) // would wrap to a small count
	require.ErrorIs(t, err, ring.ErrOverflow)
	wide := ring.Layout{Bits: ring.Z64, Counts: 1}
	_, err = ring.DecodeCounts(wide, []uint64{1 << 63})
	require.ErrorIs(t, err, ring.ErrOverflow)
}

func TestWhatIsNoCount(t *testing.T) {
	l := ring.Layout{Bits: ring.Z32, Counts: 2, Dim: 1}
	v := make([]uint32, l.Len())
	for _, bad := range []int64{-1, ring.MaxCount + 1, math.MinInt64} {
		err := ring.EncodeCounts(l, v, []int64{1, bad})
		require.ErrorIs(t, err, ring.ErrCount)
		var value *ring.ValueError
		require.ErrorAs(t, err, &value)
		require.Equal(t, 1, value.Index)
	}
	require.ErrorIs(t, ring.EncodeCounts(l, v, []int64{1}), ring.ErrShape)
	require.ErrorIs(t, ring.EncodeCounts(l, v[:3], []int64{1, 2}), ring.ErrShape)
	require.ErrorIs(t, ring.EncodeCounts(l, make([]uint64, 7), []int64{1, 2}), ring.ErrParameter)
	for _, bad := range []ring.Layout{{Bits: 16}, {Bits: ring.Z32, Counts: -1}, {Bits: ring.Z32, Dim: -1}, {Bits: ring.Z32, Counts: math.MaxInt}} {
		require.ErrorIs(t, bad.Validate(), ring.ErrParameter, "%+v", bad)
	}
}

func TestSubsetsAreTheSameAtEverySite(t *testing.T) {
	seed, _ := seeded(1)
	a, err := ring.Subset(seed, 10_000, 100)
	require.NoError(t, err)
	b, err := ring.Subset(seed, 10_000, 100)
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.Len(t, a, 100)
	require.True(t, slices.IsSorted(a))
	require.Len(t, slices.Compact(slices.Clone(a)), 100)
	all, err := ring.Subset(seed, 50, 50)
	require.NoError(t, err)
	require.EqualValues(t, 49, all[49])
	for _, bad := range [][2]int{{0, 0}, {5, 0}, {5, 6}, {math.MaxUint32 + 1, 1}} {
		_, err := ring.Subset(seed, bad[0], bad[1])
		require.ErrorIs(t, err, ring.ErrParameter)
	}
}

// All C(6,3) = 20 sets alike: chi-square with 19 degrees of freedom is below
// 43.82 with probability 0.999; fixed seeds.
func TestEverySetIsAsLikely(t *testing.T) {
	const draws = 20_000
	seen := map[[3]uint32]int{}
	for n := range uint64(draws) {
		seed, _ := seeded(n)
		s, err := ring.Subset(seed, 6, 3)
		require.NoError(t, err)
		seen[[3]uint32(s)]++
	}
	require.Len(t, seen, 20)
	chi, want := 0.0, draws/20.0
	for _, n := range seen {
		chi += (float64(n) - want) * (float64(n) - want) / want
	}
	require.Less(t, chi, 43.82)
}

// Over the seeds, what scatters back has the vector itself as its mean.
func TestScatteringHasNoBias(t *testing.T) {
	const dim, k, draws = 20, 5, 20_000
	x, mean := make([]float64, dim), make([]float64, dim)
	for i := range x {
		x[i] = float64(i) - 7
	}
	for n := range uint64(draws) {
		seed, _ := seeded(n)
		s, err := ring.Subset(seed, dim, k)
		require.NoError(t, err)
		few, back := make([]float64, k), make([]float64, dim)
		require.NoError(t, ring.Gather(few, x, s))
		require.NoError(t, ring.Scatter(back, few, s))
		for i := range back {
			mean[i] += back[i] / draws
		}
	}
	for i := range x { // variance x²·(dim/k - 1)/draws
		require.InDelta(t, x[i], mean[i], 5*math.Abs(x[i])*math.Sqrt((dim/k-1)/float64(draws))+1e-9)
	}
	require.ErrorIs(t, ring.Gather(make([]float64, 2), x, []uint32{1, 20}), ring.ErrShape)
	require.ErrorIs(t, ring.Gather(make([]float64, 1), x, []uint32{1, 2}), ring.ErrShape)
	require.ErrorIs(t, ring.Scatter(x, nil, nil), ring.ErrShape)
}

// Beside each other in one run: the quantiser and the key stream that is its
// lower limit, 4 bytes a coordinate.
func BenchmarkEncode(b *testing.B) {
	const n = 10_000_000
	seed, r := seeded(1)
	c, err := ring.NewCodec(ring.Z32, 4, 64, 0)
	require.NoError(b, err)
	x, v := make([]float32, n), make([]uint32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() / 2)
	}
	b.Run("10M-float32", func(b *testing.B) {
		b.SetBytes(4 * n)
		for b.Loop() {
			_, err := ring.Encode(c, v, x, 1, ring.Source{Seed: seed})
			require.NoError(b, err)
		}
	})
	b.Run("key-stream-one-thread", func(b *testing.B) {
		buf := make([]byte, 1<<16)
		b.SetBytes(4 * n)
		for b.Loop() {
			s := dp.NewStreamAt(seed, 0, 0)
			for range 4 * n / len(buf) {
				s.Next(buf)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		out := make([]float64, n)
		b.SetBytes(4 * n)
		for b.Loop() {
			require.NoError(b, ring.Decode(c, out, v, 10))
		}
	})
	b.Run("subset-1-percent", func(b *testing.B) {
		for b.Loop() {
			_, err := ring.Subset(seed, n, n/100)
			require.NoError(b, err)
		}
	})
}
