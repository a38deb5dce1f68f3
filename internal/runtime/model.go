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
	work *batcher
}

func newLoaded(pkg routing.Package, weights []byte) (*loaded, error) {
	tensors, err := artifact.ParseTensors(weights)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	spec, err := model.SpecOf(tensors)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	net, err := model.Load(spec, tensors)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	return &loaded{pkg: pkg, wire: routing.WireName(pkg.Tenant, pkg.Model), spec: spec, net: net, work: newBatcher(net)}, nil
}
