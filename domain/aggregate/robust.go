package aggregate

import (
	"errors"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrNotRobust says that a rule for single vectors was asked of one that takes
// a sum.
var ErrNotRobust = errors.New("the mean is no robust rule")

// Combined is what a robust rule makes of its vectors.
type Combined struct {
	Mean artifact.Tensors // F64, in parameter units, for [Step]
	Kept []string         // "tenant/site" of the vectors that a rule selected, ascending; nil for a rule that uses all
}

// Robust combines vectors by the strategy's rule: the updates of sites in a
// plain round, the means of buckets (see [BucketMean]) in a secure one.
//
// Each vector counts once, whatever its examples: they are a claim too.
// Order:  by ascending (tenant, site), in which ties are broken as well, so
// the order of the slice does not change a bit of the result.
// Errors: [ErrNoUpdates]; [ErrNotRobust]; [round.ErrInfeasible] when there are
// too few; [*UpdateError] with [ErrDuplicate], [ErrShape] or
// [round.ErrNotFinite] for the first bad vector in that order.
func Robust(s round.Strategy, updates []Update) (Combined, error) {
	s, err := s.Validate()
	if err != nil {
		return Combined{}, err
	}
	if len(updates) == 0 {
		return Combined{}, ErrNoUpdates
	}
	updates = slices.Clone(updates)
	slices.SortStableFunc(updates, compare)
	if err := admits(s, updates); err != nil {
		return Combined{}, err
	}
	var want []round.TensorSpec
	for _, t := range updates[0].Tensors {
		want = append(want, round.TensorSpec{Name: t.Name, DType: artifact.F64, Shape: t.Shape})
	}
	tensors := make([][]kernel.Vector, len(want)) // by tensor, then by site
	for _, u := range updates {
		if err := matches(want, u.Tensors); err != nil {
			return Combined{}, u.fail(err)
		}
		for t, tensor := range u.Tensors {
			x := vector(tensor)
			if !kernel.Finite(x) {
				return Combined{}, u.fail(&artifact.TensorError{Tensor: tensor.Name, Err: round.ErrNotFinite})
			}
			tensors[t] = append(tensors[t], x)
		}
	}
	loops := kernel.Best()
	m := measuring(s, len(updates), loops)
	for _, x := range tensors {
		m.add(x)
		m.next()
	}
	p := choose(s, m)
	out := Combined{Mean: zeros(want), Kept: p.kept(updates)}
	for t, x := range tensors {
		p.combine(out.Mean[t].F64, p.of(x), loops)
	}
	return out, nil
}

// admits checks what can be said before a vector is read: that the rule can
// hold out, and that the vectors, which are sorted, are of different sites.
func admits(s round.Strategy, sorted []Update) error {
	if !s.Robust() {
		return ErrNotRobust
	}
	var last *Update
	for _, u := range sorted {
		if err := u.after(last); err != nil {
			return err
		}
		last = &u
	}
	return s.Feasible(len(sorted))
}

// BucketMean makes one vector of a bucket's sum, so that a robust rule sees
// what secure aggregation shows: no site's update alone. The bucket's number
// is its name. Errors: [*RegionError] with [ErrExamples].
func BucketMean(bucket int, p Partial) (Update, error) {
	if p.Examples < 1 {
		return Update{}, &RegionError{Region: p.Region, Err: ErrExamples}
	}
	mean := make(artifact.Tensors, len(p.Sum))
	for t, tensor := range p.Sum {
		mean[t] = artifact.Tensor{Name: tensor.Name, DType: artifact.F64, Shape: tensor.Shape, F64: make([]float64, tensor.Len())}
		vector(tensor).Widen(mean[t].F64, 0)
		divide(mean[t].F64, float64(p.Examples))
	}
	name := strconv.Itoa(bucket)
	for len(name) < 6 { // so that their order is that of their numbers
		name = "0" + name
	}
	return Update{Tenant: p.Region, Site: "bucket-" + name, Examples: p.Examples, Tensors: mean}, nil
}
