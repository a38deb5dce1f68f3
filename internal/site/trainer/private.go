package trainer

import (
	"context"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// Clipped takes one step over all rows, each row's gradient clipped by itself:
//
//	Δ = -(rate/weight) · Σ_i g_i · min(1, norm/‖g_i‖)
//
// where g_i is the gradient of the cross-entropy of row i by all trainable
// tensors, taken as one vector. weight is what the update counts for in the
// mean, so that what a site adds to the sum, weight·Δ, moves by rate·norm at
// most when a row is added or taken away, in L2.
//
// With a norm that clips nothing and the number of rows as weight it is one
// full-batch step of [Train].
// Source: Abadi et al., CCS 2016, Algorithm 1 (arXiv:1607.00133), without
// sampling; the noise is added to the sum.
// Errors: those of [Train] and of [dp.Clip].
func Clipped(ctx context.Context, spec round.ModelSpec, base artifact.Tensors, rows table.Table, rate, norm float64, weight int) (artifact.Tensors, error) {
	if weight < 1 {
		return nil, ErrNoRows
	}
	start, local, err := begin(spec, base, rows)
	if err != nil {
		return nil, err
	}
	sum := start.Clone().Layers
	for _, part := range parts(sum) {
		clear(part)
	}
	grad := newGradient(start)
	for i := range rows.Len() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := grad.of(rows, []int{i}); err != nil {
			return nil, err
		}
		if _, err := dp.Clip(norm, parts(grad.layers)...); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		for p, part := range parts(grad.layers) {
			into := parts(sum)[p]
			for j, d := range part {
				into[j] += d
			}
		}
	}
	grad = &gradient{net: local, layers: sum}
	grad.step(rate / float64(weight))
	return difference(spec, start, local)
}

// parts returns the derivatives, or weights, of all layers in one order.
func parts(layers []model.Layer) [][]float64 {
	var out [][]float64
	for _, l := range layers {
		out = append(out, l.Weight, l.Bias)
	}
	return out
}
