package dp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/big"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func seedOf(n uint64) (s Seed) {
	binary.LittleEndian.PutUint64(s[:], n)
	return s
}

// chiSquare compares draws with the mass at integers, pooling what is expected
// fewer than ten times. It returns the statistic over its 0.9999 quantile
// (Wilson and Hilferty, PNAS 17 (1931)), so that 1 is the limit.
func chiSquare(draws []int64, mass func(k int64) float64, reach int64) float64 {
	counts := map[int64]int{}
	for _, k := range draws {
		counts[max(-reach-1, min(reach+1, k))]++
	}
	n := float64(len(draws))
	chi, cells := 0.0, 0
	expected, got, covered := 0.0, 0, 0.0
	add := func() {
		chi += (float64(got) - expected) * (float64(got) - expected) / expected
		cells++
		expected, got = 0, 0
	}
	got = counts[-reach-1]
	for k := -reach; k <= reach; k++ {
		p := mass(k)
		covered += p
		expected += n * p
		got += counts[k]
		if expected >= 10 {
			add()
		}
	}
	got += counts[reach+1]
	expected += n * max(0, 1-covered)
	if expected >= 10 {
		add()
	}
	free := float64(cells - 1)
	const z = 3.719 // of 0.9999
	limit := free * math.Pow(1-2/(9*free)+z*math.Sqrt(2/(9*free)), 3)
	return chi / limit
}

// gaussMass is the definition: exp(-k²/2σ²) over its sum.
func gaussMass(sigma float64) func(int64) float64 {
	total := 0.0
	reach := int64(40*sigma) + 10
	for k := -reach; k <= reach; k++ {
		total += math.Exp(-float64(k) * float64(k) / (2 * sigma * sigma))
	}
	return func(k int64) float64 { return math.Exp(-float64(k)*float64(k)/(2*sigma*sigma)) / total }
}

// skellamMass is the definition: Σ_j Poisson(j+k)·Poisson(j), each of mean μ/2.
func skellamMass(variance float64) func(int64) float64 {
	mean := variance / 2
	pmf := func(k int64) float64 {
		if k < 0 {
			return 0
		}
		g, _ := math.Lgamma(float64(k) + 1)
		return math.Exp(float64(k)*math.Log(mean) - mean - g)
	}
	low, high := int64(max(0, mean-40*math.Sqrt(mean)-10)), int64(mean+40*math.Sqrt(mean)+40)
	return func(k int64) float64 {
		sum := 0.0
		for j := low; j <= high; j++ {
			sum += pmf(j) * pmf(j+k)
		}
		return sum
	}
}

func TestDiscreteGaussiansHaveTheirDistribution(t *testing.T) {
	for i, sigma := range []float64{0.3, 0.5, 0.9999, 1, 1.7, 8, 50.5, 300} {
		g, err := NewDiscreteGaussian(sigma)
		require.NoError(t, err)
		draws := make([]int64, 300_000)
		require.NoError(t, g.FillAt(draws, seedOf(uint64(i)), 0))
		require.Less(t, chiSquare(draws, gaussMass(sigma), int64(6*sigma)+3), 1.0, "σ=%v seed=%d", sigma, i)
	}
}

func TestSkellamNoiseHasItsDistribution(t *testing.T) {
	for i, variance := range []float64{0.01, 0.5, 1.9, 2, 30, 900, 2501.3} {
		s, err := NewSkellam(variance)
		require.NoError(t, err)
		draws := make([]int64, 300_000)
		require.NoError(t, s.FillAt(draws, seedOf(uint64(i)), 0))
		require.Less(t, chiSquare(draws, skellamMass(variance), int64(6*math.Sqrt(variance))+3), 1.0, "variance %v seed=%d", variance, i)
	}
}

// Where the mass is too fine to count, the normal distribution is near: its
// distance to the discrete one is of order 1/σ. Kolmogorov's statistic is below
// 2.23 with probability 0.9999.
func TestWideNoiseIsNearlyNormal(t *testing.T) {
	const n = 200_000
	fills := map[string]func(dst []int64, seed Seed) (float64, error){
		"discrete Gaussian 1e5": func(dst []int64, seed Seed) (float64, error) {
			g, err := NewDiscreteGaussian(1e5)
			return 1e5, errors.Join(err, g.FillAt(dst, seed, 0))
		},
		"discrete Gaussian 2^39": func(dst []int64, seed Seed) (float64, error) {
			g, err := NewDiscreteGaussian(0x1p39)
			return 0x1p39, errors.Join(err, g.FillAt(dst, seed, 0))
		},
		"Skellam 1e8": func(dst []int64, seed Seed) (float64, error) {
			s, err := NewSkellam(1e8)
			return 1e4, errors.Join(err, s.FillAt(dst, seed, 0))
		},
		"Skellam 2^40": func(dst []int64, seed Seed) (float64, error) {
			s, err := NewSkellam(0x1p40)
			return 0x1p20, errors.Join(err, s.FillAt(dst, seed, 0))
		},
	}
	for name, fill := range fills {
		draws := make([]int64, n)
		sigma, err := fill(draws, seedOf(3))
		require.NoError(t, err)
		const cells = 4096
		var counts [cells]int
		for _, k := range draws {
			counts[min(cells-1, int(0.5*math.Erfc(-float64(k)/sigma/math.Sqrt2)*cells))]++
		}
		sum, most := 0, 0.0
		for i, c := range counts {
			sum += c
			most = max(most, math.Abs(float64(sum)/n-float64(i+1)/cells))
		}
		require.Less(t, most*math.Sqrt(n), 2.23, name)
	}
}

// With every decision sent through exact arithmetic the draws are the same: the
// fast path decides nothing that it should not.
func TestTheFastPathDecidesAsTheExactOne(t *testing.T) {
	gauss := func(sigma float64) *sampler {
		g, err := NewDiscreteGaussian(sigma)
		require.NoError(t, err)
		return &g.sampler
	}
	skellam := func(v float64) *sampler {
		s, err := NewSkellam(v)
		require.NoError(t, err)
		return &s.sampler
	}
	for name, s := range map[string]*sampler{
		"σ=1/8": gauss(0.125), "σ=1": gauss(1), "σ=33.3": gauss(33.3), "σ=1e6": gauss(1e6), "σ=1e12": gauss(1e12),
		"variance 0.3": skellam(0.3), "variance 7": skellam(7), "variance 1999": skellam(1999), "variance 2301.7": skellam(2301.7), "variance 1e6": skellam(1e6),
	} {
		fast, slow := make([]int64, 400), make([]int64, 400)
		require.NoError(t, s.fill(fast, newCoin(NewStream(seedOf(9))), false))
		c := newCoin(NewStream(seedOf(9)))
		c.slack = 4
		unsure := *s
		unsure.steps = newGeometric(4)
		require.NoError(t, unsure.fill(slow, c, false))
		require.Equal(t, slow, fast, name)
	}
}

// The float64 exponents are as near to the exact ones as the fast path takes
// them to be, with room: 2^-34 where it allows 2^-30.
func TestExponentsAreNearTheExactOnes(t *testing.T) {
	shapes := map[string]shape{"bell 0.3": bell{0.3, 1 / (2 * 0.3 * 0.3)}, "bell 77.7": bell{77.7, 1 / (2 * 77.7 * 77.7)}}
	widths := map[string]float64{"bell 0.3": 0.3, "bell 77.7": 77.7}
	for _, mean := range []float64{0.2, 3.7, 150.5, 999.9, 1000.4, 12_345.678, 1e6 + 0.25, 1e9 + 0.75} {
		name := "poisson " + big.NewFloat(mean).Text('g', 12)
		shapes[name], widths[name] = newPoisson(mean), math.Sqrt(mean)
	}
	for name, s := range shapes {
		for _, away := range []float64{0, 0.02, 0.5, 1, 3, 6, 9} {
			for _, negative := range []bool{false, true} {
				y := uint64(away * widths[name])
				r, factor := s.exact(y, negative)
				if r == nil {
					require.True(t, math.IsInf(s.weight(y, negative), 1), "%s at %d", name, y)
					continue
				}
				p := expNeg(r, 100)
				if factor != nil {
					p.Mul(p, factor(100))
				}
				f, _ := p.Float64()
				require.InDelta(t, -math.Log(f), s.weight(y, negative), 0x1p-34, "%s at %d, negative: %v", name, y, negative)
			}
		}
	}
}

// A U that float64 cannot tell from p is not decided by it: neighbours of
// p·2^64 in the last of 64 bits go to the exact path, and come out on the
// right sides.
func TestACloseCallIsDecidedExactly(t *testing.T) {
	for _, x := range []*big.Rat{big.NewRat(1, 2), big.NewRat(1, 3), big.NewRat(1, 1), big.NewRat(7, 3), big.NewRat(20, 1)} {
		f, _ := x.Float64()
		scaled := new(big.Float).SetMantExp(expNeg(x, 200), 64)
		whole, _ := scaled.Uint64() // U = whole/2^64 is below p, the next is above
		for offset, want := range map[uint64]bool{0: false, 1: true, 1000: true} {
			bits := make([]byte, 4096)
			binary.LittleEndian.PutUint64(bits, whole-offset)
			for i := 8; i < len(bits); i++ {
				bits[i] = 0xff // what follows makes U as large as it can be
			}
			c := newCoin(bytes.NewReader(bits))
			_, sure, u := c.tell(math.Exp(-f))
			require.False(t, sure, "e^-%s, %d below", x, offset)
			require.Equal(t, want, c.lazy(u).less(x, nil), "e^-%s, %d below", x, offset)
		}
		bits := make([]byte, 4096)
		binary.LittleEndian.PutUint64(bits, whole+1)
		c := newCoin(bytes.NewReader(bits))
		_, sure, u := c.tell(math.Exp(-f))
		require.False(t, sure)
		require.False(t, c.lazy(u).less(x, nil), "e^-%s, above", x)
		require.True(t, newCoin(bytes.NewReader(make([]byte, 4096))).lazy(whole).less(x, nil), "e^-%s: zeros follow", x)
	}
}

func TestExactExponentials(t *testing.T) {
	// e^-1, e^-10 and e^(1/3): OEIS A068985, A092426 (reciprocal) and A092041.
	for x, want := range map[string]string{
		"1": "0.36787944117144232159552377016146086744581113103176", "0": "1",
		"-1/3": "1.39561242508608952862812531960258683759790651519940",
		"10":   "0.000045399929762484851535591515560550610237918088866564969",
	} {
		r, ok := new(big.Rat).SetString(x)
		require.True(t, ok)
		w, _, err := big.ParseFloat(want, 10, 256, big.ToNearestEven)
		require.NoError(t, err)
		diff := new(big.Float).Sub(expNeg(r, 160), w)
		diff.Quo(diff, w)
		f, _ := diff.Float64()
		require.Less(t, math.Abs(f), 1e-46, "e^-(%s)", x)
	}
}

func TestNoiseDependsOnSeedAndPlaceOnly(t *testing.T) {
	g, err := NewDiscreteGaussian(12.5)
	require.NoError(t, err)
	whole := make([]int64, 5*Block+77)
	require.NoError(t, g.FillAt(whole, seedOf(1), 0))
	parts := make([]int64, len(whole))
	require.NoError(t, g.FillAt(parts[:Block], seedOf(1), 0))
	require.NoError(t, g.FillAt(parts[3*Block:], seedOf(1), 3*Block))
	require.NoError(t, g.FillAt(parts[Block:3*Block], seedOf(1), Block))
	require.Equal(t, whole, parts)
	require.ErrorIs(t, g.FillAt(parts, seedOf(1), 1), ErrParameter)
	other := make([]int64, len(whole))
	require.NoError(t, g.FillAt(other, seedOf(2), 0))
	same := 0
	for i := range whole {
		if whole[i] == other[i] {
			same++
		}
	}
	require.Less(t, same, len(whole)/20, "another seed is other noise") // 1/(2σ√π) is 2.3 %
	require.NotEqual(t, whole[:Block], whole[Block:2*Block])
}

func TestBitsThatEnd(t *testing.T) {
	s, err := NewSkellam(50)
	require.NoError(t, err)
	require.ErrorIs(t, s.Fill(make([]int64, 100_000), bytes.NewReader(make([]byte, 8192))), io.EOF)
	broken := errors.New("broken")
	g, err := NewDiscreteGaussian(5)
	require.NoError(t, err)
	require.ErrorIs(t, g.Fill(make([]int64, 10), iotest.ErrReader(broken)), broken)
	for _, bad := range []float64{0, -1, 0x1p41, math.NaN(), math.Inf(1)} {
		_, err := NewDiscreteGaussian(bad)
		require.ErrorIs(t, err, ErrParameter)
		_, err = NewSkellam(bad)
		require.ErrorIs(t, err, ErrParameter)
	}
}

// The known answers of AES-256 for the zero key (NIST AESAVS, VarTxt): the
// counter block is lane and block, from zero on.
func TestTheStreamIsAES256CTR(t *testing.T) {
	var key Seed
	first := make([]byte, 16)
	NewStreamAt(key, 0, 0).Next(first)
	require.Equal(t, "dc95c078a2408989ad48a21492842087", hex.EncodeToString(first))
	NewStreamAt(key, 1<<63, 0).Next(first)
	require.Equal(t, "ddc6bf790c15760d8d9aeb6f9a75fd4e", hex.EncodeToString(first))

	whole := make([]byte, 100)
	n, err := NewStream(key).Read(whole)
	require.NoError(t, err)
	require.Equal(t, 100, n)
	for offset := range 60 {
		part := make([]byte, 40)
		NewStreamAt(key, 0, uint64(offset)).Next(part)
		require.Equal(t, whole[offset:offset+40], part, "offset %d", offset)
	}
	require.NotEqual(t, Derive(key, "a"), Derive(key, "b"))
	require.NotEqual(t, key, Derive(key, ""))
}

func BenchmarkNoise(b *testing.B) {
	dst := make([]int64, 1_000_000)
	for _, sigma := range []float64{2, 100, 1e5} {
		g, err := NewDiscreteGaussian(sigma)
		require.NoError(b, err)
		b.Run("discrete-gaussian-1M-stddev-"+big.NewFloat(sigma).Text('g', 6), func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, g.FillAt(dst, seedOf(1), 0))
			}
		})
		s, err := NewSkellam(sigma * sigma)
		require.NoError(b, err)
		b.Run("skellam-1M-stddev-"+big.NewFloat(sigma).Text('g', 6), func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, s.FillAt(dst, seedOf(1), 0))
			}
		})
	}
}
