// Package fairness compares how a model treats groups of people, from counts of
// right and wrong answers in each.
//
// Invariant: no group that was declared is ever left out. A group that is too
// small, absent or without a rate makes the verdict INSUFFICIENT, which is not a
// pass; it never makes the others look fairer.
package fairness

import (
	"errors"
	"math"
)

// Why groups cannot be compared.
var (
	ErrGroups = errors.New("fairness compares two groups or more, each named once")
	ErrCount  = errors.New("a count is negative")
	ErrEmpty  = errors.New("there is nothing to compare")
)

// Least is how many positives and how many negatives a group needs before
// its rates are judged.
const Least = 30

// A Group counts the answers to a group: truth by prediction.
type Group struct {
	Name string `json:"name"`
	TP   int64  `json:"tp"`
	FP   int64  `json:"fp"`
	TN   int64  `json:"tn"`
	FN   int64  `json:"fn"`
}

// N, Positives, Negatives and Selected count rows: all, those that are
// positive or negative in truth, and those predicted positive.
func (g Group) N() int64         { return g.TP + g.FP + g.TN + g.FN }
func (g Group) Positives() int64 { return g.TP + g.FN }
func (g Group) Negatives() int64 { return g.FP + g.TN }
func (g Group) Selected() int64  { return g.TP + g.FP }

// Selection is P(ŷ=1), Sensitivity P(ŷ=1 | y=1), FalseAlarm P(ŷ=1 | y=0); NaN
// where there are no such rows.
func (g Group) Selection() float64   { return ratio(g.Selected(), g.N()) }
func (g Group) Sensitivity() float64 { return ratio(g.TP, g.Positives()) }
func (g Group) FalseAlarm() float64  { return ratio(g.FP, g.Negatives()) }

func ratio(k, n int64) float64 { return float64(k) / float64(n) }

// Measures are the raw figures, whatever the size of the groups. One that
// rests on an undefined rate is NaN.
type Measures struct {
	DemographicParityDifference float64 // max - min selection rate
	DemographicParityRatio      float64 // min / max selection rate
	EqualizedOddsDifference     float64 // max of the differences of sensitivity and of false alarms
	EqualizedOddsRatio          float64 // min of the ratios of both
	EqualOpportunityDifference  float64 // max - min sensitivity
	GeneralizedEntropy          float64 // index of order 2 over individuals
	Theil                       float64 // index over individuals
}

// Measure returns the raw figures.
// Errors: [ErrGroups], [ErrCount].
// Source: Hardt, Price, Srebro, NIPS 2016; fairlearn's worst case over groups;
// Speicher et al., KDD 2018 (arXiv:1807.00787) for the entropy indices.
func Measure(groups []Group) (Measures, error) {
	if err := check(groups); err != nil {
		return Measures{}, err
	}
	selected, tpr, fpr := spread(groups, Group.Selection), spread(groups, Group.Sensitivity), spread(groups, Group.FalseAlarm)
	var all Group
	for _, g := range groups {
		all.TP, all.FP, all.TN, all.FN = all.TP+g.TP, all.FP+g.FP, all.TN+g.TN, all.FN+g.FN
	}
	m := Measures{
		DemographicParityDifference: selected.difference(),
		DemographicParityRatio:      selected.ratio(),
		EqualizedOddsDifference:     math.Max(tpr.difference(), fpr.difference()), // NaN if either is
		EqualizedOddsRatio:          math.Min(tpr.ratio(), fpr.ratio()),
		EqualOpportunityDifference:  tpr.difference(),
	}
	m.GeneralizedEntropy, m.Theil = entropies(all)
	return m, nil
}

func check(groups []Group) error {
	if len(groups) < 2 {
		return ErrGroups
	}
	names := make(map[string]bool, len(groups))
	for _, g := range groups {
		if names[g.Name] {
			return ErrGroups
		}
		names[g.Name] = true
		if min(g.TP, g.FP, g.TN, g.FN) < 0 {
			return ErrCount
		}
	}
	return nil
}

// A span is the least and the greatest rate; both NaN when any is.
type span struct{ low, high float64 }

func spread(groups []Group, rate func(Group) float64) span {
	s := span{math.Inf(1), math.Inf(-1)}
	for _, g := range groups {
		r := rate(g)
		s.low, s.high = math.Min(s.low, r), math.Max(s.high, r)
	}
	return s
}

func (s span) difference() float64 { return s.high - s.low }

// ratio is 0/0 = NaN when no group has any: nothing can be said of it.
func (s span) ratio() float64 { return s.low / s.high }

// entropies returns the generalised entropy of order 2 and Theil's index of
// b = 1 + ŷ - y over all rows, which is 0, 1 or 2; both NaN without rows or
// when every benefit is 0.
func entropies(g Group) (ge, theil float64) {
	n, one, two := float64(g.N()), float64(g.TP+g.TN), float64(g.FP)
	mean := (one + 2*two) / n
	ge = ((one+4*two)/(n*mean*mean) - 1) / 2
	theil = (one/mean*math.Log(1/mean) + two*2/mean*math.Log(2/mean)) / n
	return ge, theil
}

// Entropies returns the generalised entropy index of order 2 and Theil's index
// of any benefits b ≥ 0:
//
//	GE = mean((b/μ)² - 1)/2     Theil = mean((b/μ)·ln(b/μ)), 0·ln 0 = 0
//
// Errors: [ErrEmpty] without benefits or when all are 0; [ErrCount] for one
// that is negative or not finite.
func Entropies(benefits []float64) (ge, theil float64, err error) {
	var sum float64
	for _, b := range benefits {
		if !(b >= 0) || math.IsInf(b, 1) {
			return 0, 0, ErrCount
		}
		sum += b
	}
	if !(sum > 0) {
		return 0, 0, ErrEmpty
	}
	n := float64(len(benefits))
	for _, b := range benefits {
		r := b * n / sum
		ge += (r*r - 1) / 2
		if r > 0 {
			theil += r * math.Log(r)
		}
	}
	return ge / n, theil / n, nil
}
