package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Done when 5 of issue 5, as somebody who asks the API sees it: the unfair model
// is FAIL and closed, the one with five old people INSUFFICIENT and unproven.
func TestAScorecardShowsWhatSitesCounted(t *testing.T) {
	tests := []struct {
		name     string
		counts   []int64
		status   scorecard.Status
		decision scorecard.Decision
	}{
		{"fair", []int64{2300, 200, 2300, 200, 2300, 200, 2300, 200}, scorecard.Pass, scorecard.Open},
		{"unfair", []int64{2450, 50, 2450, 50, 1800, 0, 2500, 700}, scorecard.Fail, scorecard.Closed},
		{"five", []int64{4600, 400, 4595, 400, 3, 0, 2, 0}, scorecard.Insufficient, scorecard.Unproven},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t)
			content, err := measure.ToTensors(tt.counts).Encode()
			require.NoError(t, err)
			digest := artifact.DigestOf(content)
			s.fabric.Content[digest] = content
			s.fabric.TrialRows["t1/m"] = []api.Trial{{Run: "run-1", Status: "completed",
				Params:  round.Params{Measurement: round.Measurement{GroupColumn: "age", Groups: []round.MeasuredGroup{{Name: "young", Value: 0}, {Name: "old", Value: 1}}}},
				Metrics: round.Metrics{Evaluated: 10_000, Correct: 9_200, Measured: digest}}}
			answer := into[v1.Scorecard](s.do("GET", "/scorecards/m", nil, s.as("t1", "auditor")).is(200))
			require.Equal(t, string(tt.status), answer.Status)
			var card scorecard.Card
			require.NoError(t, artifact.DecodeStrict([]byte(answer.Card), &card))
			require.Equal(t, scorecard.FormatVersion, card.Version)
			require.Equal(t, tt.decision, card.Gate().Decision)

			page := s.do("GET", "/scorecards/m/report", nil, s.as("t1", "auditor")).is(200)
			require.Equal(t, "text/html; charset=utf-8", page.Header.Get("Content-Type"))
			require.Contains(t, page.Header.Get("Content-Security-Policy"), "default-src 'none'")
			require.Contains(t, string(page.body), "<svg")
			text := s.do("GET", "/scorecards/m/report?format=md", nil, s.as("t1", "auditor")).is(200)
			require.Contains(t, string(text.body), "## fairness: "+string(tt.status)+" (critical)")
			scraped := s.do("GET", "/scorecards/m/report?format=prometheus", nil, s.as("t1", "auditor")).is(200)
			parser := expfmt.NewTextParser(model.UTF8Validation)
			families, err := parser.TextToMetricFamilies(strings.NewReader(string(scraped.body)))
			require.NoError(t, err)
			require.Equal(t, tt.decision == scorecard.Open, families["fabric_scorecard_open"].Metric[0].Gauge.GetValue() == 1)
		})
	}
	s := serve(t)
	s.do("GET", "/scorecards/m/report", nil, s.as("t1", "auditor")).is(404, "not_found")
	s.do("GET", "/scorecards/m/report?format=pdf", nil, s.as("t1", "auditor")).is(400, "invalid_request")
	s.do("GET", "/scorecards/m?version=0", nil, s.as("t1", "auditor")).is(400, "invalid_request")
}

// What a site counted arrives as a small file beside its answer; counts that no
// rows can come to are refused when they arrive, and named.
func TestCountsOfAnEvaluation(t *testing.T) {
	good := []int64{9, 1, 9, 1, 0, 0, 0, 0}
	tests := []struct {
		name   string
		counts []int64
		says   string
	}{
		{"of 20 rows", good, ""},
		{"of more rows than were evaluated", []int64{9, 1, 9, 2, 0, 0, 0, 0}, "more rows were counted than were evaluated"},
		{"of another measurement", good[:4], "not the counts of this measurement"},
		{"none", nil, "are missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := site1(t, round.Evaluate)
			what := round.Measurement{GroupColumn: "age", Groups: []round.MeasuredGroup{{Name: "young", Value: 0}, {Name: "old", Value: 1}}}
			manifest, err := json.Marshal(round.Manifest{Run: "run-1", Number: 1, Kind: round.Evaluate, Params: round.Params{Model: spec, Measurement: what}})
			require.NoError(t, err)
			f.work.Manifest = f.fabric.Keep(artifact.MediaTypeManifest, manifest)
			f.fabric.WorkItems["h1/s1"] = []api.Work{f.work}
			var update artifact.Digest
			if tt.counts != nil {
				f.update, err = measure.ToTensors(tt.counts).Encode()
				require.NoError(t, err)
				f.upload()
				update = artifact.DigestOf(f.update)
			}
			req := f.answer(func(a *round.Answer) { a.Update = update }, f.key)
			if update != "" {
				req.Update = v1.Descriptor{Digest: string(update), SizeBytes: int64(len(f.update)), MediaType: artifact.MediaTypeWeights}
			}
			answer := f.do("POST", submissions, req, f.auth)
			if tt.says == "" {
				answer.is(202)
				require.Empty(t, f.fabric.Submissions[0].Reason)
				require.Equal(t, update, f.fabric.Submissions[0].Update.Digest)
				return
			}
			answer.is(422, "bad_update")
			require.Contains(t, f.fabric.Submissions[0].Reason, tt.says)
		})
	}
}
