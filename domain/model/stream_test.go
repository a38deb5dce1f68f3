package model_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

// Weights that are read from where they lie answer as those in memory, to the
// bit, whichever way they are cut into pieces.
func TestStreamAnswersAsInMemory(t *testing.T) {
	for _, spec := range []round.ModelSpec{logistic, mlp, {Trainer: round.TrainerExec, Inputs: 37, Hidden: 5003, Classes: 7}, {Inputs: 9001, Classes: 3}} {
		random := rand.New(rand.NewPCG(1, uint64(spec.Inputs)))
		weights := model.Initial(spec, 5)
		for _, tensor := range weights {
			for i := range tensor.F32 {
				tensor.F32[i] += float32(random.Float64() / 3)
			}
		}
		var rows [][]float64
		for range 9 {
			row := make([]float64, spec.Inputs)
			for i := range row {
				row[i] = math.Round(random.NormFloat64() * 4)
			}
			rows = append(rows, row)
		}
		net, err := model.Load(spec, weights)
		require.NoError(t, err)
		content, err := weights.Encode()
		require.NoError(t, err)
		asked, pass := 0, net.NewPass()
		err = model.Stream(spec, bytes.NewReader(content), int64(len(content)), rows, func(row int, logits []float64) error {
			require.Equal(t, asked, row)
			asked++
			want, err := pass.Logits(rows[row])
			require.NoError(t, err)
			require.Equal(t, want, logits)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 9, asked)

		again := func(content []byte, rows [][]float64) error {
			return model.Stream(spec, bytes.NewReader(content), int64(len(content)), rows, func(int, []float64) error { return nil })
		}
		require.ErrorIs(t, again(content, append(slices.Clone(rows), rows[0][1:])), model.ErrRowLength)
		require.ErrorIs(t, again(content, [][]float64{slices.Repeat([]float64{math.NaN()}, spec.Inputs)}), model.ErrRowValue)
		scale, _ := weights.Get(round.TensorScale)
		scale.F32[0] = 0
		spoilt, err := weights.Encode()
		require.NoError(t, err)
		require.ErrorIs(t, again(spoilt, rows), round.ErrScale)
		scale.F32[0] = float32(math.Inf(1))
		spoilt, err = weights.Encode()
		require.NoError(t, err)
		require.ErrorIs(t, again(spoilt, rows), round.ErrNotFinite)
		short, err := weights[1:].Encode()
		require.NoError(t, err)
		require.ErrorIs(t, again(short, rows), round.ErrTensors)
	}
}
