package aggregate

import (
	"errors"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// Why a step cannot be taken, beside what [Apply] refuses.
var (
	ErrState = errors.New("the server's state is not this strategy's")
	ErrShare = errors.New("the share of those that answered is not possible")
)

// A StepInput is what the server knows when the updates of a train round have
// been combined.
type StepInput struct {
	Base  artifact.Tensors // all tensors of the model, F32
	Mean  artifact.Tensors // of the updates: what [MeanOf], [Robust] or [Buffered] returned
	State artifact.Tensors // what the last step returned; nil before the first

	// For SCAFFOLD: the sites that answered of all that there are, or their
	// examples, where sites are weighted by examples.
	Answered, All int64
}

// An equation is how a strategy moves a stretch of coordinates. At the call d
// is the mean change; at the return it is what the weights are moved by. First
// and second are the moments, changed in place; empty where there are none.
type equation func(s round.Strategy, d, first, second []float64)

// equationOf returns the strategy's own. FedProx differs from FedAvg at the
// sites, FedBuff in the mean, SCAFFOLD at the sites and in its state.
func equationOf(s round.Strategy) equation {
	switch s.Name {
	case round.FedAvgM:
		return fedAvgM
	case round.FedAdagrad:
		return fedAdagrad
	case round.FedAdam:
		return fedAdam
	case round.FedYogi:
		return fedYogi
	}
	return fedAvg
}

// stretch is how many coordinates an equation gets at a time.
const stretch = 512

// Step returns the weights after a train round, and the state for the next.
//
// The equations are with each strategy: [fedAvg], [fedAvgM], [fedAdagrad],
// [fedAdam], [fedYogi], [scaffold]. They are evaluated in float64, coordinate
// by coordinate, with every product rounded before it is added, and the
// weights are rounded to F32 once; so a step is the same to the bit wherever
// it is taken again. Inputs are not changed.
//
// The state is F64 with the tensors of [round.Strategy.State], or nil; it
// belongs to the checkpoint as the weights do.
// Errors: those of [round.Strategy.Validate] and [Apply]; [ErrState];
// [ErrShare].
func Step(spec round.ModelSpec, s round.Strategy, in StepInput) (weights, state artifact.Tensors, err error) {
	if s, err = s.Validate(); err != nil {
		return nil, nil, err
	}
	if err := fits(spec.Tensors(), in.Base); err != nil {
		return nil, nil, err
	}
	if err := matches(s.Update(spec, round.Train), in.Mean); err != nil {
		return nil, nil, err
	}
	if state, err = carried(spec, s, in.State); err != nil {
		return nil, nil, err
	}
	if s.Name == round.Scaffold {
		share, err := answered(in.Answered, in.All)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range state {
			mean, _ := in.Mean.Get(c.Name)
			kernel.Split(len(c.F64), stretch, func(lo, hi int) {
				var d [stretch]float64
				for ; lo < hi; lo += stretch {
					end := min(lo+stretch, hi)
					vector(mean).Widen(d[:end-lo], lo)
					scaffold(share, d[:end-lo], c.F64[lo:end])
				}
			})
		}
	}
	move := equationOf(s)
	weights = clone(in.Base)
	for _, t := range spec.Trainable() {
		w, _ := weights.Get(t.Name)
		mean, _ := in.Mean.Get(t.Name)
		first, _ := state.Get(round.TensorFirst + t.Name)
		second, _ := state.Get(round.TensorSecond + t.Name)
		kernel.Split(len(w.F32), stretch, func(lo, hi int) {
			var d [stretch]float64
			for ; lo < hi; lo += stretch {
				end := min(lo+stretch, hi)
				d := d[:end-lo]
				vector(mean).Widen(d, lo)
				move(s, d, cut(first.F64, lo, end), cut(second.F64, lo, end))
				for j, v := range w.F32[lo:end] {
					w.F32[lo+j] = float32(float64(v) + d[j])
				}
			}
		})
	}
	for _, tensors := range []artifact.Tensors{weights, state} {
		if err := finite(tensors); err != nil {
			return nil, nil, err
		}
	}
	return weights, state, nil
}

// carried returns a copy of the state, or the one to begin with: zero, and for
// second moments the square of tau (Reddi et al.: v[-1] >= tau²).
func carried(spec round.ModelSpec, s round.Strategy, state artifact.Tensors) (artifact.Tensors, error) {
	want := s.State(spec)
	if len(want) == 0 {
		if len(state) != 0 {
			return nil, ErrState
		}
		return nil, nil
	}
	if len(state) != 0 {
		if matches(want, state) != nil || slices.ContainsFunc(state, func(t artifact.Tensor) bool { return t.DType != artifact.F64 }) {
			return nil, ErrState
		}
		return clone(state), nil
	}
	state = zeros(want)
	for _, t := range spec.Trainable() {
		second, _ := state.Get(round.TensorSecond + t.Name)
		for j := range second.F64 {
			second.F64[j] = begin(s, round.TensorSecond)
		}
	}
	return state, nil
}

// begin is what a moment of that prefix is before the first step.
func begin(s round.Strategy, prefix string) float64 {
	if prefix == round.TensorSecond {
		return s.Tau * s.Tau
	}
	return 0
}

func cut(v []float64, lo, hi int) []float64 {
	if len(v) == 0 {
		return nil
	}
	return v[lo:hi]
}

// clone copies the elements too.
func clone(tensors artifact.Tensors) artifact.Tensors {
	out := slices.Clone(tensors)
	for i, t := range out {
		out[i].F32, out[i].F64 = slices.Clone(t.F32), slices.Clone(t.F64)
	}
	return out
}

// finite refuses a result that holds a NaN or does not fit its type.
func finite(tensors artifact.Tensors) error {
	for _, t := range tensors {
		if !kernel.Finite(vector(t)) {
			return &artifact.TensorError{Tensor: t.Name, Err: round.ErrNotFinite}
		}
	}
	return nil
}

// root is the adaptive strategies' denominator: sqrt(v) + tau.
func root(v, tau float64) float64 { return math.Sqrt(v) + tau }
