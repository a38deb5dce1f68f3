package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/feedback"
)

const mediaTypeGuard = "application/vnd.fabric.policy.look.v1+json"

// planned is the number of observations at which a guard's test is sharpest.
const planned = 2000

// A guardLook is everything that one look at a region saw and said.
type guardLook struct {
	Region   string           `json:"region"`
	Metric   string           `json:"metric"`
	Before   canary.Sample    `json:"before"`
	After    canary.Sample    `json:"after"`
	Estimate float64          `json:"estimate"`
	Low      float64          `json:"low"`
	High     float64          `json:"high"`
	Margin   float64          `json:"margin"`
	Verdict  canary.Verdict   `json:"verdict"`
	Words    string           `json:"words"`
	Windows  [2]feedback.Span `json:"windows"`
}

// GuardRegion compares a region under the new policy with itself before, by a
// confidence sequence that may be looked at as often as one likes: worse than
// the margin beyond it is FAIL, no worse within it is PASS, neither is
// INCONCLUSIVE, and what did not arrive is NO_DATA. Idempotent: it reads.
func (f *Feedback) GuardRegion(ctx context.Context, in contract.GuardInput) (contract.Guarded, error) {
	since, until := time.Unix(in.Since, 0).UTC(), time.Unix(in.Until, 0).UTC()
	before := feedback.Span{From: since.Add(-time.Duration(in.Guard.BakeSeconds) * time.Second), To: since}
	look := guardLook{Region: in.Region, Metric: in.Guard.Metric, Margin: float64(in.Guard.MarginBP) / 10_000, Windows: [2]feedback.Span{before, {From: since, To: until}}}
	found, err := f.Telemetry.Windows(ctx, in.Tenant, in.Guard.Metric, look.Windows[:])
	if err != nil {
		return contract.Guarded{}, within(err, "guard of %s", in.Region)
	}
	look.judge(in, found[in.Region])
	blob, err := keep(ctx, f.Blobs, mediaTypeGuard, look)
	return contract.Guarded{Verdict: look.Verdict, Words: look.Words, Look: blob.Digest}, within(err, "guard of %s", in.Region)
}

func (l *guardLook) judge(in contract.GuardInput, windows []feedback.Window) {
	effect, err := l.effect(in, windows)
	if err != nil {
		l.Verdict, l.Words = canary.NoData, fmt.Sprintf("%s of %s: %v", l.Metric, l.Region, err)
		return
	}
	half := canary.Sequence{Alpha: float64(in.Guard.AlphaBP) / 10_000, Planned: planned}.OneSided(effect)
	l.Estimate, l.Low, l.High = effect.D, effect.D-half, effect.D+half
	switch {
	case l.Low > l.Margin:
		l.Verdict = canary.Fail
	case l.High <= l.Margin:
		l.Verdict = canary.Pass
	default:
		l.Verdict = canary.Inconclusive
	}
	l.Words = fmt.Sprintf("%s of %s moved by %.3g [%.3g, %.3g], the margin is %.3g, n %d before and %d after",
		l.Metric, l.Region, l.Estimate, l.Low, l.High, l.Margin, l.Before.N, l.After.N)
}

func (l *guardLook) effect(in contract.GuardInput, windows []feedback.Window) (canary.Effect, error) {
	if len(windows) != 2 {
		return canary.Effect{}, feedback.ErrNoData
	}
	var t feedback.Test
	for _, template := range feedback.Templates() {
		if template.Metric == in.Guard.Metric {
			t = template.Test
		}
	}
	sides := [2]*canary.Sample{&l.Before, &l.After}
	for i, w := range windows {
		if err := w.Plain().Check(t); err != nil {
			return canary.Effect{}, fmt.Errorf("%s: %w", [2]string{"before", "since"}[i], err)
		}
		var err error
		if t == feedback.Wilson {
			*sides[i], err = canary.Share(int64(w.Total), int64(w.Hits))
		} else {
			sum, squares := 0.0, 0.0
			for _, v := range w.Values {
				sum, squares = sum+v, squares+v*v
			}
			*sides[i], err = canary.Means(int64(len(w.Values)), sum, squares)
		}
		if err != nil {
			return canary.Effect{}, err
		}
	}
	if t == feedback.Wilson {
		return canary.Difference(l.Before, l.After)
	}
	return canary.Ratio(l.Before, l.After)
}
