package feedback_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// share is a series of a share metric: so many of 1000 in the baseline and in
// each of the last three windows.
func share(metric, target string, base float64, recent ...float64) feedback.Series {
	at := func(i int) time.Time { return noon.Add(time.Duration(i-3) * time.Hour) }
	s := feedback.Series{Metric: metric, Target: target, Baseline: feedback.Window{From: noon.Add(-27 * time.Hour), To: at(0), Hits: base, Total: 1000}}
	for i, hits := range recent {
		s.Recent = append(s.Recent, feedback.Window{From: at(i), To: at(i + 1), Hits: hits, Total: 1000})
	}
	return s
}

// values is a series of single values, normal around a mean.
func values(r *rand.Rand, metric, target string, base float64, recent ...float64) feedback.Series {
	draw := func(mean float64, n int) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = mean + 0.05*r.NormFloat64()
		}
		return out
	}
	s := share(metric, target, 0)
	s.Baseline.Total, s.Baseline.Values = 0, draw(base, 120)
	for i, mean := range recent {
		from := noon.Add(time.Duration(i-3) * time.Hour)
		s.Recent = append(s.Recent, feedback.Window{From: from, To: from.Add(time.Hour), Values: draw(mean, 40)})
	}
	return s
}

func evaluate(change func(*feedback.Input), series ...feedback.Series) map[string]feedback.Finding {
	in := feedback.Input{At: noon, Policy: policy.Default(), Series: series, Rails: feedback.DefaultRails()}
	if change != nil {
		change(&in)
	}
	found := map[string]feedback.Finding{}
	for _, f := range feedback.Evaluate(in) {
		if old, ok := found[f.Key()]; !ok || old.Status != feedback.Propose && old.Status != feedback.Held {
			found[f.Key()] = f // of the targets that share a key, the one that speaks for a change
		}
	}
	return found
}

const weight = "region_weight/eu"

func TestEvaluate(t *testing.T) {
	quiet := share("route_failed", "us", 10, 10, 11, 9)
	tests := []struct {
		name   string
		series []feedback.Series
		change func(*feedback.Input)
		want   feedback.Status
		reason string
	}{
		{"a region that fails in three windows, beside one that does not", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), quiet}, nil, feedback.Propose, ""},
		{"in two windows of three", []feedback.Series{share("route_failed", "eu", 10, 120, 12, 125), quiet}, nil, feedback.Quiet, "no effect that matters"},
		{"significant, and less than what matters", []feedback.Series{share("route_failed", "eu", 10, 50, 52, 51), quiet}, nil, feedback.Quiet, "no effect that matters"},
		{"the control moved too", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), share("route_failed", "us", 10, 110, 120, 115)}, nil, feedback.Inconclusive, "the control moved too"},
		{"no control", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125)}, nil, feedback.Inconclusive, "there is no control"},
		{"two windows only", []feedback.Series{share("route_failed", "eu", 10, 120, 130), quiet}, nil, feedback.Insufficient, "2 of 3 windows"},
		{"an empty window", []feedback.Series{func() feedback.Series {
			s := share("route_failed", "eu", 10, 120, 130, 125)
			s.Recent[2].Hits, s.Recent[2].Total = 0, 0
			return s
		}(), quiet}, nil, feedback.NoData, "the metric does not arrive"},
		{"too few", []feedback.Series{func() feedback.Series {
			s := share("route_failed", "eu", 10, 120, 130, 125)
			s.Recent[1].Hits, s.Recent[1].Total = 5, 20
			return s
		}(), quiet}, nil, feedback.Insufficient, "20 of 100"},
		{"a NaN", []feedback.Series{share("route_failed", "eu", 10, 120, math.NaN(), 125), quiet}, nil, feedback.Insufficient, "mend its exporter"},
		{"a proposal for it is open", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), quiet}, func(in *feedback.Input) {
			in.History = []feedback.Past{{Template: "region_weight", Target: "eu", State: feedback.Open, At: noon.Add(-time.Hour)}}
		}, feedback.Held, "decide that one first"},
		{"changed a day less a minute ago", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), quiet}, func(in *feedback.Input) {
			in.Rails.Settling = 0
			in.History = []feedback.Past{{Template: "region_weight", Target: "eu", From: 1000, To: 751, State: feedback.Reverted, At: noon.Add(-24 * time.Hour), Applied: noon.Add(-24*time.Hour + time.Minute)}}
		}, feedback.Held, "cool-down"},
		{"the effect of our own change of something else", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), quiet}, func(in *feedback.Input) {
			in.History = []feedback.Past{{Template: "min_cohort", State: feedback.Applied, At: noon.Add(-5 * time.Hour), Applied: noon.Add(-5 * time.Hour)}}
		}, feedback.Held, "our own change of min_cohort/"},
		{"the week's budget is spent", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), quiet}, func(in *feedback.Input) {
			for range 5 {
				in.History = append(in.History, feedback.Past{Template: "retry_budget", State: feedback.Applied, At: noon.Add(-100 * time.Hour), Applied: noon.Add(-100 * time.Hour)})
			}
		}, feedback.Held, "5 changes a week"},
		{"as tight as it goes", []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), quiet}, func(in *feedback.Input) {
			in.Policy.Shares = []policy.Share{{Region: "eu", Weight: 1}}
		}, feedback.Quiet, "a person has to act"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := evaluate(tt.change, tt.series...)[weight]
			require.Equal(t, tt.want, got.Status, "%+v", got)
			require.Contains(t, got.Reason, tt.reason)
			if tt.want == feedback.Propose {
				require.EqualValues(t, 1000, got.From)
				require.EqualValues(t, 1000-249, got.To, "a quarter of the range")
				require.Less(t, got.Evidence.Q, feedback.Level)
				require.GreaterOrEqual(t, got.Evidence.Q, got.Evidence.P)
				require.InDelta(t, 0.11, got.Evidence.Effect, 1e-9, "the least of the windows': 0.120 - 0.010")
			} else if tt.want != feedback.Held { // which says what it would have been
				require.Equal(t, got.From, got.To)
			}
		})
	}
}

// A metric that does not arrive at all is named, and nothing is proposed.
func TestNothingArrives(t *testing.T) {
	for key, f := range evaluate(nil) {
		require.Equal(t, feedback.NoData, f.Status, key)
		require.Contains(t, f.Reason, "see that its exporter runs")
	}
}

// Every test by type of metric finds a clear change, and one evaluation
// proposes one change: that with the lowest q.
func TestEachTestFindsAClearChange(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	for _, tt := range feedback.Templates() {
		var bad, good feedback.Series
		if tt.Test == feedback.Wilson {
			bad, good = share(tt.Metric, "a/b", 10, 400, 410, 405), share(tt.Metric, "c/d", 10, 10, 10, 10)
		} else {
			bad, good = values(r, tt.Metric, "a", 1, 3, 3, 3), values(r, tt.Metric, "c", 1, 1, 1, 1)
		}
		proposed := 0
		for _, f := range evaluate(nil, bad, good) {
			if f.Status == feedback.Propose {
				proposed++
				require.Equal(t, tt.Name, f.Template)
			}
		}
		require.Equal(t, 1, proposed, tt.Name)
	}
	all := []feedback.Series{share("route_failed", "eu", 10, 120, 130, 125), share("route_failed", "us", 10, 10, 10, 10), share("round_dropout", "eu", 10, 500, 500, 500), share("round_dropout", "us", 10, 10, 10, 10)}
	found := evaluate(nil, all...)
	require.Equal(t, feedback.Propose, found["min_cohort/"].Status)
	require.Equal(t, feedback.Held, found[weight].Status)
	require.Contains(t, found[weight].Reason, "one change at a time")
}

// No effect at all: of 400 evaluations of 8 comparisons each, hardly one
// proposes. What matters must be exceeded in each of three windows as well, so
// that it is far below the level of 5 %.
func TestFalseDiscoveriesAreRare(t *testing.T) {
	const seed = 20261123
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 9))
	proposals := 0
	for range 400 {
		var series []feedback.Series
		for _, region := range []string{"eu", "us", "apac", "sa"} {
			noise := func() float64 { return 20 + 5*r.NormFloat64() }
			series = append(series, share("route_failed", region, noise(), noise(), noise(), noise()), values(r, "drift", region, 1, 1, 1, 1))
		}
		for _, f := range evaluate(nil, series...) {
			if f.Status == feedback.Propose {
				proposals++
			}
		}
	}
	require.LessOrEqual(t, proposals, 20, "5 %% of 400")
}

// What we tightened is loosened again, by one step, when the effect is gone
// from every window; between do and undo there is room.
func TestHysteresis(t *testing.T) {
	ours := func(in *feedback.Input) {
		in.Policy.Shares = []policy.Share{{Region: "eu", Weight: 751}}
		at := noon.Add(-100 * time.Hour)
		in.History = []feedback.Past{{Template: "region_weight", Target: "eu", From: 1000, To: 751, State: feedback.Applied, At: at, Applied: at}}
	}
	quiet := share("route_failed", "us", 10, 10, 10, 10)
	gone := evaluate(ours, share("route_failed", "eu", 10, 8, 9, 8), quiet)[weight]
	require.Equal(t, feedback.Propose, gone.Status, gone.Reason)
	require.True(t, gone.Loosens)
	require.EqualValues(t, 1000, gone.To)
	half := evaluate(ours, share("route_failed", "eu", 10, 35, 30, 33), quiet)[weight]
	require.Equal(t, feedback.Quiet, half.Status, "below what matters, above the undo threshold")
	theirs := evaluate(func(in *feedback.Input) { in.Policy.Shares = []policy.Share{{Region: "eu", Weight: 751}} }, share("route_failed", "eu", 10, 8, 9, 8), quiet)[weight]
	require.Equal(t, feedback.Quiet, theirs.Status, "what a person set is not ours to undo")

	p, _, err := feedback.New(gone, policy.Default(), "dev", noon)
	require.NoError(t, err)
	require.Equal(t, feedback.Loosen, p.Direction)
	require.False(t, p.Alone(), "loosening always needs a person")
}

// Whatever template, target and value: limits and shares change and nothing
// else, and a tighter value never loosens.
func TestNoTemplateTouchesTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := policy.Default()
		d.Limits = &policy.Limits{MaxEpsilonMilli: 4000, MinCohort: 5, MaxDeadlineSeconds: 300, MaxClipMilli: 2000, MaxRetries: 4}
		tt := rapid.SampledFrom(feedback.Templates()).Draw(t, "template")
		target := "eu"
		if tt.Name == "quarantine_site" {
			target = "mayo/one"
		}
		from := tt.Value(d, target)
		to := rapid.Int64Range(tt.Low, tt.High).Draw(t, "to")
		next, err := tt.Apply(d, target, to)
		if err != nil {
			t.Fatal(err)
		}
		if next.Revision != d.Revision+1 || tt.Value(next, target) != to {
			t.Fatalf("%s: %d became %d, want %d", tt.Name, from, tt.Value(next, target), to)
		}
		why, loosens := policy.Loosens(d, next)
		if tighter := (to-from)*int64(tt.Tightens) >= 0; tighter && loosens {
			t.Fatalf("%s from %d to %d: %s", tt.Name, from, to, why)
		}
		rest := next
		rest.Revision, rest.Limits, rest.Shares = d.Revision, d.Limits, d.Shares
		a, _ := json.Marshal(rest)
		b, _ := json.Marshal(d)
		if string(a) != string(b) {
			t.Fatalf("%s changed more than limits and shares: %s", tt.Name, a)
		}
	})
}

// One decision that opens makes a proposal loosen, whatever its template.
func TestAReplayThatOpensLoosens(t *testing.T) {
	f := evaluate(nil, share("route_failed", "eu", 10, 120, 130, 125), share("route_failed", "us", 10, 10, 10, 10))[weight]
	p, next, err := feedback.New(f, policy.Default(), "staging", noon)
	require.NoError(t, err)
	require.True(t, p.Alone())
	require.EqualValues(t, 751, next.Share("eu"))
	require.Equal(t, noon.Add(feedback.Lifetime), p.ExpiresAt)
	require.False(t, p.Replayed(policy.Impact{Opened: 1}).Alone())
	p.Environment = "production"
	require.False(t, p.Alone())
}
