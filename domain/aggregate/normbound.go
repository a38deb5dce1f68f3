package aggregate

import "math"

// bounds returns what the vectors are multiplied by so that none is longer
// than most; their mean is what norm bounding returns:
//
//	out[j] = Σ_k min(1, most/‖x[k]‖)·x[k][j] / n
//
// The norm is Euclidean, over all tensors; squared are its squares.
// Source: Sun et al., 2019, section 4 (arXiv:1911.07963).
func bounds(squared []float64, most float64) []float64 {
	scale := make([]float64, len(squared))
	for k, v := range squared {
		scale[k] = 1
		if norm := math.Sqrt(v); norm > most {
			scale[k] = most / norm
		}
	}
	return scale
}
