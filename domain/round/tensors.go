package round

import "github.com/atom-fabric/fabric/domain/artifact"

// A TensorSpec is the name and the form of one tensor.
type TensorSpec struct {
	Name  string
	DType artifact.DType
	Shape []int
}

// Names of the tensors that are not layers.
const (
	TensorMean       = "normalise.mean"
	TensorScale      = "normalise.scale"
	TensorMoment     = "moments.mean"
	TensorMeanSquare = "moments.mean_square"
)

// Trainable returns the tensors that training moves, all F32, by ascending
// name: one layer for softmax regression, two for a network with a hidden
// layer. Weights are [inputs of the layer, outputs of the layer].
//
// A model of trainer "exec" has the same tensors: those of the network if
// Hidden is set, else those of the regression. A site's own program decides how
// they are trained, not what they mean, so every runtime can serve them.
func (m ModelSpec) Trainable() []TensorSpec {
	if m.Hidden == 0 {
		return []TensorSpec{
			{"linear.bias", artifact.F32, []int{m.Classes}},
			{"linear.weight", artifact.F32, []int{m.Inputs, m.Classes}},
		}
	}
	return []TensorSpec{
		{"hidden.bias", artifact.F32, []int{m.Hidden}},
		{"hidden.weight", artifact.F32, []int{m.Inputs, m.Hidden}},
		{"output.bias", artifact.F32, []int{m.Classes}},
		{"output.weight", artifact.F32, []int{m.Hidden, m.Classes}},
	}
}

// Tensors returns all tensors of the model's weights, by ascending name.
func (m ModelSpec) Tensors() []TensorSpec {
	normalise := []TensorSpec{
		{TensorMean, artifact.F32, []int{m.Inputs}},
		{TensorScale, artifact.F32, []int{m.Inputs}},
	}
	layers := m.Trainable()
	at := len(layers) / 2 // "normalise" sorts after "hidden" and "linear", before "output"
	if m.Hidden == 0 {
		at = len(layers)
	}
	out := append([]TensorSpec(nil), layers[:at]...)
	return append(append(out, normalise...), layers[at:]...)
}

// Update returns the tensors of a site's answer in a round of that kind, by
// ascending name; none for a round that only evaluates.
func (m ModelSpec) Update(kind Kind) []TensorSpec {
	switch kind {
	case Statistics:
		return []TensorSpec{
			{TensorMoment, artifact.F64, []int{m.Inputs}},
			{TensorMeanSquare, artifact.F64, []int{m.Inputs}},
		}
	case Train:
		return m.Trainable()
	}
	return nil
}

// Partial returns the tensors of a region's sum: those of the update, in F64.
func (m ModelSpec) Partial(kind Kind) []TensorSpec {
	specs := m.Update(kind)
	for i := range specs {
		specs[i].DType = artifact.F64
	}
	return specs
}

// MaxBuiltInBytes bounds the weights of a model that a built-in trainer trains:
// it holds them, the network that it changes and its gradient in memory, in
// float64, some eight times as much.
const MaxBuiltInBytes = 64 << 20

// maxParameters keeps a vector with its counts inside what is summed at once.
const maxParameters = 1<<31 - 1<<20

// Parameters returns the number of elements of the model's weights.
func (m ModelSpec) Parameters() int64 {
	var n int64
	for _, t := range m.Tensors() {
		size := int64(1)
		for _, dim := range t.Shape {
			size *= int64(dim)
		}
		n += size
	}
	return n
}

// SizeBytes returns the size of the model's weights in F32, without a header.
func (m ModelSpec) SizeBytes() int64 { return 4 * m.Parameters() }
