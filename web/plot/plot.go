// Package plot turns what the API answers into drawings: the same ones for the
// console and for the command line.
//
// Invariant: a drawing is made from one answer alone, equal answers give equal
// drawings, and what an answer does not say is not drawn.
package plot

import (
	"cmp"
	"slices"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// note says beside a title that nothing of it was real.
func note(simulated bool) string {
	if simulated {
		return "simulated"
	}
	return ""
}

// Accuracy draws the share of held-out rows that each round got right.
func Accuracy(run v1.Run) chart.Lines {
	out := chart.Lines{Title: "Accuracy on held-out rows", Note: note(run.Simulated), X: "round", Y: "%"}
	if run.Params.TargetBp > 0 {
		out.Marks = []chart.Mark{{Name: "target", Y: float64(run.Params.TargetBp) / 100}}
	}
	out.Series = []chart.Series{{Name: "accuracy", Points: points(run, func(m v1.Metrics) (float64, bool) {
		if m.AccuracyBp == nil {
			return 0, false
		}
		return float64(*m.AccuracyBp) / 100, true
	})}}
	return out
}

// Loss draws the mean loss of a held-out row after each round.
func Loss(run v1.Run) chart.Lines {
	return chart.Lines{Title: "Loss a held-out row", Note: note(run.Simulated), X: "round", Y: "nat",
		Series: []chart.Series{{Name: "loss", Points: points(run, func(m v1.Metrics) (float64, bool) {
			if m.Evaluated == 0 {
				return 0, false
			}
			return float64(m.LossMicros) / 1e6 / float64(m.Evaluated), true
		})}}}
}

// points takes a value out of each round that has it, in the rounds' order.
func points(run v1.Run, of func(v1.Metrics) (float64, bool)) []chart.Point {
	var out []chart.Point
	for _, r := range run.Rounds {
		if y, ok := of(r.Metrics); ok {
			out = append(out, chart.Point{X: float64(r.Number), Y: y})
		}
	}
	slices.SortStableFunc(out, func(a, b chart.Point) int { return cmp.Compare(a.X, b.X) })
	return out
}

// Privacy draws the epsilon that a run has spent, against its limit.
func Privacy(progress v1.RunProgress) chart.Lines {
	out := chart.Lines{Title: "Privacy spent, epsilon", Note: note(progress.Simulated), X: "round", Y: "epsilon"}
	if progress.Privacy.Limit > 0 {
		out.Marks = []chart.Mark{{Name: "limit of the run", Y: progress.Privacy.Limit}}
	}
	series := chart.Series{Name: "epsilon"}
	for _, p := range progress.Privacy.Points {
		series.Points = append(series.Points, chart.Point{X: float64(p.Number), Y: p.Epsilon})
	}
	out.Series = []chart.Series{series}
	return out
}

// Drift draws the figures of a card's drift, each with what it may be and its
// limit.
func Drift(model string, card scorecard.Card) chart.Intervals {
	out := chart.Intervals{Title: "Drift of " + model, Wide: 560, Names: 220}
	for _, d := range card.Dimensions {
		if d.Name != scorecard.Drift {
			continue
		}
		for _, f := range d.Figures {
			if f.Status == scorecard.NoData {
				continue
			}
			row := chart.Interval{Name: f.Name, Estimate: f.Value, Low: f.Low, High: f.High, Margin: f.Limit, State: chart.Open}
			switch f.Status {
			case scorecard.Pass:
				row.State = chart.Pass
			case scorecard.Fail:
				row.State = chart.Fail
			}
			out.Rows = append(out.Rows, row)
		}
	}
	return out
}

// Canary draws, for each guardrail, the last look of each step against the
// margin, in the order in which the guardrails were first looked at.
func Canary(looks []canary.Look) []chart.Sequence {
	var out []chart.Sequence
	var metrics []string
	for _, l := range looks {
		for _, f := range l.Findings {
			at := slices.Index(metrics, f.Metric)
			if at < 0 {
				unit := "percentage points worse"
				if f.Scale == canary.Relative {
					unit = "% of the mean worse"
				}
				at = len(out)
				metrics = append(metrics, f.Metric)
				out = append(out, chart.Sequence{Title: f.Metric + " of the canary beside the champion", X: "step", Y: unit})
			}
			s := &out[at]
			s.Margin, s.State = 100*f.Margin, verdict(f.Verdict)
			if f.Reason == "" || f.Low != 0 || f.High != 0 {
				s.Looks = append(s.Looks, chart.Look{At: float64(l.Step.Number), Estimate: 100 * f.Estimate, Low: 100 * f.Low, High: 100 * f.High})
			}
		}
	}
	return out
}

// verdict is how a verdict is drawn: too little is grey.
func verdict(v canary.Verdict) chart.State {
	switch string(v) {
	case "PASS":
		return chart.Pass
	case "FAIL":
		return chart.Fail
	case "INCONCLUSIVE":
		return chart.Hold
	}
	return chart.Open
}

// Metrics names the guardrails of the looks, in the order of [Canary].
func Metrics(looks []canary.Look) []string {
	var out []string
	for _, l := range looks {
		for _, f := range l.Findings {
			if !slices.Contains(out, f.Metric) {
				out = append(out, f.Metric)
			}
		}
	}
	return out
}

// Budget is what the 95th percentile of calls from a region to another stays
// under, P6.
func Budget(l v1.RegionLoad, b v1.LatencyBudget) float64 {
	if l.From == "" || l.From == l.Region {
		return float64(b.WithinMs)
	}
	return float64(b.BetweenMs)
}

// Routing draws the latency of every pair of a region and an endpoint: from the
// median to the 99th percentile, the 95th as a dot, the budget as a mark. What
// was never answered has none.
func Routing(m v1.RegionMap) chart.Intervals {
	title := "Latency, p50 to p99, dot at p95"
	if m.Simulated {
		title += " (simulated)"
	}
	out := chart.Intervals{Title: title, Unit: "ms", Wide: 560, Names: 200}
	for _, l := range m.Loads {
		if l.Calls == l.Failed {
			continue
		}
		from := l.From
		if from == "" {
			from = "outside"
		}
		low, high, budget := l.P50Ms, l.P99Ms, Budget(l, m.Budget)
		out.Rows = append(out.Rows, chart.Interval{
			Name: from + " to " + l.Endpoint, Estimate: l.P95Ms, Low: &low, High: &high, Margin: &budget,
			State: chart.Latencies{P95: l.P95Ms, Budget: budget}.State(),
		})
	}
	return out
}
