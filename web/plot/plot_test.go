package plot_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/web/plot"
)

func of[T any](v T) *T { return &v }

// run is one whose rounds came out of order, the last one not evaluated.
func run() v1.Run {
	r := v1.Run{ID: "r", Simulated: true, Params: v1.RunParams{TargetBp: 9500}}
	for _, n := range []struct {
		number       int
		bp           *int64
		micros, rows int64
	}{{2, of(int64(9050)), 30_000_000, 100}, {1, of(int64(8000)), 70_000_000, 100}, {3, nil, 0, 0}} {
		r.Rounds = append(r.Rounds, v1.Round{Number: n.number, Metrics: v1.Metrics{AccuracyBp: n.bp, LossMicros: n.micros, Evaluated: n.rows}})
	}
	return r
}

func TestConvergence(t *testing.T) {
	require.Equal(t, []chart.Point{{X: 1, Y: 80}, {X: 2, Y: 90.5}}, plot.Accuracy(run()).Series[0].Points)
	require.Equal(t, []chart.Mark{{Name: "target", Y: 95}}, plot.Accuracy(run()).Marks)
	require.Equal(t, []chart.Point{{X: 1, Y: 0.7}, {X: 2, Y: 0.3}}, plot.Loss(run()).Series[0].Points)
	require.Empty(t, plot.Accuracy(v1.Run{}).Series[0].Points)
}

func progress() v1.RunProgress {
	return v1.RunProgress{Privacy: v1.RunPrivacy{Delta: 1e-5, Feature: "hosp-north/wdbc", Limit: 3, Points: []v1.PrivacyPoint{{Number: 1, Epsilon: 0.8}, {Number: 2, Epsilon: 1.3}}}}
}

func TestPrivacy(t *testing.T) {
	drawn := plot.Privacy(progress())
	require.Equal(t, []chart.Point{{X: 1, Y: 0.8}, {X: 2, Y: 1.3}}, drawn.Series[0].Points)
	require.Equal(t, []chart.Mark{{Name: "limit of the run", Y: 3}}, drawn.Marks)
	require.Empty(t, plot.Privacy(v1.RunProgress{}).Marks, "no limit, no mark")
}

func card() scorecard.Card {
	return scorecard.Card{Dimensions: []scorecard.Dimension{
		{Name: scorecard.Performance, Figures: []scorecard.Figure{{Name: "accuracy", Value: 0.9, Status: scorecard.Pass}}},
		{Name: scorecard.Drift, Figures: []scorecard.Figure{
			{Name: "psi of area", Value: 0.31, Low: of(0.25), High: of(0.4), Limit: of(0.2), Status: scorecard.Fail},
			{Name: "psi of radius", Value: 0.02, Limit: of(0.2), Status: scorecard.Pass},
			{Name: "psi of smoothness", Value: 0.3, Low: of(0.01), High: of(0.9), Limit: of(0.2), Status: scorecard.Insufficient},
			{Name: "psi of nobody", Status: scorecard.NoData},
		}},
	}}
}

func TestDrift(t *testing.T) {
	rows := plot.Drift("tumour", card()).Rows
	require.Len(t, rows, 3, "only drift, and only what was measured")
	require.Equal(t, []chart.State{chart.Fail, chart.Pass, chart.Open}, []chart.State{rows[0].State, rows[1].State, rows[2].State}, "what says too little is not green")
	require.Equal(t, 0.2, *rows[0].Margin)
	require.Empty(t, plot.Drift("tumour", scorecard.Card{}).Rows)
}

func looks() []canary.Look {
	at := func(step int, metric, verdict string, scale string, estimate, low, high float64, reason string) canary.Look {
		return canary.Look{Step: canary.Step{Number: step}, Findings: []canary.Finding{{
			Guardrail: canary.Guardrail{Metric: metric, Scale: scale}, Verdict: canary.Verdict(verdict), Reason: reason, Margin: 0.02, Estimate: estimate, Low: low, High: high,
		}}}
	}
	return []canary.Look{
		at(1, "errors", "INCONCLUSIVE", canary.Absolute, 0.01, -0.03, 0.05, ""), at(1, "latency", "PASS", canary.Relative, 0.02, 0, 0.04, ""),
		at(2, "errors", "PASS", canary.Absolute, 0, -0.01, 0.01, ""), at(3, "errors", "NO_DATA", canary.Absolute, 0, 0, 0, "too few answers"),
	}
}

func TestCanary(t *testing.T) {
	drawn := plot.Canary(looks())
	require.Equal(t, []string{"errors", "latency"}, plot.Metrics(looks()))
	require.Len(t, drawn, 2)
	require.Equal(t, []chart.Look{{At: 1, Estimate: 1, Low: -3, High: 5}, {At: 2, Estimate: 0, Low: -1, High: 1}}, drawn[0].Looks, "a look that says nothing is not drawn")
	require.Equal(t, chart.Open, drawn[0].State)
	require.Equal(t, 2.0, drawn[0].Margin)
	require.Equal(t, "% of the mean worse", drawn[1].Y)
	require.Empty(t, plot.Canary(nil))
}

func regions() v1.RegionMap {
	return v1.RegionMap{Budget: v1.LatencyBudget{WithinMs: 120, BetweenMs: 250}, Loads: []v1.RegionLoad{
		{From: "eu", Region: "eu", Endpoint: "eu-1", Calls: 100, P50Ms: 20, P95Ms: 60, P99Ms: 90},
		{From: "eu", Region: "us", Endpoint: "us-1", Calls: 100, P50Ms: 90, P95Ms: 260, P99Ms: 400},
		{From: "", Region: "us", Endpoint: "us-1", Calls: 10, P50Ms: 20, P95Ms: 130, P99Ms: 140},
		{From: "apac", Region: "apac", Endpoint: "apac-1", Calls: 7, Failed: 7},
	}}
}

func TestRouting(t *testing.T) {
	rows := plot.Routing(regions()).Rows
	require.Len(t, rows, 3, "what was never answered has no latency")
	require.Equal(t, []chart.State{chart.Pass, chart.Fail, chart.Fail}, []chart.State{rows[0].State, rows[1].State, rows[2].State})
	require.Equal(t, []float64{120, 250, 120}, []float64{*rows[0].Margin, *rows[1].Margin, *rows[2].Margin}, "within a region, between two, and from outside")
	require.Equal(t, []float64{20, 90}, []float64{*rows[0].Low, *rows[0].High})
}

// The pictures themselves, looked at once. Write them anew with FABRIC_UPDATE=1.
func TestPictures(t *testing.T) {
	for name, drawing := range map[string]chart.Drawing{
		"accuracy": plot.Accuracy(run()), "loss": plot.Loss(run()), "privacy": plot.Privacy(progress()), "drift": plot.Drift("tumour", card()),
		"canary": plot.Canary(looks())[0], "routing": plot.Routing(regions()), "drift-none": plot.Drift("tumour", scorecard.Card{}),
	} {
		svg := chart.File(drawing)
		require.NotContains(t, string(svg), "NaN", name)
		require.True(t, strings.HasPrefix(string(svg), "<svg"), name)
		path := filepath.Join("testdata", name+".svg")
		if os.Getenv("FABRIC_UPDATE") != "" {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(path, svg, 0o644))
			continue
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), string(svg), name)
	}
}
