package canary

import (
	"fmt"
	"math"
	"strings"
)

// Fewest is how many answers either side must have before anything is said:
// the sequence leans on sums that are near normal.
const Fewest = 30

// A Measure is what one side answered in a window.
type Measure struct {
	Answers int64   `json:"answers"`
	Errors  int64   `json:"errors"`
	Sum     float64 `json:"latencySum"`     // milliseconds of those that did not fail
	Squares float64 `json:"latencySquares"` // of their squares
}

// ErrorRate returns the share of the answers that failed, if there are any.
func (m Measure) ErrorRate() (float64, bool) {
	return float64(m.Errors) / float64(m.Answers), m.Answers > 0
}

// MeanLatency returns the mean latency of those that did not fail, if there
// are any.
func (m Measure) MeanLatency() (float64, bool) {
	n := m.Answers - m.Errors
	return m.Sum / float64(n), n > 0
}

// A Finding is what a look found in one metric. Numbers that could not be
// computed are zero, and Reason says why.
type Finding struct {
	Guardrail
	Verdict  Verdict `json:"verdict"`
	Reason   string  `json:"reason,omitempty"`
	Control  Sample  `json:"control"`
	Canary   Sample  `json:"canary"`
	Margin   float64 `json:"margin"`
	Estimate float64 `json:"estimate"` // how much worse the canary is, on the guardrail's scale
	Low      float64 `json:"low"`      // of it, each bound holds one-sided at the level below
	High     float64 `json:"high"`
	Level    float64 `json:"level"` // probability that either bound is ever wrong
	EValue   float64 `json:"eValue"`
	PValue   float64 `json:"pValue"`
}

// A Look is everything that one look saw and said.
type Look struct {
	Step     Step      `json:"step"`
	Control  Measure   `json:"control"`
	Canary   Measure   `json:"canary"`
	Findings []Finding `json:"findings"`
	Second   *Opinion  `json:"second,omitempty"` // before a region is given over
	Verdict  Verdict   `json:"verdict"`
}

// Words returns the look for people.
func (l Look) Words() string {
	said := make([]string, 0, len(l.Findings)+1)
	for _, f := range l.Findings {
		text := fmt.Sprintf("%s %s", f.Metric, f.Verdict)
		switch {
		case f.Reason != "":
			text += ": " + f.Reason
		case f.Scale == Relative:
			text += fmt.Sprintf(": %+.1f %% [%+.1f, %+.1f], margin %.1f", 100*f.Estimate, 100*f.Low, 100*f.High, 100*f.Margin)
		default:
			text += fmt.Sprintf(": %+.2f points [%+.2f, %+.2f], margin %.2f", 100*f.Estimate, 100*f.Low, 100*f.High, 100*f.Margin)
		}
		said = append(said, text)
	}
	if l.Second != nil && l.Second.Says == High {
		said = append(said, "second opinion: "+l.Second.Metric+" is higher")
	}
	return strings.Join(said, "; ")
}

// Judge says what a look found: d is the design, steps how many steps of the
// whole ladder are judged, see [Design.Judged]. The level of each guardrail in
// each step is its part of the design's: alarms of all of them together stay
// below it.
func Judge(d Design, steps int, at Step, control, canary Measure) Look {
	look := Look{Step: at, Control: control, Canary: canary}
	level := float64(d.AlphaBP) / Whole / float64(max(1, steps*len(d.Guardrails)))
	verdicts := make([]Verdict, 0, len(d.Guardrails))
	for _, g := range d.Guardrails {
		f := g.judge(Sequence{Alpha: level, Planned: float64(d.Planned)}, d.required(at), control, canary)
		look.Findings = append(look.Findings, f)
		verdicts = append(verdicts, f.Verdict)
	}
	look.Verdict = Worst(verdicts...)
	return look
}

// judge compares one metric. The canary fails where even the lower bound of how
// much worse it is exceeds the margin, and passes where even the upper bound
// does not, after enough answers.
func (g Guardrail) judge(q Sequence, required int64, control, canary Measure) Finding {
	f := Finding{Guardrail: g, Verdict: NoData, Margin: float64(g.MarginBP) / Whole, Level: q.Alpha}
	a, errA := g.sample(control)
	b, errB := g.sample(canary)
	for _, side := range []struct {
		who string
		err error
	}{{"what serves", errA}, {"the canary", errB}} {
		if side.err != nil {
			f.Reason = fmt.Sprintf("%s: %v", side.who, side.err)
			return f
		}
	}
	f.Control, f.Canary = a, b
	if least := min(a.N, b.N); least < Fewest {
		f.Reason = fmt.Sprintf("%d answers, and fewer than %d say nothing", least, Fewest)
		return f
	}
	compare := Difference
	if g.Scale == Relative {
		compare = Ratio
	}
	e, err := compare(g.widened(a), g.widened(b))
	if err != nil {
		f.Reason = err.Error()
		return f
	}
	half := q.OneSided(e)
	f.Estimate, f.Low, f.High = e.D, e.D-half, e.D+half
	if f.EValue = q.EValue(e); math.IsNaN(f.EValue) {
		f.EValue = 0
	}
	f.PValue = PValue(f.EValue)
	if f.EValue == 0 {
		f.PValue = 1
	}
	switch {
	case math.IsNaN(half) || math.IsInf(half, 0):
		f.Estimate, f.Low, f.High = 0, 0, 0
		f.Reason = ErrNumber.Error()
	case f.Low > f.Margin:
		f.Verdict = Fail
	case min(a.N, b.N) < required:
		f.Reason = fmt.Sprintf("%d answers of the %d that are required", min(a.N, b.N), required)
	case f.High < f.Margin:
		f.Verdict = Pass
	default:
		f.Verdict = Inconclusive
	}
	return f
}

func (g Guardrail) sample(m Measure) (Sample, error) {
	if g.Metric == Errors {
		return Share(m.Answers, m.Errors)
	}
	return Means(m.Answers-m.Errors, m.Sum, m.Squares)
}

// widened returns the sample with the variance that one more error and one more
// success would give a share: without it, a side on which nothing failed yet
// would be taken for one on which nothing can.
func (g Guardrail) widened(s Sample) Sample {
	if g.Metric == Errors {
		n := float64(s.N)
		p := (s.Mean*n + 1) / (n + 2)
		s.Variance = max(s.Variance, p*(1-p))
	}
	return s
}
