package canary

import (
	"math"
	"slices"
)

// What a second opinion says of the canary's points beside the control's.
const (
	High    = "high" // the canary's are higher
	Low     = "low"
	Neither = "neither"
	Unknown = "unknown" // too few points
)

// FewestPoints is how many points either side of a second opinion must have.
const FewestPoints = 5

// An Opinion is that of a test which assumes nothing of how the points are
// spread: the interval of the shift between both sides.
type Opinion struct {
	Metric string  `json:"metric"`
	Says   string  `json:"says"`
	Shift  float64 `json:"shift"` // Hodges-Lehmann estimate, canary less control
	From   float64 `json:"from"`
	To     float64 `json:"to"`
	Bound  float64 `json:"bound"` // a shift within it is none
	Points [2]int  `json:"points"`
}

// Shift returns the Hodges-Lehmann estimate of how much higher the experiment's
// points are than the control's, with the interval that belongs to the
// Mann-Whitney test: of all n·m differences D, sorted,
//
//	shift = median(D)
//	k = floor(n·m/2 - z·√(n·m·(n+m+1)/12)),  z = Φ⁻¹(1 - (1-conf)/2)
//	interval [D[k], D[n·m-1-k]], counted from zero
//
// conf is in (0,1). An interval that the points are too few for is all of D.
// Errors: [ErrEmpty]; [ErrNumber].
// Source: Kayenta, MannWhitneyClassifier.scala; Hollander and Wolfe, 4.2, 4.3.
func Shift(control, experiment []float64, conf float64) (shift, from, to float64, err error) {
	n, m := len(experiment), len(control)
	if n == 0 || m == 0 {
		return 0, 0, 0, ErrEmpty
	}
	d := make([]float64, 0, n*m)
	for _, e := range experiment {
		for _, c := range control {
			if math.IsNaN(e-c) || math.IsInf(e-c, 0) {
				return 0, 0, 0, ErrNumber
			}
			d = append(d, e-c)
		}
	}
	slices.Sort(d)
	shift = (d[(len(d)-1)/2] + d[len(d)/2]) / 2
	nm := float64(n * m)
	z := math.Sqrt2 * math.Erfinv(conf) // Φ⁻¹(1-(1-c)/2) = √2·erf⁻¹(c)
	k := max(0, int(math.Floor(nm/2-z*math.Sqrt(nm*float64(n+m+1)/12))))
	return shift, d[k], d[len(d)-1-k], nil
}

// Classify returns Kayenta's verdict on an interval: [High] where it lies above
// the bound, [Low] where it lies below its negative, else [Neither].
func Classify(from, to, bound float64) string {
	switch {
	case from > bound:
		return High
	case to < -bound:
		return Low
	}
	return Neither
}

// Second returns the second opinion on one metric by points that were taken at
// the same times on both sides. The bound is what the guardrail allows of the
// control's median: Kayenta's own is a part of the shift itself, and no bound
// on harm.
func Second(g Guardrail, control, canary []float64) Opinion {
	o := Opinion{Metric: g.Metric, Says: Unknown, Points: [2]int{len(control), len(canary)}}
	if min(len(control), len(canary)) < FewestPoints {
		return o
	}
	shift, from, to, err := Shift(control, canary, .98)
	if err != nil {
		return o
	}
	o.Bound = float64(g.MarginBP) / Whole
	if g.Scale == Relative {
		o.Bound *= median(control)
	}
	o.Shift, o.From, o.To = shift, from, to
	o.Says = Classify(from, to, o.Bound)
	return o
}

// Join adds a second opinion to a look: where it says that the canary is worse
// and the first does not, nobody knows, and a person decides.
func (l *Look) Join(o Opinion) {
	if l.Second == nil || o.Says == High {
		l.Second = &o
	}
	if o.Says == High && l.Verdict == Pass {
		l.Verdict = Inconclusive
	}
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
