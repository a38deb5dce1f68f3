package drift

import (
	"math"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// LeastSpread is the least standard deviation that a distance is divided by.
const LeastSpread = 1e-3

// A Gap is how far apart the distribution functions F and G of two samples are.
type Gap struct {
	KS          float64 // greatest |F-G|
	Wasserstein float64 // ∫|F-G|, in units of the values
	Energy      float64 // sqrt(2·∫(F-G)²)
	Spread      float64 // standard deviation of the reference, n below the line
}

// Normalised is the Wasserstein distance in standard deviations of the
// reference, of at least [LeastSpread].
func (g Gap) Normalised() float64 { return g.Wasserstein / max(g.Spread, LeastSpread) }

// Compare measures the gap between two sorted samples in one pass over both.
// Errors: those of [statistics.CheckSorted].
// Source: Ramdas, Trillos, Cuturi, Entropy 19 (2017); Székely and Rizzo,
// J. Stat. Planning and Inference 143 (2013); scipy.stats.
func Compare(reference, current []float64) (Gap, error) {
	for _, s := range [2][]float64{reference, current} {
		if err := statistics.CheckSorted(s); err != nil {
			return Gap{}, err
		}
	}
	var g Gap
	var squares float64
	n, m := float64(len(reference)), float64(len(current))
	i, j := 0, 0
	at := min(reference[0], current[0])
	for i < len(reference) || j < len(current) {
		v := math.Inf(1)
		if i < len(reference) {
			v = reference[i]
		}
		if j < len(current) {
			v = min(v, current[j])
		}
		if i > 0 || j > 0 {
			d := float64(i)/n - float64(j)/m
			g.KS = max(g.KS, math.Abs(d))
			g.Wasserstein += math.Abs(d) * (v - at)
			squares += d * d * (v - at)
		}
		at = v
		for i < len(reference) && reference[i] == v {
			i++
		}
		for j < len(current) && current[j] == v {
			j++
		}
	}
	g.Energy = math.Sqrt(2 * squares)
	_, variance, err := statistics.Moments(reference)
	if err != nil {
		return Gap{}, err
	}
	g.Spread = math.Sqrt(variance * (n - 1) / n)
	return g, nil
}
