package dp

import "math"

// GaussianDelta returns the exact δ at ε of the Gaussian mechanism whose noise
// is 1/mu times its sensitivity. n answers with multipliers z_i are one of
// mu = √Σ z_i^-2.
//
//	δ = Φ(μ/2 - ε/μ) - e^ε·Φ(-μ/2 - ε/μ)
//
// Source: Balle and Wang, ICML 2018 (arXiv:1805.06530), theorem 8.
func GaussianDelta(mu, epsilon float64) float64 {
	near, far := (epsilon/mu-mu/2)/math.Sqrt2, (epsilon/mu+mu/2)/math.Sqrt2
	if near < 20 {
		return max(0, 0.5*(math.Erfc(near)-math.Exp(epsilon+logErfc(far))))
	}
	// both are beyond the range of erfc: e^-near² is common to them
	return max(0, 0.5*math.Exp(logErfc(near))*-math.Expm1(epsilon+logErfc(far)-logErfc(near)))
}

// GaussianEpsilon returns the least ε ≥ 0 of the same mechanism at δ, rounded up
// by at most 1e-9 of itself.
func GaussianEpsilon(mu, delta float64) float64 {
	target := delta * (1 - 1e-10) // more than the error of the difference above
	if GaussianDelta(mu, 0) <= target {
		return 0
	}
	low, high := 0.0, 1.0
	for GaussianDelta(mu, high) > target {
		low, high = high, 2*high
	}
	for high-low > 1e-13*high {
		middle := low + (high-low)/2
		if middle == low || middle == high {
			break
		}
		if GaussianDelta(mu, middle) > target {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}
