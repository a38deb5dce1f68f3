package aggregate

import (
	"slices"

	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// A plan is what a rule has decided from the distances or norms of n vectors:
// what is left to do is done coordinate by coordinate, so it does not matter
// whether the vectors are in memory.
type plan struct {
	places   []int     // of the vectors that are used, ascending; nil for all
	selected bool      // whether places are the rule's choice
	weights  []float64 // of a weighted mean; nil for the others
	by       float64   // what the weighted sum is divided by
	near     int       // how many values nearest to the median are averaged; 0 for a trimmed mean
	cut      int       // values that a trimmed mean leaves out at each end
}

// choose applies a strategy's rule. It is validated and feasible.
func choose(s round.Strategy, m *measures) plan {
	switch n := m.n; s.Rule {
	case round.RuleMedian:
		return median(n)
	case round.RuleTrimmedMean:
		return trimmed(s.Cut(n))
	case round.RuleKrum:
		return average(krum(m.total, n, s.Byzantine, 1))
	case round.RuleMultiKrum:
		return average(krum(m.total, n, s.Byzantine, s.Selects(n)))
	case round.RuleBulyan:
		places := bulyan(m.total, n, s.Byzantine)
		return plan{places: places, selected: true, near: len(places) - 2*s.Byzantine}
	case round.RuleGeometricMedian:
		weights := geometric(m.total, n)
		return plan{weights: weights, by: sumOf(weights)}
	default: // round.RuleNormBound
		return plan{weights: bounds(m.total, s.MaxNorm), by: float64(n)}
	}
}

// average is the mean of the vectors at these places.
func average(places []int) plan {
	return plan{places: slices.Sorted(slices.Values(places)), selected: true, weights: slices.Repeat([]float64{1}, len(places)), by: float64(len(places))}
}

// of returns the vectors that are used.
func (p plan) of(x []kernel.Vector) []kernel.Vector {
	if p.places == nil {
		return x
	}
	out := make([]kernel.Vector, len(p.places))
	for i, k := range p.places {
		out[i] = x[k]
	}
	return out
}

// kept names the vectors that a rule selected.
func (p plan) kept(sorted []Update) []string {
	var out []string
	for _, k := range p.places {
		out = append(out, sorted[k].Tenant+"/"+sorted[k].Site)
	}
	return out
}

// combine does the rest for some coordinates. Dst is zero.
func (p plan) combine(dst []float64, x []kernel.Vector, loops kernel.Set) {
	switch {
	case p.weights != nil:
		loops.Sum(dst, p.weights, x)
		divide(dst, p.by)
	case p.near > 0:
		loops.NearMedian(dst, x, p.near)
	default:
		loops.TrimmedMean(dst, x, p.cut)
	}
}

// measures are the distances between vectors, or their norms, over all
// tensors, squared; nothing for a rule that needs neither.
type measures struct {
	n      int
	total  []float64
	tensor []float64 // of the current one, so that the sum is grouped by tensors
	add    func(x []kernel.Vector)
}

// measuring begins the measures that the strategy's rule needs.
func measuring(s round.Strategy, n int, loops kernel.Set) *measures {
	m := &measures{n: n, add: func([]kernel.Vector) {}}
	sized := func(size int, add func(sums []float64, x []kernel.Vector)) {
		m.total, m.tensor = make([]float64, size), make([]float64, size)
		m.add = func(x []kernel.Vector) { add(m.tensor, x) }
	}
	switch s.Rule {
	case round.RuleKrum, round.RuleMultiKrum, round.RuleBulyan, round.RuleGeometricMedian:
		sized(n*n, loops.AddDistances)
	case round.RuleNormBound:
		sized(n, loops.AddNorms)
	}
	return m
}

// next ends a tensor.
func (m *measures) next() {
	for i, v := range m.tensor {
		m.total[i] += v
	}
	clear(m.tensor)
}

func sumOf(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum
}
