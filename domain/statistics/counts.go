package statistics

import "math"

// ChiSquare compares observed counts with those expected:
//
//	Σ (o-e)²/e, with len-1 degrees of freedom
//
// Shapes: both of the same length ≥ 2. Cells that are zero in both are left
// out, and with them their degree of freedom.
// Errors: [ErrShape], [ErrEmpty], [ErrNotFinite]; [ErrCount] for a negative
// count, or one where none is expected: pool such a cell with another first.
// Source: Pearson, Phil. Mag. 50 (1900).
func ChiSquare(observed, expected []float64) (Result, error) {
	return goodness(observed, expected, func(o, e float64) float64 { return (o - e) * (o - e) / e })
}

// GTest is the likelihood-ratio test of the same question: 2 Σ o ln(o/e).
// The counts must have equal totals for the statistic to be one of fit.
// Errors: those of [ChiSquare].
// Source: Sokal and Rohlf, Biometry; Woolf, Ann. Hum. Genet. 21 (1957).
func GTest(observed, expected []float64) (Result, error) {
	return goodness(observed, expected, func(o, e float64) float64 {
		if o == 0 {
			return 0
		}
		return 2 * o * math.Log(o/e)
	})
}

func goodness(observed, expected []float64, term func(o, e float64) float64) (Result, error) {
	if len(observed) != len(expected) {
		return Result{}, ErrShape
	}
	var r Result
	r.DF = -1
	for i, o := range observed {
		e := expected[i]
		switch {
		case math.IsNaN(o+e) || math.IsInf(o+e, 0):
			return Result{}, ErrNotFinite
		case o < 0 || e < 0 || (e == 0 && o > 0):
			return Result{}, ErrCount
		case e == 0:
			continue
		}
		r.Statistic += term(o, e)
		r.DF++
	}
	if r.DF < 1 {
		return Result{}, ErrEmpty
	}
	r.P = ChiSquareSurvival(r.Statistic, r.DF)
	return r, nil
}

// Fisher is the exact test of a 2x2 table of counts with fixed margins. The
// statistic is the sample odds ratio ad/bc (+Inf where bc is zero). Two-sided:
// the tables no more likely than the one seen count, within a relative 1e-7 as
// in R.
// Errors: [ErrCount]; [ErrDegenerate] when a margin is zero.
// Source: Fisher, Statistical Methods for Research Workers; R fisher.test.
func Fisher(a, b, c, d int64, alt Alternative) (Result, error) {
	if min(a, b, c, d) < 0 {
		return Result{}, ErrCount
	}
	if a+b == 0 || c+d == 0 || a+c == 0 || b+d == 0 {
		return Result{}, ErrDegenerate
	}
	first, row, rest := a+c, a+b, c+d
	log := func(k int64) float64 { return choose(row, k) + choose(rest, first-k) - choose(row+rest, first) }
	seen := log(a)
	var p float64
	for k := max(0, first-rest); k <= min(first, row); k++ {
		l := log(k)
		switch {
		case alt == Less && k > a, alt == Greater && k < a, alt == TwoSided && l > seen+1e-7:
			continue
		}
		p += math.Exp(l)
	}
	return Result{Statistic: float64(a) * float64(d) / (float64(b) * float64(c)), P: min(1, p)}, nil
}

// choose is the logarithm of a binomial coefficient.
func choose(n, k int64) float64 {
	a, _ := math.Lgamma(float64(n) + 1)
	b, _ := math.Lgamma(float64(k) + 1)
	c, _ := math.Lgamma(float64(n-k) + 1)
	return a - b - c
}

// Homogeneity compares two rows of counts over the same columns: whether both
// are draws from one distribution. Columns that are empty in both are left out.
// Errors: [ErrShape], [ErrNotFinite], [ErrCount]; [ErrEmpty] for a row without
// counts or with fewer than two columns in use.
// Source: Pearson's test of a 2 by k table, scipy.stats.chi2_contingency
// without Yates' correction.
func Homogeneity(first, second []float64) (Result, error) {
	if len(first) != len(second) {
		return Result{}, ErrShape
	}
	var n, m float64
	for i := range first {
		if !(first[i] >= 0) || !(second[i] >= 0) {
			return Result{}, ErrCount
		}
		n, m = n+first[i], m+second[i]
	}
	switch {
	case math.IsInf(n+m, 1):
		return Result{}, ErrNotFinite
	case n == 0 || m == 0:
		return Result{}, ErrEmpty
	}
	r := Result{DF: -1}
	for i, a := range first {
		both := a + second[i]
		if both == 0 {
			continue
		}
		ea, eb := both*n/(n+m), both*m/(n+m)
		r.Statistic += (a-ea)*(a-ea)/ea + (second[i]-eb)*(second[i]-eb)/eb
		r.DF++
	}
	if r.DF < 1 {
		return Result{}, ErrEmpty
	}
	r.P = ChiSquareSurvival(r.Statistic, r.DF)
	return r, nil
}
