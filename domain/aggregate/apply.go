package aggregate

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// rounding is the share of E[x²] below which E[x²]-E[x]² is no variance but
// what the sums lost: some hundred times 2^-52, and still a deviation finer
// than the F32 mean resolves (2^-24 of it, squared, is 4e-15).
const rounding = 1e-13

// Apply returns the weights after a round of federated averaging:
//
//	train:      w'[j] = w[j] + mean[j], for the trainable tensors
//	statistics: normalise.mean = E[x], normalise.scale = sqrt(max(E[x²]-E[x]², 0)), and 1 where the variance is 0
//
// A train round is a [Step] of the strategy that carries nothing; a round of
// statistics is the same whatever the strategy.
// Base has all tensors of the model; mean is what [Mean] returned for a round
// of that kind. The other tensors are base's, to the bit. Everything is done in
// float64 and rounded to F32 once.
// Errors: [*artifact.TensorError] with [round.ErrTensors] for a base that does
// not fit, or with [round.ErrNotFinite] when a result does not fit into an F32;
// [ErrShape] for a mean of another kind.
func Apply(spec round.ModelSpec, kind round.Kind, base, mean artifact.Tensors) (artifact.Tensors, error) {
	if kind == round.Train {
		weights, _, err := Step(spec, round.Strategy{}, StepInput{Base: base, Mean: mean})
		return weights, err
	}
	if err := fits(spec.Tensors(), base); err != nil {
		return nil, err
	}
	if err := matches(spec.Partial(kind), mean); err != nil {
		return nil, err
	}
	out := clone(base)
	if kind == round.Statistics {
		means, _ := out.Get(round.TensorMean)
		scales, _ := out.Get(round.TensorScale)
		standard(means.F32, scales.F32, mean)
	}
	if err := finite(out); err != nil {
		return nil, err
	}
	return out, nil
}

func fits(want []round.TensorSpec, base artifact.Tensors) error {
	if err := matches(want, base); err != nil {
		return fmt.Errorf("base: %w: %w", round.ErrTensors, err)
	}
	for _, t := range base {
		if t.DType != artifact.F32 {
			return &artifact.TensorError{Tensor: t.Name, Err: round.ErrTensors}
		}
	}
	return nil
}
