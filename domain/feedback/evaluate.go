package feedback

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/statistics"
)

// A Series is a metric of one region or site: the baseline, and the windows
// after it, oldest first. A baseline matched by season is the same hours of the
// days before.
type Series struct {
	Metric   string   `json:"metric"`
	Target   string   `json:"target"` // region, or "tenant/site"
	Baseline Window   `json:"baseline"`
	Recent   []Window `json:"recent"`
}

// A Status is what became of one template and target in an evaluation.
type Status string

// Statuses. Only Propose proposes.
const (
	Propose      Status = "PROPOSE"
	Quiet        Status = "QUIET"        // no effect that matters
	Inconclusive Status = "INCONCLUSIVE" // the control moved too, or there is none
	Insufficient Status = "INSUFFICIENT" // too few observations, or no numbers
	NoData       Status = "NO_DATA"
	Held         Status = "HELD" // it would be proposed, and a guard rail holds it
)

// Evidence is what speaks for a proposal.
type Evidence struct {
	Metric   string    `json:"metric"`
	Test     Test      `json:"test"`
	P        float64   `json:"p"` // the largest of the windows'
	Q        float64   `json:"q"` // over the family of the evaluation
	Family   int       `json:"family"`
	Effect   float64   `json:"effect"` // the smallest of the windows'
	Low      float64   `json:"low"`    // of that window, at 95 %
	High     float64   `json:"high"`
	Least    float64   `json:"least"` // effect that matters
	N        int64     `json:"n"`     // of the smallest comparison
	Windows  int       `json:"windows"`
	Control  []Control `json:"control"`
	Beyond   float64   `json:"beyond"` // effect less the median of the control's: difference in differences
	Baseline Span      `json:"baseline"`
	Recent   Span      `json:"recent"`
}

// A Control is what a region that is not affected did meanwhile.
type Control struct {
	Target string  `json:"target"`
	Effect float64 `json:"effect"` // median of its windows'
}

// A Span is a stretch of time.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// overlaps says whether the spans share more than an end.
func (s Span) overlaps(o Span) bool { return s.From.Before(o.To) && o.From.Before(s.To) }

// A Finding is what an evaluation found for one template and target. Reason
// says why nothing is proposed, and what to do.
type Finding struct {
	Template string    `json:"template"`
	Target   string    `json:"target,omitempty"`
	Status   Status    `json:"status"`
	Reason   string    `json:"reason,omitempty"`
	From     int64     `json:"from"`
	To       int64     `json:"to"`
	Loosens  bool      `json:"loosens,omitempty"`
	Evidence *Evidence `json:"evidence,omitempty"`
}

// Key is what at most one proposal may be active for.
func (f Finding) Key() string { return f.Template + "/" + f.Target }

// An Input is what an evaluation looks at.
type Input struct {
	At      time.Time
	Policy  policy.Document // in force
	Series  []Series
	History []Past // our own earlier proposals
	Rails   Rails
}

// Evaluate judges every template for every target that has telemetry, and
// holds what a guard rail holds. The order is that of templates and targets.
func Evaluate(in Input) []Finding {
	var found []Finding
	for _, t := range Templates() {
		found = append(found, t.judge(in)...)
	}
	adjust(found)
	held := in.Rails.hold(in, found)
	return held
}

// judge compares each target of a template with its own past and with the
// others.
func (t Template) judge(in Input) []Finding {
	var series []Series
	for _, s := range in.Series {
		if s.Metric == t.Metric {
			series = append(series, s)
		}
	}
	slices.SortFunc(series, func(a, b Series) int { return strings.Compare(a.Target, b.Target) })
	if len(series) == 0 {
		return []Finding{{Template: t.Name, Status: NoData, Reason: fmt.Sprintf("metric %s: %v", t.Metric, ErrNoData)}}
	}
	compared := make([][]comparison, len(series))
	failed := make([]error, len(series))
	for i, s := range series {
		compared[i], failed[i] = t.windows(s)
	}
	found := make([]Finding, len(series))
	for i, s := range series {
		f := Finding{Template: t.Name, Target: t.target(s.Target)}
		f.From = t.Value(in.Policy, s.Target)
		f.To = f.From
		if failed[i] != nil {
			f.Status, f.Reason = Insufficient, fmt.Sprintf("metric %s of %s: %v", t.Metric, s.Target, failed[i])
			if errors.Is(failed[i], ErrNoData) {
				f.Status = NoData
			}
			found[i] = f
			continue
		}
		f.Evidence = t.evidence(s, compared[i])
		for j, o := range series {
			if j != i && failed[j] == nil {
				f.Evidence.Control = append(f.Evidence.Control, Control{o.Target, medianEffect(compared[j])})
			}
		}
		t.conclude(&f, in, compared[i])
		found[i] = f
	}
	return found
}

// target is whom a change is for: a template with one value for all has none.
func (t Template) target(of string) string {
	switch t.Name {
	case "region_weight", "quarantine_region", "quarantine_site":
		return of
	}
	return ""
}

// windows compares the last [Windows] windows with the baseline.
func (t Template) windows(s Series) ([]comparison, error) {
	if len(s.Recent) < Windows {
		return nil, fmt.Errorf("%d of %d windows: %w", len(s.Recent), Windows, ErrFew)
	}
	var out []comparison
	for _, w := range s.Recent[len(s.Recent)-Windows:] {
		c, err := compare(t.Test, s.Baseline, w)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (t Template) evidence(s Series, windows []comparison) *Evidence {
	recent := s.Recent[len(s.Recent)-Windows:]
	e := &Evidence{
		Metric: t.Metric, Test: t.Test, Least: t.Least, Windows: Windows, N: math.MaxInt64, Effect: math.Inf(1), Control: []Control{},
		Baseline: Span{s.Baseline.From, s.Baseline.To}, Recent: Span{recent[0].From, recent[Windows-1].To},
	}
	for _, c := range windows {
		e.P, e.N = max(e.P, c.p), min(e.N, c.n)
		if c.effect < e.Effect {
			e.Effect, e.Low, e.High = c.effect, c.low, c.high
		}
	}
	return e
}

// conclude says what the evidence means, before the family is known. A
// candidate to tighten is Propose; [adjust] takes back what its q-value does
// not carry. A value that we tightened is loosened again, one step, when the
// whole interval of each window is below a quarter of what matters: the undo
// threshold differs from the do threshold.
func (t Template) conclude(f *Finding, in Input, windows []comparison) {
	e := f.Evidence
	tighter := t.step(f.From)
	switch {
	case e.Effect < e.Least:
		f.Status, f.Reason = Quiet, "no effect that matters"
		if before, ours := tightened(in.History, f.Key(), f.From); ours && gone(windows, e.Least/4) {
			if back := t.backTo(f.From, before); back != f.From {
				f.Status, f.Reason, f.To, f.Loosens = Propose, "", back, true
			}
		}
		return
	case len(e.Control) == 0:
		f.Status, f.Reason = Inconclusive, "there is no control: only one target reports the metric"
		return
	}
	e.Beyond = e.Effect - medianControl(e.Control)
	switch {
	case e.Beyond < e.Least:
		f.Status, f.Reason = Inconclusive, "the control moved too: look for a cause that all regions share"
	case tighter == f.From:
		f.Status, f.Reason = Quiet, "it is as tight as the template goes: a person has to act"
	default:
		f.Status, f.To = Propose, tighter
	}
}

// gone says whether the whole interval of each window is below the bound.
func gone(windows []comparison, bound float64) bool {
	return !slices.ContainsFunc(windows, func(c comparison) bool { return c.high >= bound })
}

// backTo is one step toward the value before, not beyond it.
func (t Template) backTo(value, before int64) int64 {
	size := max(1, (t.High-t.Low)/4)
	if t.Toggle {
		size = t.High - t.Low
	}
	looser := value - int64(t.Tightens)*size
	if t.Tightens > 0 {
		return max(looser, before, t.Low)
	}
	return min(looser, before, t.High)
}

// adjust takes back what is not significant over the family: every comparison
// of this evaluation that could be made.
func adjust(found []Finding) {
	var p []float64
	for _, f := range found {
		if f.Evidence != nil {
			p = append(p, f.Evidence.P)
		}
	}
	q, err := statistics.BenjaminiHochberg(p)
	if err != nil { // a p-value that is none: nothing is proposed
		q = make([]float64, len(p))
		for i := range q {
			q[i] = 1
		}
	}
	at := 0
	for i := range found {
		f := &found[i]
		if f.Evidence == nil {
			continue
		}
		f.Evidence.Q, f.Evidence.Family = q[at], len(p)
		at++
		if f.Status == Propose && !f.Loosens && f.Evidence.Q > Level {
			f.Status, f.To, f.Reason = Quiet, f.From, fmt.Sprintf("q is %.3g over a family of %d, above %g", f.Evidence.Q, len(p), Level)
		}
	}
}

func medianEffect(windows []comparison) float64 {
	effects := make([]float64, len(windows))
	for i, c := range windows {
		effects[i] = c.effect
	}
	return median(effects)
}

func medianControl(control []Control) float64 {
	effects := make([]float64, len(control))
	for i, c := range control {
		effects[i] = c.Effect
	}
	return median(effects)
}

func median(x []float64) float64 {
	slices.Sort(x)
	n := len(x)
	if n%2 == 1 {
		return x[n/2]
	}
	return (x[n/2-1] + x[n/2]) / 2
}
