package aggregate_test

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

const (
	benchSites    = 10
	benchElements = 10_000_000
)

var big = []round.TensorSpec{{Name: "w", DType: artifact.F32, Shape: []int{benchElements}}}

func bigUpdates(sites, elements int) []aggregate.Update {
	random := rand.New(rand.NewPCG(1, 2))
	var out []aggregate.Update
	for k := range sites {
		v := make([]float32, elements)
		for j := range v {
			v[j] = random.Float32() - 0.5
		}
		out = append(out, aggregate.Update{Tenant: "t", Site: strconv.Itoa(100 + k), Examples: int64(k + 1), Tensors: artifact.Tensors{
			{Name: "w", DType: artifact.F32, Shape: []int{elements}, F32: v},
		}})
	}
	return out
}

// readLimit is how fast the same bytes are read, on all processors.
func readLimit(updates []aggregate.Update) time.Duration {
	best := time.Hour
	for range 5 {
		start := time.Now()
		var wg sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		sums := make([]float32, workers)
		for w := range workers {
			wg.Go(func() {
				var s [8]float32
				for _, u := range updates {
					v := u.Tensors[0].F32
					v = v[w*len(v)/workers : (w+1)*len(v)/workers]
					for ; len(v) >= 16; v = v[16:] { // every cache line once
						s[0] += v[0]
					}
				}
				sums[w] = s[0]
			})
		}
		wg.Wait()
		best = min(best, time.Since(start))
	}
	return best
}

// hashLimit is how fast as many bytes are hashed, on all processors.
func hashLimit(updates []aggregate.Update) time.Duration {
	best := time.Hour
	for range 3 {
		start := time.Now()
		var wg sync.WaitGroup
		workers := runtime.GOMAXPROCS(0)
		for range workers {
			wg.Go(func() {
				hash, chunk := sha256.New(), make([]byte, 1<<16)
				for left := 4 * len(updates) * benchElements / workers; left > 0; left -= len(chunk) {
					hash.Write(chunk)
				}
			})
		}
		wg.Wait()
		best = min(best, time.Since(start))
	}
	return best
}

func share(b *testing.B, limit time.Duration) {
	b.ReportMetric(100*limit.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "%read-limit")
}

func BenchmarkFedAvg(b *testing.B) {
	updates := bigUpdates(benchSites, benchElements)
	limit := readLimit(updates)
	b.Run("fresh", func(b *testing.B) { // with the first touch of the sum's 80 MB
		b.SetBytes(4 * benchSites * benchElements)
		for b.Loop() {
			_, err := aggregate.FedAvg(updates)
			require.NoError(b, err)
		}
		share(b, limit)
	})
	b.Run("reused", func(b *testing.B) {
		sum := aggregate.SumOf(big)
		b.SetBytes(4 * benchSites * benchElements)
		for b.Loop() {
			sum.Reset()
			require.NoError(b, sum.Add(updates...))
		}
		share(b, limit)
	})
}

func BenchmarkMerge(b *testing.B) {
	dir := b.TempDir()
	updates := bigUpdates(benchSites, benchElements)
	limit := readLimit(updates)
	var names []string
	var digests []artifact.Digest
	for k, u := range updates {
		content, err := u.Tensors.Encode()
		require.NoError(b, err)
		names = append(names, filepath.Join(dir, strconv.Itoa(k)))
		digests = append(digests, artifact.DigestOf(content))
		require.NoError(b, os.WriteFile(names[k], content, 0o600))
	}
	hashing := hashLimit(updates)
	examples := make([]int64, len(updates))
	for k, u := range updates {
		examples[k] = u.Examples
	}
	clear(updates) // what a benchmark does not need is not its peak
	runtime.GC()
	merge := func(b *testing.B, dst io.Writer) {
		var sources []aggregate.Source
		for k, name := range names {
			f, err := os.Open(name)
			require.NoError(b, err)
			defer f.Close()
			sources = append(sources, aggregate.Source{Tenant: "t", Site: strconv.Itoa(100 + k), Examples: examples[k], Content: artifact.Expect(f, digests[k])})
		}
		_, err := aggregate.Merge(dst, big, nil, sources)
		require.NoError(b, err)
	}
	b.Run("read", func(b *testing.B) { // digests of the updates, and their sum
		b.SetBytes(4 * benchSites * benchElements)
		b.ReportAllocs()
		for b.Loop() {
			merge(b, io.Discard)
		}
		share(b, limit)
		b.ReportMetric(100*hashing.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "%sha256-limit")
	})
	b.Run("stored", func(b *testing.B) { // and the digest of the sum, and a file of it
		b.SetBytes(4 * benchSites * benchElements)
		b.ReportAllocs()
		for b.Loop() {
			out, err := os.Create(filepath.Join(dir, "sum"))
			require.NoError(b, err)
			merge(b, io.MultiWriter(out, sha256.New()))
			require.NoError(b, out.Close())
		}
		share(b, limit)
	})
}

func BenchmarkStep(b *testing.B) {
	// 10 M weights in one layer.
	spec := round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: benchElements / 2, Classes: 2}
	base, mean := artifact.Tensors{}, artifact.Tensors{}
	for _, s := range spec.Tensors() {
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		base = append(base, artifact.Tensor{Name: s.Name, DType: artifact.F32, Shape: s.Shape, F32: make([]float32, n)})
		mean = append(mean, artifact.Tensor{Name: s.Name, DType: artifact.F64, Shape: s.Shape, F64: make([]float64, n)})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for j := range mean[1].F64 {
		mean[1].F64[j] = random.Float64() - 0.5
	}
	for _, name := range []string{round.FedAvg, round.FedAdam} {
		b.Run(name, func(b *testing.B) { // with fresh weights and state, as each round takes it
			var state artifact.Tensors
			b.SetBytes(4 * benchElements)
			for b.Loop() {
				var err error
				_, state, err = aggregate.Step(spec, round.Strategy{Name: name}, aggregate.StepInput{Base: base, Mean: mean[:2], State: state})
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkRobust(b *testing.B) {
	updates := bigUpdates(50, 1_000_000)
	for _, s := range []round.Strategy{
		{Rule: round.RuleMedian}, {Rule: round.RuleTrimmedMean}, {Rule: round.RuleKrum, Byzantine: 10}, {Rule: round.RuleMultiKrum, Byzantine: 10},
		{Rule: round.RuleBulyan, Byzantine: 10}, {Rule: round.RuleGeometricMedian}, {Rule: round.RuleNormBound},
	} {
		b.Run(s.Rule, func(b *testing.B) {
			b.SetBytes(4 * 50 * 1_000_000)
			for b.Loop() {
				_, err := aggregate.Robust(s, updates)
				require.NoError(b, err)
			}
		})
	}
}
