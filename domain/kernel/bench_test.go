package kernel_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atom-fabric/fabric/domain/kernel"
)

func sets() map[string]kernel.Set {
	return map[string]kernel.Set{"plain": kernel.Plain(), "best": kernel.Best()}
}

func rows32(k, n int) []kernel.Vector {
	random := rand.New(rand.NewPCG(1, 2))
	out := make([]kernel.Vector, k)
	for i := range out {
		row := make(kernel.F32, n)
		for j := range row {
			row[j] = random.Float32() - 0.5
		}
		out[i] = row
	}
	return out
}

// readLimit is how long it takes to read the same bytes once, on all
// processors: one element of every cache line.
func readLimit(x []kernel.Vector) time.Duration {
	best := time.Hour
	for range 5 {
		start := time.Now()
		var wg sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		sums := make([]float32, workers)
		for w := range workers {
			wg.Go(func() {
				var s float32
				for _, row := range x {
					v := row.(kernel.F32)
					for v = v[w*len(v)/workers : (w+1)*len(v)/workers]; len(v) >= 16; v = v[16:] {
						s += v[0]
					}
				}
				sums[w] = s
			})
		}
		wg.Wait()
		best = min(best, time.Since(start))
	}
	return best
}

// both runs a loop with each set, over k vectors of n elements, and says what
// share of the read limit of the same run it reaches.
func both(b *testing.B, k, n int, loop func(s kernel.Set, x []kernel.Vector)) {
	x := rows32(k, n)
	limit := readLimit(x)
	for _, name := range []string{"plain", "best"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * int64(k) * int64(n))
			for b.Loop() {
				loop(sets()[name], x)
			}
			b.ReportMetric(100*limit.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "%read-limit")
		})
	}
}

func BenchmarkSum(b *testing.B) {
	acc := make([]float64, 10_000_000)
	w := make([]float64, 10)
	for i := range w {
		w[i] = float64(i + 1)
	}
	both(b, len(w), len(acc), func(s kernel.Set, x []kernel.Vector) {
		clear(acc)
		s.Sum(acc, w, x)
	})
}

func BenchmarkMedian(b *testing.B) {
	dst := make([]float64, 1_000_000)
	both(b, 50, len(dst), func(s kernel.Set, x []kernel.Vector) { s.Median(dst, x) })
}

func BenchmarkTrimmedMean(b *testing.B) {
	dst := make([]float64, 1_000_000)
	both(b, 50, len(dst), func(s kernel.Set, x []kernel.Vector) { s.TrimmedMean(dst, x, 5) })
}

// BenchmarkMedianBySorting is what one would write first.
func BenchmarkMedianBySorting(b *testing.B) {
	x := rows32(50, 1_000_000)
	dst := make([]float64, 1_000_000)
	b.SetBytes(4 * 50 * 1_000_000)
	for b.Loop() {
		kernel.Split(len(dst), 1, func(lo, hi int) {
			column := make([]float32, len(x))
			for j := lo; j < hi; j++ {
				for k, v := range x {
					column[k] = v.(kernel.F32)[j]
				}
				slices.Sort(column)
				dst[j] = (float64(column[24]) + float64(column[25])) / 2
			}
		})
	}
}

func BenchmarkDistances(b *testing.B) {
	both(b, 50, 1_000_000, func(s kernel.Set, x []kernel.Vector) { distances(s, x) })
}

func BenchmarkNorms(b *testing.B) {
	both(b, 10, 10_000_000, func(s kernel.Set, x []kernel.Vector) { norms(s, x) })
}
