package aggregate

import (
	"errors"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrStale says that an update started from weights that are too old, or from
// ones that are not there yet.
var ErrStale = errors.New("its staleness is not allowed")

// A Late is an update in the buffer, and how many steps the server took
// between the weights that it started from and now.
type Late struct {
	Update
	Staleness int
}

// Buffered returns the mean of a full buffer, for [Step]:
//
//	out[j] = Σ_k s(τ[k])·Δ[k][j] / K,  s(τ) = 1/√(1+τ) in whole thousandths, rounded down
//
// It divides by K and not by the sum of the weights: a buffer of old updates
// moves the weights less. Every update counts once, whatever its examples.
// Shapes: K ≥ 1 updates with these tensors; one site may be there again with
// another staleness.
// Order:  by ascending (tenant, site, staleness).
// Errors: [ErrNoUpdates]; [*UpdateError] with [ErrStale], [ErrShape] or
// [ErrDuplicate] for the first at fault in that order.
// A region's sum of such terms ([Merge], with [round.StaleWeight] in the place of
// the examples), divided by a thousand a term ([MergeMean]), is the same to the
// bit where there is one region.
// Source: Nguyen et al., AISTATS 2022, Algorithm 1 and section 5 (arXiv:2106.06639).
func Buffered(spec round.ModelSpec, s round.Strategy, updates []Late) (artifact.Tensors, error) {
	s, err := s.Validate()
	if err != nil {
		return nil, err
	}
	if len(updates) == 0 {
		return nil, ErrNoUpdates
	}
	sorted := slices.Clone(updates)
	slices.SortStableFunc(sorted, func(a, b Late) int {
		if c := compare(a.Update, b.Update); c != 0 {
			return c
		}
		return a.Staleness - b.Staleness
	})
	want := spec.Partial(round.Train)
	weights := make([]float64, len(sorted))
	for k, u := range sorted {
		if u.Staleness < 0 || u.Staleness > s.MaxStaleness {
			return nil, u.fail(ErrStale)
		}
		if k > 0 && compare(sorted[k-1].Update, u.Update) == 0 && sorted[k-1].Staleness == u.Staleness {
			return nil, u.fail(ErrDuplicate)
		}
		if err := matches(want, u.Tensors); err != nil {
			return nil, u.fail(err)
		}
		weights[k] = float64(round.StaleWeight(u.Staleness))
	}
	out, loops := zeros(want), kernel.Best()
	rows := make([]kernel.Vector, len(sorted))
	for t := range out {
		for k, u := range sorted {
			rows[k] = vector(u.Tensors[t])
		}
		loops.Sum(out[t].F64, weights, rows)
		divide(out[t].F64, 1000*float64(len(sorted)))
	}
	return out, nil
}
