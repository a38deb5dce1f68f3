package aggregate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// A Partial is all that leaves a region: the sum of examples times update over
// its sites, and the sum of the examples.
type Partial struct {
	Region   string
	Examples int64
	Sum      artifact.Tensors // F64
}

// A RegionError says which region's sum is at fault, and why.
type RegionError struct {
	Region string
	Err    error // ErrShape, ErrExamples or ErrDuplicate
}

func (e *RegionError) Error() string { return fmt.Sprintf("sum of region %s: %v", e.Region, e.Err) }
func (e *RegionError) Unwrap() error { return e.Err }

// WeightedSum adds the updates of one region:
//
//	sum[j] = Σ_k n[k]·Δ[k][j]
//
// Shapes: K ≥ 1 updates with the tensors of a round of that kind.
// Units:  n is a count of examples; the sum is in examples times parameters.
// Order:  by ascending (tenant, site), whatever order the slice is in.
// Errors: [ErrNoUpdates]; [*UpdateError] for the first bad update in that order.
func WeightedSum(spec round.ModelSpec, kind round.Kind, region string, updates []Update) (Partial, error) {
	return weightedSum(NewSum(spec, kind), region, updates)
}

func weightedSum(sum *Sum, region string, updates []Update) (Partial, error) {
	sorted := slices.Clone(updates)
	slices.SortStableFunc(sorted, compare)
	if err := sum.Add(sorted...); err != nil {
		return Partial{}, err
	}
	return sum.Partial(region)
}

// Mean adds the regions' sums and divides by all examples:
//
//	mean[j] = Σ_r sum[r][j] / Σ_r examples[r]
//
// Shapes: R ≥ 1 partials, all with the tensors of a round of that kind.
// Order:  by ascending region, whatever order the slice is in.
//
// Addition of floats is not associative, so this mean and [FedAvg] over all
// sites at once may differ in the last bits when there are several regions.
// Grouping by region is what the fabric defines: the same cohort, cut into the
// same regions, has one result.
// Errors: [ErrNoUpdates]; [*RegionError].
func Mean(spec round.ModelSpec, kind round.Kind, partials []Partial) (artifact.Tensors, error) {
	return MeanOf(spec.Partial(kind), partials)
}

// MeanOf is [Mean] for sums with these tensors, by ascending name.
func MeanOf(want []round.TensorSpec, partials []Partial) (artifact.Tensors, error) {
	if len(partials) == 0 {
		return nil, ErrNoUpdates
	}
	sorted := slices.Clone(partials)
	slices.SortStableFunc(sorted, func(a, b Partial) int { return cmp.Compare(a.Region, b.Region) })
	var examples int64
	for i, p := range sorted {
		fail := func(err error) error { return &RegionError{Region: p.Region, Err: err} }
		if i > 0 && sorted[i-1].Region == p.Region {
			return nil, fail(ErrDuplicate)
		}
		if p.Examples < 1 || p.Examples > math.MaxInt64/int64(len(sorted)) {
			return nil, fail(ErrExamples)
		}
		if err := matches(want, p.Sum); err != nil {
			return nil, fail(err)
		}
		examples += p.Examples
	}
	out, loops := zeros(want), kernel.Best()
	ones := slices.Repeat([]float64{1}, len(sorted))
	rows := make([]kernel.Vector, len(sorted))
	for t, tensor := range out {
		for i, p := range sorted {
			rows[i] = vector(p.Sum[t])
		}
		loops.Sum(tensor.F64, ones, rows) // times one is exact
		divide(tensor.F64, float64(examples))
	}
	return out, nil
}

// divide divides every element, in place.
func divide(v []float64, by float64) {
	kernel.Split(len(v), 1, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			v[j] /= by
		}
	})
}

// FedAvg returns the example-weighted mean of the updates:
//
//	out[j] = Σ_k n[k]·Δ[k][j] / Σ_k n[k]
//
// Shapes: K ≥ 1 updates, each with the tensors of the first by Site; the result
// has the same, in F64.
// Units:  n is a count of examples; Δ and out are in parameter units.
// Order:  terms are summed by ascending (Tenant, Site), and each product is
// rounded before it is added (no fused multiply-add), so that neither arrival
// order nor the CPU changes a bit of the result. NaN and Inf pass through.
// Errors: [ErrNoUpdates]; [*UpdateError] for the first bad update by Site.
// Source: McMahan et al., AISTATS 2017, Algorithm 1 (arXiv:1602.05629).
func FedAvg(updates []Update) (artifact.Tensors, error) {
	if len(updates) == 0 {
		return nil, ErrNoUpdates
	}
	var want []round.TensorSpec
	for _, t := range slices.MinFunc(updates, compare).Tensors {
		want = append(want, round.TensorSpec{Name: t.Name, DType: artifact.F64, Shape: t.Shape})
	}
	partial, err := weightedSum(SumOf(want), "", updates)
	if err != nil {
		return nil, err
	}
	for _, t := range partial.Sum {
		divide(t.F64, float64(partial.Examples))
	}
	return partial.Sum, nil
}

func compare(a, b Update) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Site, b.Site))
}
