package runtime

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
)

// A loaded model answers. It is not changed once it is loaded.
type loaded struct {
	pkg  routing.Package
	wire string
	spec round.ModelSpec
	net  *model.Network
}

func newLoaded(pkg routing.Package, weights []byte) (*loaded, error) {
	tensors, err := artifact.ParseTensors(weights)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	spec, err := specOf(tensors)
	if err != nil {
		return nil, err
	}
	net, err := model.Load(spec, tensors)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	return &loaded{pkg: pkg, wire: routing.WireName(pkg.Tenant, pkg.Model), spec: spec, net: net}, nil
}

// specOf reads the specification off the tensors: what is signed are the
// weights, so nothing else is asked what they are. model.Load then holds every
// tensor to it.
func specOf(tensors artifact.Tensors) (round.ModelSpec, error) {
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
		return round.ModelSpec{}, fmt.Errorf("%w: neither linear nor hidden and output layers", ErrWeights)
	}
	return round.ModelSpec{Trainer: round.TrainerMLP, Inputs: inputs, Hidden: hidden, Classes: classes}, nil
}
