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
	"github.com/atom-fabric/fabric/domain/artifact"
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
		{"two sites that are to hide one another", `{"model_id":"m","tenants":["h1"],"params":{"secure":{"mode":"on"}}}`, 409, "no_sites", nil},
		{"a buffer of two that are to hide one another", `{"model_id":"m","tenants":["h1"],"params":{"strategy":{"name":"fedbuff","buffer":2}}}`, 422, "bad_params",
			[]string{"/params/strategy/buffer: a buffer holds at least the quorum, and three updates where they are hidden: 3 or more"}},
		{"a rate of a server that has none", `{"model_id":"m","tenants":["h1"],"params":{"strategy":{"max_norm":3}}}`, 422, "bad_params",
			[]string{"/params/strategy/max_norm: is not a parameter of this strategy or rule"}},
		{"noise without a mechanism", `{"model_id":"m","tenants":["h1"],"params":{"privacy":{"clip_norm":1}}}`, 422, "bad_params",
			[]string{"/params/privacy/mechanism: is set without a mechanism, and would protect nobody"}},
		{"the largest values behind masks", `{"model_id":"m","tenants":["h1"],"params":{"compression":{"codec":"topk"}}}`, 422, "bad_params",
			[]string{"/params/compression/codec: each site sends coordinates of its own choice, which do not add up under masks, and the choice would tell of its rows; topk does not go with secure aggregation: set secure.mode to off, or take randk or bits"}},
		{"a share of what has none", `{"model_id":"m","tenants":["h1"],"params":{"compression":{"share_bp":10}}}`, 422, "bad_params",
			[]string{"/params/compression/share_bp: is not a parameter of this codec"}},
		{"a codec that there is not", `{"model_id":"m","tenants":["h1"],"params":{"compression":{"codec":"gzip"}}}`, 400, "invalid_request", nil},
		{"halves in the open", `{"model_id":"m","tenants":["h1","h2"],"params":{"compression":{"codec":"fp16"},"secure":{"mode":"off"}}}`, 202, "", nil},
		{"a norm of rows that moves", `{"model_id":"m","tenants":["h1"],"params":{"model":{"inputs":1},"bounds":[[0,1]],"privacy":{"mechanism":"skellam","noise_multiplier":1,"unit":"example","adaptive":{"quantile":0.5}}}}`, 422, "bad_params",
			[]string{"/params/privacy/adaptive: adapts the norm of whole updates: the unit is site"}},
		{"bounds of one column of thirty", `{"model_id":"m","tenants":["h1"],"params":{"bounds":[[0,1]]}}`, 422, "bad_params",
			[]string{"/params/bounds: one finite [low, high] with low < high a column"}},
		{"bounds of three", `{"model_id":"m","tenants":["h1"],"params":{"bounds":[[0,1,2]]}}`, 400, "invalid_request", nil},
		{"more than a sample that is none", `{"model_id":"m","tenants":["h1"],"params":{"over_bp":100}}`, 422, "bad_params",
			[]string{"/params/over_bp: more than a sample is asked only where there is a sample"}},
		{"more conspirators than there may be", `{"model_id":"m","tenants":["h1"],"params":{"secure":{"corrupt_bp":4501}}}`, 400, "invalid_request", nil},
		{"fewer conspirators than are to be feared", `{"model_id":"m","tenants":["h1"],"params":{"secure":{"corrupt_bp":499}}}`, 422, "bad_params",
			[]string{"/params/secure/corrupt_bp: out of range: 500 to 4500"}},
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

// Every parameter reaches the run, and comes back from it under the same name.
func TestEveryParameterOfARunIsShownAsItWasGiven(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "t1", "f1", `{}`)
	for _, id := range []string{"s1", "s2", "s3"} {
		enrolled(s.fabric, "t1", id, "eu")
	}
	given := `{"model":{"trainer":"logistic","inputs":2,"classes":3},"rounds":7,"quorum":2,"quorum_regions":1,"deadline_seconds":9,
		"extensions":1,"local_epochs":2,"batch_size":4,"learning_rate":0.25,"seed":5,"features":["f1"],
		"strategy":{"name":"fedavg","rule":"multi_krum","server_rate":0.5,"byzantine":1,"keep":2,"bucket_sites":4},
		"secure":{"mode":"on","ring":64,"range":4.5,"max_examples":99,"stage_seconds":8,"corrupt_bp":700,"dropped_bp":600},
		"bounds":[[0,1],[-2.5,3]],"sample_bp":5000,"over_bp":2000,"target_bp":9000,"patience":4}`
	private := `{"model":{"trainer":"logistic","inputs":1,"classes":2},"rounds":1,"quorum":1,"quorum_regions":1,"deadline_seconds":9,
		"local_epochs":1,"batch_size":4,"learning_rate":0.25,"features":["f1"],
		"strategy":{"name":"fedadam","rule":"mean","server_rate":0.5,"beta1":0.5,"beta2":0.75,"tau":0.25},
		"secure":{"mode":"on","ring":32,"range":4.5,"max_examples":99,"stage_seconds":8,"corrupt_bp":700,"dropped_bp":600},
		"privacy":{"mechanism":"skellam","unit":"site","noise_multiplier":20,"clip_norm":0.5,"delta":0.000001,"max_epsilon":3},"bounds":[[0,1]]}`
	for i, params := range []string{given, private} {
		ann := s.as("t1", "data-scientist")
		accepted := into[v1.RunAccepted](s.do("POST", "/train/round", `{"model_id":"m1","tenants":["t1"],"params":`+params+`}`, ann,
			header("Idempotency-Key", fmt.Sprint("params", i))).is(202))
		shown := s.do("GET", accepted.StatusURL, nil, s.as("t1", "data-scientist")).is(200)
		var run struct {
			Params json.RawMessage `json:"params"`
		}
		require.NoError(t, json.Unmarshal(shown.body, &run))
		require.JSONEq(t, params, string(run.Params))
	}
}

func TestARunIsHeldAndGoesOn(t *testing.T) {
	s := serve(t)
	row := func(id, status string) {
		s.fabric.RunRows[id] = api.Run{ID: id, Tenant: "t1", ModelID: "m", Status: status, CreatedAt: apitest.Epoch, TraceID: "x"}
	}
	row("run-a", "running")
	row("run-b", "accepted")
	row("run-c", "completed")
	s.do("POST", "/train/runs/run-a/pause", `{"reason":"the sites are busy"}`, s.as("t1", "operator")).is(202)
	require.True(t, into[v1.Run](s.do("GET", "/train/status/run-a", nil, s.as("t1", "operator")).is(200)).Paused)
	s.do("POST", "/train/runs/run-a/resume", `{}`, s.as("t1", "operator")).is(202)
	require.False(t, into[v1.Run](s.do("GET", "/train/status/run-a", nil, s.as("t1", "operator")).is(200)).Paused)
	for _, verb := range []string{"pause", "resume"} {
		s.do("POST", "/train/runs/run-b/"+verb, `{}`, s.as("t1", "operator")).is(409, "not_running")
		s.do("POST", "/train/runs/run-c/"+verb, `{}`, s.as("t1", "operator")).is(409, "not_running")
		s.do("POST", "/train/runs/run-d/"+verb, `{}`, s.as("t1", "operator")).is(404, "not_found")
		s.do("POST", "/train/runs/run-a/"+verb, `{}`, s.as("t1", "auditor")).is(403)
	}
	require.Len(t, s.fabric.Pauses, 2)
	require.True(t, s.fabric.Pauses[0].Paused)
	require.Equal(t, "the sites are busy", s.fabric.Pauses[0].Reason)
	require.False(t, s.fabric.Pauses[1].Paused)
	require.Equal(t, []string{"run.pause_requested", "run.resume_requested"}, s.fabric.Leaves)
}

func TestARunGoesOnFromTheCheckpointOfAnother(t *testing.T) {
	weights, state := artifact.Describe("x", []byte("weights")), artifact.Describe("x", []byte("momentum"))
	s := serve(t)
	feature(s.fabric, "t1", "f1", `{}`)
	enrolled(s.fabric, "t1", "s1", "eu")
	left := func(tenant, run, model string, inputs int, strategy string) {
		s.fabric.Checkpoints[tenant+"/"+run+"/3"] = api.Checkpoint{
			ModelID: model, Weights: weights, State: state,
			Params: round.Params{Model: round.ModelSpec{Trainer: "logistic", Inputs: inputs, Classes: 2}, Strategy: round.Strategy{Name: strategy}},
		}
	}
	left("t1", "run-a", "m1", 1, round.FedAvgM)
	left("t1", "run-wide", "m1", 2, round.FedAvgM)
	left("t1", "run-other", "m2", 1, round.FedAvgM)
	left("t2", "run-theirs", "m1", 1, round.FedAvgM)
	start := func(name, run string, number int, strategy string) answer {
		body := fmt.Sprintf(`{"model_id":"m1","tenants":["t1"],"params":{"strategy":{"name":%q}},"from":{"run":%q,"round":%d}}`, strategy, run, number)
		return s.do("POST", "/train/round", body, s.as("t1", "data-scientist"), header("Idempotency-Key", name))
	}
	start("same", "run-a", 3, round.FedAvgM).is(202)
	start("another", "run-a", 3, round.FedAdam).is(202)
	require.Len(t, s.fabric.Starts, 2)
	in := s.fabric.Starts[0].Input.(contract.RunInput)
	require.Equal(t, 1, in.Round, "the weights are normalised")
	require.Equal(t, weights, in.Base)
	require.Equal(t, state, in.State)
	in = s.fabric.Starts[1].Input.(contract.RunInput)
	require.Equal(t, weights, in.Base)
	require.Empty(t, in.State, "momentum is no state of adam")

	point := s.fabric.Checkpoints["t1/run-a/3"]
	point.Clip, point.Params.Privacy.Adaptive.Quantile = 0.375, 0.5
	s.fabric.Checkpoints["t1/run-a/3"] = point
	start("fixed", "run-a", 3, round.FedAvgM).is(202)
	require.Zero(t, s.fabric.Starts[2].Input.(contract.RunInput).Clip, "a run whose norm does not adapt begins with its own")

	for i, from := range []struct {
		run    string
		number int
		detail string
	}{
		{"run-a", 4, "left no weights"}, {"run-b", 3, "left no weights"}, {"run-theirs", 3, "left no weights"},
		{"run-other", 3, "left no weights"}, {"run-wide", 3, "another shape"},
	} {
		p := into[v1.Problem](start(fmt.Sprint("bad", i), from.run, from.number, round.FedAvgM).is(422, "bad_params"))
		require.Len(t, p.Errors, 1)
		require.Equal(t, "/from", p.Errors[0].Pointer)
		require.Contains(t, p.Errors[0].Detail, from.detail)
	}
	require.Len(t, s.fabric.Starts, 3)
}
