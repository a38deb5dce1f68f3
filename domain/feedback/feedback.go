// Package feedback proposes changes of the policy from telemetry: a template out
// of a closed set, moved one step, with the statistics that speak for it.
//
// Invariant: nothing is proposed without an effect that matters and a test that
// is significant over the whole family of an evaluation, in every one of three
// windows, beyond what the control regions did. What is missing, too little or
// no number proposes nothing, and says so. A template changes a limit or the
// weight of a region and nothing else: consent, the cap of epsilon, rules,
// thresholds and approvals are out of its reach.
package feedback

import (
	"errors"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/policy"
)

// A Test is how a metric's windows are compared.
type Test string

// Tests by type of metric.
const (
	MannWhitney Test = "mann-whitney"       // of single values; the effect is relative to the baseline's mean
	Wilson      Test = "wilson"             // of a share; the effect is the difference
	Smirnov     Test = "kolmogorov-smirnov" // of a whole distribution; the effect is the distance
)

// A Template is a kind of change that may be proposed. Its metric being worse
// speaks for moving its value one step in its direction.
type Template struct {
	Name     string
	Metric   string // higher is worse
	Test     Test
	Least    float64 // effect below which nothing matters, in the test's units
	Low      int64   // of the value; both bounds are in
	High     int64
	Tightens int  // +1: a higher value protects more; -1: a lower one
	Toggle   bool // the value is 0 or 1, and one step is all of it
}

// Templates returns the closed set. quarantine_site is by site, region_weight
// and quarantine_region are by region; the others are one value for all.
// max_epsilon ends at the cap that no template can lift.
func Templates() []Template {
	return []Template{
		{Name: "clip_norm", Metric: "update_norm", Test: Smirnov, Least: 0.20, Low: 100, High: 10_000, Tightens: -1},
		{Name: "max_epsilon", Metric: "privacy_attack_advantage", Test: MannWhitney, Least: 0.25, Low: 500, High: 8_000, Tightens: -1},
		{Name: "min_cohort", Metric: "round_dropout", Test: Wilson, Least: 0.10, Low: 1, High: 64, Tightens: +1},
		{Name: "quarantine_region", Metric: "drift", Test: MannWhitney, Least: 0.50, Low: 0, High: 1, Tightens: +1, Toggle: true},
		{Name: "quarantine_site", Metric: "site_refused", Test: Wilson, Least: 0.25, Low: 0, High: 1, Tightens: +1, Toggle: true},
		{Name: "region_weight", Metric: "route_failed", Test: Wilson, Least: 0.05, Low: 1, High: 1_000, Tightens: -1},
		{Name: "retry_budget", Metric: "retried", Test: Wilson, Least: 0.10, Low: 1, High: 8, Tightens: -1},
		{Name: "straggler_deadline", Metric: "stage_seconds", Test: MannWhitney, Least: 0.50, Low: 10, High: 3_600, Tightens: -1},
	}
}

// Of returns the template of a name.
func Of(name string) (Template, bool) {
	all := Templates()
	i := slices.IndexFunc(all, func(t Template) bool { return t.Name == name })
	if i < 0 {
		return Template{}, false
	}
	return all[i], true
}

// Metrics returns the name of every metric that a template looks at, in order.
func Metrics() []string {
	var names []string
	for _, t := range Templates() {
		names = append(names, t.Metric)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ErrTarget says that a template cannot be applied to a target.
var ErrTarget = errors.New("the template has no such target")

// Value returns what the document says for the template and its target. An
// upper bound that is not set reads as the highest value, a lower one as the
// lowest.
func (t Template) Value(d policy.Document, target string) int64 {
	l := d.Bounds()
	upper := func(v int64) int64 {
		if v == 0 {
			return t.High
		}
		return v
	}
	switch t.Name {
	case "clip_norm":
		return upper(l.MaxClipMilli)
	case "max_epsilon":
		return upper(l.MaxEpsilonMilli)
	case "min_cohort":
		return max(int64(l.MinCohort), t.Low)
	case "straggler_deadline":
		return upper(int64(l.MaxDeadlineSeconds))
	case "retry_budget":
		return upper(int64(l.MaxRetries))
	case "region_weight":
		return int64(d.Share(target))
	case "quarantine_region":
		return truth(!d.Open(target))
	case "quarantine_site":
		tenant, site, _ := strings.Cut(target, "/")
		return truth(d.Isolates(tenant, site))
	}
	return 0
}

// Apply returns the document with the template's value for a target. It changes
// limits and shares and nothing else.
// Errors: [ErrTarget].
func (t Template) Apply(d policy.Document, target string, value int64) (policy.Document, error) {
	l := d.Bounds()
	l.Quarantined = slices.Clone(l.Quarantined)
	shares := slices.Clone(d.Shares)
	share := func(weight int) {
		shares = slices.DeleteFunc(shares, func(s policy.Share) bool { return s.Region == target })
		if weight != 1000 {
			shares = append(shares, policy.Share{Region: target, Weight: weight})
		}
		slices.SortFunc(shares, func(a, b policy.Share) int { return strings.Compare(a.Region, b.Region) })
	}
	switch t.Name {
	case "clip_norm":
		l.MaxClipMilli = value
	case "max_epsilon":
		l.MaxEpsilonMilli = value
	case "min_cohort":
		l.MinCohort = int(value)
	case "straggler_deadline":
		l.MaxDeadlineSeconds = int(value)
	case "retry_budget":
		l.MaxRetries = int(value)
	case "region_weight":
		share(int(value))
	case "quarantine_region":
		share(1000 * int(1-value))
	case "quarantine_site":
		l.Quarantined = slices.DeleteFunc(l.Quarantined, func(s string) bool { return s == target })
		if value == 1 {
			l.Quarantined = append(l.Quarantined, target)
			slices.Sort(l.Quarantined)
		}
	default:
		return d, ErrTarget
	}
	if len(l.Quarantined) == 0 {
		l.Quarantined = nil
	}
	d.Limits, d.Shares, d.RollbackOf = &l, shares, nil
	if len(shares) == 0 {
		d.Shares = nil
	}
	d.Revision++
	return d, d.Validate()
}

// step returns the value one step tighter, at most a quarter of the range away;
// the same value at the end of the range.
func (t Template) step(value int64) int64 {
	size := max(1, (t.High-t.Low)/4)
	if t.Toggle {
		size = t.High - t.Low
	}
	return min(max(value+int64(t.Tightens)*size, t.Low), t.High)
}

// Bounded says whether a move is within a step, toward to.
func (t Template) Bounded(from, to int64) bool {
	size := max(1, (t.High-t.Low)/4)
	if t.Toggle {
		size = t.High - t.Low
	}
	return to >= t.Low && to <= t.High && to-from <= size && from-to <= size
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
