package model

import (
	"errors"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrKind says that weights are of no kind of model that is known.
var ErrKind = errors.New("neither linear nor hidden and output layers")

// SpecOf reads the specification off the tensors: what is signed are the
// weights, so nothing else is asked what they are. [Load] then holds every
// tensor to it. Errors: [ErrKind].
func SpecOf(tensors artifact.Tensors) (round.ModelSpec, error) {
	matrix := func(name string) (rows, columns int, ok bool) {
		t, ok := tensors.Get(name)
		if !ok || len(t.Shape) != 2 || t.Shape[0] < 1 || t.Shape[1] < 2 && name != "hidden.weight" {
			return 0, 0, false
		}
		return t.Shape[0], t.Shape[1], true
	}
	if inputs, classes, ok := matrix("linear.weight"); ok {
		return round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: inputs, Classes: classes}, nil
	}
	inputs, hidden, ok := matrix("hidden.weight")
	_, classes, okOutput := matrix("output.weight")
	if !ok || !okOutput || hidden < 1 {
		return round.ModelSpec{}, ErrKind
	}
	return round.ModelSpec{Trainer: round.TrainerMLP, Inputs: inputs, Hidden: hidden, Classes: classes}, nil
}
