package model

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// initialPiece is how many weights are drawn at a time.
const initialPiece = 1 << 16

// WriteInitial writes the weights that a run starts from, as safetensors: biases
// 0, mean 0, scale 1; the layer of a softmax regression 0, because its loss is
// convex; the layers of a network drawn from N(0, 2/inputs of the layer),
// because units that start equal stay equal. Public bounds of the columns are
// their normalisation; there are none, or one for each input. Memory does not
// grow with the model.
//
// The same seed gives the same weights: one PCG stream a layer, so that the
// width of one does not shift the draws of the other.
// Source: He et al., ICCV 2015, equation 10 (arXiv:1502.01852).
// Errors: those of [artifact.NewTensorWriter]; a failure of dst as it is.
func WriteInitial(dst io.Writer, spec round.ModelSpec, seed uint64, bounds [][2]float64) error {
	want := spec.Tensors()
	infos := make([]artifact.TensorInfo, len(want))
	for i, t := range want {
		infos[i] = artifact.TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape}
	}
	out, err := artifact.NewTensorWriter(dst, infos)
	if err != nil {
		return err
	}
	values, raw := make([]float32, initialPiece), make([]byte, 4*initialPiece)
	for _, t := range want {
		next := draw(spec, t.Name, seed, bounds)
		for left := size(t.Shape); left > 0; {
			piece := values[:min(left, len(values))]
			for i := range piece {
				piece[i] = next()
			}
			kernel.PutLE32(raw, piece)
			if _, err := out.Write(raw[:4*len(piece)]); err != nil {
				return err
			}
			left -= len(piece)
		}
	}
	return out.Close()
}

// draw returns the elements of a tensor, one after the other.
func draw(spec round.ModelSpec, name string, seed uint64, bounds [][2]float64) func() float32 {
	switch column := -1; name {
	case round.TensorMean, round.TensorScale:
		return func() float32 {
			column++
			mean, scale := 0.0, 1.0
			if len(bounds) > 0 {
				mean, scale = round.Centre(bounds[column])
			}
			if name == round.TensorMean {
				return float32(mean)
			}
			return float32(scale)
		}
	}
	for l, layer := range layers(spec) {
		if spec.Hidden == 0 || name != layer.Name+".weight" {
			continue
		}
		draws := rand.New(rand.NewPCG(seed, uint64(l)))
		deviation := math.Sqrt(2 / float64(layer.In))
		return func() float32 { return float32(draws.NormFloat64() * deviation) }
	}
	return func() float32 { return 0 }
}

// Initial returns the same weights in memory, without bounds.
func Initial(spec round.ModelSpec, seed uint64) artifact.Tensors {
	var content bytes.Buffer
	if err := WriteInitial(&content, spec, seed, nil); err != nil {
		panic(err) // a specification has tensors, and a buffer takes them
	}
	weights, err := artifact.ReadTensors(&content, int64(content.Len()))
	if err != nil {
		panic(err) // it is what was just written
	}
	return weights
}
