package model_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

var (
	logistic = round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 2, Classes: 3}
	mlp      = round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 2, Hidden: 3, Classes: 2}
)

func f32(name string, shape []int, values ...float32) artifact.Tensor {
	return artifact.Tensor{Name: name, DType: artifact.F32, Shape: shape, F32: values}
}

// Worked by hand: x = (5-1)/2, (0-4)/4 = 2, -1;
// z = x·W + b = [2·1+(-1)·0, 2·0+(-1)·1, 0] + [0, 1, -1] = [2, 0, -1].
func TestLogisticForward(t *testing.T) {
	net, err := model.Load(logistic, artifact.Tensors{
		f32("linear.weight", []int{2, 3}, 1, 0, 0, 0, 1, 0),
		f32("linear.bias", []int{3}, 0, 1, -1),
		f32("normalise.mean", []int{2}, 1, 4),
		f32("normalise.scale", []int{2}, 2, 4),
	})
	require.NoError(t, err)
	require.Equal(t, 2, net.Inputs())
	require.Equal(t, 3, net.Classes())
	logits, err := net.NewPass().Logits([]float64{5, 0})
	require.NoError(t, err)
	require.Equal(t, []float64{2, 0, -1}, logits)

	sum := math.Exp(2) + 1 + math.Exp(-1)
	answers, err := net.Probabilities([][]float64{{5, 0}})
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{math.Exp(2) / sum, 1 / sum, math.Exp(-1) / sum}, answers[0], 1e-15)
	require.InDelta(t, math.Log(sum)-2, model.CrossEntropy(logits, 0), 1e-15)
}

// Worked by hand: x = (1, -2); hidden before ReLU = [1-2+1, -2, 1] = [0, -2, 1],
// after it [0, 0, 1]; logits = [0.5, 2·1] + 0 = [0.5, 2].
func TestNetworkForward(t *testing.T) {
	net, err := model.Load(mlp, artifact.Tensors{
		f32("hidden.weight", []int{2, 3}, 1, 0, 1, 1, 1, 0),
		f32("hidden.bias", []int{3}, 1, 0, 0),
		f32("output.weight", []int{3, 2}, 9, 9, 9, 9, 0.5, 2),
		f32("output.bias", []int{2}, 0, 0),
		f32("normalise.mean", []int{2}, 0, 0),
		f32("normalise.scale", []int{2}, 1, 1),
	})
	require.NoError(t, err)
	logits, err := net.NewPass().Logits([]float64{1, -2})
	require.NoError(t, err)
	require.Equal(t, []float64{0.5, 2}, logits)
}

func TestSoftmaxDoesNotOverflow(t *testing.T) {
	out := make([]float64, 2)
	model.Softmax(out, []float64{1e6, -1e6})
	require.Equal(t, []float64{1, 0}, out)
	require.Equal(t, 2e6, model.CrossEntropy([]float64{1e6, -1e6}, 1))
}

func TestProbabilitiesNameTheBadRow(t *testing.T) {
	net, err := model.Load(logistic, model.Initial(logistic, 1))
	require.NoError(t, err)
	tests := []struct {
		name string
		row  []float64
		want error
	}{
		{"a row that is too short", []float64{1}, model.ErrRowLength},
		{"a row that is too long", []float64{1, 2, 3}, model.ErrRowLength},
		{"a NaN", []float64{1, math.NaN()}, model.ErrRowValue},
		{"an infinity", []float64{math.Inf(1), 1}, model.ErrRowValue},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := net.Probabilities([][]float64{{0, 0}, tt.row})
			require.ErrorIs(t, err, tt.want)
			var at *model.RowError
			require.ErrorAs(t, err, &at)
			require.Equal(t, 1, at.Row)
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	change := func(i int, t artifact.Tensor) artifact.Tensors {
		weights := model.Initial(logistic, 1)
		weights[i] = t
		return weights
	}
	tests := []struct {
		name string
		give artifact.Tensors
		want error
	}{
		{"a missing tensor", model.Initial(logistic, 1)[1:], round.ErrTensors},
		{"a tensor too many", append(model.Initial(logistic, 1), f32("x", []int{1}, 1)), round.ErrTensors},
		{"another shape", change(0, f32("linear.bias", []int{2}, 0, 0)), round.ErrTensors},
		{"fewer elements than the shape", change(0, f32("linear.bias", []int{3}, 0, 0)), round.ErrTensors},
		{"a NaN", change(0, f32("linear.bias", []int{3}, 0, 0, float32(math.NaN()))), round.ErrNotFinite},
		{"a scale of zero", change(3, f32("normalise.scale", []int{2}, 1, 0)), round.ErrScale},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := model.Load(logistic, tt.give)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestInitial(t *testing.T) {
	wide := round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 200, Hidden: 100, Classes: 10}
	weights := model.Initial(wide, 7)
	content, err := weights.Encode()
	require.NoError(t, err)
	require.NoError(t, round.CheckWeights(wide, bytes.NewReader(content)))

	again, err := model.Initial(wide, 7).Encode()
	require.NoError(t, err)
	require.Equal(t, content, again)
	other, err := model.Initial(wide, 8).Encode()
	require.NoError(t, err)
	require.NotEqual(t, content, other)

	// 20,000 draws of N(0, 2/200): the mean is within 4 standard errors of 0, the
	// variance within 4·sqrt(2/20000) of itself.
	hidden, _ := weights.Get("hidden.weight")
	var sum, square float64
	for _, v := range hidden.F32 {
		sum += float64(v)
		square += float64(v) * float64(v)
	}
	n := float64(len(hidden.F32))
	require.InDelta(t, 0, sum/n, 4*math.Sqrt(0.01/n))
	require.InEpsilon(t, 0.01, square/n, 4*math.Sqrt(2/n))

	plain, _ := model.Initial(logistic, 7).Get("linear.weight")
	require.Equal(t, make([]float32, 6), plain.F32)
}
