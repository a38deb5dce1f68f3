package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

func drawn(t testing.TB, spec round.ModelSpec, count int, seed uint64) (*model.Network, [][]float64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 2))
	tensors := model.Initial(spec, seed)
	for i := range tensors {
		for j := range tensors[i].F32 {
			tensors[i].F32[j] += float32(random.Float64())
		}
	}
	net, err := model.Load(spec, tensors)
	require.NoError(t, err)
	rows := make([][]float64, count)
	for i := range rows {
		rows[i] = make([]float64, spec.Inputs)
		for j := range rows[i] {
			rows[i][j] = random.NormFloat64()
		}
	}
	return net, rows
}

func TestTogetherIsTheSameToTheBit(t *testing.T) {
	seed := rand.Uint64()
	for _, spec := range []round.ModelSpec{
		{Trainer: round.TrainerLogistic, Inputs: 30, Classes: 2}, {Trainer: round.TrainerMLP, Inputs: 300, Hidden: 129, Classes: 7},
		{Trainer: round.TrainerMLP, Inputs: 2, Hidden: 9000, Classes: 2},
	} {
		net, rows := drawn(t, spec, 17, seed)
		want, err := net.Probabilities(rows)
		require.NoError(t, err)
		got, err := net.Together(rows)
		require.NoError(t, err)
		require.Equal(t, want, got, "seed %d", seed)
	}
	net, rows := drawn(t, round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 3, Classes: 2}, 3, seed)
	rows[1][2] = math.NaN()
	_, err := net.Together(rows)
	var bad *model.RowError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, 1, bad.Row)
	require.ErrorIs(t, err, model.ErrRowValue)
	rows[1] = rows[1][:2]
	_, err = net.Together(rows)
	require.ErrorIs(t, err, model.ErrRowLength)
}

func BenchmarkTogether(b *testing.B) {
	for _, size := range []int{64, 1024} {
		net, rows := drawn(b, round.ModelSpec{Trainer: round.TrainerMLP, Inputs: size, Hidden: 2 * size, Classes: 10}, 32, 1)
		for name, answer := range map[string]func([][]float64) ([][]float64, error){"row by row": net.Probabilities, "together": net.Together} {
			b.Run(fmt.Sprintf("%d inputs, 32 rows, %s", size, name), func(b *testing.B) {
				for b.Loop() {
					if _, err := answer(rows); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
