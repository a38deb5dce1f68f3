package trainer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

var (
	logistic = round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: tumour.Inputs, Classes: 2}
	mlp      = round.ModelSpec{Trainer: round.TrainerMLP, Inputs: tumour.Inputs, Hidden: 8, Classes: 2}
	settings = trainer.Settings{Epochs: 1, Batch: 16, LearningRate: 0.1}
)

func seed(text string) trainer.Seed {
	return trainer.NewSeed(binary.BigEndian.Uint64([]byte(artifact.DigestOf([]byte(text)).Hex())), 1, "tenant", "site")
}

// standardised returns weights with the moments of rows.
func standardised(t testing.TB, spec round.ModelSpec, rows ...table.Table) artifact.Tensors {
	var updates []aggregate.Update
	for k, r := range rows {
		moments, err := trainer.Moments(r)
		require.NoError(t, err)
		updates = append(updates, aggregate.Update{Site: string(rune('a' + k)), Examples: int64(r.Len()), Tensors: moments})
	}
	return apply(t, spec, round.Statistics, model.Initial(spec, 1), updates)
}

func apply(t testing.TB, spec round.ModelSpec, kind round.Kind, base artifact.Tensors, updates []aggregate.Update) artifact.Tensors {
	sum, err := aggregate.WeightedSum(spec, kind, "eu", updates)
	require.NoError(t, err)
	mean, err := aggregate.Mean(spec, kind, []aggregate.Partial{sum})
	require.NoError(t, err)
	out, err := aggregate.Apply(spec, kind, base, mean)
	require.NoError(t, err)
	return out
}

func TestTrainIsDeterministic(t *testing.T) {
	rows, _ := tumour.Pooled()
	base := standardised(t, mlp, rows)
	run := func(s trainer.Seed) []byte {
		delta, err := trainer.Train(t.Context(), mlp, base, rows, settings, s.Rand())
		require.NoError(t, err)
		content, err := delta.Encode()
		require.NoError(t, err)
		return content
	}
	require.Equal(t, run(seed("a")), run(seed("a")))
	require.NotEqual(t, run(seed("a")), run(seed("b")))
	require.NotEqual(t, trainer.NewSeed(0, 1, "ab", "c"), trainer.NewSeed(0, 1, "a", "bc"))
}

// One FedSGD round (every site one full-batch step) is one step on the pooled
// rows: the gradient of a mean is the mean of the gradients. Our bar is 1e-6.
func TestOneFedSGDRoundIsOneFullBatchStep(t *testing.T) {
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		t.Run(spec.Trainer, func(t *testing.T) {
			pooled, _ := tumour.Pooled()
			base := standardised(t, spec, pooled)
			step := trainer.Settings{Epochs: 1, Batch: math.MaxInt32, LearningRate: 0.5}
			var updates []aggregate.Update
			for _, h := range tumour.Split() {
				rows, _ := h.Rows.Split()
				delta, err := trainer.Train(t.Context(), spec, base, rows, step, seed(h.Site).Rand())
				require.NoError(t, err)
				updates = append(updates, aggregate.Update{Tenant: h.Tenant, Site: h.Site, Examples: int64(rows.Len()), Tensors: delta})
			}
			got := apply(t, spec, round.Train, base, updates)

			delta, err := trainer.Train(t.Context(), spec, base, pooled, step, seed("pooled").Rand())
			require.NoError(t, err)
			want := apply(t, spec, round.Train, base, []aggregate.Update{{Site: "all", Examples: 1, Tensors: delta}})
			for i := range want {
				for j := range want[i].F32 {
					require.InDelta(t, want[i].F32[j], got[i].F32[j], 1e-6, want[i].Name)
				}
			}
		})
	}
}

// The moments of five sites are the pooled table's.
func TestStatisticsOfTheHospitals(t *testing.T) {
	var parts []table.Table
	for _, h := range tumour.Split() {
		rows, _ := h.Rows.Split()
		parts = append(parts, rows)
	}
	got := standardised(t, logistic, parts...)
	pooled := table.Join(parts...)
	mean, _ := got.Get(round.TensorMean)
	scale, _ := got.Get(round.TensorScale)
	for c := range pooled.Columns {
		var m, v float64
		for _, row := range pooled.Rows {
			m += row[c] / float64(pooled.Len())
		}
		for _, row := range pooled.Rows {
			v += (row[c] - m) * (row[c] - m) / float64(pooled.Len())
		}
		require.InEpsilon(t, m, float64(mean.F32[c]), 1e-6)
		require.InEpsilon(t, math.Sqrt(v), float64(scale.F32[c]), 1e-6)
	}
}

func TestTrainRefuses(t *testing.T) {
	rows, _ := tumour.Pooled()
	base := standardised(t, logistic, rows)
	narrow := table.Table{Columns: []string{"a"}, Rows: [][]float64{{1}}, Labels: []int{0}}
	third := table.Table{Columns: rows.Columns, Rows: rows.Rows[:1], Labels: []int{2}}
	tests := []struct {
		name string
		rows table.Table
		set  trainer.Settings
		want error
	}{
		{"no rows", table.Table{Columns: rows.Columns}, settings, trainer.ErrNoRows},
		{"other columns", narrow, settings, trainer.ErrColumns},
		{"a class that the model does not have", third, settings, trainer.ErrClasses},
		{"a learning rate that diverges", rows, trainer.Settings{Epochs: 3, Batch: 8, LearningRate: 1e300}, trainer.ErrDiverged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := trainer.Train(t.Context(), logistic, base, tt.rows, tt.set, seed("x").Rand())
			require.ErrorIs(t, err, tt.want)
		})
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err := trainer.Train(stopped, logistic, base, rows, settings, seed("x").Rand())
	require.ErrorIs(t, err, context.Canceled)
	_, err = trainer.Moments(table.Table{})
	require.ErrorIs(t, err, trainer.ErrNoRows)
	_, err = trainer.Evaluate(logistic, base, third)
	require.ErrorIs(t, err, trainer.ErrClasses)
	_, err = trainer.Evaluate(logistic, base[1:], rows)
	require.ErrorIs(t, err, round.ErrTensors)
}

// Weights of zero give every class the same chance: the loss of a row is ln 2
// and the first class wins every tie.
func TestEvaluateOfNothingLearnt(t *testing.T) {
	_, held := tumour.Pooled()
	m, err := trainer.Evaluate(logistic, model.Initial(logistic, 1), held)
	content, encoding := model.Initial(logistic, 1).Encode()
	require.NoError(t, encoding)
	same, failed := trainer.EvaluateAt(logistic, bytes.NewReader(content), int64(len(content)), held)
	require.NoError(t, failed)
	require.Equal(t, m, same)
	require.NoError(t, err)
	malignant := int64(0)
	for _, label := range held.Labels {
		if label == tumour.Malignant {
			malignant++
		}
	}
	require.Equal(t, round.Metrics{
		Evaluated:  int64(held.Len()),
		Correct:    malignant,
		LossMicros: int64(math.Round(float64(held.Len()) * math.Ln2 * 1e6)),
	}, m)
}

func TestLossIsBounded(t *testing.T) {
	weights := model.Initial(logistic, 1)
	bias, _ := weights.Get("linear.bias")
	bias.F32[0] = 3e38
	m, err := trainer.Evaluate(logistic, weights, table.Table{
		Columns: make([]string, tumour.Inputs), Rows: [][]float64{slices.Repeat([]float64{0}, tumour.Inputs)}, Labels: []int{1},
	})
	require.NoError(t, err)
	require.EqualValues(t, 1<<50, m.LossMicros)
}
