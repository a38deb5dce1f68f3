package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

// ErrConflictingProposal says that a key has a proposal that is open.
var ErrConflictingProposal = errors.New("the key has another proposal that is open")

// Types of the blobs of the policy loop.
const (
	mediaTypeSeries   = "application/vnd.fabric.feedback.series.v1+json"
	mediaTypeFindings = "application/vnd.fabric.feedback.findings.v1+json"
	mediaTypeProposal = "application/vnd.fabric.feedback.proposal.v1+json"
)

// A Feedback is the policy loop's eyes and hands.
type Feedback struct {
	Blobs     Blobs
	Snapshots Snapshots
	Telemetry Telemetry
	Verdicts  Verdicts
	Proposals Proposals
	Replayer  Replayer
	Rails     feedback.Rails
	Now       func() time.Time
}

// ReadTelemetry reads the windows of every metric that a template looks at: the
// baseline, and the last three. Idempotent: what it read is a blob, and the
// workflow goes on with one of them. A metric that does not arrive is named and
// is no failure; a telemetry that does not answer is tried again.
func (f *Feedback) ReadTelemetry(ctx context.Context, in contract.FeedbackInput) (contract.Telemetry, error) {
	var out contract.Telemetry
	spans, err := windows(in, f.Now())
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	var series []feedback.Series
	for _, metric := range feedback.Metrics() {
		activity.RecordHeartbeat(ctx, metric)
		found, err := f.Telemetry.Windows(ctx, in.Tenant, metric, spans)
		if err != nil {
			return out, fmt.Errorf("metric %s: %w", metric, err)
		}
		if len(found) == 0 {
			out.Missing = append(out.Missing, metric)
		}
		for target, w := range found {
			if len(w) == len(spans) {
				for i := range w {
					w[i] = w[i].Plain() // JSON has no word for what is no number
				}
				series = append(series, feedback.Series{Metric: metric, Target: target, Baseline: w[0], Recent: w[1:]})
			}
		}
	}
	slices.SortFunc(series, func(a, b feedback.Series) int {
		return strings.Compare(a.Metric+"\x00"+a.Target, b.Metric+"\x00"+b.Target)
	})
	out.Targets = len(series)
	out.Series, err = keep(ctx, f.Blobs, mediaTypeSeries, series)
	return out, err
}

// errWindow says that an evaluation is asked for with windows that are none.
var errWindow = errors.New("windows need a length of 1 second to 7 days, and a baseline of 1 to 90 of them")

// windows returns the baseline and after it the recent windows, up to now.
func windows(in contract.FeedbackInput, now time.Time) ([]feedback.Span, error) {
	if in.Seconds < 1 || in.Seconds > 7*24*3600 || in.Baseline < 1 || in.Baseline > 90 {
		return nil, errWindow
	}
	length := time.Duration(in.Seconds) * time.Second
	end := now.UTC().Truncate(time.Second)
	begin := end.Add(-feedback.Windows * length)
	spans := []feedback.Span{{From: begin.Add(-time.Duration(in.Baseline) * length), To: begin}}
	for i := range feedback.Windows {
		from := begin.Add(time.Duration(i) * length)
		spans = append(spans, feedback.Span{From: from, To: from.Add(length)})
	}
	return spans, nil
}

// EvaluateTelemetry judges every template under the policy in force, and drafts
// what is to be proposed. Idempotent: findings and drafts are blobs.
func (f *Feedback) EvaluateTelemetry(ctx context.Context, in contract.EvaluateInput) (contract.Evaluated, error) {
	var out contract.Evaluated
	var series []feedback.Series
	if err := decode(ctx, f.Blobs, in.Telemetry.Series.Digest, contract.BadPlan, &series); err != nil {
		return out, err
	}
	world, err := f.Snapshots.Latest(ctx)
	if err != nil {
		return out, err
	}
	document, ok := inForce(world)
	if !ok {
		return out, permanent(contract.BadPlan, errors.New("no policy is in force yet"))
	}
	now := f.Now().UTC()
	history, err := f.Proposals.History(ctx, in.Tenant, now.Add(-30*24*time.Hour))
	if err != nil {
		return out, err
	}
	findings := feedback.Evaluate(feedback.Input{At: now, Policy: document, Series: series, History: history, Rails: f.Rails})
	counts := map[feedback.Status]int{}
	for _, found := range findings {
		counts[found.Status]++
		if found.Status != feedback.Propose {
			continue
		}
		draft, err := f.draft(ctx, found, document, in.Environment, now)
		if err != nil {
			return out, err
		}
		out.Drafts = append(out.Drafts, draft)
	}
	var said []string
	for _, status := range []feedback.Status{feedback.Propose, feedback.Held, feedback.Inconclusive, feedback.Insufficient, feedback.NoData, feedback.Quiet} {
		if n := counts[status]; n > 0 {
			said = append(said, fmt.Sprintf("%d %s", n, status))
		}
	}
	out.Words = strings.Join(said, ", ")
	out.Report, err = keep(ctx, f.Blobs, mediaTypeFindings, findings)
	return out, err
}

func (f *Feedback) draft(ctx context.Context, found feedback.Finding, document policy.Document, environment string, now time.Time) (contract.Draft, error) {
	proposal, next, err := feedback.New(found, document, environment, now)
	if err != nil {
		return contract.Draft{}, permanent(contract.BadPlan, err)
	}
	draft := contract.Draft{Key: found.Key()}
	if draft.Proposal, err = keep(ctx, f.Blobs, mediaTypeProposal, proposal); err != nil {
		return draft, err
	}
	draft.Document, err = keep(ctx, f.Blobs, artifact.MediaTypePolicy, next)
	return draft, err
}

// inForce returns the policy with the highest revision that a region runs.
func inForce(s routing.Snapshot) (policy.Document, bool) {
	var newest policy.Document
	for _, r := range s.Regions {
		if d, ok := s.Policy(r.Name); ok && d.Revision > newest.Revision {
			newest = d
		}
	}
	return newest, newest.Revision > 0
}
