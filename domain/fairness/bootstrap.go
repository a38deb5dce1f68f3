package fairness

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// The bootstrap of a report: so many draws from this seed, so that the same
// counts have the same interval wherever and however often they are judged.
const (
	Draws = 2000
	Seed  = 1
)

// ErrDraws says that a bootstrap has too few draws to have ends.
var ErrDraws = errors.New("a bootstrap needs 40 draws or more")

// An Interval is the middle 95 % of what was drawn.
type Interval struct{ Low, High float64 }

// wide is the interval of what cannot be drawn.
func wide() Interval { return Interval{0, 1} }

// A Resampled is the interval of each gap over all groups.
type Resampled struct{ Parity, Opportunity, Odds Interval }

// Bootstrap draws every group's answers again, and returns the percentiles of
// the greatest differences over all groups. It needs the counts alone, as they
// come out of a secure sum: rows of one group and one truth are alike but for
// the prediction, so that drawing n of them with replacement is one draw from
//
//	TP* ~ Binomial(TP+FN, TP/(TP+FN))     FP* ~ Binomial(FP+TN, FP/(FP+TN))
//
// Strata are group by truth, each drawn to its own size: no draw lacks a group,
// or a rate that the counts have. A gap that rests on a rate that is undefined
// has the interval 0..1.
//
// Each stratum has a PCG stream of its own, from the seed and the place of its
// group's name among all: the order of groups changes nothing.
// Source: Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8
// (strata) and 13 (percentiles).
// Errors: [ErrGroups], [ErrCount], [ErrDraws].
func Bootstrap(groups []Group, draws int, seed uint64) (Resampled, error) {
	if err := check(groups); err != nil {
		return Resampled{}, err
	}
	if draws < 40 { // of fewer, no draw is outside of the percentiles
		return Resampled{}, ErrDraws
	}
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	selection, sensitivity, alarm := newSpans(draws), newSpans(draws), newSpans(draws)
	for i, g := range groups {
		tp := binomial(g.TP, g.Positives(), draws, rand.NewPCG(seed, uint64(2*i)))
		fp := binomial(g.FP, g.Negatives(), draws, rand.NewPCG(seed, uint64(2*i+1)))
		for d := range draws {
			sensitivity[d].add(ratio(tp[d], g.Positives()))
			alarm[d].add(ratio(fp[d], g.Negatives()))
			selection[d].add(ratio(tp[d]+fp[d], g.N()))
		}
	}
	parity, opportunity, odds := make([]float64, draws), make([]float64, draws), make([]float64, draws)
	for d := range draws {
		parity[d], opportunity[d] = selection[d].difference(), sensitivity[d].difference()
		odds[d] = math.Max(opportunity[d], alarm[d].difference())
	}
	return Resampled{percentiles(parity), percentiles(opportunity), percentiles(odds)}, nil
}

func newSpans(n int) []span {
	out := make([]span, n)
	for i := range out {
		out[i] = span{math.Inf(1), math.Inf(-1)}
	}
	return out
}

// add widens the span; once NaN, it stays so.
func (s *span) add(rate float64) {
	s.low, s.high = math.Min(s.low, rate), math.Max(s.high, rate)
}

// percentiles sorts what was drawn.
func percentiles(drawn []float64) Interval {
	if slices.ContainsFunc(drawn, math.IsNaN) {
		return wide()
	}
	slices.Sort(drawn)
	low, err := statistics.Quantile(drawn, 0.025)
	if err != nil {
		return wide()
	}
	high, err := statistics.Quantile(drawn, 0.975)
	if err != nil {
		return wide()
	}
	return Interval{low, high}
}

// normalFrom is the standard deviation from which a binomial is drawn as the
// normal that it is by then: its table would only be long.
const normalFrom = 2000

// negligible is the weight, against that of the likeliest count, below which counts
// are never drawn.
const negligible = 1e-18

// binomial draws from Binomial(n, hits/n) by inversion of its distribution. The
// table is made by the ratios of neighbouring weights, outward from the
// likeliest count, which is hits itself: no logarithm is rounded.
func binomial(hits, n int64, draws int, random *rand.PCG) []int64 {
	out := make([]int64, draws)
	misses := n - hits
	if hits == 0 || misses == 0 {
		for d := range out {
			out[d] = hits
		}
		return out
	}
	uniform := func() float64 { return float64(random.Uint64()>>11) * 0x1p-53 }
	if sd := math.Sqrt(float64(hits) * (float64(misses) / float64(n))); sd > normalFrom {
		for d := range out {
			z := statistics.NormalQuantile(max(uniform(), 0x1p-54))
			out[d] = min(max(hits+int64(math.Round(z*sd)), 0), n)
		}
		return out
	}
	odds := float64(hits) / float64(misses)
	var below []float64 // weights of hits-1, hits-2, ...
	for k, w := hits, 1.0; k > 0; k-- {
		if w *= float64(k) / float64(n-k+1) / odds; w < negligible {
			break
		}
		below = append(below, w)
	}
	first := hits - int64(len(below))
	table := make([]float64, 0, 2*len(below)+1) // weight of first and of all up to it
	var sum float64
	for _, w := range slices.Backward(below) {
		sum += w
		table = append(table, sum)
	}
	sum++
	table = append(table, sum)
	for k, w := hits, 1.0; k < n; k++ {
		if w *= float64(n-k) / float64(k+1) * odds; w < negligible {
			break
		}
		sum += w
		table = append(table, sum)
	}
	for d := range out {
		x := uniform() * sum
		i := sort.Search(len(table)-1, func(i int) bool { return table[i] > x })
		out[d] = first + int64(i)
	}
	return out
}
