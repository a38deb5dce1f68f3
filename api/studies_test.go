package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

const rates = `"space":[{"name":"learningRate","kind":"double","low":0.001,"high":1,"log":true},{"name":"strategy","kind":"categorical","values":["fedavg","fedadam"]}],"metric":"loss"`

func laboratory(t *testing.T) *served {
	s := serve(t)
	feature(s.fabric, "t1", "f1", "{}")
	enrolled(s.fabric, "t1", "s1", "eu")
	enrolled(s.fabric, "t1", "s2", "us")
	return s
}

func TestAStudyIsAccepted(t *testing.T) {
	s := laboratory(t)
	body := `{"model_id":"m1","tenants":["t1"],"environment":"staging","params":{"rounds":6,"quorum":2},` + rates + `,"trials":12,"parallel":3,"repeats":2,
		"halving":{"first":2,"factor":3},"constraints":[{"metric":"epsilon","at_most":4}],"budget_rounds":100,"seed":7,
		"enqueued":[[{"name":"strategy","value":"fedadam"},{"name":"learningRate","value":"0.05"}]]}`
	ann := s.as("t1", "data-scientist")
	accepted := into[v1.RunAccepted](s.do("POST", "/tuning/studies", body, ann, header("Idempotency-Key", "k")).is(202))
	require.Equal(t, contract.StudyID(accepted.ID), accepted.WorkflowID)
	again := into[v1.RunAccepted](s.do("POST", "/tuning/studies", body, ann, header("Idempotency-Key", "k")).is(202))
	require.Equal(t, accepted, again)

	require.Len(t, s.fabric.Starts, 1)
	start := s.fabric.Starts[0]
	require.Equal(t, contract.Study.Name, start.Workflow)
	require.Equal(t, contract.StudyInput{
		Subject: contract.Subject{Tenant: "t1", ModelID: "m1", TraceID: accepted.TraceID}, Study: accepted.ID, Trials: 12, Parallel: 3, Next: 1,
	}, start.Input)
	kept := s.fabric.StudyRows[accepted.ID]
	require.Equal(t, []tuning.Point{{0.05, 1}}, kept.Spec.Enqueued)
	require.Equal(t, tuning.Minimize, kept.Spec.Goal, "of a loss")
	require.Equal(t, &tuning.Halving{First: 2, Factor: 3}, kept.Spec.Halving)
	require.Equal(t, 6, kept.Base.Params.Rounds)
	require.Equal(t, []string{"f1"}, kept.Base.Params.Features, "filled in, as for a run")
	require.Zero(t, kept.Base.Params.LearningRate, "the rest is as it was asked for: a trial completes it")

	view := into[v1.Study](s.do("GET", accepted.StatusURL, nil, ann).is(200))
	require.EqualValues(t, "running", view.Status)
	require.Equal(t, 100, view.BudgetRounds)
	require.Empty(t, view.Results)
	page := into[v1.StudyPage](s.do("GET", "/tuning/studies?status=running&model=m1", nil, ann).is(200))
	require.Len(t, page.Items, 1)
	require.Empty(t, into[v1.StudyPage](s.do("GET", "/tuning/studies?status=failed", nil, ann).is(200)).Items)
}

func TestWhatStudyIsRefused(t *testing.T) {
	const head = `{"model_id":"m1","tenants":["t1"],"environment":"dev","trials":3,`
	for _, tt := range []struct {
		name   string
		body   string
		status int
		code   string
		errors []string
	}{
		{"production", `{"model_id":"m1","tenants":["t1"],"environment":"production","trials":3,` + rates + `}`, 400, "invalid_request", nil},
		{"a production round", head + `"params":{"production":true},` + rates + `}`, 422, "bad_params",
			[]string{"/params/production: a study is not made in production; train its best point there with POST /train/round"}},
		{"an empty space", head + `"metric":"loss","space":[{"name":"learningRate","kind":"double","low":1,"high":1}]}`, 422, "bad_params",
			[]string{"/space/0: " + tuning.ErrEmptySpace.Error()}},
		{"no space", head + `"metric":"loss","space":[]}`, 400, "invalid_request", nil},
		{"a parameter twice", head + `"metric":"loss","space":[{"name":"learningRate","kind":"double","low":0.1,"high":1},{"name":"learningRate","kind":"double","low":0.1,"high":1}]}`, 422, "bad_params",
			[]string{"/space/0: " + tuning.ErrTwice.Error()}},
		{"half an epoch", head + `"metric":"loss","space":[{"name":"localEpochs","kind":"double","low":1,"high":3}]}`, 422, "bad_params",
			[]string{"/space/0: " + tuning.ErrParameter.Error()}},
		{"a strategy that there is not", head + `"metric":"loss","space":[{"name":"strategy","kind":"categorical","values":["fedzero","fedavg"]}]}`, 422, "bad_params", nil},
		{"a known point outside", head + rates + `,"enqueued":[[{"name":"learningRate","value":"5"},{"name":"strategy","value":"fedavg"}]]}`, 422, "bad_params", nil},
		{"a budget that covers no trial", head + `"params":{"rounds":6},"repeats":2,"budget_rounds":11,` + rates + `}`, 422, "bad_params",
			[]string{"/budget_rounds: a trial needs up to 12 rounds: " + tuning.ErrRounds.Error()}},
		{"nobody's consent", `{"model_id":"m1","tenants":["t2"],"environment":"dev","trials":3,` + rates + `}`, 422, "no_consent", nil},
		{"more sites than there are", head + `"params":{"quorum":3},` + rates + `}`, 409, "no_sites", nil},
		{"an earlier study that is not", head + rates + `,"warm_start":{"studies":["study-0"]}}`, 422, "bad_params",
			[]string{"/warm_start/studies/0: there is no such study of this model"}},
		{"finished runs for what they do not say", head + `"space":[{"name":"learningRate","kind":"double","low":0.1,"high":1}],"metric":"upload","warm_start":{"runs":true}}`, 422, "bad_params",
			[]string{"/warm_start/runs: finished runs say what loss and accuracy they came to, and nothing else"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := laboratory(t)
			p := into[v1.Problem](s.do("POST", "/tuning/studies", tt.body, s.as("t1", "data-scientist"), header("Idempotency-Key", "k")).is(tt.status, tt.code))
			if tt.errors != nil {
				var said []string
				for _, e := range p.Errors {
					said = append(said, e.Pointer+": "+e.Detail)
				}
				require.Equal(t, tt.errors, said)
			}
			require.Empty(t, s.fabric.Starts)
			require.Empty(t, s.fabric.StudyRows)
		})
	}
}

func TestAStudyKnowsWhatCameBefore(t *testing.T) {
	s := laboratory(t)
	complete, err := round.Params{Model: round.ModelSpec{Inputs: 1}, Rounds: 2, Features: []string{"f1"}, LearningRate: 0.2}.Validate()
	require.NoError(t, err)
	other := complete
	other.Rounds = 9
	s.fabric.TrialRows["t1/m1"] = []api.Trial{
		{Run: "run-1", Params: complete, Metrics: round.Metrics{Evaluated: 10, LossMicros: 5_000_000}, Status: "completed"},
		{Run: "run-2", Params: complete, Metrics: round.Metrics{Evaluated: 10, LossMicros: 5_000_000}, Status: "failed"},
		{Run: "run-3", Params: other, Metrics: round.Metrics{Evaluated: 10, LossMicros: 5_000_000}, Status: "completed"},
	}
	ann := s.as("t1", "data-scientist")
	body := `{"model_id":"m1","tenants":["t1"],"environment":"dev","trials":3,"params":{"rounds":2},` + rates
	first := into[v1.RunAccepted](s.do("POST", "/tuning/studies", body+`,"warm_start":{"runs":true}}`, ann, header("Idempotency-Key", "1")).is(202))
	require.Equal(t, []tuning.Trial{{Point: tuning.Point{0.2, 0}, State: tuning.Succeeded, Values: []float64{0.5}, Constraints: []float64{}}}, s.fabric.StudyRows[first.ID].Prior,
		"what failed, and what ran longer, is nothing to compare with")

	kept := s.fabric.StudyRows[first.ID]
	kept.Jobs = []tuning.Job{{Trial: tuning.Trial{Number: 1, Point: tuning.Point{0.3, 1}, State: tuning.Succeeded, Values: []float64{0.4}}}}
	s.fabric.StudyRows[first.ID] = kept
	second := into[v1.RunAccepted](s.do("POST", "/tuning/studies", body+`,"warm_start":{"studies":["`+first.ID+`"]}}`, ann, header("Idempotency-Key", "2")).is(202))
	require.Equal(t, []tuning.Trial{{Point: tuning.Point{0.3, 1}, State: tuning.Succeeded, Values: []float64{0.4}}}, s.fabric.StudyRows[second.ID].Prior)
	p := into[v1.Problem](s.do("POST", "/tuning/studies", `{"model_id":"m1","tenants":["t1"],"environment":"dev","trials":3,`+rates[:len(rates)-len(`"metric":"loss"`)]+`"metric":"accuracy","warm_start":{"studies":["`+first.ID+`"]}}`,
		ann, header("Idempotency-Key", "3")).is(422, "bad_params"))
	require.Equal(t, "it looks at another metric, or at other constraints", p.Errors[0].Detail)
}

func TestAStudyIsShown(t *testing.T) {
	s := laboratory(t)
	s.fabric.StudyRows["study-1"] = api.Study{
		ID: "study-1", Tenant: "t1", ModelID: "m1", Environment: "dev", Status: "running", CreatedAt: apitest.Epoch, Made: 3, Used: 5,
		Spec: tuning.Study{Space: tuning.Space{{Name: "learningRate", Kind: tuning.Double, Low: 0.1, High: 1}}, Metric: "accuracy", Goal: tuning.Maximize, Trials: 9, Parallel: 2, Repeats: 2,
			Constraints: []tuning.Constraint{{Metric: "epsilon", AtMost: 1}}},
		Base: contract.RunInput{Tenants: []string{"t1"}, Params: round.Params{Rounds: 2}},
		Jobs: []tuning.Job{
			{Trial: tuning.Trial{Number: 1, Point: tuning.Point{0.25}, State: tuning.Succeeded, Values: []float64{0.8, 0.9}, Constraints: []float64{0.5}}, Ended: 2, Rounds: 4},
			{Trial: tuning.Trial{Number: 2, Point: tuning.Point{0.5}, State: tuning.Succeeded, Values: []float64{0.95, 0.95}, Constraints: []float64{1.5}}, Ended: 2, Rounds: 1},
			{Trial: tuning.Trial{Number: 3, Point: tuning.Point{0.75}, State: tuning.Active, Rungs: []int64{250_000}}},
		},
		Runs: []api.StudyRun{{Number: 1, Repeat: 1, Run: "run-1"}, {Number: 1, Repeat: 2, Run: "run-2"}, {Number: 3, Repeat: 1, Run: "run-3"}},
		Charges: []privacy.Ledger{{Budget: privacy.Budget{EpsilonLimit: 10, Delta: 1e-5},
			Entries: []privacy.Entry{{State: privacy.Committed, Rounds: 1, Events: []dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: 1, SampleRate: 1}}}}}},
	}
	view := into[v1.Study](s.do("GET", "/tuning/studies/study-1", nil, s.as("t1", "auditor")).is(200))
	require.Equal(t, 1, view.Best, "the better one breaks the constraint")
	require.InDelta(t, 0.85, *view.Results[0].Value, 1e-12, "more is better, and shown as it is")
	require.True(t, *view.Results[0].Feasible)
	require.False(t, *view.Results[1].Feasible)
	require.Nil(t, view.Results[2].Value)
	require.Equal(t, []float64{0.25}, view.Results[2].Rungs)
	require.Equal(t, v1.StudyPoint{{Name: "learningRate", Value: "0.75"}}, view.Results[2].Parameters)
	require.Equal(t, []string{"run-1", "run-2"}, view.Results[0].Runs)
	require.Equal(t, 5, view.Spent.Rounds)
	require.Equal(t, 4, view.Spent.Held, "two repeats of two rounds may still come")
	require.Positive(t, view.Spent.Epsilon)

	ann := s.as("t1", "operator")
	s.do("POST", "/tuning/studies/study-1/stop", `{"reason":"enough"}`, ann, header("Idempotency-Key", "s")).is(202)
	require.Equal(t, []string{"study-1"}, s.fabric.Stops)
	over := s.fabric.StudyRows["study-1"]
	over.Status = "completed"
	s.fabric.StudyRows["study-1"] = over
	s.do("POST", "/tuning/studies/study-1/stop", `{}`, ann, header("Idempotency-Key", "s2")).is(409, "not_running")

	// Its best trial as a suggestion, once it is over.
	s.do("POST", "/tuning/suggestions", `{"model_id":"m1","environment":"production","study":"study-1","apply":true}`, ann, header("Idempotency-Key", "t")).is(202)
	require.Equal(t, "study-1", s.fabric.Starts[0].Input.(contract.TuneInput).Study)
	s.do("POST", "/tuning/suggestions", `{"model_id":"m2","environment":"dev","study":"study-1"}`, ann, header("Idempotency-Key", "t2")).is(404, "not_found")
	over.Status = "running"
	s.fabric.StudyRows["study-1"] = over
	s.do("POST", "/tuning/suggestions", `{"model_id":"m1","environment":"dev","study":"study-1"}`, ann, header("Idempotency-Key", "t3")).is(409, "not_ready")
}

// What a worker asks for a trial is what the API asks for a run.
func TestATrialIsAdmittedAsARunIs(t *testing.T) {
	s := laboratory(t)
	admission := api.NewAdmission(options(t, s.issuer, s.log), s.fabric.Ports())
	in := contract.RunInput{Subject: contract.Subject{Tenant: "t1", ModelID: "m1"}, Tenants: []string{"t1"}, Params: round.Params{Rounds: 2, Features: []string{"f1"}, Model: round.ModelSpec{Inputs: 1}}}
	params, err := admission.Admit(t.Context(), in, false)
	require.NoError(t, err)
	require.Equal(t, 0.05, params.LearningRate, "complete")
	for _, tt := range []struct {
		name   string
		change func(*contract.RunInput)
		status string
		reason string
	}{
		{"a point that is none", func(in *contract.RunInput) { in.Params.LearningRate = 90 }, "", "The parameters do not fit together: learning_rate out of range: 1e-8 to 10"},
		{"consent", func(in *contract.RunInput) { in.Tenants = []string{"t2"} }, tuning.StudyFailed, "1 of the features asked for may not be used; the run was not started"},
		{"sites", func(in *contract.RunInput) { in.Params.Quorum = 7 }, tuning.StudyFailed, "2 sites in 2 regions are enrolled; the quorum is 7 in 1. Enrol a site of each tenant: fabric-site run --tenant <tenant>, with FEDERATION_TOKEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := in
			tt.change(&in)
			_, err := admission.Admit(t.Context(), in, false)
			var refused *tuning.Refusal
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tt.status, refused.Status)
			require.Equal(t, tt.reason, refused.Reason)
		})
	}
}
