package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// The contract's own call.
const curlRound = `{"model_id":"m1","tenants":["t1"]}`

// feature adds a consented feature for the grantees.
func feature(f *apitest.Fabric, tenant, id, schema string, grantees ...string) {
	r := catalog.Registration{Tenant: tenant, ID: id, Schema: json.RawMessage(schema), Consented: true, Grantees: grantees}
	row, err := r.Feature()
	if err != nil {
		panic(err)
	}
	row.Version = 1
	f.Features[tenant+"/"+id] = row
}

func enrolled(f *apitest.Fabric, tenant, id, region string) {
	f.SiteRows[tenant+"/"+id] = site.Site{Tenant: tenant, ID: id, Region: region}
}

func TestTheContractsCallSaysWhatIsMissing(t *testing.T) {
	s := serve(t)
	p := into[v1.Problem](s.do("POST", "/train/round", curlRound, form()).is(422, "no_consent"))
	require.Contains(t, p.Detail, "/features/register")

	s.do("POST", "/features/register", curlFeature, form()).is(201)
	p = into[v1.Problem](s.do("POST", "/train/round", curlRound, form()).is(409, "no_sites"))
	require.Contains(t, p.Detail, "fabric-site")
	require.Equal(t, []v1.ProblemItem{{Pointer: "/tenants/0", Detail: "tenant t1 has no enrolled site"}}, p.Errors)

	enrolled(s.fabric, "t1", "s1", "eu")
	accepted := into[v1.RunAccepted](s.do("POST", "/train/round", curlRound, form()).is(202))
	require.True(t, accepted.Simulated)
	require.Equal(t, contract.RunID(accepted.ID), accepted.WorkflowID)
	run := into[v1.Run](s.do("GET", accepted.StatusURL, nil).is(200)) // as it stands, without a token
	require.Equal(t, v1.RunStatus("accepted"), run.Status)
	require.True(t, run.Simulated)

	require.Len(t, s.fabric.Starts, 1)
	start := s.fabric.Starts[0]
	require.Equal(t, contract.TrainingRun.Name, start.Workflow)
	require.Equal(t, contract.QueueControl, start.Queue)
	in := start.Input.(contract.RunInput)
	require.Equal(t, contract.Subject{Tenant: "t1", ModelID: "m1", TraceID: accepted.TraceID}, in.Subject)
	require.Equal(t, []string{"f1"}, in.Params.Features)
	require.Equal(t, round.ModelSpec{Trainer: "logistic", Inputs: 1, Classes: 2}, in.Params.Model)
}

func TestARunBeginsOnlyIfItCould(t *testing.T) {
	thirty := `{"properties":{"label":{}`
	for i := range 30 {
		thirty += fmt.Sprintf(`,"c%d":{}`, i)
	}
	thirty += "}}"
	build := func(t *testing.T) *served {
		s := serve(t)
		for _, tenant := range []string{"h1", "h2"} {
			feature(s.fabric, tenant, "wdbc", thirty, "lab")
			enrolled(s.fabric, tenant, "s", map[string]string{"h1": "eu", "h2": "us"}[tenant])
		}
		enrolled(s.fabric, "h1", "s2", "eu")
		feature(s.fabric, "h1", "own", "{}", "lab")
		feature(s.fabric, "h2", "secret", "{}")
		narrow := s.fabric.Features["h1/wdbc"]
		narrow.ID, narrow.Consent.Purposes = "stats-only", []string{"stats"}
		s.fabric.Features["h1/stats-only"] = narrow
		return s
	}
	tests := []struct {
		name   string
		body   string
		status int
		code   string
		errors []string // "pointer: detail"
	}{
		{"all that all consent to", `{"model_id":"m","tenants":["h2","h1"]}`, 202, "", nil},
		{"named features", `{"model_id":"m","tenants":["h1","h2"],"params":{"features":["wdbc"],"quorum":2,"quorum_regions":2}}`, 202, "", nil},
		{"a feature that one has not", `{"model_id":"m","tenants":["h1","h2"],"params":{"features":["wdbc","own"]}}`, 422, "no_consent",
			[]string{"/params/features/1: feature own of tenant h2 has no consent that you may use"}},
		{"a feature that exists but is not for us", `{"model_id":"m","tenants":["h2"],"params":{"features":["secret"]}}`, 422, "no_consent",
			[]string{"/params/features/0: feature secret of tenant h2 has no consent that you may use"}},
		{"a feature for statistics only", `{"model_id":"m","tenants":["h1"],"params":{"features":["stats-only"]}}`, 422, "no_consent",
			[]string{"/params/features/0: feature stats-only of tenant h1 is not consented for this purpose: evaluate"}},
		{"a tenant that nobody knows", `{"model_id":"m","tenants":["h1","nobody"],"params":{"features":["wdbc"]}}`, 422, "no_consent",
			[]string{"/params/features/0: feature wdbc of tenant nobody has no consent that you may use"}},
		{"more sites than there are", `{"model_id":"m","tenants":["h1","h2"],"params":{"quorum":4}}`, 409, "no_sites", nil},
		{"more regions than there are", `{"model_id":"m","tenants":["h1"],"params":{"quorum":2,"quorum_regions":2}}`, 409, "no_sites", nil},
		{"more regions than sites", `{"model_id":"m","tenants":["h1","h2"],"params":{"quorum_regions":2}}`, 422, "bad_params",
			[]string{"/params/quorum_regions: more regions than sites must answer"}},
		{"hidden units without a hidden layer", `{"model_id":"m","tenants":["h1"],"params":{"model":{"hidden":3}}}`, 422, "bad_params",
			[]string{"/params/model/hidden: hidden units are not for softmax regression"}},
		{"production without a key", `{"model_id":"m","tenants":["h1"],"params":{"production":true}}`, 422, "no_signing_key", nil},
		{"a tenant twice", `{"model_id":"m","tenants":["h1","h1"]}`, 400, "invalid_request", nil},
		{"no tenant", `{"model_id":"m","tenants":[]}`, 400, "invalid_request", nil},
		{"a rate that is infinite", `{"model_id":"m","tenants":["h1"],"params":{"learning_rate":1e999}}`, 400, "bad_request", nil},
		{"a fraction of a round", `{"model_id":"m","tenants":["h1"],"params":{"rounds":1.5}}`, 400, "invalid_request", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := build(t)
			a := s.do("POST", "/train/round", tt.body, s.as("lab", "data-scientist")).is(tt.status)
			if tt.code == "" {
				require.Len(t, s.fabric.Starts, 1)
				in := s.fabric.Starts[0].Input.(contract.RunInput)
				require.Equal(t, "lab", in.Tenant)
				require.Equal(t, []string{"h1", "h2"}, in.Tenants)
				require.Equal(t, []string{"wdbc"}, in.Params.Features)
				require.Equal(t, 30, in.Params.Model.Inputs)
				return
			}
			a.is(tt.status, tt.code)
			var errors []string
			for _, item := range into[v1.Problem](a).Errors {
				errors = append(errors, item.Pointer+": "+item.Detail)
			}
			if tt.errors != nil {
				require.Equal(t, tt.errors, errors)
			}
			require.Empty(t, s.fabric.Starts)
			require.Empty(t, s.fabric.Leaves)
		})
	}
	t.Run("a run that the rules engine refuses", func(t *testing.T) {
		s := build(t)
		s.fabric.Against = []string{"h1 has a holiday"}
		a := s.do("POST", "/train/round", `{"model_id":"m","tenants":["h2","h1"]}`, s.as("lab", "data-scientist"))
		a.is(422, "not_admitted")
		require.Contains(t, into[v1.Problem](a).Detail, "h1 has a holiday")
		require.Empty(t, s.fabric.Starts)
		require.Empty(t, s.fabric.Leaves)
	})
}

func TestTheSameKeyIsTheSameRun(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "t1", "f1", "{}")
	enrolled(s.fabric, "t1", "s1", "eu")
	ann := s.as("t1", "data-scientist")
	a := s.do("POST", "/train/round", curlRound, header("Idempotency-Key", "k1"), ann).is(202)
	require.Empty(t, a.Header.Get("Idempotency-Replayed"))

	// The world has moved: the answer stays.
	delete(s.fabric.SiteRows, "t1/s1")
	b := s.do("POST", "/train/round", curlRound, header("Idempotency-Key", "k1"), ann).is(202)
	require.Equal(t, "true", b.Header.Get("Idempotency-Replayed"))
	require.Equal(t, string(a.body), string(b.body))
	require.Len(t, s.fabric.Starts, 1)

	s.do("POST", "/train/round", strings.Replace(curlRound, "m1", "m2", 1), header("Idempotency-Key", "k1"), ann).is(422, "idempotency_key_reused")
	s.do("POST", "/train/round", curlRound, header("Idempotency-Key", "k2"), ann).is(409, "no_sites")
	for _, key := range []string{"", strings.Repeat("k", 256), "k 1"} {
		a := s.do("POST", "/train/round", curlRound, ann, header("Idempotency-Key", key))
		require.Equal(t, 400, a.StatusCode, "%q", key)
	}
	without := func(r *http.Request) { r.Header.Del("Idempotency-Key") }
	s.do("POST", "/train/round", curlRound, ann, without).is(400, "idempotency_key_missing")
	for _, text := range []string{s.log.String(), fmt.Sprint(s.fabric.Starts)} {
		require.NotContains(t, text, "k1\"")
	}
}

func TestRunsAreListedNewestFirst(t *testing.T) {
	s := serve(t)
	for i := range 3 {
		id := fmt.Sprintf("run-%d", i)
		s.fabric.RunRows[id] = api.Run{ID: id, Tenant: "t1", ModelID: "m", Tenants: []string{"h1"}, Status: "running", CreatedAt: apitest.Epoch}
	}
	ended := apitest.Epoch
	s.fabric.RunRows["run-2"] = api.Run{
		ID: "run-2", Tenant: "t1", ModelID: "m", Tenants: []string{"h1"}, Status: "completed", CreatedAt: apitest.Epoch, EndedAt: &ended,
		Metrics: round.Metrics{Evaluated: 100, Correct: 95, LossMicros: 7}, Version: 1,
		Rounds: []api.Round{{Number: 1, Kind: round.Train, Status: "closed", StartedAt: ended, Regions: []api.RoundRegion{
			{Region: "eu", Counts: round.Counts{Selected: 2, Accepted: 1, Rejected: 1}, Dropped: []string{"h1/s: NaN"}},
		}}},
	}
	page := into[v1.RunPage](s.do("GET", "/train/runs?tenant=t1&limit=2", nil).is(200))
	require.Equal(t, []string{"run-2", "run-1"}, []string{page.Items[0].ID, page.Items[1].ID})
	page = into[v1.RunPage](s.do("GET", "/train/runs?tenant=t1&limit=2&cursor="+page.Next, nil).is(200))
	require.Len(t, page.Items, 1)
	require.Empty(t, page.Next)

	run := into[v1.Run](s.do("GET", "/train/status/run-2?tenant=t1", nil).is(200))
	require.EqualValues(t, 9500, *run.Metrics.AccuracyBp)
	require.Equal(t, []string{"h1/s: NaN"}, run.Rounds[0].Regions[0].Dropped)
	require.Nil(t, run.Rounds[0].Metrics.AccuracyBp) // nothing evaluated is not 0 %
}

func TestARunIsStopped(t *testing.T) {
	s := serve(t)
	row := func(id, status string) {
		s.fabric.RunRows[id] = api.Run{ID: id, Tenant: "t1", ModelID: "m", Status: status, CreatedAt: apitest.Epoch, TraceID: "x"}
	}
	row("run-a", "running")
	row("run-b", "accepted")
	row("run-c", "completed")
	ann := s.as("t1", "operator")
	s.do("POST", "/train/runs/run-a/stop", `{"reason":"enough"}`, ann).is(202)
	s.do("POST", "/train/runs/run-b/stop", `{}`, s.as("t1", "operator")).is(409, "not_running")
	s.do("POST", "/train/runs/run-c/stop", `{}`, s.as("t1", "operator")).is(409, "not_running")
	s.do("POST", "/train/runs/run-d/stop", `{}`, s.as("t1", "operator")).is(404, "not_found")
	require.Equal(t, []string{"run-a"}, s.fabric.Stops)
	require.Equal(t, []string{"run.stop_requested"}, s.fabric.Leaves)
}
