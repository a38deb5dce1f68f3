package statistics

import (
	"math"
	"slices"
)

// MannWhitney compares two samples, in any order, by their ranks. The statistic
// is U of the first sample: the number of pairs whose first value is greater,
// ties counting one half. The p-value is that of the normal approximation with
// tie correction and continuity correction.
// Errors: [ErrEmpty], [ErrNotFinite]; [ErrDegenerate] when all values are equal.
// Source: Mann and Whitney, Ann. Math. Stat. 18 (1947); Hollander and Wolfe,
// Nonparametric Statistical Methods, 4.1; R wilcox.test(correct = TRUE).
func MannWhitney(x, y []float64, alt Alternative) (Result, error) {
	r, err := rank(x, y)
	if err != nil {
		return Result{}, err
	}
	n, m := float64(len(x)), float64(len(y))
	all := n + m
	sd := math.Sqrt(n * m / 12 * (all + 1 - r.ties/(all*(all-1))))
	if sd == 0 || all < 2 {
		return Result{}, ErrDegenerate
	}
	u := r.tail(n*m, alt)
	p := NormalSurvival((u - n*m/2 - 0.5) / sd)
	if alt == TwoSided {
		p = min(1, 2*p)
	}
	return Result{Statistic: r.u, P: p}, nil
}

// MannWhitneyExact is [MannWhitney] with the p-value of the exact distribution
// of U, which it counts in len(x)·len(y)·min(len(x), len(y)) steps.
// Errors: [ErrEmpty], [ErrNotFinite], [ErrTies].
// Source: the recurrence of Mann and Whitney 1947 as a product of Gaussian
// binomials; R pwilcox.
func MannWhitneyExact(x, y []float64, alt Alternative) (Result, error) {
	r, err := rank(x, y)
	if err != nil {
		return Result{}, err
	}
	if r.ties > 0 {
		return Result{}, ErrTies
	}
	pairs := len(x) * len(y)
	u := int(r.tail(float64(pairs), alt))
	var p float64
	for _, share := range shares(len(x), len(y))[u:] {
		p += share
	}
	if alt == TwoSided {
		p *= 2
	}
	return Result{Statistic: r.u, P: min(1, p)}, nil
}

// ranking is U of the first sample and Σ(t³-t) over the groups of ties.
type ranking struct {
	u, ties float64
}

// tail returns the U whose upper tail is the p-value.
func (r ranking) tail(pairs float64, alt Alternative) float64 {
	switch alt {
	case Less:
		return pairs - r.u
	case Greater:
		return r.u
	}
	return max(r.u, pairs-r.u)
}

func rank(x, y []float64) (ranking, error) {
	for _, s := range [2][]float64{x, y} {
		if err := checked(s, 1); err != nil {
			return ranking{}, err
		}
	}
	x, y = slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
	var r ranking
	for i, j := 0, 0; i < len(x) || j < len(y); {
		v := math.Inf(1)
		if i < len(x) {
			v = x[i]
		}
		if j < len(y) {
			v = min(v, y[j])
		}
		below, a, b := j, i, j
		for i < len(x) && x[i] == v {
			i++
		}
		for j < len(y) && y[j] == v {
			j++
		}
		mine, theirs := float64(i-a), float64(j-b)
		r.u += mine * (float64(below) + theirs/2)
		t := mine + theirs
		r.ties += t*t*t - t
	}
	return r, nil
}

// shares returns the probability of each U from 0 to n·m under "no difference".
//
// The number of ways is the coefficient of the Gaussian binomial
// Π_{i=1..n} (1-q^(m+i))/(1-q^i). Multiplying by one factor of each at a time,
// scaled by i/(m+i), keeps the coefficients probabilities.
func shares(n, m int) []float64 {
	if n > m {
		n, m = m, n
	}
	p := make([]float64, n*m+1)
	p[0] = 1
	for i := 1; i <= n; i++ {
		for u := len(p) - 1; u >= m+i; u-- {
			p[u] -= p[u-m-i]
		}
		for u := i; u < len(p); u++ {
			p[u] += p[u-i]
		}
		scale := float64(i) / float64(m+i)
		for u := range p {
			p[u] *= scale
		}
	}
	return p
}
