package modelpack_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

func reader(t *testing.T, tensors ...artifact.Tensor) *artifact.TensorReader {
	t.Helper()
	encoded, err := artifact.Tensors(tensors).Encode()
	require.NoError(t, err)
	r, err := artifact.NewTensorReader(bytes.NewReader(encoded))
	require.NoError(t, err)
	return r
}

func f32(name string, values ...float32) artifact.Tensor {
	return artifact.Tensor{Name: name, DType: artifact.F32, Shape: []int{len(values)}, F32: values}
}

func TestDiffSaysWhatChangedAndByHowMuch(t *testing.T) {
	nan := float32(math.NaN())
	before := reader(t, f32("a", 1), f32("b", 3, 4), f32("c", 1, 2), f32("e", 5), f32("n", nan), f32("x", 1, nan))
	after := reader(t, f32("b", 6, 8), f32("c", 1, 2, 3), f32("d", 1), f32("e", 5), f32("n", nan), f32("x", float32(math.Inf(1)), 1))
	d, err := modelpack.Diff(before, after)
	require.NoError(t, err)
	require.False(t, d.Same)
	require.Equal(t, []modelpack.TensorDiff{
		{Name: "a", Change: "removed", Before: "F32[1]"},
		{Name: "b", Change: "changed", Before: "F32[2]", After: "F32[2]", Norm: 5, Base: 5, MaxAbs: 4, Count: 2}, // (3, 4) to (6, 8)
		{Name: "c", Change: "reshaped", Before: "F32[2]", After: "F32[3]"},
		{Name: "d", Change: "added", After: "F32[1]"},
		{Name: "e", Change: "same", Before: "F32[1]", After: "F32[1]", Base: 5},
		{Name: "n", Change: "same", Before: "F32[1]", After: "F32[1]"},
		{Name: "x", Change: "changed", Before: "F32[2]", After: "F32[2]", Base: 1, Count: 2, Unbounded: 2},
	}, d.Tensors)
	require.Equal(t, 5.0, d.Norm)
}

func TestDiffReadsLargeTensorsInChunks(t *testing.T) {
	const n = 10_000 // more than a chunk of either reader
	a, b := make([]float32, n), make([]float32, n)
	b[n-1] = 2
	d, err := modelpack.Diff(reader(t, f32("w", a...)), reader(t, f32("w", b...)))
	require.NoError(t, err)
	require.Equal(t, modelpack.Difference{Norm: 2, Tensors: []modelpack.TensorDiff{
		{Name: "w", Change: "changed", Before: "F32[10000]", After: "F32[10000]", Norm: 2, MaxAbs: 2, Count: 1},
	}}, d)
	d, err = modelpack.Diff(reader(t, f32("w", a...)), reader(t, f32("w", a...)))
	require.NoError(t, err)
	require.True(t, d.Same)
}
