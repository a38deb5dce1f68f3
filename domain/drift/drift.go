// Package drift says how far what a model sees now is from what it was trained
// on: distances between two samples, from sorted values or from counts in fixed
// bins, a verdict over many features at once, and detectors for streams.
//
// Invariant: no distance is computed from a sample that is empty or not a
// number, and adding sketches first and comparing then gives, to the bit, what
// comparing the pooled sample in the same bins gives. Rows never enter a sketch.
package drift

import (
	"errors"
	"math"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// Why samples cannot be compared.
var (
	ErrEmpty = errors.New("there is nothing to compare")
	ErrBins  = errors.New("the bins are not ascending finite numbers, or not the same on both sides")
	ErrCount = errors.New("a count is negative or not finite")
)

// ZeroShare stands for a share of zero in [PSI], which is recorded with the
// figure because the figure depends on it.
const ZeroShare = 1e-4

// PSI is the population stability index of shares of the same bins:
//
//	Σ (r - c)·ln(r/c), a share of zero replaced by zero
//
// Shapes: counts of the same length ≥ 1. Shares are not normalised again after
// the replacement. The usual bands 0.1 and 0.25 are convention: compare with
// [PSINull].
// Errors: [ErrBins], [ErrCount], [ErrEmpty].
// Source: Siddiqi, Credit Risk Scorecards (2006); the replacement as in Evidently.
func PSI(reference, current []float64, zero float64) (float64, error) {
	r, c, err := shares(reference, current)
	if err != nil {
		return 0, err
	}
	var sum float64
	for i := range r {
		a, b := r[i], c[i]
		if a == 0 {
			a = zero
		}
		if b == 0 {
			b = zero
		}
		sum += (a - b) * math.Log(a/b)
	}
	return sum, nil
}

// PSINull is the value that [PSI] stays under with probability 1-alpha although
// nothing drifted, for n and m values in so many bins:
//
//	(1/n + 1/m)·χ²(bins-1; 1-alpha)
//
// Source: Yurdakul and Naranjo, J. Risk Model Validation 14 (2020).
func PSINull(n, m int64, bins int, alpha float64) float64 {
	if n < 1 || m < 1 || bins < 2 {
		return math.NaN()
	}
	df := float64(bins - 1)
	low, high := 0.0, df
	for statistics.ChiSquareSurvival(high, df) > alpha {
		high *= 2
	}
	for range 100 {
		mid := (low + high) / 2
		if statistics.ChiSquareSurvival(mid, df) > alpha {
			low = mid
		} else {
			high = mid
		}
	}
	return (1/float64(n) + 1/float64(m)) * (low + high) / 2
}

// JensenShannon is the Jensen-Shannon distance, the square root of the
// divergence in base e: 0..sqrt(ln 2). Its square is the divergence.
// Errors: those of [PSI].
// Source: Lin, IEEE Trans. Inf. Theory 37 (1991); scipy.spatial.distance.jensenshannon.
func JensenShannon(reference, current []float64) (float64, error) {
	p, q, err := shares(reference, current)
	if err != nil {
		return 0, err
	}
	var sum float64
	for i := range p {
		m := (p[i] + q[i]) / 2
		sum += relative(p[i], m) + relative(q[i], m)
	}
	return math.Sqrt(max(0, sum/2)), nil
}

func relative(p, m float64) float64 {
	if p == 0 {
		return 0
	}
	return p * math.Log(p/m)
}

// Hellinger is sqrt(1 - Σ sqrt(p·q)), 0..1.
// Errors: those of [PSI].
// Source: Hellinger, J. reine angew. Math. 136 (1909).
func Hellinger(reference, current []float64) (float64, error) {
	p, q, err := shares(reference, current)
	if err != nil {
		return 0, err
	}
	var sum float64
	for i := range p {
		sum += math.Sqrt(p[i] * q[i])
	}
	return math.Sqrt(max(0, 1-sum)), nil
}

// shares normalises both sides.
func shares(reference, current []float64) (r, c []float64, err error) {
	if len(reference) != len(current) {
		return nil, nil, ErrBins
	}
	if r, err = share(reference); err != nil {
		return nil, nil, err
	}
	c, err = share(current)
	return r, c, err
}

func share(counts []float64) ([]float64, error) {
	var sum float64
	for _, n := range counts {
		if !(n >= 0) || math.IsInf(n, 1) {
			return nil, ErrCount
		}
		sum += n
	}
	if !(sum > 0) {
		return nil, ErrEmpty
	}
	out := make([]float64, len(counts))
	for i, n := range counts {
		out[i] = n / sum
	}
	return out, nil
}
