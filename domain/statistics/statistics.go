// Package statistics holds the tests, intervals and distributions that more
// than one room judges evidence with: the scorecard, drift, the canary and the
// policy loop.
//
// Invariant: every function is a pure function of its arguments and never
// returns a number that means nothing. Samples are checked first: an empty one,
// or one with a NaN or an infinity, is an error and not a p-value.
package statistics

import (
	"errors"
	"math"
	"slices"
)

// Why a sample cannot be judged.
var (
	ErrEmpty       = errors.New("the sample is empty or too small for the test")
	ErrNotFinite   = errors.New("a value is not a finite number")
	ErrOrder       = errors.New("the values are not in ascending order")
	ErrTies        = errors.New("the exact distribution is for samples without ties")
	ErrDegenerate  = errors.New("the samples do not vary, so the test says nothing")
	ErrShape       = errors.New("the lengths differ")
	ErrCount       = errors.New("a count is negative, or is expected to be zero and is not")
	ErrProbability = errors.New("not a probability")
)

// An Alternative is what a test holds against "no difference". For Less and
// Greater it speaks of the first sample against the second.
type Alternative int

// The alternatives. Of two distributions, Greater means for Mann-Whitney and
// Welch that the first sample's values tend to be greater, and for
// Kolmogorov-Smirnov that its distribution function is greater (so that its
// values tend to be less), as SciPy and R have it.
const (
	TwoSided Alternative = iota
	Less
	Greater
)

// A Result is the outcome of a test: its statistic, its p-value, and the
// degrees of freedom where the test has any.
type Result struct {
	Statistic float64
	P         float64
	DF        float64
}

// checked refuses a sample shorter than least or with values that are not finite.
func checked(x []float64, least int) error {
	if len(x) < least {
		return ErrEmpty
	}
	for _, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ErrNotFinite
		}
	}
	return nil
}

// CheckSorted refuses what is not a sorted sample: fewer than one value, one
// that is not finite, one out of order.
// Errors: [ErrEmpty], [ErrNotFinite], [ErrOrder].
func CheckSorted(x []float64) error {
	if err := checked(x, 1); err != nil {
		return err
	}
	if !slices.IsSorted(x) {
		return ErrOrder
	}
	return nil
}

// Quantile returns the q-quantile of sorted values, q in 0..1, interpolated
// between the two nearest order statistics (type 7 of Hyndman and Fan, the
// default of R and NumPy).
// Errors: those of [CheckSorted]; [ErrProbability].
func Quantile(sorted []float64, q float64) (float64, error) {
	if err := CheckSorted(sorted); err != nil {
		return 0, err
	}
	if !(q >= 0 && q <= 1) {
		return 0, ErrProbability
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i], nil
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i]), nil
}

// Moments returns the mean and the variance with n-1 below the line, by
// Welford's recurrence, which does not cancel. The variance of one value is 0.
// Errors: [ErrEmpty], [ErrNotFinite].
func Moments(x []float64) (mean, variance float64, err error) {
	if err := checked(x, 1); err != nil {
		return 0, 0, err
	}
	var sum float64
	for i, v := range x {
		d := v - mean
		mean += d / float64(i+1)
		sum += d * (v - mean)
	}
	if len(x) > 1 {
		variance = sum / float64(len(x)-1)
	}
	return mean, variance, nil
}
