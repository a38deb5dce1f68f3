package activities_test

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/opa"
)

// telemetry answers by metric and target, whatever the spans.
type telemetry map[string]map[string][]feedback.Window

func (t telemetry) Windows(_ context.Context, _, metric string, spans []feedback.Span) (map[string][]feedback.Window, error) {
	out := map[string][]feedback.Window{}
	for target, windows := range t[metric] {
		cut := make([]feedback.Window, len(spans))
		for i := range cut {
			cut[i] = windows[i]
			cut[i].From, cut[i].To = spans[i].From, spans[i].To
		}
		out[target] = cut
	}
	return out, nil
}

func shares(hits ...float64) []feedback.Window {
	out := make([]feedback.Window, len(hits))
	for i, h := range hits {
		out[i] = feedback.Window{Hits: h, Total: 2000}
	}
	return out
}

func TestGuardRegion(t *testing.T) {
	guard := promotion.DefaultGuard() // two points
	tests := []struct {
		name    string
		windows []feedback.Window // before, since
		want    canary.Verdict
		words   string
	}{
		{"as before", shares(20, 21), canary.Pass, "the margin is 0.02"},
		{"far worse", shares(20, 400), canary.Fail, "the margin is 0.02"},
		{"a little worse", shares(20, 70), canary.Inconclusive, ""},
		{"nothing arrives", nil, canary.NoData, "see that its exporter runs"},
		{"an empty window", []feedback.Window{shares(20)[0], {}}, canary.NoData, "since: the metric does not arrive"},
		{"a NaN", []feedback.Window{shares(20)[0], {Hits: math.NaN(), Total: 2000}}, canary.NoData, "mend its exporter"},
		{"too few before", []feedback.Window{{Hits: 1, Total: 9}, shares(20)[0]}, canary.NoData, "before: 9 of 100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen := telemetry{"route_failed": {}}
			if tt.windows != nil {
				seen["route_failed"]["eu"] = tt.windows
			}
			f := &activities.Feedback{Blobs: activitytest.New(), Telemetry: seen}
			got, err := f.GuardRegion(t.Context(), contract.GuardInput{Region: "eu", Guard: guard, Since: 10_000, Until: 12_000})
			require.NoError(t, err)
			require.Equal(t, tt.want, got.Verdict, got.Words)
			require.Contains(t, got.Words, tt.words)
			require.NotEmpty(t, got.Look)
		})
	}
}

// decisionLog is one of one batch.
type decisionLog []policy.Decision

func (l decisionLog) Verdicts(_ context.Context, _ string, _ time.Time, after string, _ int) ([]policy.Decision, string, error) {
	if after != "" {
		return nil, after, nil
	}
	return l, "end", nil
}

type newest struct {
	activities.Snapshots
	latest routing.Snapshot
}

func (s newest) Latest(context.Context) (routing.Snapshot, error) { return s.latest, nil }

type drafts struct {
	activities.Proposals
	history []feedback.Past
	kept    []activities.Proposal
}

func (p *drafts) History(context.Context, string, time.Time) ([]feedback.Past, error) {
	return p.history, nil
}

func (p *drafts) Propose(_ context.Context, in activities.Proposal) error {
	p.kept = append(p.kept, in)
	return nil
}

// A region drifts: the telemetry is read, judged, drafted, replayed and planned,
// each step from what the one before has left.
func TestADriftingRegionBecomesAProposal(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	values := func(mean float64) feedback.Window {
		var w feedback.Window
		for i := range 60 {
			w.Values = append(w.Values, mean+0.001*float64(i))
		}
		return w
	}
	drift := telemetry{"drift": {
		"eu": {values(0.1), values(0.4), values(0.45), values(0.5)},
		"us": {values(0.1), values(0.1), values(0.1), values(0.1)},
	}, "retried": {"eu": {{Hits: math.NaN(), Total: 1}, {}, {}, {}}}}
	first := policy.Default()
	encoded, err := first.Encode()
	require.NoError(t, err)
	world := routing.Snapshot{Version: 3, Policies: []policy.Document{first}}
	for _, region := range []string{"us", "eu"} {
		world.Regions = append(world.Regions, routing.Region{Name: region, Policy: 1, PolicyDigest: artifact.DigestOf(encoded)})
	}
	call, err := json.Marshal(policy.Call{Tenant: "mayo", Model: "m", Region: "eu", Kind: policy.Neural})
	require.NoError(t, err)
	kept := &drafts{}
	f := &activities.Feedback{
		Blobs: activitytest.New(), Snapshots: newest{latest: world}, Telemetry: drift, Proposals: kept, Replayer: opa.Replayer{},
		Verdicts: decisionLog{{ID: "d1", Tenant: "mayo", Region: "eu", Purpose: "serve", Question: policy.AskRouting, Input: call, Allowed: true}},
		Rails:    feedback.DefaultRails(), Now: func() time.Time { return at },
	}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(f)
	in := contract.FeedbackInput{Subject: contract.Subject{Tenant: "consortium"}, Evaluation: "e1", Environment: "production", Seconds: 3600, Baseline: 24, Requester: feedback.Requester}

	value, err := env.ExecuteActivity(f.ReadTelemetry, in)
	require.NoError(t, err)
	var read contract.Telemetry
	require.NoError(t, value.Get(&read))
	require.Equal(t, 3, read.Targets)
	require.Contains(t, read.Missing, "route_failed")

	evaluated, err := f.EvaluateTelemetry(t.Context(), contract.EvaluateInput{FeedbackInput: in, Telemetry: read})
	require.NoError(t, err)
	require.Len(t, evaluated.Drafts, 1, evaluated.Words)
	require.Equal(t, "quarantine_region/eu", evaluated.Drafts[0].Key)
	require.Contains(t, evaluated.Words, "1 INSUFFICIENT", "the NaN")

	value, err = env.ExecuteActivity(f.ReplayDecisions, contract.ReplayInput{FeedbackInput: in, Draft: evaluated.Drafts[0]})
	require.NoError(t, err)
	var replayed contract.Replayed
	require.NoError(t, value.Get(&replayed))
	require.Equal(t, 1, replayed.Closed)
	require.Zero(t, replayed.Opened)
	require.False(t, replayed.Alone, "production")

	proposed, err := f.ProposePolicy(t.Context(), contract.ProposeInput{FeedbackInput: in, Replayed: replayed, Bundle: replayed.Plan})
	require.NoError(t, err)
	require.Equal(t, replayed.Action, proposed.Action)
	require.Len(t, kept.kept, 1)
	p := kept.kept[0]
	require.Equal(t, feedback.Tighten, p.Direction)
	require.Equal(t, "d1", p.Replay.Flips[0].Example.ID)
	require.Equal(t, []string{"region eu is closed"}, p.Replay.Flips[0].Example.Reasons)
	require.EqualValues(t, 2, p.Next.Revision)
	text, err := f.Blobs.Open(t.Context(), replayed.Plan.Digest)
	require.NoError(t, err)
	var plan promotion.Plan
	require.NoError(t, json.NewDecoder(text).Decode(&plan))
	require.NoError(t, text.Close())
	require.Equal(t, at.Add(feedback.Lifetime), plan.ExpiresAt, "what rolls it out knows until when")

	f.Snapshots = newest{latest: routing.Snapshot{Version: 4, Policies: world.Policies}}
	_, err = f.EvaluateTelemetry(t.Context(), contract.EvaluateInput{FeedbackInput: in, Telemetry: read})
	require.ErrorContains(t, err, "no policy is in force yet")
}
