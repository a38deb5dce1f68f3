package trainer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrVariate says that a control variate has not the tensors of the model.
var ErrVariate = errors.New("the control variate is not of this model")

// Variates are what SCAFFOLD corrects a site's drift by. None is all zeros.
type Variates struct {
	Server artifact.Tensors // F64, the server's state: the trainable tensors under [round.TensorControl]
	Own    artifact.Tensors // F64, this site's: the trainable tensors
}

// A correction is the variates as parts of a network, in the order of [parts].
type correction struct{ server, own [][]float64 }

func newCorrection(layers []model.Layer, v *Variates) (*correction, error) {
	if v == nil {
		return nil, nil
	}
	server, err := spread(layers, v.Server, round.TensorControl)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	own, err := spread(layers, v.Own, "")
	if err != nil {
		return nil, fmt.Errorf("own: %w", err)
	}
	return &correction{server, own}, nil
}

// spread finds the tensor of each part, zeros if there is none at all.
func spread(layers []model.Layer, tensors artifact.Tensors, prefix string) ([][]float64, error) {
	var out [][]float64
	for _, layer := range layers {
		for _, part := range []struct {
			name string
			size int
		}{{".weight", len(layer.Weight)}, {".bias", len(layer.Bias)}} {
			if len(tensors) == 0 {
				out = append(out, make([]float64, part.size))
				continue
			}
			t, ok := tensors.Get(prefix + layer.Name + part.name)
			if !ok || t.DType != artifact.F64 || len(t.F64) != part.size {
				return nil, fmt.Errorf("%w: %s", ErrVariate, prefix+layer.Name+part.name)
			}
			out = append(out, slices.Clone(t.F64))
		}
	}
	if len(tensors) != 0 && len(tensors) != len(out) {
		return nil, ErrVariate
	}
	return out, nil
}

// control returns by how much the site's variate moves, as tensors of the
// update: option II.
func (c *correction) control(spec round.ModelSpec, start, local *model.Network, steps int, rate float64) (artifact.Tensors, error) {
	from, to := parts(start.Layers), parts(local.Layers)
	moves := map[string][]float32{}
	for p := range from {
		next := aggregate.NextControl(c.own[p], c.server[p], from[p], to[p], steps, rate)
		move := make([]float32, len(next))
		for j, v := range next {
			move[j] = float32(v - c.own[p][j])
			if d := float64(move[j]); math.IsNaN(d) || math.IsInf(d, 0) {
				return nil, ErrDiverged
			}
		}
		name := start.Layers[p/2].Name + [2]string{".weight", ".bias"}[p%2]
		moves[name] = move
	}
	var out artifact.Tensors
	for _, s := range spec.Trainable() {
		out = append(out, artifact.Tensor{Name: round.TensorControl + s.Name, DType: artifact.F32, Shape: s.Shape, F32: moves[s.Name]})
	}
	return out, nil
}

// Moved returns the site's own variate after an update that was counted: by
// what was sent, in F32, so that the server's stays the mean of the sites'.
// Errors: [ErrVariate].
func Moved(spec round.ModelSpec, own, update artifact.Tensors) (artifact.Tensors, error) {
	var out artifact.Tensors
	for _, s := range spec.Trainable() {
		move, ok := update.Get(round.TensorControl + s.Name)
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrVariate, s.Name)
		}
		next := make([]float64, move.Len())
		if len(own) > 0 {
			t, ok := own.Get(s.Name)
			if !ok || len(t.F64) != len(next) {
				return nil, fmt.Errorf("%w: %s", ErrVariate, s.Name)
			}
			copy(next, t.F64)
		}
		for j := range next {
			next[j] += move.At(j)
		}
		out = append(out, artifact.Tensor{Name: s.Name, DType: artifact.F64, Shape: s.Shape, F64: next})
	}
	return out, nil
}
