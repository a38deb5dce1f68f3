package feedback

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// A Window is what a metric was in a stretch of time: single values, or how
// many of a total.
type Window struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Values []float64 `json:"values,omitempty"`
	Hits   float64   `json:"hits,omitempty"`
	Total  float64   `json:"total,omitempty"`
	Odd    bool      `json:"odd,omitempty"` // something that was measured is no number
}

// Plain returns the window as JSON can say it: numbers that are none are taken
// out, and Odd says that there were some.
func (w Window) Plain() Window {
	odd := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	if slices.ContainsFunc(w.Values, odd) || odd(w.Hits) || odd(w.Total) {
		return Window{From: w.From, To: w.To, Odd: true}
	}
	return w
}

// Check returns why a window of a test's type cannot be judged, and nil when it
// can.
// Errors: [ErrNoData], [ErrFew], [ErrNumber].
func (w Window) Check(t Test) error { return w.check(t) }

// n returns how many observations the window holds, by the test's type.
func (w Window) n(t Test) int64 {
	if t == Wilson {
		return int64(w.Total)
	}
	return int64(len(w.Values))
}

// Windows is how many windows in a row must say the same.
const Windows = 3

// Level is that of the tests and, over the family of an evaluation, of false
// discoveries.
const Level = 0.05

// MinValues and MinTotal are how many observations a window needs.
const (
	MinValues = 20
	MinTotal  = 100
)

// Why a window cannot be judged.
var (
	ErrNoData = errors.New("the metric does not arrive: see that its exporter runs and is scraped")
	ErrFew    = errors.New("there are too few observations: wait, or widen the window")
	ErrNumber = errors.New("the metric is not a number: mend its exporter")
	ErrZero   = errors.New("the baseline is zero, so that no change is relative to it")
)

// A comparison is one window beside the baseline: how much worse, between which
// bounds at 95 %, and the one-sided p-value.
type comparison struct {
	effect, low, high, p float64
	n                    int64
}

// check refuses a window that cannot be judged.
func (w Window) check(t Test) error {
	if w.Odd {
		return ErrNumber
	}
	if t == Wilson {
		switch {
		case math.IsNaN(w.Hits) || math.IsNaN(w.Total) || math.IsInf(w.Hits, 0) || math.IsInf(w.Total, 0):
			return ErrNumber
		case w.Total == 0:
			return ErrNoData
		case w.Hits < 0 || w.Hits > w.Total:
			return ErrNumber
		case w.Total < MinTotal:
			return fmt.Errorf("%d of %d: %w", int64(w.Total), MinTotal, ErrFew)
		}
		return nil
	}
	for _, v := range w.Values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ErrNumber
		}
	}
	switch {
	case len(w.Values) == 0:
		return ErrNoData
	case len(w.Values) < MinValues:
		return fmt.Errorf("%d of %d: %w", len(w.Values), MinValues, ErrFew)
	}
	return nil
}

// compare returns by how much w is worse than the baseline.
//
//	mann-whitney        (mean_w - mean_b)/mean_b, its interval that of Welch's difference over mean_b
//	wilson              share_w - share_b, Newcombe's interval; p of the pooled score test
//	kolmogorov-smirnov  the distance D+ by which w's values are higher; no interval but 0..D
//
// Errors: those of a window; [ErrZero].
func compare(t Test, base, w Window) (comparison, error) {
	for _, one := range []Window{base, w} {
		if err := one.check(t); err != nil {
			return comparison{}, err
		}
	}
	n := base.n(t) + w.n(t)
	switch t {
	case Wilson:
		k1, n1, k2, n2 := int64(w.Hits), int64(w.Total), int64(base.Hits), int64(base.Total)
		effect, low, high := statistics.Difference(k1, n1, k2, n2)
		pooled := float64(k1+k2) / float64(n1+n2)
		p := 1.0
		if sd := math.Sqrt(pooled * (1 - pooled) * (1/float64(n1) + 1/float64(n2))); sd > 0 {
			p = statistics.NormalSurvival(effect / sd)
		}
		return comparison{effect, low, high, p, n}, nil
	case Smirnov:
		// The values are higher where their distribution function is lower.
		r, err := statistics.KolmogorovSmirnov(slices.Sorted(slices.Values(w.Values)), slices.Sorted(slices.Values(base.Values)), statistics.Less)
		if err != nil {
			return comparison{}, fmt.Errorf("%w: %w", ErrNumber, err)
		}
		return comparison{r.Statistic, 0, r.Statistic, r.P, n}, nil
	}
	mw, vw, err := statistics.Moments(w.Values)
	if err != nil {
		return comparison{}, fmt.Errorf("%w: %w", ErrNumber, err)
	}
	mb, vb, err := statistics.Moments(base.Values)
	if err != nil {
		return comparison{}, fmt.Errorf("%w: %w", ErrNumber, err)
	}
	if mb == 0 {
		return comparison{}, ErrZero
	}
	half := statistics.Z95 * math.Sqrt(vw/float64(len(w.Values))+vb/float64(len(base.Values)))
	scale := math.Abs(mb)
	out := comparison{(mw - mb) / scale, (mw - mb - half) / scale, (mw - mb + half) / scale, 1, n}
	r, err := statistics.MannWhitney(w.Values, base.Values, statistics.Greater)
	switch {
	case errors.Is(err, statistics.ErrDegenerate): // all values are the same: nothing has moved
	case err != nil:
		return comparison{}, fmt.Errorf("%w: %w", ErrNumber, err)
	default:
		out.p = r.P
	}
	return out, nil
}
