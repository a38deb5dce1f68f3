package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// championed is a governed fabric in which version 1 serves production and there
// is a second one.
func championed(t *testing.T) *served {
	s := governed(t)
	m := s.fabric.ModelRows["t1/m"]
	second := m.Versions[0]
	second.Number, second.Package = 2, artifact.Describe("p", []byte("second"))
	m.Latest, m.Versions = 2, append(m.Versions, second)
	s.fabric.ModelRows["t1/m"] = m
	regions := []string{"apac", "eu", "us"}
	s.fabric.Snapshot.Packages = []routing.Package{{Tenant: "t1", Model: "m", Version: 1, Manifest: m.Versions[0].Package.Digest, Regions: regions}}
	s.fabric.Snapshot.Routes = []routing.Route{{Tenant: "t1", Model: "m", Environment: "production", Version: 1, Regions: regions}}
	return s
}

func TestAPromotionToProductionHasACanary(t *testing.T) {
	s := championed(t)
	s.fabric.Load = map[string]int64{"eu": 900, "us": 90, "apac": 10}
	plan := func(body map[string]any) promotion.Plan {
		t.Helper()
		planned := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(200))
		require.NotEmpty(t, planned.RiskParts)
		var p promotion.Plan
		require.NoError(t, json.Unmarshal(planned.Plan, &p))
		return p
	}
	p := plan(map[string]any{"version": 2, "environment": "production"})
	require.Equal(t, canary.Default("m.production.v2.s7"), *p.Canary, "unless something else is asked for")
	require.Equal(t, []string{"apac", "us", "eu"}, p.Regions, "the quietest region first")
	require.Equal(t, 1000, p.Risk.Reach)
	require.Equal(t, p, plan(map[string]any{"version": 2, "environment": "production"}), "planned again it is the same")

	require.Nil(t, plan(map[string]any{"version": 2, "environment": "staging"}).Canary)
	once := plan(map[string]any{"version": 2, "environment": "production", "canary": map[string]any{"none": true}})
	require.Nil(t, once.Canary)
	require.Contains(t, once.Diff[len(once.Diff)-1].To, "everybody gets it at once")
	own := plan(map[string]any{"version": 2, "environment": "production", "regions": []string{"us"}, "canary": map[string]any{"shares_bp": []int{1000, 10000}, "error_margin_bp": 50, "answers": 100, "bake_seconds": 600, "look_seconds": 60, "deadline_seconds": 1200}})
	require.Equal(t, []int{1000, 10000}, own.Canary.SharesBP)
	require.Equal(t, []any{int64(100), int64(400), 600, int64(50)}, []any{own.Canary.Required, own.Canary.Planned, own.Canary.BakeSeconds, own.Canary.Guardrails[0].MarginBP})

	for name, c := range map[string]map[string]any{
		"a ladder that falls":     {"shares_bp": []int{5000, 100, 10000}},
		"a ladder without an end": {"shares_bp": []int{100}},
		"a bake beyond the end":   {"bake_seconds": 604800},
	} {
		t.Run(name, func(t *testing.T) {
			s.do("POST", "/models/m/promotions", map[string]any{"version": 2, "environment": "production", "canary": c}, s.as("t1", "operator")).is(422, "bad_plan")
		})
	}
	s.do("POST", "/models/m/promotions", map[string]any{"version": 2, "environment": "staging", "canary": map[string]any{"usual": true}}, s.as("t1", "operator")).is(422, "bad_plan") // nothing to compare with
}

// A shadow is asked for, in any rollout, and is the first step of a plan.
func TestAShadowIsAskedFor(t *testing.T) {
	s := championed(t)
	ask := func(c map[string]any) answer {
		return s.do("POST", "/models/m/promotions", map[string]any{"version": 2, "environment": "production", "canary": c}, s.as("t1", "operator"))
	}
	plan := func(c map[string]any) promotion.Plan {
		var p promotion.Plan
		require.NoError(t, json.Unmarshal(into[v1.Planned](ask(c).is(200)).Plan, &p))
		return p
	}
	require.Nil(t, plan(map[string]any{"usual": true}).Canary.Shadow, "unless it is asked for")
	p := plan(map[string]any{"shadow_bp": 1000})
	require.Equal(t, canary.Shadow{ShareBP: 1000, Required: 500}, *p.Canary.Shadow)
	require.Equal(t, canary.Default("").SharesBP, p.Canary.SharesBP, "the rest is as usual")
	require.Contains(t, p.Diff[1].What, "shadow")
	require.Contains(t, p.Diff[1].To, "a copy of 10 % of the requests, answers discarded; 500 copies")
	require.Equal(t, canary.Shadow{ShareBP: 50, Required: 30}, *plan(map[string]any{"shadow_bp": 50, "shadow_answers": 30}).Canary.Shadow)
	ask(map[string]any{"shadow_bp": 1000, "none": true}).is(400, "invalid_request")
	ask(map[string]any{"shadow_answers": 100}).is(400, "invalid_request")
	ask(map[string]any{"shadow_bp": 1000, "shadow_answers": 5000}).is(422, "bad_plan")
	ask(map[string]any{"shadow_bp": 0}).is(400)
	ask(map[string]any{"shadow_bp": 10001}).is(400)
}

func TestADryRunStartsNothing(t *testing.T) {
	s := championed(t)
	body := map[string]any{"version": 2, "environment": "production"}
	planned := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(200))
	body["apply"], body["plan_digest"], body["dry_run"] = true, planned.PlanDigest, true
	checked := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(200))
	require.NotEmpty(t, checked.Checked)
	require.Equal(t, planned.PlanDigest, checked.PlanDigest)
	require.Empty(t, s.fabric.Starts)

	s.fabric.Lacking = "fairness is INSUFFICIENT"
	s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(422, "bad_plan")
	s.do("POST", "/models/m/promotions", map[string]any{"version": 2, "environment": "staging"}, s.as("t1", "operator")).is(422, "bad_plan")
	s.do("POST", "/models/m/promotions", map[string]any{"version": 2, "environment": "dev"}, s.as("t1", "operator")).is(200) // to find out more about it
	s.fabric.Lacking = ""
	s.fabric.Snapshot.Routes[0].Version = 3
	s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(409, "plan_stale")
}

func TestARolloutIsSeenAndSteered(t *testing.T) {
	s := championed(t)
	look := canary.Judge(canary.Default("r"), 12, canary.Step{Number: 1, Region: "eu", ShareBP: 100}, canary.Measure{}, canary.Measure{})
	text, err := artifact.Canonical(look)
	require.NoError(t, err)
	kept := s.fabric.Keep("look", text)
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	s.fabric.ActionRows["promote-1"] = api.Action{ID: "promote-1", Kind: api.KindPromotion, Tenant: "t1", ModelID: "m", State: "started"}
	steer := map[string]any{"do": "pause", "reason": "lunch"}
	s.do("POST", "/promotions/promote-1/rollout", steer, s.as("t1", "operator")).is(409, "not_running") // it has not begun
	s.fabric.RolloutFacts = map[string][]canary.Fact{"promote-1": {
		{Number: 1, Kind: canary.FactStep, At: at, Step: look.Step},
		{Number: 2, Kind: canary.FactLook, At: at, Step: look.Step, Verdict: canary.NoData, Look: kept.Digest},
		{Number: 3, Kind: canary.FactPause, At: at, Step: look.Step, Actor: "olga"},
	}}
	got := into[v1.Rollout](s.do("GET", "/promotions/promote-1/rollout", nil, s.as("t1", "auditor")).is(200))
	require.Equal(t, []any{true, v1.RolloutVerdict("NO_DATA"), "eu"}, []any{got.Paused, got.Verdict, got.Step.Region})
	require.Len(t, got.Facts, 3)
	require.JSONEq(t, string(text), string(got.Looks[0]), "with its raw aggregates")

	state := into[v1.RolloutState](s.do("POST", "/promotions/promote-1/rollout", steer, s.named("t1", "olga", "operator")).is(200))
	require.True(t, state.Paused)
	require.Equal(t, contract.Steer{Actor: "olga", Do: "pause", Reason: "lunch"}, s.fabric.Steered[0], "who it was comes from the token")
	s.do("POST", "/promotions/promote-1/rollout", steer, s.as("t1", "auditor")).is(http.StatusForbidden)
	s.do("POST", "/promotions/promote-1/rollout", steer, s.as("t2", "operator")).is(http.StatusNotFound)
	s.do("POST", "/promotions/promote-1/rollout", map[string]any{"do": "dance"}, s.as("t1", "operator")).is(http.StatusBadRequest)
	done := s.fabric.ActionRows["promote-1"]
	done.State = "applied"
	s.fabric.ActionRows["promote-1"] = done
	s.do("POST", "/promotions/promote-1/rollout", steer, s.as("t1", "operator")).is(409, "not_running")
}

func TestWhatWasInProductionAtATime(t *testing.T) {
	s := championed(t)
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	first := s.fabric.Snapshot
	first.Packages = append(first.Packages, routing.Package{Tenant: "t1", Model: "m", Version: 2, Manifest: artifact.DigestOf([]byte("second")), Regions: []string{"eu"}})
	first.Canaries = []routing.Canary{{Lineage: "r", Tenant: "t1", Model: "m", Environment: "production", Version: 2, Share: 500, Regions: []string{"eu"}}}
	first.Routes = append(first.Routes, routing.Route{Tenant: "t2", Model: "m", Environment: "production", Version: 9, Regions: []string{"eu"}})
	s.fabric.Ran = api.Ran{Snapshot: first, Digest: artifact.DigestOf([]byte("snapshot")), At: at, Moves: []api.Publication{
		{Snapshot: 9, Action: "promote-2", Step: "canary/eu/500", At: at},
		{Snapshot: 8, Action: "promote-2", Step: "load/eu,us,apac", At: at},
		{Snapshot: 7, Action: "promote-1", Step: "switch/eu,us,apac", At: at},
	}}
	for _, id := range []string{"promote-1", "promote-2"} {
		s.fabric.ActionRows[id] = api.Action{ID: id, Kind: api.KindPromotion, Tenant: "t1", ModelID: "m", Requester: "ann", Plan: artifact.Describe("plan", []byte(id)), Risk: 60}
	}
	s.fabric.BallotRows["promote-1"] = approval.Ballot{
		Request: approval.Request{Action: approval.Action{ID: "promote-1", Tenant: "t1"}}, Outcome: approval.Approved,
		Votes: []approval.Vote{{Approver: "bob", Role: "owner", Approve: true, Statement: artifact.DigestOf([]byte("bob's")), At: at}},
	}
	shadowed := first
	shadowed.Canaries = []routing.Canary{{Lineage: "r", Tenant: "t1", Model: "m", Environment: "production", Version: 2, Mirror: 1000, Regions: []string{"eu"}}}
	s.fabric.Ran.Snapshot = shadowed
	require.Len(t, into[v1.ModelHistory](s.do("GET", "/models/m/history?at=2026-11-23T09:00:00Z", nil, s.as("t1", "auditor")).is(200)).Serving, 3, "a version in its shadow answers nobody")
	s.fabric.Ran.Snapshot = first
	h := into[v1.ModelHistory](s.do("GET", "/models/m/history?at=2026-11-23T09:00:00Z", nil, s.as("t1", "auditor")).is(200))
	require.Len(t, h.Serving, 4, "three regions and a canary, and nothing of another tenant's")
	by := map[string]v1.Serving{}
	for _, one := range h.Serving {
		by[one.Region+string(rune('0'+one.Version))] = one
	}
	require.Equal(t, []any{9500, "promote-1", "bob"}, []any{by["eu1"].ShareBp, by["eu1"].Mover.Action, by["eu1"].Mover.Approvals[0].Approver})
	require.Equal(t, []any{10000, "promote-1"}, []any{by["us1"].ShareBp, by["us1"].Mover.Action})
	require.Equal(t, []any{500, "promote-2", string(artifact.DigestOf([]byte("second")))}, []any{by["eu2"].ShareBp, by["eu2"].Mover.Action, by["eu2"].Package})
	s.do("GET", "/models/m/history?at=2026-11-23T07:00:00Z", nil, s.as("t1", "auditor")).is(404)
	s.do("GET", "/models/m/history?at=yesterday", nil, s.as("t1", "auditor")).is(400)
	s.do("GET", "/models/m/history", nil, s.as("t2", "auditor")).is(404)
}
