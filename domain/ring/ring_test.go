package ring_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
)

// seeded returns the seed of a case and random numbers for its inputs.
func seeded(n uint64) (dp.Seed, *rand.Rand) {
	var s dp.Seed
	binary.LittleEndian.PutUint64(s[:], n)
	return s, rand.New(rand.NewPCG(n, 2))
}

func codec(t *testing.T, size ring.Bits, limit float64, sites int, headroom int64) ring.Codec {
	t.Helper()
	c, err := ring.NewCodec(size, limit, sites, headroom)
	require.NoError(t, err)
	return c
}

func TestTheStepIsTheFinestThatCannotWrap(t *testing.T) {
	tests := []struct {
		name     string
		size     ring.Bits
		limit    float64
		sites    int
		headroom int64
		exp      int // derived by hand from sites·⌈limit·2^-exp⌉ + headroom ≤ 2^(bits-1)-1
	}{
		{"one unit, one site: capped at 2^30 levels", ring.Z32, 1, 1, 0, -30},
		{"two sites just do not fit at 2^-30", ring.Z32, 1, 2, 0, -29},
		{"three sites at 2^-29", ring.Z32, 1, 3, 0, -29},
		{"four sites: 4·2^29 is 2^31, one too many", ring.Z32, 1, 4, 0, -28},
		{"a range above a power of two", ring.Z32, 8.5, 1000, 0, -17}, // 1000·8.5·2^17 = 1.114e9
		{"noise takes its room", ring.Z32, 1, 3, 1 << 30, -28},        // (2^31-1-2^30)/3 = 3.58e8
		{"every site there can be", ring.Z32, 1, 1 << 16, 0, -14},     // 2^31/2^16 = 2^15, less one
		{"a tiny range", ring.Z32, 0x1p-40, 3, 0, -69},
		{"the large ring is capped at 2^46 levels", ring.Z64, 1, 1000, 0, -46},
		{"and holds every site", ring.Z64, 1, 1 << 16, 1 << 62, -45}, // (2^63-2^62)/2^16 = 2^46, less one
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := codec(t, tt.size, tt.limit, tt.sites, tt.headroom)
			require.Equal(t, tt.exp, c.StepExp)
			require.NoError(t, c.Validate())
			c.StepExp--
			require.ErrorIs(t, c.Validate(), ring.ErrOverflow, "a finer step is refused")
		})
	}
	_, err := ring.NewCodec(ring.Z32, 1, 3, math.MaxInt32-2)
	require.ErrorIs(t, err, ring.ErrOverflow)
	for _, bad := range []struct {
		size     ring.Bits
		limit    float64
		sites    int
		headroom int64
	}{{31, 1, 3, 0}, {ring.Z32, 0, 3, 0}, {ring.Z32, math.NaN(), 3, 0}, {ring.Z32, math.Inf(1), 3, 0}, {ring.Z32, 1, 0, 0}, {ring.Z32, 1, 1<<16 + 1, 0}, {ring.Z32, 1, 3, -1}} {
		_, err := ring.NewCodec(bad.size, bad.limit, bad.sites, bad.headroom)
		require.ErrorIs(t, err, ring.ErrParameter, "%+v", bad)
	}
}

// Every site at its limit: the sum is at the edge of the ring and does not wrap.
func TestTheWorstSumDoesNotWrap(t *testing.T) {
	for _, sites := range []int{1, 2, 3, 4, 5, 63, 64, 1000, 1 << 16} {
		c := codec(t, ring.Z32, 3.7, sites, 100)
		s, _ := seeded(uint64(sites))
		one, sum := make([]uint32, 2), make([]uint32, 2)
		for i := range sites {
			s[31] = byte(i)
			_, err := ring.Encode(c, one, []float32{3.7e9, -3.7e9}, 1, ring.Source{Seed: s, First: uint64(i)})
			require.NoError(t, err)
			require.NoError(t, ring.Add(sum, one))
		}
		require.NoError(t, ring.AddNoise(sum, []int64{100, -100}))
		out := make([]float64, 2)
		require.NoError(t, ring.Decode(c, out, sum, float64(sites)))
		require.InDelta(t, 3.7, out[0], 2*c.Step()+100*c.Step()/float64(sites))
		require.InDelta(t, -3.7, out[1], 2*c.Step()+100*c.Step()/float64(sites))
	}
}

func TestAValueComesBackWithinAStep(t *testing.T) {
	t.Run("Z32", func(t *testing.T) { withinAStep[uint32](t, ring.Z32) })
	t.Run("Z64", func(t *testing.T) { withinAStep[uint64](t, ring.Z64) })
}

func withinAStep[E ring.Element](t *testing.T, size ring.Bits) {
	for n := range uint64(50) {
		seed, r := seeded(n)
		c := codec(t, size, math.Exp(r.NormFloat64()*5), 1+r.IntN(2000), int64(r.IntN(1000)))
		x := make([]float64, 1+r.IntN(300))
		for i := range x {
			x[i] = (2*r.Float64() - 1) * c.Range
		}
		v, out := make([]E, len(x)), make([]float64, len(x))
		saturated, err := ring.Encode(c, v, x, 1, ring.Source{Seed: seed})
		require.NoError(t, err)
		require.Zero(t, saturated)
		require.NoError(t, ring.Decode(c, out, v, 1))
		for i := range x {
			require.Less(t, math.Abs(out[i]-x[i]), c.Step(), "case %d, coordinate %d: %v became %v", n, i, x[i], out[i])
		}
	}
}

// The mean of many roundings of y is y: its variance is f(1-f)/n steps², with f
// the fraction. Five standard deviations, fixed seed.
func TestRoundingHasNoBias(t *testing.T) {
	const n = 1 << 18
	t.Run("Z32", func(t *testing.T) { unbiased[uint32](t, codec(t, ring.Z32, 1000, 64, 0), n) })
	t.Run("Z64", func(t *testing.T) { unbiased[uint64](t, codec(t, ring.Z64, 1000, 64, 0), n) })
}

func unbiased[E ring.Element](t *testing.T, c ring.Codec, n int) {
	for i, steps := range []float64{0, 0.25, 0.5, 0.999, -0.001, -0.25, -17.75, 12345.1, -12345.9} {
		seed, _ := seeded(uint64(i))
		x := slices.Repeat([]float64{steps * c.Step()}, n)
		v := make([]E, n)
		_, err := ring.Encode(c, v, x, 1, ring.Source{Seed: seed})
		require.NoError(t, err)
		out := make([]float64, n)
		require.NoError(t, ring.Decode(c, out, v, c.Step()))
		sum := 0.0
		for _, q := range out {
			require.Contains(t, []float64{math.Floor(steps), math.Ceil(steps)}, q)
			sum += q - steps
		}
		f := steps - math.Floor(steps)
		require.LessOrEqual(t, math.Abs(sum/float64(n)), 5*math.Sqrt(f*(1-f)/float64(n))+1e-9, "%v steps", steps)
	}
}

func TestTheResultDoesNotDependOnCutsOrThreads(t *testing.T) {
	seed, r := seeded(7)
	c := codec(t, ring.Z32, 4, 64, 0)
	x := make([]float32, 200_003)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	whole := make([]uint32, len(x))
	_, err := ring.Encode(c, whole, x, 1, ring.Source{Seed: seed, First: 13})
	require.NoError(t, err)
	pieces := make([]uint32, len(x))
	for from := 0; from < len(x); {
		to := min(len(x), from+1+r.IntN(9000))
		_, err := ring.Encode(c, pieces[from:to], x[from:to], 1, ring.Source{Seed: seed, First: 13 + uint64(from)})
		require.NoError(t, err)
		from = to
	}
	require.Equal(t, whole, pieces)
	other := make([]uint32, len(x))
	_, err = ring.Encode(c, other, x, 1, ring.Source{Seed: seed, First: 14})
	require.NoError(t, err)
	require.NotEqual(t, whole, other, "other bits round otherwise")
}

func TestSumsDoNotDependOnOrder(t *testing.T) {
	seed, r := seeded(11)
	c := codec(t, ring.Z32, 1, 20, 0)
	sites := make([][]uint32, 20)
	exact := make([]float64, 100)
	for k := range sites {
		x := make([]float64, 100)
		for i := range x {
			x[i] = 2*r.Float64() - 1
		}
		sites[k] = make([]uint32, 100)
		_, err := ring.Encode(c, sites[k], x, 1, ring.Source{Seed: seed, First: uint64(1000 * k)})
		require.NoError(t, err)
		one := make([]float64, 100)
		require.NoError(t, ring.Decode(c, one, sites[k], 1))
		for i := range one {
			exact[i] += one[i] // multiples of one step below 2^53: exact
		}
	}
	for range 10 {
		r.Shuffle(len(sites), func(i, j int) { sites[i], sites[j] = sites[j], sites[i] })
		sum, out := make([]uint32, 100), make([]float64, 100)
		for _, s := range sites {
			require.NoError(t, ring.Add(sum, s))
		}
		require.NoError(t, ring.Decode(c, out, sum, 1))
		require.Equal(t, exact, out)
	}
}

func TestNoiseIsSigned(t *testing.T) {
	small, large := []uint32{5, 5}, []uint64{5, 5}
	require.NoError(t, ring.AddNoise(small, []int64{-7, 3}))
	require.NoError(t, ring.AddNoise(large, []int64{-7, 3}))
	require.Equal(t, []uint32{math.MaxUint32 - 1, 8}, small)
	require.Equal(t, []uint64{math.MaxUint64 - 1, 8}, large)
	require.Equal(t, 4.0+64, ring.Norm2(small))
	require.EqualValues(t, 31, ring.Headroom(3.05, 10))
}

func TestAWeightIsOfThePayload(t *testing.T) {
	seed, _ := seeded(3)
	c := codec(t, ring.Z32, 100, 4, 0)
	v, out := make([]uint32, 2), make([]float64, 2)
	saturated, err := ring.Encode(c, v, []float32{0.5, 3}, 40, ring.Source{Seed: seed})
	require.NoError(t, err)
	require.Equal(t, 1, saturated, "40·3 is above the range of 100")
	require.NoError(t, ring.Decode(c, out, v, 40))
	require.InDelta(t, 0.5, out[0], c.Step())
	require.InDelta(t, 2.5, out[1], c.Step())
}

func TestWhatCannotBeEncoded(t *testing.T) {
	seed, _ := seeded(5)
	c := codec(t, ring.Z32, 1, 4, 0)
	x := make([]float32, 100_000)
	for i, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		at := []int{0, 50_001, 99_999}[i]
		clear(x)
		x[at] = bad
		_, err := ring.Encode(c, make([]uint32, len(x)), x, 1, ring.Source{Seed: seed})
		require.ErrorIs(t, err, ring.ErrNotFinite)
		var value *ring.ValueError
		require.ErrorAs(t, err, &value)
		require.Equal(t, at, value.Index)
	}
	_, err := ring.Encode(c, make([]uint32, 3), []float32{1, 2}, 1, ring.Source{Seed: seed})
	require.ErrorIs(t, err, ring.ErrShape)
	_, err = ring.Encode(c, make([]uint64, 2), []float32{1, 2}, 1, ring.Source{Seed: seed})
	require.ErrorIs(t, err, ring.ErrParameter, "elements of the other ring")
	for _, weight := range []float64{-1, math.NaN(), math.Inf(1)} {
		_, err = ring.Encode(c, make([]uint32, 2), []float32{1, 2}, weight, ring.Source{Seed: seed})
		require.ErrorIs(t, err, ring.ErrParameter)
	}
	for _, divisor := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		require.ErrorIs(t, ring.Decode(c, make([]float64, 2), make([]uint32, 2), divisor), ring.ErrParameter)
	}
	require.ErrorIs(t, ring.Add(make([]uint32, 2), make([]uint32, 3)), ring.ErrShape)
	require.ErrorIs(t, ring.AddNoise(make([]uint32, 2), make([]int64, 3)), ring.ErrShape)
}

func TestAConditionalRoundingKeepsItsBound(t *testing.T) {
	const dim = 4096
	c := codec(t, ring.Z32, 1, 64, 0)
	share, err := dp.Distribute(dp.Distributed{Mechanism: dp.DistributedGaussian, ClipNorm: 0.001 * c.Step() * 1000, Scale: c.Scale(), Dim: dim, Sites: 64, Survivors: 43, NoiseMultiplier: 1, Beta: dp.PaperBeta})
	require.NoError(t, err)
	refused := 0
	for n := range uint64(40) {
		seed, r := seeded(n)
		x := make([]float64, dim)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		_, err := dp.Clip(c.Step(), x) // one step in all: rounding is most of the norm
		require.NoError(t, err)
		v := make([]uint32, dim)
		_, attempts, err := ring.EncodeWithin(c, v, x, 1, share.Bound, ring.Source{Seed: seed})
		require.NoError(t, err)
		require.LessOrEqual(t, ring.Norm2(v), share.Bound*share.Bound)
		refused += attempts - 1
		_, attempts, err = ring.EncodeWithin(c, v, x, 1, 6.5, ring.Source{Seed: seed}) // about 50 ± 7 coordinates round away from 0
		require.NoError(t, err)
		require.LessOrEqual(t, ring.Norm2(v), 6.5*6.5)
		refused += attempts - 1
	}
	require.Positive(t, refused, "no bound was ever at work")
	seed, _ := seeded(1)
	_, _, err = ring.EncodeWithin(c, make([]uint32, 1), []float64{3 * c.Step()}, 1, 2, ring.Source{Seed: seed})
	require.ErrorIs(t, err, ring.ErrNorm)
}
