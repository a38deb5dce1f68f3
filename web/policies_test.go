package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/feedback"
	domain "github.com/atom-fabric/fabric/domain/policy"
)

// aHub has three revisions: the first decides everywhere, the second was stopped
// in us, the third is on its way into eu.
func aHub() *fakeAPI {
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	state := func(region string, s v1.RolloutRegionState, revision int64, ago time.Duration, why string) v1.RolloutRegion {
		return v1.RolloutRegion{Region: region, State: s, Revision: revision, Snapshot: 10 + revision, Policy: digest("a"), At: noon.Add(-ago), Why: why}
	}
	return &fakeAPI{answers: map[string]any{
		"GET /policies": v1.PolicyPage{
			Items: []v1.PolicyRevision{
				{Revision: 3, Digest: digest("3"), Action: "policy-3", CreatedAt: noon.Add(-time.Hour)},
				{Revision: 2, Digest: digest("2"), Action: "policy-2", CreatedAt: noon.Add(-2 * time.Hour)},
				{Revision: 1, Digest: digest("1"), CreatedAt: noon.Add(-24 * time.Hour)},
			},
			Regions: []v1.PolicyRegion{{Region: "us", Revision: 1}, {Region: "eu", Revision: 3}, {Region: "apac", Revision: 2}}, Next: "older",
		},
		"GET /policies/rollouts/policy-3/regions": v1.RolloutRegions{Items: []v1.RolloutRegion{
			state("eu", v1.Published, 3, 9*time.Minute, ""), state("eu", v1.Delivered, 3, 8*time.Minute, ""), state("eu", v1.Active, 3, 6*time.Minute, ""), state("eu", v1.Verified, 3, 7*time.Minute, ""),
			state("us", v1.Published, 3, time.Minute, ""),
		}},
		"GET /policies/rollouts/policy-2/regions": v1.RolloutRegions{Items: []v1.RolloutRegion{
			state("eu", v1.Active, 2, 90*time.Minute, ""), state("us", v1.Halted, 2, 80*time.Minute, hostile),
		}},
		"GET /policies/proposals": v1.ProposalPage{Items: []v1.Proposal{aProposal()}, Next: "later&1"},
	}}
}

func aProposal() v1.Proposal {
	return v1.Proposal{
		ID: "proposal-1", Template: "close-region", Target: "eu", From: 3, To: 4, Direction: "loosen", Risk: 61, State: "pending", Approval: "pending", Rollout: "policy-4",
		Summary: "close eu " + hostile, ProposedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(23 * time.Hour), PredicateDigest: "sha256:" + strings.Repeat("9", 64),
	}
}

func TestPolicies(t *testing.T) {
	api := aHub()
	w := ask(t, testConsole(t, api), ada(), "GET", "/console/policies?cursor=c&proposals=p", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "policies", w)
	page := w.Body.String()
	require.NotContains(t, page, "<script>alert")
	require.Contains(t, page, "?cursor=c&amp;proposals=later%261", "each list pages by itself")
	require.Contains(t, page, "?proposals=p&amp;cursor=older")
	for _, cell := range []string{
		`data-label="eu"><span class="tag good">active</span>`, `data-label="us"><span class="tag warn">published</span>`, `data-label="eu"><span class="tag ">was active</span>`,
		`data-label="us"><span class="tag bad">halted</span>`, `data-label="apac"><span class="tag warn">named</span>`, `data-label="apac"><span class="quiet">not there</span>`,
	} {
		require.Contains(t, page, cell)
	}

	empty := &fakeAPI{answers: map[string]any{"GET /policies": v1.PolicyPage{}, "GET /policies/proposals": v1.ProposalPage{}}}
	w = ask(t, testConsole(t, empty), ada(), "GET", "/console/policies", nil)
	require.Contains(t, w.Body.String(), "the built-in one decides")
	sound(t, w)
}

func TestPolicyRollout(t *testing.T) {
	api := aHub()
	action := v1.Action{ID: "policy-2", Kind: "policy", State: "started", Environment: "production", Risk: 61, ApprovalsNeeded: 2, Requester: hostile, CreatedAt: noon.Add(-2 * time.Hour), WorkflowID: "policy/policy-2"}
	api.answers["GET /policies/rollouts/policy-2"] = action
	c := testConsole(t, api)
	w := ask(t, c, oda(), "GET", "/console/policies/rollouts/policy-2", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "policy", withoutKeys(w))
	require.NotContains(t, w.Body.String(), "<script>alert")

	w = ask(t, c, rea(), "GET", "/console/policies/rollouts/policy-2", nil)
	require.Contains(t, w.Body.String(), "You need the role operator or admin")
	require.NotContains(t, w.Body.String(), `action="/console/policies/rollouts/policy-2/steer"`)
	action.State = "applied"
	api.answers["GET /policies/rollouts/policy-2"] = action
	w = ask(t, c, oda(), "GET", "/console/policies/rollouts/policy-2", nil)
	require.Contains(t, w.Body.String(), "The rollout is applied.")
	sound(t, w)
}

func TestAPolicyRolloutIsSteered(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"POST /policies/rollouts/policy-2/steer": v1.PolicySteered{}}}
	c := testConsole(t, api)
	const form = "/console/policies/rollouts/policy-2/steer"
	w := ask(t, c, oda(), "POST", form, url.Values{"do": {"abort"}, "key": {"k"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Empty(t, api.asked, "nothing was asked of the API")
	for _, do := range []string{"pause", "resume", "abort"} {
		api.bodies, api.keys = nil, nil
		w = ask(t, c, oda(), "POST", form, url.Values{"do": {do}, "reason": {"errors"}, "typed": {"abort"}, "key": {"k-" + do}})
		require.Equal(t, "/console/policies/rollouts/policy-2?done=policy-"+do, w.Header().Get("Location"))
		require.JSONEq(t, `{"do":"`+do+`","reason":"errors"}`, api.bodies[0])
		require.Equal(t, "k-"+do, api.keys[0])
		require.NotEmpty(t, notices()["policy-"+do])
	}
	api.answers["POST /policies/rollouts/policy-2/steer"] = v1.Problem{Status: 409, Title: "the rollout is over", Code: "conflict"}
	require.Equal(t, http.StatusConflict, ask(t, c, oda(), "POST", form, url.Values{"do": {"pause"}}).Code)
}

func TestProposal(t *testing.T) {
	p := aProposal()
	p.Predicate = asText(t, feedback.Proposal{
		Template: "close-region", Evidence: feedback.Evidence{Metric: "drift", P: 0.0001, Q: 0.0009, Family: 9, Effect: 0.4, Low: 0.3, High: 0.5, Least: 0.1, N: 1200, Windows: 3, Beyond: 0.38},
		Replay: domain.Impact{Decisions: 400, Opened: 2, Closed: 30, Flips: []domain.Flip{{Question: "route", Tenant: hostile, Region: "eu", Opens: true, Count: 2, Example: domain.Example{ID: "d-1"}}}},
	})
	api := &fakeAPI{answers: map[string]any{"GET /policies/proposals/proposal-1": p}}
	c := testConsole(t, api)
	w := ask(t, c, ada(), "GET", "/console/policies/proposals/proposal-1", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "proposal", w)
	old := p
	old.State, old.Approval, old.Cause = "expired", "expired", "the loop proposes anew"
	api.answers["GET /policies/proposals/proposal-1"] = old
	page := ask(t, c, ada(), "GET", "/console/policies/proposals/proposal-1", nil).Body.String()
	require.Contains(t, page, `<span class="tag warn">expired</span> the loop proposes anew`)
	require.NotContains(t, w.Body.String(), "<script>alert")
	require.Contains(t, w.Body.String(), "400 logged decisions were decided anew: 2 would be allowed that were denied, 30 denied")

	api.answers["GET /policies/proposals/proposal-1"] = aProposal()
	w = ask(t, c, ada(), "GET", "/console/policies/proposals/proposal-1", nil)
	require.Contains(t, w.Body.String(), "No evidence is with it")
	sound(t, w)
}
