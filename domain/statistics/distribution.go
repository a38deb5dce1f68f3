package statistics

import "math"

// Z95 is the 97.5 % quantile of the standard normal distribution: two-sided 95 %.
const Z95 = 1.959963984540054

// NormalCDF returns P(Z ≤ x) of the standard normal distribution; accurate in
// the lower tail.
func NormalCDF(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

// NormalSurvival returns P(Z > x); accurate in the upper tail.
func NormalSurvival(x float64) float64 { return math.Erfc(x/math.Sqrt2) / 2 }

// NormalQuantile returns the x with P(Z ≤ x) = p; ±Inf at 0 and 1, NaN outside.
// The lower half is solved by Newton's method on the logarithm of the
// distribution function, which is concave, so that the tail is exact too.
func NormalQuantile(p float64) float64 {
	switch {
	case !(p >= 0 && p <= 1):
		return math.NaN()
	case p == 0:
		return math.Inf(-1)
	case p > 0.5:
		return -NormalQuantile(1 - p)
	}
	x := -math.Sqrt(-2 * math.Log(2*p)) // not above the quantile
	for range 100 {
		cdf := NormalCDF(x)
		density := math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
		step := cdf / density * (math.Log(cdf) - math.Log(p))
		x -= step
		if math.Abs(step) <= 1e-15*math.Abs(x) {
			break
		}
	}
	return x
}

// ChiSquareSurvival returns P(X > x) of the chi-square distribution with df > 0
// degrees of freedom.
func ChiSquareSurvival(x, df float64) float64 { return gammaQ(df/2, x/2) }

// StudentSurvival returns P(T > t) of Student's distribution with df > 0.
func StudentSurvival(t, df float64) float64 {
	tail := betaI(df/2, 0.5, df/(df+t*t)) / 2
	if t < 0 {
		return 1 - tail
	}
	return tail
}

// KolmogorovSurvival returns P(K > x) of Kolmogorov's limiting distribution:
//
//	2 Σ_{k≥1} (-1)^(k-1) exp(-2k²x²)
//
// Below 1 the series of its theta function's other side is summed, which
// converges there. Source: Marsaglia, Tsang, Wang, J. Stat. Software 8 (2003).
func KolmogorovSurvival(x float64) float64 {
	if x <= 0 {
		return 1
	}
	if x < 1 {
		var cdf float64
		for k := 1; k < 20; k += 2 {
			a := float64(k) * math.Pi / x
			cdf += math.Exp(-a * a / 8)
		}
		return 1 - math.Sqrt(2*math.Pi)/x*cdf
	}
	var p float64
	for k, sign := 1.0, 1.0; k < 20; k, sign = k+1, -sign {
		term := math.Exp(-2 * k * k * x * x)
		p += sign * term
		if term < 1e-18*p {
			break
		}
	}
	return 2 * p
}

const (
	terms   = 100_000 // the most terms of a series or fraction: enough for parameters to 1e9
	precise = 1e-16
	tiny    = 1e-300
)

// gammaQ is the upper regularised incomplete gamma function, by its series for
// x < a+1 and by its continued fraction else (modified Lentz).
// Source: Abramowitz and Stegun 6.5.29 and 6.5.31.
func gammaQ(a, x float64) float64 {
	switch {
	case math.IsNaN(x) || !(a > 0):
		return math.NaN()
	case x <= 0:
		return 1
	case math.IsInf(x, 1):
		return 0
	}
	lg, _ := math.Lgamma(a)
	front := math.Exp(a*math.Log(x) - x - lg)
	if x < a+1 {
		sum, term := 1/a, 1/a
		for n := 1; n < terms; n++ {
			term *= x / (a + float64(n))
			sum += term
			if term < sum*precise {
				break
			}
		}
		return 1 - front*sum
	}
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	h := d
	for n := 1; n < terms; n++ {
		k := float64(n)
		an := -k * (k - a)
		b += 2
		d = 1 / away(an*d+b)
		c = away(b + an/c)
		h *= d * c
		if math.Abs(d*c-1) < precise {
			break
		}
	}
	return front * h
}

// betaI is the regularised incomplete beta function, by its continued fraction.
// Source: Abramowitz and Stegun 26.5.8, and 26.5.2 for the other half.
func betaI(a, b, x float64) float64 {
	switch {
	case math.IsNaN(x) || !(a > 0) || !(b > 0):
		return math.NaN()
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab - la - lb + a*math.Log(x) + b*math.Log1p(-x))
	if x < (a+1)/(a+b+2) {
		return front * betaFraction(a, b, x) / a
	}
	return 1 - front*betaFraction(b, a, 1-x)/b
}

func betaFraction(a, b, x float64) float64 {
	c, d := 1.0, 1/away(1-(a+b)*x/(a+1))
	h := d
	for n := 1; n < terms; n++ {
		m := float64(n)
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / away(1+even*d)
		c = away(1 + even/c)
		h *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / away(1+odd*d)
		c = away(1 + odd/c)
		h *= d * c
		if math.Abs(d*c-1) < precise {
			break
		}
	}
	return h
}

// away keeps a divisor of Lentz's method away from zero.
func away(x float64) float64 {
	if math.Abs(x) < tiny {
		return tiny
	}
	return x
}
