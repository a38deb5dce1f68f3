package surrogate

import "math"

// standard returns values less their mean, in standard deviations, and what
// bound is in the same units.
func standard(values []float64, bound float64) ([]float64, float64) {
	mean, dev := 0.0, 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		dev += (v - mean) * (v - mean) / float64(len(values))
	}
	if dev = math.Sqrt(dev); !(dev > 0) {
		dev = 1
	}
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = (v - mean) / dev
	}
	return out, (bound - mean) / dev
}
