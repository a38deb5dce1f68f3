package fairness

import (
	"math"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// A Status is the three-valued verdict.
type Status string

// Verdicts.
const (
	Pass         Status = "PASS"
	Fail         Status = "FAIL"
	Insufficient Status = "INSUFFICIENT"
)

// Limits are the greatest differences that are fair.
type Limits struct {
	Parity      float64 `json:"parity"`      // of selection rates
	Opportunity float64 `json:"opportunity"` // of sensitivities
	Odds        float64 `json:"odds"`        // of sensitivities and of false alarms
	Least       int64   `json:"least"`       // positives and negatives that every group needs; 0 is [Least]
}

// Defaults are differences of at most 0.1 in opportunity and odds, and 0.2 in
// selection rates, which may differ for reasons that are in the truth.
func Defaults() Limits { return Limits{Parity: 0.2, Opportunity: 0.1, Odds: 0.1, Least: Least} }

// A Gap is a difference with its interval, which holds for all pairs of groups
// at once with 95 %, and its verdict.
type Gap struct {
	Name             string
	Value, Low, High float64
	Limit            float64
	Status           Status
	Widest           [2]string // the groups that are furthest apart: high, low
	Drawn            Interval  // of the bootstrap, for the greatest difference over all groups
}

// Holds says whether an interval reaches over a limit: it says neither.
func (i Interval) Holds(limit float64) bool { return i.Low <= limit && limit < i.High }

// A Rate is a group's rate with its Wilson interval at 95 %. N of 0 has no rate.
type Rate struct {
	Group            string
	Name             string // "selection", "sensitivity", "falseAlarm"
	K, N             int64
	Value, Low, High float64
}

// A Report is the verdict on all groups.
type Report struct {
	Status   Status
	Measures Measures
	Gaps     []Gap
	Rates    []Rate
	Small    []string // groups below Limits.Least, in the order given
}

// Judge compares every declared group with every other.
//
// A gap passes when two intervals of it are wholly within the limit, fails when
// both are wholly beyond it, and is INSUFFICIENT else. It is INSUFFICIENT in any
// case when a group is smaller than Limits.Least: neither praise nor blame
// rests on five people. One failed gap fails the report.
// Errors: those of [Measure].
//
// One interval of the greatest difference over m pairs is made of Newcombe's
// intervals of all pairs at level 1-0.05/m: all pairs are covered at once, so
// the greatest lower and the greatest upper end cover the greatest difference.
// The other is that of [Bootstrap]. Neither is enough: a bootstrap has no width
// where a group makes no mistake, and the greatest of several differences that
// are nothing is drawn above nothing; the pairs' intervals do not know that
// both rates of equalised odds move together.
// Source: Newcombe 1998, method 10; Bonferroni.
func Judge(groups []Group, limits Limits) (Report, error) {
	measures, err := Measure(groups)
	if err != nil {
		return Report{}, err
	}
	least := limits.Least
	if least == 0 {
		least = Least
	}
	r := Report{Measures: measures, Status: Pass}
	for _, g := range groups {
		if g.Positives() < least || g.Negatives() < least {
			r.Small = append(r.Small, g.Name)
		}
		for _, k := range kinds() {
			hits, n := k.of(g)
			rate := Rate{Group: g.Name, Name: k.name, K: hits, N: n, Value: ratio(hits, n), Low: 0, High: 1}
			if n > 0 {
				rate.Low, rate.High = statistics.Wilson(hits, n)
			}
			r.Rates = append(r.Rates, rate)
		}
	}
	rates, pairs := kinds(), len(groups)*(len(groups)-1)/2
	parity := widest(groups, rates[0], pairs)
	parity.Name, parity.Limit = "demographicParity", limits.Parity
	opportunity := widest(groups, rates[1], pairs)
	opportunity.Name, opportunity.Limit = "equalOpportunity", limits.Opportunity
	odds := worse(widest(groups, rates[1], 2*pairs), widest(groups, rates[2], 2*pairs))
	odds.Name, odds.Limit = "equalizedOdds", limits.Odds
	drawn, err := Bootstrap(groups, Draws, Seed)
	if err != nil {
		return Report{}, err
	}
	parity.Drawn, opportunity.Drawn, odds.Drawn = drawn.Parity, drawn.Opportunity, drawn.Odds
	for _, g := range []Gap{parity, opportunity, odds} {
		switch {
		case len(r.Small) > 0 || math.IsNaN(g.Value):
			g.Status = Insufficient
		case max(g.High, g.Drawn.High) <= g.Limit:
			g.Status = Pass
		case min(g.Low, g.Drawn.Low) > g.Limit:
			g.Status = Fail
		default:
			g.Status = Insufficient
		}
		if g.Status == Fail || (g.Status == Insufficient && r.Status == Pass) {
			r.Status = g.Status
		}
		r.Gaps = append(r.Gaps, g)
	}
	return r, nil
}

type kind struct {
	name string
	of   func(Group) (k, n int64)
}

// kinds are the three rates of a group.
func kinds() [3]kind {
	return [3]kind{
		{"selection", func(g Group) (int64, int64) { return g.Selected(), g.N() }},
		{"sensitivity", func(g Group) (int64, int64) { return g.TP, g.Positives() }},
		{"falseAlarm", func(g Group) (int64, int64) { return g.FP, g.Negatives() }},
	}
}

// widest returns the greatest difference over all pairs, with an interval that
// holds together with those of so many intervals. It is NaN, with the interval
// 0..1, when a group has no such rows.
func widest(groups []Group, k kind, intervals int) Gap {
	gap := Gap{Value: math.Inf(-1)}
	z := statistics.Simultaneous(intervals)
	for i, a := range groups {
		for _, b := range groups[i+1:] {
			ka, na := k.of(a)
			kb, nb := k.of(b)
			if na == 0 || nb == 0 {
				return Gap{Value: math.NaN(), Low: 0, High: 1, Widest: [2]string{a.Name, b.Name}}
			}
			pair := [2]string{a.Name, b.Name}
			value, low, high := statistics.DifferenceAt(ka, na, kb, nb, z)
			if value < 0 {
				value, low, high, pair = -value, -high, -low, [2]string{b.Name, a.Name}
			}
			if value > gap.Value {
				gap.Value, gap.Widest = value, pair
			}
			gap.Low, gap.High = max(gap.Low, low), max(gap.High, high, -low)
		}
	}
	return gap
}

// worse joins two gaps into the greater of both, with what covers both.
func worse(a, b Gap) Gap {
	if math.IsNaN(a.Value) || math.IsNaN(b.Value) {
		return Gap{Value: math.NaN(), Low: 0, High: 1}
	}
	out := a
	if b.Value > a.Value {
		out = b
	}
	out.Low, out.High = max(a.Low, b.Low), max(a.High, b.High)
	return out
}
