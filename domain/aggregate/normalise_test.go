package aggregate_test

import (
	"bytes"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

// The streamed weights after a round of statistics are those in memory, to the
// byte, and a base that is not one is refused.
func TestNormaliseIsApply(t *testing.T) {
	for _, spec := range []round.ModelSpec{
		{Trainer: round.TrainerLogistic, Inputs: 1500, Classes: 3},
		{Trainer: round.TrainerMLP, Inputs: 700, Hidden: 11, Classes: 2},
	} {
		base := model.Initial(spec, 3)
		mean, square := make([]float64, spec.Inputs), make([]float64, spec.Inputs)
		for i := range mean {
			mean[i] = float64(i) - 40.25
			square[i] = mean[i]*mean[i] + float64(i%5)/7 // every fifth column does not vary
		}
		shape := []int{spec.Inputs}
		moments := artifact.Tensors{
			{Name: round.TensorMoment, DType: artifact.F64, Shape: shape, F64: mean},
			{Name: round.TensorMeanSquare, DType: artifact.F64, Shape: shape, F64: square},
		}
		want, err := aggregate.Apply(spec, round.Statistics, base, moments)
		require.NoError(t, err)
		open := func(tensors artifact.Tensors, digest artifact.Digest) aggregate.Open {
			content := encoded(t, tensors)
			if digest == "" {
				digest = artifact.DigestOf(content)
			}
			return func() (io.ReadCloser, error) {
				return io.NopCloser(artifact.Expect(bytes.NewReader(content), digest)), nil
			}
		}
		var got bytes.Buffer
		require.NoError(t, aggregate.Normalise(&got, spec, open(base, ""), moments))
		require.Equal(t, encoded(t, want), got.Bytes())

		require.ErrorIs(t, aggregate.Normalise(io.Discard, spec, open(base, artifact.DigestOf(nil)), moments), artifact.ErrContent)
		require.ErrorIs(t, aggregate.Normalise(io.Discard, spec, open(base[1:], ""), moments), round.ErrTensors)
		require.ErrorIs(t, aggregate.Normalise(io.Discard, spec, open(base, ""), moments[:1]), aggregate.ErrShape)
		broken := model.Initial(spec, 3)
		broken[0].F32[0] = float32(math.Inf(1))
		require.ErrorIs(t, aggregate.Normalise(io.Discard, spec, open(broken, ""), moments), round.ErrNotFinite)
	}
}
