package aggregate

import "slices"

// bulyan returns the places of θ = n-2f vectors, ascending: chosen one after
// the other, each the one that Krum chooses among those that are left. What
// Bulyan then returns is, for each coordinate, the mean of the β = θ-2f
// selected values that are nearest to their median:
//
//	out[j] = mean of the β values x[k][j], k selected, with least |x[k][j] - median_k x[k][j]|
//
// Krum among m vectors looks at m-f-2 neighbours, at least at one while there
// is one. Of equal scores the first site wins, of values as near the lesser.
// Source: El Mhamdi et al., ICML 2018, section 4 (arXiv:1802.07927).
func bulyan(distances []float64, n, f int) []int {
	near := neighbours(distances, n)
	alive := slices.Repeat([]bool{true}, n)
	var selected []int
	for left := n; left > 2*f; left-- {
		best, least := -1, 0.0
		for i := range n {
			if !alive[i] {
				continue
			}
			if s := score(distances, near, alive, i, n, max(1, left-f-2)); best < 0 || s < least {
				best, least = i, s
			}
		}
		alive[best] = false
		selected = append(selected, best)
	}
	slices.Sort(selected)
	return selected
}
