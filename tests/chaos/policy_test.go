//go:build chaos

package chaos

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// TestKillAPolicyRollout kills the control plane's worker again and again while
// a policy goes region by region. It counts as failure when the rollout does not
// end within a minute of the last kill, when a region's state is written twice
// or not at all, when the data plane has another number of policy revisions than
// one more, or when the audit log does not verify.
func TestKillAPolicyRollout(t *testing.T) {
	n := seed(t)
	t.Logf("FABRIC_SEED=%d", n)
	random := rand.New(rand.NewPCG(n, n))
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	lead := s.Lead(t)
	people := []harness.Approver{s.Enrol(t, lead, "vera", approval.RoleOwner), s.Enrol(t, lead, "wim", approval.RoleRisk)}
	before, err := v1.Fetch[v1.PolicyPage](lead.ListPolicies(t.Context(), &v1.ListPoliciesParams{Tenant: demo.Consortium}))
	require.NoError(t, err)
	require.NotEmpty(t, before.Regions)
	revision := before.Regions[0].Revision + 1
	request := v1.PolicyProposal{Document: v1.PolicyDocument{
		Revision: revision,
		Rules:    []v1.PolicyRule{{Name: "default", Tenant: "*", Model: "*", Regions: []string{"*"}, Kinds: []v1.PolicyRuleKinds{"neural"}}},
		Weights:  v1.PolicyWeights{Latency: 400, Cost: 200, Fabric: 200, Locality: 200}, Threshold: 15,
		Limits: v1.PolicyLimits{MinCohort: 2},
	}}
	planned, err := v1.Fetch[v1.Planned](lead.ProposePolicy(t.Context(), &v1.ProposePolicyParams{}, request))
	require.NoError(t, err)
	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](lead.ProposePolicy(t.Context(), &v1.ProposePolicyParams{}, request))
	require.NoError(t, err)
	if planned.ApprovalsNeeded > 0 {
		approve(t, lead, accepted.ID, people[:planned.ApprovalsNeeded]...)
	}
	kills := 0
	for i := range 4 { // at whatever step it is then
		time.Sleep(time.Duration(random.IntN(100+400*min(i, 1))) * time.Millisecond)
		if a, err := v1.Fetch[v1.Action](lead.GetRollout(t.Context(), accepted.ID, &v1.GetRolloutParams{})); err == nil && a.State != "started" {
			break
		}
		harness.Kill(t, s.Child(t, "worker-control"))
		kills++
		require.Eventually(t, func() bool { return s.Children(t)["worker-control"] != 0 }, within, 50*time.Millisecond)
	}
	require.Positive(t, kills, "it was over before the first kill: nothing was shown")
	action := ended(t, func() (v1.Action, error) {
		return v1.Fetch[v1.Action](lead.GetRollout(t.Context(), accepted.ID, &v1.GetRolloutParams{}))
	})
	require.Equal(t, "applied", action.State, action.Cause)
	require.Len(t, action.Evidence, 3, "each region said so, at the snapshot that brought it the policy")
	t.Logf("%d kills", kills)

	regions, err := v1.Fetch[v1.RolloutRegions](lead.ListRolloutRegions(t.Context(), accepted.ID, &v1.ListRolloutRegionsParams{}))
	require.NoError(t, err)
	seen := map[string]int{}
	for _, r := range regions.Items {
		seen[r.Region+" "+string(r.State)]++
		require.EqualValues(t, revision, r.Revision)
	}
	require.Len(t, seen, 3*4, "%v", seen)
	for state, times := range seen {
		require.Equal(t, 1, times, state)
	}
	after, err := v1.Fetch[v1.PolicyPage](lead.ListPolicies(t.Context(), &v1.ListPoliciesParams{Tenant: demo.Consortium}))
	require.NoError(t, err)
	require.Len(t, after.Items, len(before.Items)+1, "applied once")
	for _, r := range after.Regions {
		require.EqualValues(t, revision, r.Revision, r.Region)
	}
	verified(t, s)
}
