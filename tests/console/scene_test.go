//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// A scene is what the browsers find: enough of everything that no page is empty.
type scene struct {
	s        *harness.System
	lead     *v1.Client
	first    v1.Run // whose version serves
	second   v1.Run // whose version is to serve
	run      v1.Run // with noise: the newest that ended well
	rollout  string // paused on its ladder
	proposal string // of the policy loop; its ballot waits
	epoch    int64  // of a withdrawal
}

// pages are those that no other page links to.
func (c *scene) pages() []string {
	return []string{
		"/console/runs/" + c.run.ID, "/console/rollouts/" + c.rollout, "/console/requests/" + c.rollout, "/console/requests/" + c.proposal,
		"/console/policies/proposals/" + c.proposal, fmt.Sprintf("/console/withdrawals/%d", c.epoch), "/console/models/nobody-has-it", "/console/nowhere",
	}
}

// set makes the scene as people would, through the API.
func set(t *testing.T, s *harness.System) *scene {
	t.Helper()
	c := &scene{s: s, lead: s.Lead(t)}
	s.Consent(t)
	owner, risk := s.Enrol(t, c.lead, "novak", "owner"), s.Enrol(t, c.lead, "ferreira", "risk")
	approve := func(id string) {
		t.Helper()
		ballot := harness.Ballot(t, c.lead, id)
		for _, a := range []harness.Approver{owner, risk} {
			require.Eventually(t, func() bool {
				_, err := a.Approve(t, ballot)
				return err == nil
			}, 20*time.Second, 100*time.Millisecond, "the ballot takes no vote")
		}
	}
	c.first = c.train(t, 4, func(p *v1.RunParams) { p.Secure.Mode, p.Measurement = v1.Off, v1.Measurement{Features: watched()} })
	served := harness.Promote(t, c.lead, c.first.Version, "production")
	approve(served)
	require.Eventually(t, func() bool {
		_, err := c.ask(t.Context(), "eu", 0)
		return err == nil
	}, time.Minute, 200*time.Millisecond, "nobody serves version %d", c.first.Version)

	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	t.Cleanup(func() {
		stop()
		callers.Wait()
	})
	pace := &atomic.Int64{}
	pace.Store(int64(40 * time.Millisecond))
	for _, region := range []string{"apac", "eu", "us"} {
		callers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, _ = c.ask(ctx, region, i) // the version that serves changes meanwhile
				time.Sleep(time.Duration(pace.Load()))
			}
		})
	}
	c.catalog(t)
	c.halt(t)
	c.second = c.train(t, 4, func(*v1.RunParams) {})
	c.run = c.train(t, 6, func(p *v1.RunParams) {
		for _, b := range tumour.Bounds() {
			p.Bounds = append(p.Bounds, []float64{b[0], b[1]})
		}
		p.Privacy = v1.Privacy{Mechanism: v1.Gaussian, NoiseMultiplier: 2, ClipNorm: 1, MaxEpsilon: 9}
	})
	c.climb(t, approve)
	c.policy(t, approve)
	c.drift(t)
	pace.Store(int64(time.Second)) // a few go on asking
	return c
}

// watched are columns whose distribution a run counts.
func watched() []v1.MeasuredFeature {
	var out []v1.MeasuredFeature
	for j, b := range tumour.Bounds()[:3] {
		out = append(out, v1.MeasuredFeature{Column: tumour.Columns()[j], Low: b[0], High: b[1], Bins: 8})
	}
	return out
}

func (c *scene) train(t *testing.T, rounds int, change func(*v1.RunParams)) v1.Run {
	t.Helper()
	request := harness.Request(rounds)
	change(&request.Params)
	return harness.Watch(t, c.lead, c.s.Train(t, c.lead, request), 2*time.Minute, harness.Completed)
}

// halt leaves a run that was stopped.
func (c *scene) halt(t *testing.T) {
	t.Helper()
	id := c.s.Train(t, c.lead, harness.Request(50))
	require.Eventually(t, func() bool {
		_, err := v1.Fetch[v1.RunAccepted](c.lead.StopRun(t.Context(), id, &v1.StopRunParams{}, v1.StopRequest{Reason: "the learning rate was wrong"}))
		return err == nil
	}, time.Minute, 100*time.Millisecond, "the run does not begin")
}

// ask sends held-out rows to the router.
func (c *scene) ask(ctx context.Context, region string, i int) (v1.Invocation, error) {
	_, held := tumour.Pooled()
	at := i * 4 % (len(held.Rows) - 4)
	input, err := json.Marshal(map[string]any{"data": held.Rows[at : at+4]})
	if err != nil {
		return v1.Invocation{}, err
	}
	preferences, err := json.Marshal(map[string]string{"region": region, "caller_key": fmt.Sprintf("%s-%d", region, i%40)})
	if err != nil {
		return v1.Invocation{}, err
	}
	return v1.Fetch[v1.Invocation](c.lead.Invoke(ctx, v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: input, Preferences: preferences}))
}

// climb begins a rollout of the newer version in one region and holds it once somebody
// has looked.
func (c *scene) climb(t *testing.T, approve func(string)) {
	t.Helper()
	request := v1.PromotionRequest{Version: c.second.Version, Environment: "production", Regions: []string{"us"}, Canary: v1.CanaryRequest{
		SharesBp: []int{3000, 4500, 10000}, BakeSeconds: 6, LookSeconds: 4, DeadlineSeconds: 180, Answers: 30, LatencyMarginBp: 90_000, ErrorMarginBp: 5_000,
	}}
	planned, err := v1.Fetch[v1.Planned](c.lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
	require.NoError(t, err)
	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](c.lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
	require.NoError(t, err)
	c.rollout = accepted.ID
	approve(c.rollout)
	require.Eventually(t, func() bool {
		r, err := v1.Fetch[v1.Rollout](c.lead.GetCanary(t.Context(), c.rollout, &v1.GetCanaryParams{}))
		return err == nil && len(r.Looks) >= 2 && r.Step.Number >= 2
	}, 2*time.Minute, 200*time.Millisecond, "nobody looks at the rollout")
	_, err = v1.Fetch[v1.RolloutState](c.lead.SteerCanary(t.Context(), c.rollout, &v1.SteerCanaryParams{}, v1.SteerRequest{Do: "pause", Reason: "the night shift looks first"}))
	require.NoError(t, err)
}

// policy rolls a policy out that keeps the consortium's calls where they are.
func (c *scene) policy(t *testing.T, approve func(string)) {
	t.Helper()
	page, err := v1.Fetch[v1.PolicyPage](c.lead.ListPolicies(t.Context(), &v1.ListPoliciesParams{}))
	require.NoError(t, err)
	var newest int64
	for _, r := range page.Regions {
		newest = max(newest, r.Revision)
	}
	proposal := v1.PolicyProposal{Document: v1.PolicyDocument{
		Revision: newest + 1, Threshold: 20, Weights: v1.PolicyWeights{Latency: 500, Cost: 200, Fabric: 200, Locality: 100},
		Rules: []v1.PolicyRule{{Name: "everyone-everywhere", Tenant: "*", Model: "*", Regions: []string{"*"}, Kinds: []v1.PolicyRuleKinds{"neural"}}},
	}}
	planned, err := v1.Fetch[v1.Planned](c.lead.ProposePolicy(t.Context(), &v1.ProposePolicyParams{}, proposal))
	require.NoError(t, err)
	proposal.Apply, proposal.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](c.lead.ProposePolicy(t.Context(), &v1.ProposePolicyParams{}, proposal))
	require.NoError(t, err)
	if planned.ApprovalsNeeded > 0 {
		approve(accepted.ID)
	}
	require.Eventually(t, func() bool {
		action, err := v1.Fetch[v1.Action](c.lead.GetRollout(t.Context(), accepted.ID, &v1.GetRolloutParams{}))
		return err == nil && action.State == "applied"
	}, time.Minute, 200*time.Millisecond, "the policy is not applied")
}

// drift reports what monitors would have seen in one region in the last
// minutes, and asks the loop, which proposes to close it.
func (c *scene) drift(t *testing.T) {
	t.Helper()
	const window, seed = 30, 7
	random := rand.New(rand.NewPCG(seed, 0))
	var seen []v1.Observation
	now := time.Now().UTC().Truncate(time.Second)
	for age := range 5 * window {
		for _, region := range []string{"apac", "eu", "us"} {
			value := 0.03 + 0.01*random.Float64()
			if region == "eu" && age < 3*window+5 {
				value += 0.9
			}
			seen = append(seen, v1.Observation{Metric: "drift", Target: region, At: now.Add(-time.Duration(age) * time.Second), Value: value})
		}
	}
	for from := 0; from < len(seen); from += 100 {
		_, err := v1.Fetch[v1.Observed](c.lead.RecordObservations(t.Context(), &v1.RecordObservationsParams{}, v1.Observations{Items: seen[from:min(from+100, len(seen))]}))
		require.NoError(t, err)
	}
	_, err := v1.Fetch[v1.EvaluationAccepted](c.lead.EvaluatePolicy(t.Context(), &v1.EvaluatePolicyParams{}, v1.EvaluationRequest{
		WindowSeconds: window, BaselineWindows: 2, Environment: "production",
		Guard: v1.PolicyGuard{Metric: "route_failed", MarginBP: 500, BakeSeconds: 10, LookSeconds: 3, DeadlineSeconds: 60, HaltSeconds: 30, AlphaBP: 500},
	}))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		page, err := v1.Fetch[v1.ProposalPage](c.lead.ListProposals(t.Context(), &v1.ListProposalsParams{}))
		if err != nil || len(page.Items) == 0 {
			return false
		}
		c.proposal = page.Items[0].ID
		return true
	}, 30*time.Second, 200*time.Millisecond, "the loop proposes nothing")
	harness.Ballot(t, c.lead, c.proposal)
}

// catalog registers features, of which one is asked for by another tenant and
// one is withdrawn.
func (c *scene) catalog(t *testing.T) {
	t.Helper()
	register := func(client *v1.Client, f v1.FeatureRegistration) {
		t.Helper()
		f.Schema, f.Consented = v1.JSON(`{"type":"object"}`), true
		_, err := v1.Fetch[v1.Feature](client.RegisterFeature(t.Context(), &v1.RegisterFeatureParams{}, f))
		require.NoError(t, err)
	}
	hospital := tumour.Split()[0].Tenant
	steward := c.s.Person(t, hospital, "steward", "operator", "admin")
	register(c.lead, v1.FeatureRegistration{Tenant: demo.Consortium, FeatureID: "scripted", Description: script})
	register(c.lead, v1.FeatureRegistration{Tenant: demo.Consortium, FeatureID: "held-out-rows", Description: "Rows that no site trains on", Purposes: []v1.Purpose{"evaluate"}})
	register(c.lead, v1.FeatureRegistration{Tenant: demo.Consortium, FeatureID: "old-scans", Description: "Scans of the years before 2015", Grantees: []string{hospital}, Purposes: []v1.Purpose{"train", "evaluate"}})
	register(steward, v1.FeatureRegistration{Tenant: hospital, FeatureID: "follow-up", Description: "How it went five years later", Purposes: []v1.Purpose{"train"}})
	for _, a := range []struct {
		who  *v1.Client
		body v1.AccessRequestBody
	}{
		{steward, v1.AccessRequestBody{Owner: demo.Consortium, FeatureID: "held-out-rows", Purpose: "HMB", Actions: v1.Actions{"evaluate"}, Days: 90, Reason: "to compare our own model"}},
		{c.lead, v1.AccessRequestBody{Owner: hospital, FeatureID: "follow-up", Purpose: "HMB", Actions: v1.Actions{"train"}, Days: 180, Reason: "labels of the next study"}},
	} {
		_, err := v1.Fetch[v1.AccessRequest](a.who.RequestAccess(t.Context(), nil, a.body))
		require.NoError(t, err)
	}
	w, err := v1.Fetch[v1.Withdrawal](c.lead.WithdrawGrants(t.Context(), &v1.WithdrawGrantsParams{}, v1.WithdrawalRequest{FeatureID: "old-scans", Reason: "the archive is closed", Apply: true}))
	require.NoError(t, err)
	c.epoch = w.Epoch
}
