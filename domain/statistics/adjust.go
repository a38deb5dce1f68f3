package statistics

import "slices"

// BenjaminiHochberg returns the adjusted p-values (q-values) of a family of
// tests, in the order given; those at most q are the discoveries whose expected
// share of false ones is at most q:
//
//	q(i) = min over j ≥ i of min(1, m·p(j)/j),  p(1) ≤ ... ≤ p(m)
//
// Errors: [ErrProbability] for a p outside 0..1 or NaN: a test that could not be
// made belongs in the report, not in the family.
// Source: Benjamini and Hochberg, JRSS B 57 (1995); R p.adjust(method = "BH").
func BenjaminiHochberg(p []float64) ([]float64, error) {
	order := make([]int, len(p))
	for i, v := range p {
		if !(v >= 0 && v <= 1) {
			return nil, ErrProbability
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return 0
	})
	q, m, least := make([]float64, len(p)), float64(len(p)), 1.0
	for rank := len(order); rank > 0; rank-- {
		i := order[rank-1]
		least = min(least, p[i]*m/float64(rank))
		q[i] = least
	}
	return q, nil
}
