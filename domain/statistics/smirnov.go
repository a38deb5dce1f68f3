package statistics

import "math"

// ExactPairs is up to which len(x)·len(y) [KolmogorovSmirnov] is exact.
const ExactPairs = 10_000

// KolmogorovSmirnov compares the distribution functions F and G of two sorted
// samples. The statistic is the greatest |F-G|, or F-G for Greater, or G-F for
// Less. The p-value is exact where len(x)·len(y) ≤ [ExactPairs], else
// asymptotic: Kolmogorov's limit for TwoSided, Hodges' approximation else.
// With ties the exact p-value is too large rather than too small.
// Errors: those of [CheckSorted].
// Source: Hodges, Arkiv för Matematik 3 (1958), 469-486, 5.3 for one side.
func KolmogorovSmirnov(x, y []float64, alt Alternative) (Result, error) {
	if int64(len(x))*int64(len(y)) <= ExactPairs {
		return KolmogorovSmirnovExact(x, y, alt)
	}
	d, _, err := distance(x, y, alt)
	if err != nil {
		return Result{}, err
	}
	return Result{Statistic: d, P: SmirnovLimit(d, int64(len(x)), int64(len(y)), alt)}, nil
}

// KolmogorovSmirnovExact is [KolmogorovSmirnov] with the exact p-value for
// samples of any size, in len(x)·len(y) steps.
// Errors: those of [CheckSorted].
func KolmogorovSmirnovExact(x, y []float64, alt Alternative) (Result, error) {
	d, steps, err := distance(x, y, alt)
	if err != nil {
		return Result{}, err
	}
	return Result{Statistic: d, P: outside(len(x), len(y), steps, alt)}, nil
}

// distance returns the statistic, and that times len(x)·len(y).
func distance(x, y []float64, alt Alternative) (d float64, steps int64, err error) {
	for _, s := range [2][]float64{x, y} {
		if err := CheckSorted(s); err != nil {
			return 0, 0, err
		}
	}
	steps = furthest(x, y, alt)
	return float64(steps) / (float64(len(x)) * float64(len(y))), steps, nil
}

// SmirnovLimit is the asymptotic p-value of a greatest distance d between the
// distribution functions of n and m values.
func SmirnovLimit(d float64, n, m int64, alt Alternative) float64 {
	large, small := float64(max(n, m)), float64(min(n, m))
	z := math.Sqrt(large*small/(large+small)) * d
	if alt == TwoSided {
		return min(1, max(0, KolmogorovSurvival(z)))
	}
	return min(1, math.Exp(-2*z*z-2*z*(large+2*small)/math.Sqrt(large*small*(large+small))/3))
}

// furthest returns the greatest distance times n·m, an integer.
func furthest(x, y []float64, alt Alternative) int64 {
	n, m := int64(len(x)), int64(len(y))
	var most int64
	for i, j := 0, 0; i < len(x) && j < len(y); {
		v := min(x[i], y[j])
		for i < len(x) && x[i] == v {
			i++
		}
		for j < len(y) && y[j] == v {
			j++
		}
		most = max(most, signed(int64(i)*m-int64(j)*n, alt))
	}
	return most
}

func signed(d int64, alt Alternative) int64 {
	switch {
	case alt == Less || (alt == TwoSided && d < 0):
		return -d
	}
	return d
}

// outside returns the probability that a random path of n steps right and m
// steps up, all orders equally likely, is ever at least h/(n·m) away from the
// diagonal. Each cell holds the probability of paths that came there and were
// never outside; what steps outside is added up, so that a small p-value is a
// sum of small terms and not a difference of large ones.
func outside(n, m int, h int64, alt Alternative) float64 {
	if h <= 0 {
		return 1
	}
	var p float64
	inside := make([]float64, m+1) // of column i
	for i := 0; i <= n; i++ {
		for j := 0; j <= m; j++ {
			var here float64
			if i == 0 && j == 0 {
				here = 1
			}
			if i > 0 {
				here += inside[j] * float64(n-i+1) / float64(n+m-i-j+1)
			}
			if j > 0 {
				here += inside[j-1] * float64(m-j+1) / float64(n+m-i-j+1)
			}
			if signed(int64(i)*int64(m)-int64(j)*int64(n), alt) >= h {
				p += here
				here = 0
			}
			inside[j] = here
		}
	}
	return min(1, p)
}
