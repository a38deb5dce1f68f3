package scorecard

import "math"

// z is the 97.5 % quantile of the standard normal distribution: two-sided 95 %.
const z = 1.959963984540054

// Wilson returns the score interval of a proportion of successes k out of n at
// 95 %, in 0..1. It needs n ≥ 1 and 0 ≤ k ≤ n.
//
//	(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n),  p = k/n
//
// Source: Wilson, JASA 22 (1927), as method 3 of Newcombe, Statistics in
// Medicine 17 (1998), 857-872.
func Wilson(k, n int64) (low, high float64) {
	p, m := float64(k)/float64(n), float64(n)
	centre := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	scale := 1 + z*z/m
	return max(0, (centre-half)/scale), min(1, (centre+half)/scale)
}

// Difference returns k1/n1 - k2/n2 with its 95 % interval, in -1..1.
//
// Source: method 10 of Newcombe, Statistics in Medicine 17 (1998), 873-890:
// the squares of the Wilson distances add up.
func Difference(k1, n1, k2, n2 int64) (value, low, high float64) {
	p1, p2 := float64(k1)/float64(n1), float64(k2)/float64(n2)
	l1, u1 := Wilson(k1, n1)
	l2, u2 := Wilson(k2, n2)
	value = p1 - p2
	return value, value - math.Hypot(p1-l1, u2-p2), value + math.Hypot(u1-p1, p2-l2)
}

// proportion returns k/n and its interval in basis points.
func proportion(k, n int64) (value, low, high int64) {
	l, h := Wilson(k, n)
	return k * 10_000 / n, basis(l), basis(h)
}

// basis returns x in basis points, rounded to the nearest.
func basis(x float64) int64 { return int64(math.Round(x * 10_000)) }
