package kernel_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/kernel"
)

// lengths around the sizes of vectors, blocks, panels and goroutines.
var lengths = []int{1, 3, 7, 15, 16, 17, 63, 64, 65, 255, 257, 2047, 2048, 2049, 5003, 65_537, 131_075, 200_003}

// rows of random values of many magnitudes, with zeros of both signs, ties and
// subnormal numbers among them.
func rows(random *rand.Rand, k, n int) [][]float32 {
	out := make([][]float32, k)
	for i := range out {
		out[i] = make([]float32, n)
		for j := range out[i] {
			v := float32(random.NormFloat64() * math.Exp(random.NormFloat64()*5))
			switch random.IntN(20) {
			case 0:
				v = 0
			case 1:
				v = float32(math.Copysign(0, -1))
			case 2:
				v = math.SmallestNonzeroFloat32
			case 3:
				v = 1
			}
			out[i][j] = v
		}
	}
	return out
}

// forms are the same vectors in every form, and in a mixture of forms.
func forms(in [][]float32) map[string][]kernel.Vector {
	out := map[string][]kernel.Vector{}
	for i, row := range in {
		var f64 kernel.F64
		var le32 kernel.LE32
		var le64 kernel.LE64
		for _, v := range row {
			f64 = append(f64, float64(v))
			le32 = binary.LittleEndian.AppendUint32(le32, math.Float32bits(v))
			le64 = binary.LittleEndian.AppendUint64(le64, math.Float64bits(float64(v)))
		}
		all := []kernel.Vector{kernel.F32(row), f64, le32, le64}
		out["F32"] = append(out["F32"], all[0])
		out["F64"] = append(out["F64"], all[1])
		out["LE32"] = append(out["LE32"], all[2])
		out["LE64"] = append(out["LE64"], all[3])
		out["mixed"] = append(out["mixed"], all[i%4])
	}
	return out
}

func bits(v []float64) []uint64 {
	out := make([]uint64, len(v))
	for i, x := range v {
		out[i] = math.Float64bits(x)
	}
	return out
}

func distances(s kernel.Set, x []kernel.Vector) []float64 {
	d := make([]float64, len(x)*len(x))
	s.AddDistances(d, x)
	return d
}

func norms(s kernel.Set, x []kernel.Vector) []float64 {
	d := make([]float64, len(x))
	s.AddNorms(d, x)
	return d
}

// Vectors in pieces, cut at multiples of the span, give the bits of the whole.
func TestDistancesInPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 11))
	in := rows(random, 7, 100_001)
	for _, set := range sets() {
		whole := distances(set, forms(in)["F32"])
		wholeNorms := norms(set, forms(in)["F32"])
		pieces, pieceNorms := make([]float64, 49), make([]float64, 7)
		for lo := 0; lo < 100_001; {
			hi := min(100_001, lo+kernel.Span*(1+random.IntN(60)))
			var x []kernel.Vector
			for _, row := range in {
				x = append(x, kernel.F32(row[lo:hi]))
			}
			set.AddDistances(pieces, x)
			set.AddNorms(pieceNorms, x)
			lo = hi
		}
		require.Equal(t, bits(whole), bits(pieces))
		require.Equal(t, bits(wholeNorms), bits(pieceNorms))
	}
}

// Every loop gives the same bits whatever the instructions, the form of the
// vectors and the number of goroutines; what they are is tested below.
func TestBitsDependOnTheVectorsOnly(t *testing.T) {
	loops := map[string]func(s kernel.Set, x []kernel.Vector, n int) []float64{
		"sum": func(s kernel.Set, x []kernel.Vector, n int) []float64 {
			acc, w := make([]float64, n), make([]float64, len(x))
			for k := range w {
				w[k] = float64(3*k + 1)
			}
			for j := range acc {
				acc[j] = float64(j) / 3
			}
			s.Sum(acc, w, x)
			return acc
		},
		"median": func(s kernel.Set, x []kernel.Vector, n int) []float64 {
			d := make([]float64, n)
			s.Median(d, x)
			return d
		},
		"trimmed": func(s kernel.Set, x []kernel.Vector, n int) []float64 {
			d := make([]float64, n)
			s.TrimmedMean(d, x, (len(x)-1)/4)
			return d
		},
		"near": func(s kernel.Set, x []kernel.Vector, n int) []float64 {
			d := make([]float64, n)
			s.NearMedian(d, x, (len(x)+1)/2)
			return d
		},
		"distances": func(s kernel.Set, x []kernel.Vector, n int) []float64 { return distances(s, x) },
		"norms":     func(s kernel.Set, x []kernel.Vector, n int) []float64 { return norms(s, x) },
	}
	if !kernel.Best().Wide() {
		t.Log("this CPU has no vector instructions that we use: the plain loops are compared with themselves")
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range lengths {
		k := 1 + random.IntN(12)
		in := forms(rows(random, k, n))
		for name, loop := range loops {
			want := bits(loop(kernel.Plain(), in["F32"], n))
			for form, x := range in {
				for _, procs := range []int{1, 2, 5} {
					before := runtime.GOMAXPROCS(procs)
					for _, set := range []kernel.Set{kernel.Plain(), kernel.Best()} {
						got := bits(loop(set, x, n))
						require.True(t, slices.Equal(want, got), "%s of %d vectors of %d as %s, wide %v, %d processors", name, k, n, form, set.Wide(), procs)
					}
					runtime.GOMAXPROCS(before)
				}
			}
		}
	}
}

// The sum is term by term what exact arithmetic, rounded at each step, gives.
func TestSumRoundsEveryStep(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	in := rows(random, 7, 50)
	x := forms(in)["F32"]
	w := []float64{1, 3, 1e6, 7, 1 << 39, 12345, 2}
	acc := make([]float64, 50)
	kernel.Best().Sum(acc, w, x)
	for j := range acc {
		var want float64
		for k := range in {
			exact := new(big.Float).SetPrec(200).Mul(big.NewFloat(w[k]), big.NewFloat(float64(in[k][j])))
			product, _ := exact.Float64()
			want, _ = new(big.Float).SetPrec(200).Add(big.NewFloat(want), big.NewFloat(product)).Float64()
		}
		require.Equal(t, want, acc[j])
	}
}

// order is the textbook's: sort the column, take from it.
func column(in [][]float32, j int) []float64 {
	var c []float64
	for _, row := range in {
		c = append(c, float64(row[j]))
	}
	slices.Sort(c)
	return c
}

func TestOrderStatisticsAreOfTheSortedColumn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, n := rapid.IntRange(1, 70).Draw(t, "vectors"), rapid.IntRange(1, 200).Draw(t, "length")
		in := rows(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), k, n)
		x := forms(in)["F32"]
		cut := rapid.IntRange(0, (k-1)/2).Draw(t, "cut")
		median, trimmed := make([]float64, n), make([]float64, n)
		kernel.Best().Median(median, x)
		kernel.Best().TrimmedMean(trimmed, x, cut)
		for j := range n {
			c := column(in, j)
			require.Equal(t, (c[(k-1)/2]+c[k/2])/2, median[j])
			var sum float64
			for _, v := range c[cut : k-cut] {
				sum += v
			}
			require.Equal(t, sum/float64(k-2*cut), trimmed[j])
		}
		again := make([]float64, n)
		kernel.Best().TrimmedMean(again, rapid.Permutation(x).Draw(t, "order"), cut)
		require.Equal(t, bits(trimmed), bits(again), "the order of the vectors does not change a bit")
	})
}

func TestNearMedianTakesTheNearest(t *testing.T) {
	x := []kernel.Vector{kernel.F32{1, 0}, kernel.F32{2, 0}, kernel.F32{4, 0}, kernel.F32{6, 1}, kernel.F32{100, 1}}
	for keep, want := range map[int][]float64{
		1: {4, 0},
		2: {3, 0}, // 2 and 6 are as near: the lesser
		3: {4, 0},
		4: {13. / 4, 0.25},
		5: {113. / 5, 0.4},
	} {
		got := make([]float64, 2)
		kernel.Best().NearMedian(got, x, keep)
		require.Equal(t, want, got, "%d", keep)
	}
	got := make([]float64, 1)
	kernel.Best().NearMedian(got, []kernel.Vector{kernel.F32{0}, kernel.F32{1}, kernel.F32{3}, kernel.F32{9}}, 2)
	require.Equal(t, []float64{2}, got, "of four, 2 is in the middle, 1 and 3 are as near")
}

// Vectors that differ in the last bits keep their distance: 3·(2^-23)² here. By
// inner products it would be lost.
func TestDistancesOfNearVectorsAreExact(t *testing.T) {
	a, b := make(kernel.F32, 1000), make(kernel.F32, 1000)
	for j := range a {
		a[j], b[j] = 1, 1
	}
	for _, j := range []int{0, 500, 999} {
		b[j] = math.Nextafter32(1, 2)
	}
	for _, set := range sets() {
		d := distances(set, []kernel.Vector{a, b, a})
		want := 3 * math.Ldexp(1, -46)
		require.Equal(t, []float64{0, want, 0, want, 0, want, 0, want, 0}, d)
		require.Equal(t, []float64{1000, 1000 + 3*(math.Ldexp(1, -22)+math.Ldexp(1, -46))}, norms(set, []kernel.Vector{a, b}))
	}
}

func TestDistancesAreTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{1, 5, 300, 70_000} {
		in := rows(random, 9, n)
		got := distances(kernel.Best(), forms(in)["F32"])
		for i := range in {
			for k := range in {
				var want float64
				for j := range in[i] {
					d := float64(in[i][j]) - float64(in[k][j])
					want += d * d
				}
				require.InEpsilon(t, 1+want, 1+got[i*9+k], 1e-12)
			}
		}
	}
}

func TestFinite(t *testing.T) {
	for name, bad := range map[string]float32{"NaN": float32(math.NaN()), "+Inf": float32(math.Inf(1)), "-Inf": float32(math.Inf(-1))} {
		for _, at := range []int{0, 511, 512, 1299} {
			row := make([]float32, 1300)
			row[at] = bad
			for form, x := range forms([][]float32{row}) {
				require.False(t, kernel.Finite(x[0]), "%s at %d as %s", name, at, form)
			}
			raw := make([]byte, 8*1300)
			require.False(t, kernel.PutLE64(raw, forms([][]float32{row})["F64"][0].(kernel.F64)))
		}
	}
	good := []float64{math.MaxFloat64, -math.MaxFloat64, 0, math.Copysign(0, -1)}
	require.True(t, kernel.Finite(kernel.F64(good)))
	raw := make([]byte, 32)
	require.True(t, kernel.PutLE64(raw, good))
	back := make([]float64, 4)
	kernel.LE64(raw).Widen(back, 0)
	require.Equal(t, bits(good), bits(back))
}

func TestSplitCoversEverythingOnce(t *testing.T) {
	for _, n := range []int{0, 1, 65_536, 65_537, 131_072, 1_000_001} {
		for _, procs := range []int{1, 2, 3, 8} {
			before := runtime.GOMAXPROCS(procs)
			seen := make([]int8, n)
			kernel.Split(n, 64, func(lo, hi int) {
				if lo%64 != 0 {
					panic(fmt.Sprint(lo))
				}
				for j := lo; j < hi; j++ {
					seen[j]++
				}
			})
			runtime.GOMAXPROCS(before)
			require.NotContains(t, seen, int8(0))
			require.NotContains(t, seen, int8(2))
		}
	}
}
