package aggregate

import (
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// Normalise writes the weights that [Apply] returns after a round of
// statistics, to the byte, with memory for the columns and a stretch of the
// base. Errors: those of [Apply]; of [artifact.NewTensorReader]; those of the
// base and of dst as they are. After an error what was written is worth nothing.
func Normalise(dst io.Writer, spec round.ModelSpec, base Open, moments artifact.Tensors) (err error) {
	if err := matches(spec.Partial(round.Statistics), moments); err != nil {
		return err
	}
	t := tape{spec: spec}
	defer t.close(&err)
	from := t.open(base, spec.Tensors(), round.ErrTensors)
	out, err := t.writer(dst, spec.Tensors())
	if err != nil {
		return err
	}
	columns := map[string][]float32{round.TensorMean: make([]float32, spec.Inputs), round.TensorScale: make([]float32, spec.Inputs)}
	standard(columns[round.TensorMean], columns[round.TensorScale], moments)
	var wide [stretch]float64
	var narrow [stretch]float32
	var raw [4 * stretch]byte
	for _, tensor := range spec.Tensors() {
		from.to(tensor.Name)
		column, measured := columns[tensor.Name]
		for first, left := 0, size(tensor.Shape); left > 0 && t.err == nil; {
			n := min(left, stretch)
			if measured {
				copy(narrow[:n], column[first:])
			} else {
				from.read(wide[:n])
				for j := range n {
					narrow[j] = float32(wide[j]) // it was one
				}
			}
			if !kernel.PutLE32(raw[:], narrow[:n]) {
				t.fail(&artifact.TensorError{Tensor: tensor.Name, Err: round.ErrNotFinite})
			}
			t.write(out, raw[:4*n])
			first, left = first+n, left-n
		}
	}
	return t.end(out)
}

// standard turns the moments of the pooled rows into the model's own
// standardisation. A column that does not vary keeps its unit.
func standard(mean, scale []float32, moments artifact.Tensors) {
	first, _ := moments.Get(round.TensorMoment)
	second, _ := moments.Get(round.TensorMeanSquare)
	for j, m := range first.F64 {
		mean[j] = float32(m)
		variance := second.F64[j] - float64(m*m)
		scale[j] = float32(math.Sqrt(max(variance, 0)))
		if variance <= rounding*second.F64[j] || scale[j] == 0 {
			scale[j] = 1
		}
	}
}
