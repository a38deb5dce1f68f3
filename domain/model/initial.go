package model

import (
	"math"
	"math/rand/v2"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Initial returns the weights that a run starts from: biases 0, mean 0, scale
// 1; the layer of a softmax regression 0, because its loss is convex; the
// layers of a network drawn from N(0, 2/inputs of the layer), because units
// that start equal stay equal.
//
// The same seed gives the same weights: one PCG stream a layer, so that the
// width of one does not shift the draws of the other.
// Source: He et al., ICCV 2015, equation 10 (arXiv:1502.01852).
func Initial(spec round.ModelSpec, seed uint64) artifact.Tensors {
	out := make(artifact.Tensors, 0, 6)
	for _, s := range spec.Tensors() {
		out = append(out, artifact.Tensor{Name: s.Name, DType: s.DType, Shape: s.Shape, F32: make([]float32, size(s.Shape))})
	}
	scale, _ := out.Get(round.TensorScale)
	for i := range scale.F32 {
		scale.F32[i] = 1
	}
	if spec.Hidden == 0 {
		return out
	}
	for l, layer := range layers(spec) {
		draws := rand.New(rand.NewPCG(seed, uint64(l)))
		deviation := math.Sqrt(2 / float64(layer.In))
		weight, _ := out.Get(layer.Name + ".weight")
		for i := range weight.F32 {
			weight.F32[i] = float32(draws.NormFloat64() * deviation)
		}
	}
	return out
}
