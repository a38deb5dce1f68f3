package round_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

var (
	logistic = round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 3, Classes: 2}
	mlp      = round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 3, Hidden: 4, Classes: 2}
)

// The layout of docs/protocol/weights.md.
func TestTensorsOfAModel(t *testing.T) {
	require.Equal(t, []round.TensorSpec{
		{"linear.bias", "F32", []int{2}},
		{"linear.weight", "F32", []int{3, 2}},
		{"normalise.mean", "F32", []int{3}},
		{"normalise.scale", "F32", []int{3}},
	}, logistic.Tensors())
	require.Equal(t, []round.TensorSpec{
		{"hidden.bias", "F32", []int{4}},
		{"hidden.weight", "F32", []int{3, 4}},
		{"normalise.mean", "F32", []int{3}},
		{"normalise.scale", "F32", []int{3}},
		{"output.bias", "F32", []int{2}},
		{"output.weight", "F32", []int{4, 2}},
	}, mlp.Tensors())
	require.Equal(t, []round.TensorSpec{
		{"moments.mean", "F64", []int{3}},
		{"moments.mean_square", "F64", []int{3}},
	}, mlp.Update(round.Statistics))
	require.Equal(t, mlp.Trainable(), mlp.Update(round.Train))
	require.Empty(t, mlp.Update(round.Evaluate))

	own := mlp
	own.Trainer = round.TrainerExec
	require.Equal(t, mlp.Tensors(), own.Tensors(), "a site's own program trains the same tensors")
}

func TestTensorsAreInTheOrderOfTheFile(t *testing.T) {
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		for _, specs := range [][]round.TensorSpec{spec.Tensors(), spec.Trainable(), spec.Update(round.Statistics)} {
			require.True(t, slices.IsSortedFunc(specs, func(a, b round.TensorSpec) int {
				return bytes.Compare([]byte(a.Name), []byte(b.Name))
			}))
		}
	}
}

func TestCheckUpdate(t *testing.T) {
	good := ones(logistic.Trainable())
	with := func(change func(artifact.Tensors) artifact.Tensors) []byte {
		return encode(t, change(ones(logistic.Trainable())))
	}
	nan := with(func(u artifact.Tensors) artifact.Tensors { u[1].F32[5] = float32(math.NaN()); return u })
	tests := []struct {
		name string
		kind round.Kind
		give []byte
		want error
	}{
		{"takes the tensors of the round", round.Train, encode(t, good), nil},
		{"takes moments in a round of statistics", round.Statistics, encode(t, ones(logistic.Update(round.Statistics))), nil},
		{"refuses a NaN in the last element", round.Train, nan, round.ErrNotFinite},
		{"refuses an infinity", round.Train, with(func(u artifact.Tensors) artifact.Tensors { u[0].F32[0] = float32(math.Inf(-1)); return u }), round.ErrNotFinite},
		{"refuses another shape of as many elements", round.Train, with(func(u artifact.Tensors) artifact.Tensors { u[1].Shape = []int{2, 3}; return u }), round.ErrTensors},
		{"refuses a missing tensor", round.Train, with(func(u artifact.Tensors) artifact.Tensors { return u[:1] }), round.ErrTensors},
		{"refuses a tensor too many", round.Train, encode(t, ones(logistic.Tensors())), round.ErrTensors},
		{"refuses another name", round.Train, with(func(u artifact.Tensors) artifact.Tensors { u[0].Name = "linear.bios"; return u }), round.ErrTensors},
		{"refuses another type", round.Train, encode(t, ones(logistic.Partial(round.Train))), round.ErrTensors},
		{"refuses a delta in a round of statistics", round.Statistics, encode(t, good), round.ErrTensors},
		{"refuses any update in a round that evaluates", round.Evaluate, encode(t, good), round.ErrTensors},
		{"refuses a tail", round.Train, append(encode(t, good), 0), artifact.ErrTail},
		{"refuses what is no model", round.Train, []byte("PK\x03\x04........"), artifact.ErrHeaderLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorIs(t, round.CheckUpdate(logistic, tt.kind, bytes.NewReader(tt.give)), tt.want)
		})
	}

	var at *artifact.TensorError
	require.ErrorAs(t, round.CheckUpdate(logistic, round.Train, bytes.NewReader(nan)), &at)
	require.Equal(t, "linear.weight", at.Tensor)

	broken := errors.New("connection reset")
	src := iotest.TimeoutReader(bytes.NewReader(encode(t, good)))
	require.ErrorIs(t, round.CheckUpdate(logistic, round.Train, src), iotest.ErrTimeout)
	require.ErrorIs(t, round.CheckUpdate(logistic, round.Train, iotest.ErrReader(broken)), broken)
}

// The norm is that of all elements of all tensors: of the trainable ones of a
// softmax regression here, all 1, then with a 3, a -4 and a 0 in the place of three.
func TestNormOfUpdate(t *testing.T) {
	update := ones(logistic.Trainable())
	n := 0
	for _, tensor := range update {
		n += len(tensor.F32)
	}
	norm := func() (float64, error) {
		return round.Strategy{}.NormOfUpdate(logistic, round.Train, bytes.NewReader(encode(t, update)))
	}
	got, err := norm()
	require.NoError(t, err)
	require.InDelta(t, math.Sqrt(float64(n)), got, 1e-12)
	update[0].F32[0], update[1].F32[0], update[1].F32[1] = 3, -4, 0
	got, err = norm()
	require.NoError(t, err)
	require.InDelta(t, math.Sqrt(float64(n-3)+25), got, 1e-12)
	update[0].F32[0] = float32(math.NaN())
	_, err = norm()
	require.ErrorIs(t, err, round.ErrNotFinite)
}

// The wrong shape is seen in the header: no data needs to arrive.
func TestShapesAreComparedBeforeDataIsRead(t *testing.T) {
	content := encode(t, ones(mlp.Trainable()))
	header := content[:len(content)-4*(4+12+2+8)]
	require.ErrorIs(t, round.CheckUpdate(logistic, round.Train, bytes.NewReader(header)), round.ErrTensors)
}

func TestCheckWeights(t *testing.T) {
	weights := ones(mlp.Tensors())
	require.NoError(t, round.CheckWeights(mlp, bytes.NewReader(encode(t, weights))))
	for _, scale := range []float32{0, -1} {
		weights[3].F32[2] = scale
		require.ErrorIs(t, round.CheckWeights(mlp, bytes.NewReader(encode(t, weights))), round.ErrScale)
	}
}

func ones(specs []round.TensorSpec) artifact.Tensors {
	var out artifact.Tensors
	for _, s := range specs {
		n := 1
		for _, dim := range s.Shape {
			n *= dim
		}
		t := artifact.Tensor{Name: s.Name, DType: s.DType, Shape: s.Shape}
		if s.DType == artifact.F64 {
			t.F64 = slices.Repeat([]float64{1}, n)
		} else {
			t.F32 = slices.Repeat([]float32{1}, n)
		}
		out = append(out, t)
	}
	return out
}

func encode(t *testing.T, tensors artifact.Tensors) []byte {
	content, err := tensors.Encode()
	require.NoError(t, err)
	return content
}
