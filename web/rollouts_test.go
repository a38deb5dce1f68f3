package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// asText is a document of the API.
func asText(t *testing.T, doc any) v1.JSON {
	t.Helper()
	text, err := json.Marshal(doc)
	require.NoError(t, err)
	return text
}

// aRollout is on the second of four steps; two have looked, and the last look
// says too little of one guardrail.
func aRollout(t *testing.T) (v1.Action, v1.Rollout) {
	t.Helper()
	errors := canary.Guardrail{Metric: "errors", Scale: canary.Absolute, MarginBP: 200}
	latency := canary.Guardrail{Metric: "latency", Scale: canary.Relative, MarginBP: 2000}
	plan := promotion.Plan{
		Kind: promotion.KindPromotion, Tenant: "onc", ModelID: "screen", Environment: "production", Regions: []string{"us", "eu"},
		Version: &promotion.Version{Number: 3}, Canary: &canary.Design{SharesBP: []int{500, canary.Whole}, Guardrails: []canary.Guardrail{errors, latency}},
	}
	action := v1.Action{
		ID: "promote-1", Kind: "promotion", State: "started", Tenant: "onc", ModelID: "screen", Environment: "production", Risk: 44, ApprovalsNeeded: 2,
		Requester: hostile, CreatedAt: noon.Add(-time.Hour), Plan: asText(t, plan), WorkflowID: "promotion/promote-1",
	}
	steps := plan.Canary.Steps(plan.Regions)
	look := func(step canary.Step, low, high float64, verdict, second canary.Verdict) v1.JSON {
		return asText(t, canary.Look{Step: step, Verdict: verdict, Findings: []canary.Finding{
			{Guardrail: errors, Verdict: verdict, Margin: 0.02, Estimate: (low + high) / 2, Low: low, High: high},
			{Guardrail: latency, Verdict: second, Reason: "29 answers of 30 " + hostile, Margin: 0.2},
		}})
	}
	at := func(n int) v1.RolloutStep {
		return v1.RolloutStep{Number: steps[n-1].Number, Region: steps[n-1].Region, ShareBp: steps[n-1].ShareBP}
	}
	return action, v1.Rollout{
		ID: "promote-1", State: "started", Step: at(2), Verdict: "INCONCLUSIVE",
		Looks: []v1.JSON{look(steps[0], -0.004, 0.006, canary.Pass, canary.NoData), look(steps[1], -0.01, 0.03, canary.Inconclusive, canary.NoData)},
		Facts: []v1.RolloutFact{
			{Number: 1, Kind: v1.RolloutFactKindStep, Step: at(1), At: noon.Add(-40 * time.Minute)},
			{Number: 2, Kind: v1.RolloutFactKindLook, Step: at(1), Verdict: "PASS", Words: "errors PASS", At: noon.Add(-20 * time.Minute)},
			{Number: 3, Kind: v1.RolloutFactKindStep, Step: at(2), At: noon.Add(-19 * time.Minute)},
			{Number: 4, Kind: v1.RolloutFactKindPause, Step: at(2), Actor: "oda", Words: hostile, At: noon.Add(-2 * time.Minute)},
		},
	}
}

func rolloutAPI(action v1.Action, view v1.Rollout) *fakeAPI {
	return &fakeAPI{answers: map[string]any{"GET /promotions/promote-1": action, "GET /promotions/promote-1/rollout": view}}
}

func TestRollouts(t *testing.T) {
	action, _ := aRollout(t)
	stale := action
	stale.ID, stale.State, stale.Cause, stale.Risk, stale.Simulated = "promote-0", "stale", hostile, 71, true
	api := &fakeAPI{answers: map[string]any{"GET /promotions": v1.ActionPage{Items: []v1.Action{action, stale}, Next: "b&x"}}}
	w := ask(t, testConsole(t, api), ada(), "GET", "/console/rollouts?cursor=a", nil)
	golden(t, "rollouts", w)
	require.Contains(t, api.asked, "GET /promotions?cursor=a")
	require.Contains(t, w.Body.String(), "cursor=b%26x")
	require.NotContains(t, w.Body.String(), "<script>alert")
}

func TestRollout(t *testing.T) {
	c := testConsole(t, rolloutAPI(aRollout(t)))
	w := ask(t, c, oda(), "GET", "/console/rollouts/promote-1", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "rollout", withoutKeys(w))
	page := w.Body.String()
	require.Equal(t, 3, strings.Count(page, `role="img"`), "the ladder and a sequence for each guardrail")
	for _, want := range []string{"29 answers of 30", "INCONCLUSIVE", "errors of the canary beside the champion"} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "<script>alert")
}

// A version in its shadow is shown to answer nobody.
func TestARolloutInItsShadow(t *testing.T) {
	action, view := aRollout(t)
	var plan promotion.Plan
	require.NoError(t, json.Unmarshal(action.Plan, &plan))
	plan.Canary.Shadow = &canary.Shadow{ShareBP: 1000, Required: 30}
	action.Plan = asText(t, plan)
	view.Step, view.Looks, view.Verdict = v1.RolloutStep{Number: 1, Region: "us", MirrorBp: 1000}, nil, ""
	view.Facts = []v1.RolloutFact{{Number: 1, Kind: v1.RolloutFactKindStep, Step: view.Step, At: noon}}
	w := ask(t, testConsole(t, rolloutAPI(action, view)), oda(), "GET", "/console/rollouts/promote-1", nil)
	sound(t, w)
	page := w.Body.String()
	for _, want := range []string{"us shadow: waits, now; eu shadow: to come; us 5 %: to come", "shadow of 10.00 %: it gets copies of requests, and answers nobody", "in the shadow of 10.00 %", `value="abort"`} {
		require.Contains(t, page, want)
	}
}

func TestWhatCanBeDoneWithARollout(t *testing.T) {
	back := v1.RolloutFact{Number: 5, Kind: v1.RolloutFactKindBack, At: noon}
	for _, tt := range []struct {
		name   string
		change func(*v1.Action, *v1.Rollout)
		who    session
		can    string
		why    string
	}{
		{"one that climbs is paused or aborted", func(*v1.Action, *v1.Rollout) {}, oda(), "pause abort", "It is not paused."},
		{"a paused one goes on or is aborted", func(_ *v1.Action, r *v1.Rollout) { r.Paused = true }, oda(), "resume abort", "It is paused already."},
		{"one that waits for approvers is left alone", func(_ *v1.Action, r *v1.Rollout) { r.Step = v1.RolloutStep{} }, oda(), "", "waits for its approvers"},
		{"one that went back too", func(_ *v1.Action, r *v1.Rollout) { r.Facts = append(r.Facts, back) }, oda(), "", "The rollout is over."},
		{"an applied one too", func(a *v1.Action, _ *v1.Rollout) { a.State = "applied" }, oda(), "", "The promotion is applied."},
		{"one without a ladder has no steps", func(a *v1.Action, _ *v1.Rollout) { a.Plan = v1.JSON(planText) }, oda(), "", "Everybody gets the version at once."},
		{"a reader sees why not", func(*v1.Action, *v1.Rollout) {}, rea(), "", "You need the role operator or admin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			action, view := aRollout(t)
			tt.change(&action, &view)
			w := ask(t, testConsole(t, rolloutAPI(action, view)), tt.who, "GET", "/console/rollouts/promote-1", nil)
			sound(t, w)
			page := w.Body.String()
			for _, do := range []string{"pause", "resume", "abort"} {
				require.Equal(t, strings.Contains(tt.can, do), strings.Contains(page, `name="do" value="`+do+`"`), do)
			}
			require.Contains(t, page, tt.why)
		})
	}
}

func TestARolloutIsSteered(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"POST /promotions/promote-1/rollout": v1.RolloutState{}}}
	c := testConsole(t, api)
	const form = "/console/rollouts/promote-1/steer"
	w := ask(t, c, oda(), "POST", form, url.Values{"do": {"abort"}, "reason": {"errors"}, "typed": {"yes"}, "key": {"k"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, w.Body.String(), "type the word abort")
	require.Empty(t, api.asked, "nothing was asked of the API")

	for do, says := range map[string]string{"pause": "is paused", "resume": "goes on", "abort": "serves again"} {
		api.asked, api.bodies, api.keys = nil, nil, nil
		w = ask(t, c, oda(), "POST", form, url.Values{"do": {do}, "reason": {"errors"}, "typed": {"abort"}, "key": {"k-" + do}})
		require.Equal(t, "/console/rollouts/promote-1?done=rollout-"+do, w.Header().Get("Location"))
		require.JSONEq(t, `{"do":"`+do+`","reason":"errors"}`, api.bodies[0])
		require.Equal(t, "k-"+do, api.keys[0])
		require.Contains(t, notices()["rollout-"+do], says)
	}

	api.answers["POST /promotions/promote-1/rollout"] = v1.Problem{Status: 409, Title: "the rollout is over", Code: "conflict"}
	w = ask(t, c, oda(), "POST", form, url.Values{"do": {"pause"}, "key": {"k"}})
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "The rollout is over")
	sound(t, w)
}

// What changes on the pages of rollouts, of policies and of the map is on an
// open page within a second.
func TestRolloutsAndRegionsFollow(t *testing.T) {
	action, view := aRollout(t)
	regions := aMap()
	hub := aHub()
	api := &lockedAPI{fakeAPI: fakeAPI{answers: hub.answers}}
	for name, answer := range rolloutAPI(action, view).answers {
		api.answers[name] = answer
	}
	policy := v1.Action{ID: "policy-2", Kind: "policy", State: "started", Environment: "production", Requester: "oda", CreatedAt: noon}
	api.answers["GET /policies/rollouts/policy-2"], api.answers["GET /regions"] = policy, regions
	c := testConsole(t, api)
	server := httptest.NewServer(c)
	defer server.Close()
	defer c.Close()

	climbing := follow(t, c, server, oda(), "/console/rollouts/promote-1/events?state="+url.QueryEscape("startedfalse"))
	hubs := follow(t, c, server, oda(), "/console/policies/rollouts/policy-2/events?state=started")
	world := follow(t, c, server, oda(), "/console/regions/events")
	require.NotContains(t, next(t, climbing, "part"), "paused</span>")
	require.NotContains(t, next(t, hubs, "part"), "tag good\">applied")
	require.Contains(t, next(t, world, "part"), "Snapshot 12,")

	view.Paused, policy.State, regions.Snapshot = true, "applied", 13
	api.put("GET /promotions/promote-1/rollout", view)
	api.put("GET /policies/rollouts/policy-2", policy)
	api.put("GET /regions", regions)
	changed := time.Now()
	require.Contains(t, next(t, climbing, "part"), "paused</span>")
	require.Contains(t, next(t, climbing, "state"), "true", "the buttons are loaded anew")
	require.Contains(t, next(t, hubs, "part"), "tag good\">applied")
	next(t, hubs, "state")
	require.Contains(t, next(t, world, "part"), "Snapshot 13,")
	require.Less(t, time.Since(changed), time.Second)
}
