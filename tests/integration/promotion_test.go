package integration

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// promoted brings a version to production by the votes of those who may, and
// looks in between: nothing may have changed before the last one.
func promoted(t *testing.T, s *harness.System, lead *v1.Client, run v1.Run) {
	people := map[string]harness.Approver{}
	for name, role := range map[string]string{"mira": "owner", "osei": "owner", "lund": "risk", "novak": "security", "ferreira": "privacy"} {
		people[name] = s.Enrol(t, lead, name, role)
	}
	id := harness.Promote(t, lead, run.Version, "production")
	ballot := harness.Ballot(t, lead, id)
	waits := func(why string) {
		t.Helper()
		time.Sleep(time.Second) // it would be applied by now
		action, err := v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), id, &v1.GetPromotionParams{}))
		require.NoError(t, err)
		require.EqualValues(t, "started", action.State, why)
		open, err := v1.Fetch[v1.Ballot](lead.GetApproval(t.Context(), id, &v1.GetApprovalParams{}))
		require.NoError(t, err)
		require.EqualValues(t, "pending", open.Outcome, why)
		require.Empty(t, open.Votes, why)
		_, err = v1.Fetch[v1.Invocation](lead.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
		var problem *v1.ProblemError
		require.ErrorAs(t, err, &problem, "nothing is served")
		require.Equal(t, http.StatusNotFound, problem.Status, problem.Error())
	}
	waits("nobody has voted")

	refused, err := people["mira"].Approve(t, ballot)
	require.NoError(t, err)
	require.Empty(t, refused.Votes)
	require.Len(t, refused.Refused, 1)
	require.Equal(t, "mira", refused.Refused[0].Approver)
	require.Equal(t, approval.ErrOwnVote.Error(), refused.Refused[0].Refused)
	waits("the requester has voted")

	stranger := people["osei"]
	stranger.Name = "nobody"
	_, err = stranger.Approve(t, ballot)
	var problem *v1.ProblemError
	require.True(t, err == nil || errors.As(err, &problem) && problem.Status < 500, "%v", err)
	waits("a vote names somebody else than its signer")

	var last v1.Ballot
	for _, name := range []string{"osei", "lund", "novak", "ferreira"} {
		if last.Outcome == "approved" {
			break
		}
		before := len(last.Votes)
		if last, err = people[name].Approve(t, ballot); err != nil {
			require.ErrorAs(t, err, &problem)
			require.Equal(t, http.StatusForbidden, problem.Status, problem.Error())
			last = harness.Ballot(t, lead, id)
			continue
		}
		require.GreaterOrEqual(t, len(last.Votes), before)
	}
	require.EqualValues(t, "approved", last.Outcome)
	require.Len(t, last.Votes, last.Need)
	require.False(t, slices.ContainsFunc(last.Votes, func(v v1.Vote) bool { return v.Approver == "mira" }))

	var action v1.Action
	require.Eventually(t, func() bool {
		action, err = v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), id, &v1.GetPromotionParams{}))
		return err == nil && action.State != "started"
	}, time.Minute, 100*time.Millisecond)
	require.EqualValues(t, "applied", action.State, action.Cause)
	require.Len(t, action.Evidence, 3, "each region has said what it runs")
	require.Equal(t, run.Version, invoke(t, lead).Version)
}

// alone kills everything at once and starts the data plane alone, on its own
// folders and with the settings that it had.
func alone(t *testing.T, s *harness.System, run v1.Run) {
	var plane []harness.Recipe
	for _, name := range []string{"runtime-apac", "runtime-eu", "runtime-us", "router"} {
		plane = append(plane, s.Recipe(t, name))
	}
	caller, err := v1.New(s.Service(4), s.Token(t, demo.Consortium, "ward-7", "data-scientist"), &http.Client{Timeout: 10 * time.Second})
	require.NoError(t, err)
	s.KillAll(t)
	_, err = caller.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)})
	require.Error(t, err, "everything is gone")

	for _, r := range plane {
		defer r.Run(t).Stop() // before the system is started again on the same ports
	}
	var got v1.Invocation
	require.Eventually(t, func() bool {
		got, err = v1.Fetch[v1.Invocation](caller.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
		return err == nil
	}, 20*time.Second, 100*time.Millisecond, "the router does not answer by itself")
	require.Equal(t, run.Version, got.Version)
	require.NotEmpty(t, got.Region)
	require.NotEmpty(t, got.Output)
	_, err = http.Get(s.Gateway() + "/health")
	require.Error(t, err, "no control plane runs")

	forged, err := v1.New(s.Service(4), "ey.ey.ey", &http.Client{Timeout: 10 * time.Second})
	require.NoError(t, err)
	_, err = v1.Fetch[v1.Invocation](forged.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
	var problem *v1.ProblemError
	require.ErrorAs(t, err, &problem)
	require.Equal(t, http.StatusUnauthorized, problem.Status, "tokens are checked without the control plane too")
}
