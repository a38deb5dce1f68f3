package payload

import (
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// A Sum is what the sites of a group said together.
type Sum struct {
	Tensors artifact.Tensors // F64: sum of weight times update
	Metrics round.Metrics
	Weight  int64 // sum of the weights, in thousandths
}

// Decode reads a sum that was unmasked, and had so many survivors. Errors:
// [ErrVector] for a vector of another form, or a sum that no honest survivors
// can have.
func (f Form) Decode(v Vector, survivors int) (Sum, error) {
	if v.U64 != nil {
		return decode(f, v.U64, survivors)
	}
	return decode(f, v.U32, survivors)
}

func decode[E ring.Element](f Form, v []E, survivors int) (Sum, error) {
	head, err := ring.DecodeCounts(f.Layout, v)
	if err != nil {
		return Sum{}, ErrVector
	}
	s := Sum{
		Metrics: round.Metrics{Examples: head[countExamples], Evaluated: head[countEvaluated], Correct: head[countCorrect], LossMicros: head[countLoss]},
		Weight:  head[countWeight],
	}
	most := int64(survivors) * mill * int64(f.params.Secure.MaxExamples)
	if survivors < 1 || !s.Metrics.Possible() || s.Weight < 0 || s.Weight > most || f.kind != round.Evaluate && s.Weight < int64(survivors)*mill {
		return Sum{}, ErrVector
	}
	if f.elements() == 0 {
		return s, nil
	}
	values := make([]float64, f.elements())
	if f.kind == round.Statistics {
		for j := range values {
			values[j] = getWide(head[counts+wideCounts*j:][:wideCounts])
		}
	} else {
		_, payload, err := ring.Split(f.Layout, v)
		if err == nil {
			err = ring.Decode(f.Codec, values, payload, 1)
		}
		if err != nil {
			return Sum{}, err
		}
	}
	at := 0
	for _, t := range f.tensors {
		n := 1
		for _, dim := range t.Shape {
			n *= dim
		}
		s.Tensors = append(s.Tensors, artifact.Tensor{Name: t.Name, DType: artifact.F64, Shape: slices.Clone(t.Shape), F64: values[at : at+n : at+n]})
		at += n
	}
	if slices.ContainsFunc(values, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }) {
		return Sum{}, ErrVector
	}
	return s, nil
}
