package api_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
)

// governed is a fabric with a data plane of three regions, a model with one
// version, and two approvers.
func governed(t testing.TB) *served {
	s := serve(t)
	document := policy.Document{
		Revision:  1,
		Rules:     []policy.Rule{{Name: "all", Tenant: "*", Model: "*", Regions: []string{"*"}, Kinds: []string{"neural"}}},
		Weights:   policy.Weights{Latency: 500, Cost: 100, Fabric: 200, Locality: 200},
		Threshold: 40,
	}
	text, err := document.Encode()
	require.NoError(t, err)
	s.fabric.Snapshot = routing.Snapshot{Version: 7, Policies: []policy.Document{document}}
	s.fabric.Signed = routing.Signed{Snapshot: json.RawMessage(`{"version":7}`), Bundle: json.RawMessage(`{}`)}
	for _, region := range []string{"eu", "us", "apac"} {
		s.fabric.Snapshot.Regions = append(s.fabric.Snapshot.Regions, routing.Region{Name: region, Policy: 1, PolicyDigest: artifact.DigestOf(text)})
	}
	version := api.ModelVersion{
		Tenant: "t1", ModelID: "m", Number: 1, Repository: "models/t1/m", Package: artifact.Describe("p", []byte("p")),
		Weights: artifact.Describe("w", []byte("w")), Bundle: artifact.Describe("b", []byte("b")), Metrics: round.Metrics{Evaluated: 400, Correct: 390},
	}
	s.fabric.ModelRows["t1/m"] = api.Model{Tenant: "t1", ID: "m", Latest: 1, Versions: []api.ModelVersion{version}}
	for name, role := range map[string]string{"bob": "owner", "cyd": "risk"} {
		s.fabric.Persons["t1"] = append(s.fabric.Persons["t1"], approval.Approver{Name: name, Role: role, Key: artifact.DigestOf([]byte(name))})
	}
	return s
}

func TestAPromotionIsPlannedFirstAndAppliedByItsDigest(t *testing.T) {
	s := governed(t)
	body := map[string]any{"version": 1, "environment": "production"}
	planned := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "data-scientist")).is(200))
	require.Empty(t, s.fabric.Starts)
	require.Equal(t, artifact.DigestOf(planned.Plan), artifact.Digest(planned.PlanDigest)) // the bytes that were shown
	var plan promotion.Plan
	require.NoError(t, json.Unmarshal(planned.Plan, &plan))
	require.Equal(t, []string{"eu", "us", "apac"}, plan.Regions)
	require.Equal(t, plan.Risk.Score, planned.Risk)
	require.Positive(t, planned.ApprovalsNeeded)
	again := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "data-scientist")).is(200))
	require.Equal(t, planned.ID, again.ID) // the same plan is the same action

	body["apply"] = true
	s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(422, "bad_plan")
	body["plan_digest"] = string(artifact.DigestOf([]byte("never planned")))
	s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(409, "plan_missing")
	body["plan_digest"] = planned.PlanDigest
	s.do("POST", "/models/m/promotions", map[string]any{"version": 2, "environment": "production", "apply": true, "plan_digest": planned.PlanDigest},
		s.as("t1", "operator")).is(422, "bad_plan")
	require.Empty(t, s.fabric.Starts)

	accepted := into[v1.ActionAccepted](s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(202))
	require.Equal(t, contract.PromotionID(planned.ID), accepted.WorkflowID)
	require.Len(t, s.fabric.Starts, 1)
	in := s.fabric.Starts[0].Input.(contract.PromotionInput)
	require.Equal(t, planned.ID, in.Action)
	require.Equal(t, "ann", in.Requester)
	require.EqualValues(t, planned.PlanDigest, in.Plan.Digest)
	require.EqualValues(t, planned.Risk, *s.fabric.Starts[0].Attributes.Risk)

	view := into[v1.Action](s.do("GET", accepted.StatusURL, nil, s.as("t1", "auditor")).is(200))
	require.Equal(t, "started", view.State)
	require.Equal(t, "/approvals/"+planned.ID, view.Approval)
	s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(409, "conflict") // applied once
}

func TestAPlanThatDoesNotHoldAnyMoreIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*served)
		code   string
	}{
		{"another version serves now", func(s *served) {
			s.fabric.Snapshot.Version++
			s.fabric.Snapshot.Routes = []routing.Route{{Tenant: "t1", Model: "m", Environment: "production", Version: 9, Regions: []string{"eu"}}}
		}, "plan_stale"},
		{"nobody is left to approve", func(s *served) { s.fabric.Persons["t1"] = s.fabric.Persons["t1"][:1] }, "no_approvers"},
		{"the data plane is gone", func(s *served) { s.fabric.Snapshot = routing.Snapshot{} }, "not_ready"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := governed(t)
			body := map[string]any{"version": 1, "environment": "production"}
			planned := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(200))
			tt.change(s)
			body["apply"], body["plan_digest"] = true, planned.PlanDigest
			s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(409, tt.code)
			require.Empty(t, s.fabric.Starts)
		})
	}
	t.Run("something else happened meanwhile", func(t *testing.T) {
		s := governed(t)
		body := map[string]any{"version": 1, "environment": "production"}
		planned := into[v1.Planned](s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(200))
		s.fabric.Snapshot.Version++
		body["apply"], body["plan_digest"] = true, planned.PlanDigest
		s.do("POST", "/models/m/promotions", body, s.as("t1", "operator")).is(202)
	})
}

func TestWhatNoPromotionIsPlannedFor(t *testing.T) {
	s := governed(t)
	m := s.fabric.ModelRows["t1/m"]
	toy := m.Versions[0]
	toy.Number, toy.Simulated = 2, true
	m.Versions = append([]api.ModelVersion{toy}, m.Versions...)
	s.fabric.ModelRows["t1/m"] = m
	tests := []struct {
		name   string
		body   map[string]any
		status int
		code   string
	}{
		{"an unknown version", map[string]any{"version": 3, "environment": "dev"}, 404, "not_found"},
		{"an unknown region", map[string]any{"version": 1, "environment": "dev", "regions": []string{"mars"}}, 422, "bad_plan"},
		{"an unknown environment", map[string]any{"version": 1, "environment": "prod"}, 400, "invalid_request"},
		{"a simulated version to production", map[string]any{"version": 2, "environment": "production"}, 403, "simulation_refused"},
		{"a simulated version elsewhere", map[string]any{"version": 2, "environment": "dev"}, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			a := s.do("POST", "/models/m/promotions", tt.body, s.as("t1", "operator")).is(tt.status)
			if tt.code != "" {
				a.is(tt.status, tt.code)
			}
		})
	}
	s.do("POST", "/models/m/promotions?tenant=t1", map[string]any{"version": 1, "environment": "production"}).is(403, "simulation_refused")
	s.do("POST", "/models/m/promotions?tenant=t1", map[string]any{"version": 1, "environment": "staging"}).is(200)
}

func TestAPolicyIsPlannedAndRolledOut(t *testing.T) {
	s := governed(t)
	document := map[string]any{
		"revision": 2, "threshold": 30,
		"rules":   []any{map[string]any{"name": "eu-only", "tenant": "*", "model": "*", "regions": []string{"eu"}, "kinds": []string{"neural"}}},
		"weights": map[string]any{"latency": 500, "cost": 100, "fabric": 200, "locality": 200},
	}
	body := map[string]any{"document": document}
	planned := into[v1.Planned](s.do("POST", "/policies/proposals", body, s.as("t1", "operator")).is(200))
	require.Equal(t, v1.PlannedKind("policy"), planned.Kind)
	body["apply"], body["plan_digest"] = true, planned.PlanDigest
	accepted := into[v1.ActionAccepted](s.do("POST", "/policies/proposals", body, s.as("t1", "admin")).is(202))
	require.Equal(t, contract.RolloutID(planned.ID), accepted.WorkflowID)
	in := s.fabric.Starts[0].Input.(contract.RolloutInput)
	require.Equal(t, planned.ID, in.Action)
	s.do("GET", accepted.StatusURL, nil, s.as("t1", "auditor")).is(200)

	page := into[v1.PolicyPage](s.do("GET", "/policies", nil, s.as("t1", "auditor")).is(200))
	require.Len(t, page.Regions, 3)
	require.EqualValues(t, 1, page.Regions[0].Revision)

	for field, value := range map[string]any{"revision": 9, "threshold": 101, "rules": []any{}} {
		bad := map[string]any{}
		for k, v := range document {
			bad[k] = v
		}
		bad[field] = value
		a := s.do("POST", "/policies/proposals", map[string]any{"document": bad}, s.as("t1", "operator"))
		require.Contains(t, []int{400, 422}, a.StatusCode, field)
	}
	s.do("POST", "/policies/proposals?tenant=t1", map[string]any{"document": document}).is(403, "simulation_refused")
}

// ballot opens a ballot about an action of t1.
func ballot(s *served, id string, opened time.Time, outcome approval.Outcome) {
	s.fabric.BallotRows[id] = approval.Ballot{Outcome: outcome, Request: approval.Request{
		Action:    approval.Action{ID: id, Kind: "promotion", Tenant: "t1", Plan: artifact.DigestOf([]byte(id)), Environment: "production"},
		Requester: "ann", Need: 1, Nonce: "n", OpenedAt: opened, TTLSeconds: 60,
	}}
}

func TestTheInbox(t *testing.T) {
	s := governed(t)
	ballot(s, "promote-1", apitest.Epoch, approval.Pending)
	ballot(s, "promote-2", apitest.Epoch.Add(time.Second), approval.Approved)
	ballot(s, "promote-3", apitest.Epoch.Add(2*time.Second), approval.Pending)
	page := into[v1.BallotPage](s.do("GET", "/approvals?state=pending&limit=1", nil, s.as("t1", "approver")).is(200))
	require.Equal(t, "promote-3", page.Items[0].ID)
	page = into[v1.BallotPage](s.do("GET", "/approvals?state=pending&limit=1&cursor="+page.Next, nil, s.as("t1", "approver")).is(200))
	require.Equal(t, "promote-1", page.Items[0].ID)
	b := into[v1.Ballot](s.do("GET", "/approvals/promote-1", nil, s.as("t1", "approver")).is(200))
	require.Equal(t, apitest.Epoch.Add(time.Minute), b.ExpiresAt)
	require.Equal(t, "n", b.Nonce)
	s.do("GET", "/approvals?state=open", nil, s.as("t1", "approver")).is(400, "invalid_request")
}

func TestAVoteIsCarriedToItsBallot(t *testing.T) {
	s := governed(t)
	ballot(s, "promote-1", apitest.Epoch, approval.Pending)
	ballot(s, "promote-2", apitest.Epoch, approval.Expired)
	key, _ := newKey(t)
	body := map[string]any{"bundle": signedVote(t, key)}
	bob := s.as("t1", "approver")
	s.do("POST", "/approvals/promote-1/votes", body, header("Idempotency-Key", "v1"), bob).is(200)
	require.Len(t, s.fabric.Votes, 1)
	a := s.do("POST", "/approvals/promote-1/votes", body, header("Idempotency-Key", "v1"), bob).is(200)
	require.Equal(t, "true", a.Header.Get("Idempotency-Replayed"))
	require.Len(t, s.fabric.Votes, 1)
	s.do("POST", "/approvals/promote-2/votes", body, s.as("t1", "approver")).is(409, "closed")
	s.do("POST", "/approvals/promote-9/votes", body, s.as("t1", "approver")).is(404, "not_found")
	s.do("POST", "/approvals/promote-1/votes", body, s.as("t2", "approver")).is(404, "not_found")
	s.do("POST", "/approvals/promote-1/votes", body, s.as("t1", "data-scientist")).is(403, "role_missing")
	s.do("POST", "/approvals/promote-1/votes", map[string]any{"bundle": "{}"}, s.as("t1", "approver")).is(422, "bad_vote")
	require.Len(t, s.fabric.Votes, 1)
}

// A proposal that has expired is decided on by nobody: it says so where it is
// shown, where a vote is cast and where its plan is applied, and what to do.
func TestAProposalExpires(t *testing.T) {
	s := governed(t)
	anew := "the loop proposes anew"
	blob := s.fabric.Keep("x", []byte(`{}`)).Digest
	for id, left := range map[string]time.Duration{"policy-1": -time.Minute, "policy-2": time.Hour, "policy-3": -time.Minute} {
		ballot(s, id, time.Now().Add(-time.Hour), approval.Pending)
		b := s.fabric.BallotRows[id]
		b.Request.NotAfter, b.Request.TTLSeconds = time.Now().Add(left), 7200
		kept := api.KeptProposal{Action: id, Template: "min_cohort", Direction: "tighten", Predicate: blob, Bundle: blob, ProposedAt: b.Request.OpenedAt,
			ExpiresAt: b.Request.NotAfter, State: "started", Ballot: string(approval.Pending)}
		if id == "policy-3" { // approved in time, and on its way
			b.Outcome, b.BegunAt, kept.Ballot = approval.Approved, b.Request.OpenedAt, string(approval.Approved)
		}
		s.fabric.BallotRows[id], s.fabric.ActionRows[id] = b, api.Action{ID: id, Kind: "policy", Tenant: "t1", State: "started"}
		s.fabric.Proposed = append(s.fabric.Proposed, kept)
	}
	states := map[string]string{"policy-1": "expired", "policy-2": "started", "policy-3": "started"}
	for _, p := range into[v1.ProposalPage](s.do("GET", "/policies/proposals", nil, s.as("t1", "auditor")).is(200)).Items {
		require.Equal(t, states[p.ID], p.State, p.ID)
	}
	one := into[v1.Proposal](s.do("GET", "/policies/proposals/policy-1", nil, s.as("t1", "auditor")).is(200))
	require.Equal(t, "expired", one.State)
	require.Equal(t, "expired", one.Approval)
	require.Contains(t, one.Cause, anew)
	require.Equal(t, one.ExpiresAt, into[v1.Ballot](s.do("GET", "/approvals/policy-1", nil, s.as("t1", "approver")).is(200)).ExpiresAt, "its ballot takes votes no longer")

	key, _ := newKey(t)
	body := map[string]any{"bundle": signedVote(t, key)}
	b := s.fabric.BallotRows["policy-1"]
	b.Outcome = approval.Expired // its workflow is over
	s.fabric.BallotRows["policy-1"] = b
	a := s.do("POST", "/approvals/policy-1/votes", body, s.as("t1", "approver")).is(409, "closed")
	require.Contains(t, string(a.body), anew)

	plan := promotion.Plan{Kind: promotion.KindPolicy, Tenant: "t1", Environment: promotion.Production, ExpiresAt: time.Now().Add(-time.Minute).UTC()}
	text, err := artifact.Canonical(plan)
	require.NoError(t, err)
	s.fabric.ActionRows["policy-4"] = api.Action{ID: "policy-4", Kind: "policy", Tenant: "t1", State: "planned", Plan: s.fabric.Keep("x", text)}
	document := map[string]any{"revision": 2, "threshold": 1, "rules": []any{map[string]any{"name": "all", "tenant": "*", "model": "*", "regions": []string{"*"}, "kinds": []string{"neural"}}},
		"weights": map[string]int{"latency": 1, "cost": 1, "fabric": 1, "locality": 1}}
	a = s.do("POST", "/policies/proposals", map[string]any{"document": document, "apply": true, "plan_digest": string(artifact.DigestOf(text))}, s.as("t1", "operator")).is(409, "plan_stale")
	require.Contains(t, string(a.body), anew)
	require.Empty(t, s.fabric.Starts)
}

// Whatever leads to a ballot, a GET decides nothing, and changes nothing.
func TestAGetNeverApproves(t *testing.T) {
	s := governed(t)
	ballot(s, "promote-1", apitest.Epoch, approval.Pending)
	good := approval.SignLink([]byte(linkSecret), "t1", "promote-1", time.Now().Add(time.Hour))
	before := fmt.Sprint(s.fabric.BallotRows, s.fabric.Leaves, s.fabric.Votes)
	s.do("GET", "/approvals/promote-1?link="+good, nil, s.as("t1", "approver")).is(200)
	for name, link := range map[string]string{
		"over":                approval.SignLink([]byte(linkSecret), "t1", "promote-1", time.Now().Add(-time.Hour)),
		"of another ballot":   approval.SignLink([]byte(linkSecret), "t1", "promote-2", time.Now().Add(time.Hour)),
		"of another tenant":   approval.SignLink([]byte(linkSecret), "t2", "promote-1", time.Now().Add(time.Hour)),
		"by somebody else":    approval.SignLink([]byte("another secret, also of 32 bytes"), "t1", "promote-1", time.Now().Add(time.Hour)),
		"that is none at all": "approve",
	} {
		t.Run(name, func(t *testing.T) {
			s.in(t).do("GET", "/approvals/promote-1?link="+link, nil, s.as("t1", "approver")).is(403, "bad_link")
		})
	}
	asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/approvals/promote-1/votes", nil)
	require.NoError(t, err)
	got, err := http.DefaultClient.Do(asked)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, got.StatusCode)
	require.Equal(t, before, fmt.Sprint(s.fabric.BallotRows, s.fabric.Leaves, s.fabric.Votes))
}

func TestWhatIsMineToDecide(t *testing.T) {
	s := governed(t)
	_, pem := newKey(t)
	person := func(name, role string) approval.Approver {
		return approval.Approver{Name: name, Role: role, Key: artifact.DigestOf([]byte(name)), PublicKey: pem}
	}
	for id, requester := range map[string]string{"promote-1": "ann", "promote-2": "bob"} {
		req, err := approval.NewRequest(approval.Ask{
			Action:    approval.Action{ID: id, Kind: "promotion", Tenant: "t1", Plan: artifact.DigestOf([]byte(id)), Environment: "production", Risk: 20},
			Requester: requester, Approvers: []approval.Approver{person("bob", "owner"), person("cyd", "owner")}, Nonce: id, OpenedAt: apitest.Epoch, TTL: time.Hour,
		})
		require.NoError(t, err)
		s.fabric.BallotRows[id] = approval.Open(req)
	}
	bob := s.named("t1", "bob", "approver")
	page := into[v1.BallotPage](s.do("GET", "/approvals", nil, bob).is(200))
	require.Len(t, page.Items, 2)
	for _, b := range page.Items {
		require.Equal(t, b.ID == "promote-1", b.You.CanDecide)
		if b.ID == "promote-2" {
			require.Equal(t, approval.ErrOwnVote.Error(), b.You.Because)
		}
	}
	page = into[v1.BallotPage](s.do("GET", "/approvals?mine=true", nil, bob).is(200))
	require.Len(t, page.Items, 1)
	require.Equal(t, "promote-1", page.Items[0].ID)

	shown := into[v1.Ballot](s.do("GET", "/approvals/promote-1", nil, bob).is(200))
	digest, err := s.fabric.BallotRows["promote-1"].Request.Digest()
	require.NoError(t, err)
	require.EqualValues(t, digest, shown.RequestDigest)
	require.Equal(t, digest, artifact.DigestOf([]byte(shown.Request)), "the text that is shown is the text that is named")
}

func TestARegistrationIsRevoked(t *testing.T) {
	s := serve(t)
	_, pem := newKey(t)
	s.do("POST", "/approvers", map[string]any{"name": "bob", "role": "owner", "public_key": pem}, s.as("t1", "admin")).is(201)
	s.do("POST", "/approvers/bob/revoke", map[string]any{"reason": "left"}, s.as("t1", "approver")).is(403, "role_missing")
	s.do("POST", "/approvers/bob/revoke", map[string]any{}, s.as("t1", "admin")).is(400, "invalid_request")
	ballot(s, "promote-1", apitest.Epoch, approval.Pending)
	b := s.fabric.BallotRows["promote-1"]
	b.Votes = []approval.Vote{{Approver: "bob", Key: s.fabric.Persons["t1"][0].Key, Approve: true, Statement: artifact.DigestOf(nil)}}
	s.fabric.BallotRows["promote-1"] = b
	s.do("POST", "/approvers/bob/revoke", map[string]any{"reason": "left"}, s.as("t1", "admin")).is(200)
	require.Equal(t, []string{"promote-1"}, s.fabric.Reconsidered)
	s.do("POST", "/approvers/bob/revoke", map[string]any{"reason": "left"}, s.as("t1", "admin")).is(404, "not_found")
}

func TestADelegationIsSignedByItsMaker(t *testing.T) {
	s := serve(t)
	key, pem := newKey(t)
	stranger, _ := newKey(t)
	proxy, proxyPEM := newKey(t)
	s.do("POST", "/approvers", map[string]any{"name": "bob", "role": "owner", "public_key": pem}, s.as("t1", "admin")).is(201)
	now := time.Now().UTC().Truncate(time.Second)
	signed := func(key *ecdsa.PrivateKey, change func(*approval.Delegation)) map[string]any {
		d := approval.Delegation{
			Decision: approval.Delegate, From: "bob", To: "zoe", PublicKey: proxyPEM, Reason: "on leave", Nonce: "n",
			IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(time.Hour),
		}
		change(&d)
		statement, err := artifact.NewStatement("zoe", artifact.KeyID(&proxy.PublicKey), artifact.PredicateDelegation, d)
		require.NoError(t, err)
		bundle, err := artifact.SignStatement(rand.Reader, key, statement)
		require.NoError(t, err)
		return map[string]any{"bundle": string(bundle)}
	}
	as := func(*approval.Delegation) {}
	for name, body := range map[string]map[string]any{
		"by a stranger":       signed(stranger, as),
		"by the delegate":     signed(proxy, as),
		"of another":          signed(key, func(d *approval.Delegation) { d.From = "ann" }),
		"about another key":   signed(key, func(d *approval.Delegation) { d.PublicKey = pem }),
		"for ever":            signed(key, func(d *approval.Delegation) { d.ExpiresAt = d.NotBefore.AddDate(1, 0, 0) }),
		"that is a vote":      {"bundle": signedVote(t, key)},
		"that is a rejection": signed(key, func(d *approval.Delegation) { d.Decision = "revoke" }),
	} {
		t.Run(name, func(t *testing.T) {
			s.in(t).do("POST", "/delegations", body, s.as("t1", "approver")).is(422, "bad_delegation")
			require.Empty(t, s.fabric.Stands.Delegations, "nothing is kept")
		})
	}
	got := into[v1.Delegation](s.do("POST", "/delegations", signed(key, as), s.as("t1", "approver")).is(201))
	require.Equal(t, "zoe", got.To)
	require.Len(t, into[v1.DelegationList](s.do("GET", "/delegations", nil, s.as("t1", "auditor")).is(200)).Items, 1)
	end := func(d *approval.Delegation) { d.Decision = "revoke" }
	path := "/delegations/" + got.ID + "/revoke"
	s.do("POST", path, map[string]any{"reason": "no"}, s.as("t1", "approver")).is(422, "bad_delegation")
	s.do("POST", path, signed(stranger, end), s.as("t1", "approver")).is(422, "bad_delegation")
	s.do("POST", path, signed(key, func(d *approval.Delegation) { end(d); d.Nonce = "another" }), s.as("t1", "approver")).is(422, "bad_delegation")
	s.do("POST", path, signed(key, end), s.as("t1", "approver")).is(200)
	require.False(t, s.fabric.Stands.Delegations[0].RevokedAt.IsZero())
}

func signedVote(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	statement, err := artifact.NewStatement("promote-1", artifact.DigestOf(nil), artifact.PredicateApproval, approval.Predicate{Decision: "approve"})
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	return string(bundle)
}

func TestApproversAreEnrolledByAnAdmin(t *testing.T) {
	s := serve(t)
	key, pem := newKey(t)
	body := map[string]any{"name": "bob", "role": "owner", "public_key": pem}
	got := into[v1.Approver](s.do("POST", "/approvers", body, s.as("t1", "admin")).is(201))
	require.EqualValues(t, artifact.KeyID(&key.PublicKey), got.Key)
	s.do("POST", "/approvers", body, s.as("t1", "admin")).is(201)
	s.do("POST", "/approvers", body, s.as("t1", "operator")).is(403, "role_missing")
	body["role"] = "emperor"
	s.do("POST", "/approvers", body, s.as("t1", "admin")).is(422, "bad_params")
	body["role"], body["public_key"] = "owner", "-----BEGIN PUBLIC KEY-----"
	s.do("POST", "/approvers", body, s.as("t1", "admin")).is(422, "bad_key")
	_, body["public_key"] = newKey(t)
	s.do("POST", "/approvers", body, s.as("t1", "admin")).is(409, "conflict")
	list := into[v1.ApproverList](s.do("GET", "/approvers", nil, s.as("t1", "auditor")).is(200))
	require.Len(t, list.Items, 1)
}

func TestASnapshotTravelsByteForByte(t *testing.T) {
	s := serve(t)
	s.fabric.Snapshot.Version = 3
	s.fabric.Signed = routing.Signed{Snapshot: json.RawMessage(`{"z":1,  "a":"<&>"}`), Bundle: json.RawMessage(`{"b":2}`)}
	a := s.do("GET", "/snapshot?after=2", nil, s.as("fabric", "data-plane")).is(200)
	require.Equal(t, `{"snapshot":{"z":1,  "a":"<&>"},"bundle":{"b":2}}`, string(a.body))
	require.Equal(t, "3", a.Header.Get("X-Fabric-Snapshot"))
	s.do("GET", "/snapshot?after=3", nil, s.as("fabric", "data-plane")).is(204)
	s.do("GET", "/snapshot?after=-1", nil, s.as("fabric", "data-plane")).is(400, "invalid_request")
}

func TestALeafIsReadableToItsTenantOnly(t *testing.T) {
	s := serve(t)
	for i, tenant := range []string{"t1", "t2", "t1"} {
		leaf := json.RawMessage(`{"tenant":"` + tenant + `"}`)
		s.fabric.Entries = append(s.fabric.Entries, api.AuditEntry{Index: int64(i), Tenant: tenant, Hash: artifact.DigestOf(leaf), Leaf: leaf})
	}
	a := s.do("GET", "/audit/leaves?limit=2", nil, s.as("t1", "auditor")).is(200)
	page := into[v1.LeafPage](a)
	require.NotEmpty(t, page.Items[0].Leaf)
	require.Empty(t, page.Items[1].Leaf)
	require.NotEmpty(t, page.Items[1].Hash)
	require.NotContains(t, string(a.body), `"t2"`)
	require.EqualValues(t, 2, page.Next)
	page = into[v1.LeafPage](s.do("GET", "/audit/leaves?from=2", nil, s.as("t1", "auditor")).is(200))
	require.Len(t, page.Items, 1)
	require.Zero(t, page.Next)
	require.EqualValues(t, 3, into[v1.Checkpoint](s.do("GET", "/audit/checkpoint", nil, s.as("t1", "operator")).is(200)).Size)
	require.EqualValues(t, 3, into[v1.Proof](s.do("GET", "/audit/proof?index=1", nil, s.as("t1", "operator")).is(200)).Size)
	s.do("GET", "/audit/proof?index=3", nil, s.as("t1", "operator")).is(404, "not_found")
	s.do("GET", "/audit/proof", nil, s.as("t1", "operator")).is(400, "invalid_request")
}

func TestAScorecardComesFromClosedRuns(t *testing.T) {
	s := serve(t)
	s.do("GET", "/scorecards/m", nil, s.as("t1", "auditor")).is(404, "not_found")
	s.do("POST", "/tuning/suggestions", `{"model_id":"m","environment":"dev"}`, s.as("t1", "operator")).is(404, "not_found")
	s.fabric.TrialRows["t1/m"] = []api.Trial{{Run: "run-1", Status: "completed", Metrics: round.Metrics{Evaluated: 1000, Correct: 990}}}
	card := into[v1.Scorecard](s.do("GET", "/scorecards/m", nil, s.as("t1", "auditor")).is(200))
	require.Positive(t, card.Score)
	accepted := into[v1.ActionAccepted](s.do("POST", "/tuning/suggestions", `{"model_id":"m","environment":"dev","apply":true}`, s.as("t1", "operator")).is(202))
	require.Equal(t, contract.TuneID(accepted.ID), accepted.WorkflowID)
	in := s.fabric.Starts[0].Input.(contract.TuneInput)
	require.True(t, in.Apply)
	view := into[v1.Action](s.do("GET", accepted.StatusURL, nil, s.as("t1", "auditor")).is(200))
	require.Empty(t, view.Plan)
}
