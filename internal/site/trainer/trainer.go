// Package trainer turns a site's rows into an update.
//
// Invariant: an update is a function of the base weights, the rows, the
// settings and the seed. Run again, on the same kind of CPU, it is the same to
// the bit, so that a site that dies in a round and does it again has sent one
// update and not two.
package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// Why rows cannot be used with a model.
var (
	ErrColumns  = errors.New("the rows have another number of columns than the model has inputs")
	ErrClasses  = errors.New("the rows have a label that the model has no class for")
	ErrNoRows   = errors.New("no row is left to train on")
	ErrDiverged = errors.New("training has left the finite numbers")
)

// A Seed starts a site's own random numbers of one round.
type Seed struct{ hi, lo uint64 }

// NewSeed returns the seed of a site in a round: the first 16 bytes of
// sha256(seed, number, tenant, site), a line each. The run's own id is not
// part of it, so that two runs with the same parameters on the same rows give
// the same model to the bit, and one can be held against the other.
func NewSeed(seed uint64, number int, tenant, site string) Seed {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%d\n%s\n%s\n", seed, number, tenant, site))
	return Seed{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

// Rand returns the random numbers of the seed, from the first on.
func (s Seed) Rand() *rand.Rand { return rand.New(rand.NewPCG(s.hi, s.lo)) }

// Uint63 is the seed for a program that knows one integer.
func (s Seed) Uint63() uint64 { return s.hi >> 1 }

// Rounding is the seed of the rounding that an update gets on its way into a
// ring. It is no secret.
func (s Seed) Rounding() dp.Seed {
	return sha256.Sum256(fmt.Appendf(nil, "rounding\n%d\n%d\n", s.hi, s.lo))
}

// Settings are what the caller of a run chose about local training.
type Settings struct {
	Epochs       int // passes over the rows
	Batch        int // rows a step; the last step of an epoch takes what is left
	LearningRate float64
	ProximalMu   float64   // FedProx; 0 holds nothing near the base
	Variates     *Variates // SCAFFOLD; nil corrects nothing
}

// Check compares rows with the shapes of a model.
// Errors: [ErrColumns], [ErrClasses].
func Check(spec round.ModelSpec, rows table.Table) error {
	if len(rows.Columns) != spec.Inputs {
		return fmt.Errorf("%w: %d, not %d", ErrColumns, len(rows.Columns), spec.Inputs)
	}
	if rows.Classes() > spec.Classes {
		return fmt.Errorf("%w: %d classes, not %d", ErrClasses, rows.Classes(), spec.Classes)
	}
	return nil
}

// Train runs mini-batch SGD on the mean cross-entropy of each batch, from the
// base weights, and returns what it changed:
//
//	Δ = local - base, the trainable tensors, computed in float64, rounded to F32 once
//
// Rows are shuffled anew each epoch by random. The settings may add the terms of
// [aggregate.Proximal] and [aggregate.Corrected] to each step's gradient; with
// variates the update also says how the site's own moves.
//
// Errors: [ErrNoRows], [ErrColumns], [ErrClasses], [ErrDiverged], [ErrVariate], those of [model.Load], and ctx's own.
func Train(ctx context.Context, spec round.ModelSpec, base artifact.Tensors, rows table.Table, set Settings, random *rand.Rand) (artifact.Tensors, error) {
	start, local, err := begin(spec, base, rows)
	if err != nil {
		return nil, err
	}
	correct, err := newCorrection(local.Layers, set.Variates)
	if err != nil {
		return nil, err
	}
	grad, steps := newGradient(local), 0
	weights, origin, slopes := parts(local.Layers), parts(start.Layers), parts(grad.layers)
	order := make([]int, rows.Len())
	for i := range order {
		order[i] = i
	}
	for range set.Epochs {
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for at := 0; at < len(order); at += set.Batch {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			batch := order[at:min(at+set.Batch, len(order))]
			if err := grad.of(rows, batch); err != nil {
				return nil, err
			}
			for p, slope := range slopes {
				if set.ProximalMu != 0 {
					aggregate.Proximal(slope, weights[p], origin[p], set.ProximalMu)
				}
				if correct != nil {
					aggregate.Corrected(slope, correct.server[p], correct.own[p])
				}
			}
			grad.step(set.LearningRate)
			steps++
		}
	}
	update, err := difference(spec, start, local)
	if err != nil || correct == nil {
		return update, err
	}
	control, err := correct.control(spec, start, local, steps, set.LearningRate)
	return append(control, update...), err // "control/" sorts before every layer's name
}

// begin returns the network of the base weights, for rows that fit it, and one
// that training may change.
func begin(spec round.ModelSpec, base artifact.Tensors, rows table.Table) (start, local *model.Network, err error) {
	if rows.Len() == 0 {
		return nil, nil, ErrNoRows
	}
	if err := Check(spec, rows); err != nil {
		return nil, nil, err
	}
	if start, err = model.Load(spec, base); err != nil {
		return nil, nil, err
	}
	return start, start.Clone(), nil
}

// difference returns local - start as an update.
func difference(spec round.ModelSpec, start, local *model.Network) (artifact.Tensors, error) {
	values := make(map[string][]float32)
	for l, layer := range local.Layers {
		for name, pair := range map[string][2][]float64{
			layer.Name + ".weight": {layer.Weight, start.Layers[l].Weight},
			layer.Name + ".bias":   {layer.Bias, start.Layers[l].Bias},
		} {
			delta := make([]float32, len(pair[0]))
			for i, v := range pair[0] {
				delta[i] = float32(v - pair[1][i])
				if d := float64(delta[i]); math.IsNaN(d) || math.IsInf(d, 0) {
					return nil, ErrDiverged
				}
			}
			values[name] = delta
		}
	}
	var out artifact.Tensors
	for _, s := range spec.Trainable() {
		out = append(out, artifact.Tensor{Name: s.Name, DType: artifact.F32, Shape: s.Shape, F32: values[s.Name]})
	}
	return out, nil
}

// Moments returns the mean of each column and of its square, in F64, which is
// all that a site tells in a round of statistics. Errors: [ErrNoRows].
func Moments(rows table.Table) (artifact.Tensors, error) {
	if rows.Len() == 0 {
		return nil, ErrNoRows
	}
	n := float64(rows.Len())
	mean := make([]float64, len(rows.Columns))
	square := make([]float64, len(rows.Columns))
	for _, row := range rows.Rows {
		for c, v := range row {
			mean[c] += v
			square[c] += float64(v * v)
		}
	}
	for c := range mean {
		mean[c] /= n
		square[c] /= n
	}
	shape := []int{len(rows.Columns)}
	return artifact.Tensors{
		{Name: round.TensorMoment, DType: artifact.F64, Shape: shape, F64: mean},
		{Name: round.TensorMeanSquare, DType: artifact.F64, Shape: shape, F64: square},
	}, nil
}
