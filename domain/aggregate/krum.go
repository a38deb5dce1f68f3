package aggregate

import (
	"cmp"
	"slices"
)

// krum returns the places of the keep vectors with the least score:
//
//	s(i) = Σ_{k in the n-f-2 others that are nearest to i} ‖x[i]-x[k]‖²
//
// With keep = 1 it is Krum, with more it is multi-Krum. Of equal scores the
// first site wins. Distances are summed from the least on.
// Source: Blanchard et al., NeurIPS 2017, section 4 (arXiv:1703.02757).
func krum(distances []float64, n, f, keep int) []int {
	near := neighbours(distances, n)
	alive := slices.Repeat([]bool{true}, n)
	scores := make([]float64, n)
	places := make([]int, n)
	for i := range n {
		places[i] = i
		scores[i] = score(distances, near, alive, i, n, n-f-2)
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	return places[:keep]
}

// neighbours lists for each vector the others from the nearest on.
func neighbours(distances []float64, n int) [][]int32 {
	out := make([][]int32, n)
	for i := range n {
		for k := range n {
			if k != i {
				out[i] = append(out[i], int32(k))
			}
		}
		slices.SortStableFunc(out[i], func(a, b int32) int {
			return cmp.Compare(distances[i*n+int(a)], distances[i*n+int(b)])
		})
	}
	return out
}

// score adds the distances of i to the most nearest of those that are alive.
func score(distances []float64, near [][]int32, alive []bool, i, n, most int) float64 {
	var sum float64
	for _, k := range near[i] {
		if most == 0 {
			break
		}
		if alive[k] {
			sum += distances[i*n+int(k)]
			most--
		}
	}
	return sum
}
