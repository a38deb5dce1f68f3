// Package model computes what a model answers: weights and a row in,
// probabilities out. Sites that train and runtimes that serve use this one
// forward pass, so that what was measured is what is served.
//
// Invariant: a [Network] that exists has the shapes of its specification,
// finite weights and positive scales. Products are rounded before they are
// added, so that a row has the same answer whether or not the compiler could
// have fused the two.
package model

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Why a row cannot be answered.
var (
	ErrRowLength = errors.New("row has another length than the model's inputs")
	ErrRowValue  = errors.New("row holds a NaN or an infinity")
)

// A RowError says which row of a batch is at fault, counted from 0, and why.
type RowError struct {
	Row int
	Err error
}

func (e *RowError) Error() string { return fmt.Sprintf("row %d: %v", e.Row, e.Err) }
func (e *RowError) Unwrap() error { return e.Err }

// A Layer is y[o] = bias[o] + Σ_i x[i]·weight[i*Out+o].
type Layer struct {
	Name    string // "linear", "hidden" or "output"
	In, Out int
	Weight  []float64 // row-major [In, Out]
	Bias    []float64 // [Out]
}

// A Network is softmax regression (one layer) or a network with one hidden
// layer of ReLU units (two). Weights are held in float64: F32 widens exactly.
// It is not changed by its methods and may be used by many goroutines.
type Network struct {
	Mean   []float64 // [inputs]
	Scale  []float64 // [inputs], above zero
	Layers []Layer
}

// Load builds the network of these weights.
// Errors: [*artifact.TensorError] with [round.ErrTensors], [round.ErrNotFinite]
// or [round.ErrScale].
func Load(spec round.ModelSpec, weights artifact.Tensors) (*Network, error) {
	if err := checkTensors(spec.Tensors(), weights); err != nil {
		return nil, err
	}
	n := &Network{Mean: wide(weights, round.TensorMean), Scale: wide(weights, round.TensorScale)}
	for _, form := range layers(spec) {
		form.Weight = wide(weights, form.Name+".weight")
		form.Bias = wide(weights, form.Name+".bias")
		n.Layers = append(n.Layers, form)
	}
	return n, nil
}

// Inputs returns the length of a row, and Classes that of an answer.
func (n *Network) Inputs() int  { return len(n.Mean) }
func (n *Network) Classes() int { return n.Layers[len(n.Layers)-1].Out }

// Clone returns a network whose layers may be changed without changing n's.
func (n *Network) Clone() *Network {
	out := &Network{Mean: n.Mean, Scale: n.Scale, Layers: slices.Clone(n.Layers)}
	for i, layer := range out.Layers {
		out.Layers[i].Weight = slices.Clone(layer.Weight)
		out.Layers[i].Bias = slices.Clone(layer.Bias)
	}
	return out
}

// layers returns the forms of the specification's layers, first to last.
func layers(spec round.ModelSpec) []Layer {
	if spec.Hidden == 0 {
		return []Layer{{Name: "linear", In: spec.Inputs, Out: spec.Classes}}
	}
	return []Layer{
		{Name: "hidden", In: spec.Inputs, Out: spec.Hidden},
		{Name: "output", In: spec.Hidden, Out: spec.Classes},
	}
}

func checkTensors(want []round.TensorSpec, got artifact.Tensors) error {
	for _, spec := range want {
		fail := func(err error) error { return &artifact.TensorError{Tensor: spec.Name, Err: err} }
		t, ok := got.Get(spec.Name)
		if !ok || t.DType != spec.DType || !slices.Equal(t.Shape, spec.Shape) || t.Len() != size(spec.Shape) {
			return fail(round.ErrTensors)
		}
		for i := range t.Len() {
			if v := t.At(i); math.IsNaN(v) || math.IsInf(v, 0) {
				return fail(round.ErrNotFinite)
			} else if spec.Name == round.TensorScale && v <= 0 {
				return fail(round.ErrScale)
			}
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d tensors, not %d: %w", len(got), len(want), round.ErrTensors)
	}
	return nil
}

func size(shape []int) int {
	n := 1
	for _, dim := range shape {
		n *= dim
	}
	return n
}

func wide(tensors artifact.Tensors, name string) []float64 {
	t, _ := tensors.Get(name)
	out := make([]float64, t.Len())
	for i := range out {
		out[i] = t.At(i)
	}
	return out
}
