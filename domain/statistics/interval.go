package statistics

import "math"

// Wilson returns the score interval of a proportion of successes k out of n at
// 95 %, in 0..1. It needs n ≥ 1 and 0 ≤ k ≤ n.
func Wilson(k, n int64) (low, high float64) { return WilsonAt(k, n, Z95) }

// WilsonAt is [Wilson] at the level whose two-sided normal quantile is z:
//
//	(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n),  p = k/n
//
// Source: Wilson, JASA 22 (1927), as method 3 of Newcombe, Statistics in
// Medicine 17 (1998), 857-872.
func WilsonAt(k, n int64, z float64) (low, high float64) {
	p, m := float64(k)/float64(n), float64(n)
	centre := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	scale := 1 + z*z/m
	return max(0, (centre-half)/scale), min(1, (centre+half)/scale)
}

// Difference returns k1/n1 - k2/n2 with its 95 % interval, in -1..1.
func Difference(k1, n1, k2, n2 int64) (value, low, high float64) {
	return DifferenceAt(k1, n1, k2, n2, Z95)
}

// DifferenceAt is [Difference] at the level whose two-sided normal quantile is z.
//
// Source: method 10 of Newcombe, Statistics in Medicine 17 (1998), 873-890:
// the squares of the Wilson distances add up.
func DifferenceAt(k1, n1, k2, n2 int64, z float64) (value, low, high float64) {
	p1, p2 := float64(k1)/float64(n1), float64(k2)/float64(n2)
	l1, u1 := WilsonAt(k1, n1, z)
	l2, u2 := WilsonAt(k2, n2, z)
	value = p1 - p2
	return value, value - math.Hypot(p1-l1, u2-p2), value + math.Hypot(u1-p1, p2-l2)
}

// Simultaneous returns the two-sided normal quantile at which m intervals hold
// all at once with 95 % (Bonferroni). It needs m ≥ 1.
func Simultaneous(m int) float64 { return -NormalQuantile(0.025 / float64(m)) }
