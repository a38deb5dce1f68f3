package round

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why an update or weights cannot be used, beside the faults of the format
// that [artifact.NewTensorReader] names.
var (
	ErrTensors   = errors.New("tensors are not those of the round's model")
	ErrNotFinite = errors.New("holds a NaN or an infinity")
	ErrScale     = errors.New("holds a scale that is not positive")
)

// CheckUpdate reads an update to its end and returns nil if it is one that may
// be summed in a round of that kind: exactly the tensors of the model, in their
// types and shapes, and every element finite. Memory does not grow with the
// update; names and shapes are compared before any data is read.
//
// Errors: [*artifact.TensorError] with [ErrTensors] or [ErrNotFinite];
// [ErrTensors] when a tensor is missing or the round takes no update; those of
// [artifact.TensorReader]; a failure of src as it is.
func CheckUpdate(spec ModelSpec, kind Kind, src io.Reader) error {
	_, err := check(spec.Update(kind), src)
	return err
}

// CheckPartial does the same for a region's sum.
func CheckPartial(spec ModelSpec, kind Kind, src io.Reader) error {
	_, err := check(spec.Partial(kind), src)
	return err
}

// CheckWeights does the same for a model's weights, and wants every scale
// above zero. Errors: those of [CheckUpdate] and [ErrScale].
func CheckWeights(spec ModelSpec, src io.Reader) error {
	_, err := check(spec.Tensors(), src)
	return err
}

// check also returns the sum of the squares of all elements, in the order of
// the file. It may overflow to an infinity, which is no fault of the elements.
func check(want []TensorSpec, src io.Reader) (squares float64, err error) {
	r, err := artifact.NewTensorReader(src)
	if err != nil {
		return 0, err
	}
	if err := MatchTensors(want, r.Tensors()); err != nil {
		return 0, err
	}
	chunk := make([]float64, 4096)
	for {
		info, err := r.Next()
		if errors.Is(err, io.EOF) {
			return squares, nil
		}
		if err != nil {
			return 0, err
		}
		for {
			n, err := r.Read(chunk)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			if err := checkValues(info.Name, chunk[:n]); err != nil {
				return 0, &artifact.TensorError{Tensor: info.Name, Err: err}
			}
			for _, v := range chunk[:n] {
				squares += float64(v * v)
			}
		}
	}
}

func checkValues(name string, values []float64) error {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ErrNotFinite
		}
		if name == TensorScale && v <= 0 {
			return ErrScale
		}
	}
	return nil
}

// MatchTensors compares a header with the tensors that are wanted. Both are by
// ascending name.
func MatchTensors(want []TensorSpec, got []artifact.TensorInfo) error {
	for i, info := range got {
		if i >= len(want) || info.Name != want[i].Name {
			return &artifact.TensorError{Tensor: info.Name, Err: ErrTensors}
		}
		if info.DType != want[i].DType || !slices.Equal(info.Shape, want[i].Shape) {
			err := fmt.Errorf("%w: %s %v, not %s %v", ErrTensors, info.DType, info.Shape, want[i].DType, want[i].Shape)
			return &artifact.TensorError{Tensor: info.Name, Err: err}
		}
	}
	if len(got) < len(want) {
		return &artifact.TensorError{Tensor: want[len(got)].Name, Err: fmt.Errorf("%w: it is missing", ErrTensors)}
	}
	return nil
}
