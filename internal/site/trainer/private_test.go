package trainer_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// scaled returns factor times the elements of all tensors as one vector.
func scaled(tensors artifact.Tensors, factor float64) []float64 {
	var out []float64
	for _, t := range tensors {
		for j := range t.Len() {
			out = append(out, factor*t.At(j))
		}
	}
	return out
}

func distance(a, b []float64) float64 {
	sum := 0.0
	for j := range a {
		sum += (a[j] - b[j]) * (a[j] - b[j])
	}
	return math.Sqrt(sum)
}

// What a site adds to the sum moves by rate times norm at most when one row is
// taken away, whichever it is, and by nearly as much when its gradient is
// clipped.
func TestARowMovesTheSumByNoMoreThanTheBound(t *testing.T) {
	pooled, _ := tumour.Pooled()
	const seed, rate = 20263, 0.5
	random := rand.New(rand.NewPCG(seed, 1))
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		base := standardised(t, spec, pooled)
		tight := 0.0
		for range 60 {
			norm := math.Exp(random.Float64()*8 - 6)
			most := []int{1 << 16, 20}[random.IntN(2)] // more rows than a site may count for
			n := 2 + random.IntN(40)
			from := random.IntN(pooled.Len() - n)
			rows := table.Table{Columns: pooled.Columns, Rows: pooled.Rows[from : from+n], Labels: pooled.Labels[from : from+n]}
			out := random.IntN(n)
			fewer := table.Table{Columns: pooled.Columns}
			for i := range n {
				if i != out {
					fewer.Rows, fewer.Labels = append(fewer.Rows, rows.Rows[i]), append(fewer.Labels, rows.Labels[i])
				}
			}
			added := func(rows table.Table) []float64 {
				weight := min(rows.Len(), most)
				delta, err := trainer.Clipped(t.Context(), spec, base, rows, rate, norm, weight)
				require.NoError(t, err)
				return scaled(delta, float64(weight))
			}
			moved := distance(added(rows), added(fewer))
			// rounding to F32 adds up to 2^-24 of each coordinate
			require.LessOrEqual(t, moved, rate*norm*(1+1e-5), "seed %d, %d rows, norm %v, %s", seed, n, norm, spec.Trainer)
			tight = max(tight, moved/(rate*norm))
		}
		require.Greater(t, tight, 0.99, "the bound is no larger than it has to be")
	}
}

// With a norm that clips nothing it is one full-batch step.
func TestAnUnclippedStepIsAFullBatchStep(t *testing.T) {
	pooled, _ := tumour.Pooled()
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		base := standardised(t, spec, pooled)
		want, err := trainer.Train(t.Context(), spec, base, pooled, trainer.Settings{Epochs: 1, Batch: math.MaxInt32, LearningRate: 0.5}, seed("a").Rand())
		require.NoError(t, err)
		got, err := trainer.Clipped(t.Context(), spec, base, pooled, 0.5, 1e9, pooled.Len())
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.InDeltaSlice(t, want[i].F32, got[i].F32, 1e-6, want[i].Name)
		}
		clipped, err := trainer.Clipped(t.Context(), spec, base, pooled, 0.5, 1e-3, pooled.Len())
		require.NoError(t, err)
		require.LessOrEqual(t, distance(scaled(clipped, 1), make([]float64, len(scaled(clipped, 1)))), 0.5e-3)
	}
	_, err := trainer.Clipped(t.Context(), logistic, standardised(t, logistic, pooled), table.Table{Columns: pooled.Columns}, 1, 1, 1)
	require.ErrorIs(t, err, trainer.ErrNoRows)
}

// Two full-batch steps with the proximal term are those without it, moved back
// by rate·mu of what the first one moved:
//
//	w2 = w1 - rate·(g(w1) + mu·(w1 - w0)), and w1 is the same in both
func TestProximalTermPullsBack(t *testing.T) {
	pooled, _ := tumour.Pooled()
	const rate, mu = 0.5, 0.3
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		base := standardised(t, spec, pooled)
		run := func(epochs int, mu float64) []float64 {
			delta, err := trainer.Train(t.Context(), spec, base, pooled,
				trainer.Settings{Epochs: epochs, Batch: math.MaxInt32, LearningRate: rate, ProximalMu: mu}, seed("a").Rand())
			require.NoError(t, err)
			return scaled(delta, 1)
		}
		first, plain, got := run(1, mu), run(2, 0), run(2, mu)
		require.InDeltaSlice(t, run(1, 0), first, 1e-7)
		for j := range got {
			require.InDelta(t, plain[j]-rate*mu*first[j], got[j], 1e-6)
		}
	}
}

// variatesOf returns random variates: the server's and a site's.
func variatesOf(spec round.ModelSpec, random *rand.Rand) *trainer.Variates {
	var v trainer.Variates
	for _, s := range spec.Trainable() {
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		server, own := make([]float64, n), make([]float64, n)
		for j := range n {
			server[j], own[j] = random.NormFloat64(), random.NormFloat64()
		}
		v.Server = append(v.Server, artifact.Tensor{Name: round.TensorControl + s.Name, DType: artifact.F64, Shape: s.Shape, F64: server})
		v.Own = append(v.Own, artifact.Tensor{Name: s.Name, DType: artifact.F64, Shape: s.Shape, F64: own})
	}
	return &v
}

// One full-batch step of SCAFFOLD, by hand: Karimireddy et al. 2020, Algorithm
// 1, has y = x - rate·(g + c - c_i), and option II then makes c_i' = g.
func TestScaffoldStep(t *testing.T) {
	pooled, _ := tumour.Pooled()
	const rate = 0.5
	random := rand.New(rand.NewPCG(20264, 1))
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		base := standardised(t, spec, pooled)
		run := func(v *trainer.Variates) artifact.Tensors {
			delta, err := trainer.Train(t.Context(), spec, base, pooled,
				trainer.Settings{Epochs: 1, Batch: math.MaxInt32, LearningRate: rate, Variates: v}, seed("a").Rand())
			require.NoError(t, err)
			return delta
		}
		plain, v := run(nil), variatesOf(spec, random)
		got := run(v)
		content, err := got.Encode()
		require.NoError(t, err)
		require.NoError(t, round.Strategy{Name: round.Scaffold}.CheckUpdate(spec, round.Train, bytes.NewReader(content)))
		next, err := trainer.Moved(spec, v.Own, got)
		require.NoError(t, err)
		for i, p := range plain {
			delta, _ := got.Get(p.Name)
			for j := range p.Len() {
				c, own := v.Server[i].F64[j], v.Own[i].F64[j]
				require.InDelta(t, p.At(j)-rate*(c-own), delta.At(j), 1e-6, p.Name)
				require.InDelta(t, -p.At(j)/rate, next[i].F64[j], 1e-6, "the variate becomes the gradient")
			}
		}

		// Without any variate yet the steps are those of FedAvg, to the bit.
		first := run(&trainer.Variates{})
		for _, p := range plain {
			delta, _ := first.Get(p.Name)
			require.Equal(t, p.F32, delta.F32)
		}
		v.Own = v.Own[1:]
		_, err = trainer.Train(t.Context(), spec, base, pooled, trainer.Settings{Epochs: 1, Batch: 8, LearningRate: rate, Variates: v}, seed("a").Rand())
		require.ErrorIs(t, err, trainer.ErrVariate)
	}
}
