package aggregate

import (
	"math"
	"slices"
)

// When the search for the geometric median ends: after maxSteps, or when no
// vector's share changes by more than settled. A vector nearer than smooth
// times the largest distance from the mean pulls no harder; below that, a
// distance computed from others is rounding.
const (
	maxSteps = 1000
	settled  = 1e-12
	smooth   = 1e-6
)

// geometric returns the weights w of the point with the least summed distance
// from all vectors, z = Σ_k w[k]·x[k] / Σ_k w[k]: Weiszfeld's iteration from
// their mean, smoothed where it meets one of them:
//
//	w[k] <- 1 / max(ν, ‖x[k]-z‖)
//
// The iteration stays among the weighted means of the vectors, so it needs
// only the distances between them. With weights that sum to one,
//
//	‖x[i]-z‖² = Σ_k w[k]·d²[i][k] - ½·Σ_k Σ_l w[k]·w[l]·d²[k][l]
//
// and a vector of any length is read once for the distances and once for z.
// Source: the smoothed Weiszfeld algorithm of Pillutla et al., IEEE TSP 70,
// 2022 (arXiv:1912.13445), with equal weights.
func geometric(squared []float64, n int) []float64 {
	w := slices.Repeat([]float64{1 / float64(n)}, n)
	far := math.Sqrt(slices.Max(fromMean(squared, w)))
	if far == 0 {
		return slices.Repeat([]float64{1}, n) // all are one
	}
	for range maxSteps {
		next := fromMean(squared, w)
		for k, d := range next {
			next[k] = 1 / max(smooth*far, math.Sqrt(d))
		}
		total, moved := sumOf(next), 0.0
		for k := range next {
			next[k] /= total
			moved = max(moved, math.Abs(next[k]-w[k]))
		}
		if w = next; moved <= settled {
			break
		}
	}
	return w
}

// fromMean returns the squared distances of the vectors from their weighted
// mean, by their squared distances from each other.
func fromMean(squared, w []float64) []float64 {
	n := len(w)
	out := make([]float64, n)
	var within float64
	for i := range n {
		for k, d := range squared[i*n : (i+1)*n] {
			out[i] += float64(w[k] * d)
		}
		within += float64(w[i] * out[i])
	}
	for i := range out {
		out[i] = max(0, out[i]-within/2)
	}
	return out
}
