package api_test

import (
	"encoding/json"
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
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/routing"
)

// recoverable is a governed fabric of t1 in which version 2 serves production
// in every region, and two recovery points: when version 1 served in eu alone
// under a policy with another threshold, and now.
func recoverable(t *testing.T) *served {
	t.Helper()
	s := governed(t)
	f := s.fabric
	model := f.ModelRows["t1/m"]
	second := model.Versions[0]
	second.Number, second.Package = 2, artifact.Describe("p", []byte("p2"))
	model.Latest, model.Versions, model.Champions = 2, append([]api.ModelVersion{second}, model.Versions...), map[string]int{"production": 2}
	f.ModelRows["t1/m"] = model
	f.Snapshot.Routes = []routing.Route{{Tenant: "t1", Model: "m", Environment: "production", Version: 2, Regions: []string{"eu", "us", "apac"}, Callers: []string{"t1"}}}
	for name, role := range map[string]string{"dan": "privacy", "eve": "security"} { // a loosened policy needs them
		f.Persons["t1"] = append(f.Persons["t1"], approval.Approver{Name: name, Role: role, Key: artifact.DigestOf([]byte(name))})
	}
	f.Points = map[string][]api.RecoveryPoint{}
	s.point(1, []string{"eu"}, 60)
	s.point(2, []string{"eu", "us", "apac"}, 40)
	return s
}

// point records that version sequence served in the regions, under a policy.
func (s *served) point(sequence int64, regions []string, threshold int) {
	s.t.Helper()
	f := s.fabric
	document := f.Snapshot.Policies[0]
	document.Threshold = threshold
	text, err := document.Encode()
	require.NoError(s.t, err)
	kept := f.Keep(artifact.MediaTypePolicy, text)
	v := f.ModelRows["t1/m"].Versions[2-sequence]
	p := recovery.Point{Sequence: sequence, Tenant: "t1", At: apitest.Epoch.UTC(), Snapshot: 7, Aliases: []recovery.Alias{},
		Models:   []recovery.Model{{ID: "m", Version: v.Number, Repository: v.Repository, Package: v.Package.Digest, Weights: v.Weights.Digest, Bundle: v.Bundle.Digest}},
		Routes:   []recovery.Route{{Model: "m", Environment: "production", Version: v.Number, Package: v.Package.Digest, Regions: regions, Callers: []string{"t1"}}},
		Policies: []recovery.Policy{{Region: "eu", Revision: 1, Digest: kept.Digest}, {Region: "gone", Revision: 1, Digest: kept.Digest}},
	}
	if points := f.Points["t1"]; len(points) > 0 {
		p.Previous = points[len(points)-1].Digest
	}
	encoded, digest, err := p.Encode()
	require.NoError(s.t, err)
	f.Points["t1"] = append(f.Points["t1"], api.RecoveryPoint{Sequence: sequence, Digest: digest, Previous: p.Previous, Action: "snap-1", Snapshot: 7, Items: p.Items(),
		Reason: "before release", Actor: "ann", At: apitest.Epoch, Point: f.Keep(artifact.MediaTypePredicate, encoded), Bundle: f.Keep("b", []byte(`{"signed":true}`))})
}

func TestRecoveryPointsAreTakenAndShownWithTheirExactBytes(t *testing.T) {
	s := recoverable(t)
	taken := into[v1.ActionAccepted](s.do("POST", "/recovery-points", map[string]any{"reason": "before release 12"}, s.as("t1", "operator")).is(202))
	require.Len(t, s.fabric.Starts, 1)
	in := s.fabric.Starts[0].Input.(contract.PointInput)
	require.Equal(t, []string{taken.ID, "ann", "before release 12", "t1"}, []string{in.Action, in.Actor, in.Reason, in.Tenant})
	require.Equal(t, contract.PointID(taken.ID), taken.WorkflowID)
	s.do("POST", "/recovery-points", map[string]any{}, s.as("t1", "auditor")).is(403, "role_missing")

	reader := s.as("t1", "auditor")
	page := into[v1.RecoveryPointPage](s.do("GET", "/recovery-points?limit=1", nil, reader).is(200))
	require.Len(t, page.Items, 1)
	require.EqualValues(t, 2, page.Items[0].Sequence, "the newest first")
	page = into[v1.RecoveryPointPage](s.do("GET", "/recovery-points?limit=1&cursor="+page.Next, nil, reader).is(200))
	require.EqualValues(t, 1, page.Items[0].Sequence)
	require.Empty(t, page.Next)

	shown := into[v1.RecoveryPoint](s.do("GET", "/recovery-points/2", nil, reader).is(200))
	require.Equal(t, shown.Digest, string(artifact.DigestOf(shown.Point)), "its bytes are those that were signed")
	require.JSONEq(t, `{"signed":true}`, shown.Bundle)
	for _, path := range []string{"/recovery-points/3", "/recovery-points/0", "/recovery-points/two"} {
		code := s.do("GET", path, nil, reader).StatusCode
		require.Contains(t, []int{400, 404}, code, path)
	}
	s.do("GET", "/recovery-points/2", nil, s.as("t2", "auditor")).is(404, "not_found")
}

func TestARestoreIsPlannedFirstAndAppliedByItsDigest(t *testing.T) {
	s := recoverable(t)
	operator := func() request { return s.as("t1", "operator") }
	s.do("POST", "/recovery-points/2/restores", map[string]any{}, operator()).is(422, "bad_plan") // that is what runs
	planned := into[v1.Planned](s.do("POST", "/recovery-points/1/restores", map[string]any{}, operator()).is(200))
	require.Empty(t, s.fabric.Starts)
	var plan promotion.Plan
	require.NoError(t, json.Unmarshal(planned.Plan, &plan))
	require.Equal(t, &promotion.Restore{Sequence: 1, Point: s.fabric.Points["t1"][0].Digest, Head: 2}, plan.Restore)
	require.False(t, plan.Rollback, "an older point undoes what was approved since")
	require.Equal(t, []promotion.Change{
		{What: "production of m", From: "version 2 in eu, us, apac", To: "version 1 in eu"},
		{What: "policy of eu", From: "revision 1", To: "as of revision 1, which protects less: " + loosened(t)},
	}, plan.Diff)
	require.Positive(t, planned.ApprovalsNeeded)

	body := map[string]any{"apply": true, "plan_digest": planned.PlanDigest}
	s.do("POST", "/recovery-points/2/restores", body, operator()).is(422, "bad_plan") // a plan for the other point
	s.do("POST", "/recovery-points/1/restores", map[string]any{"apply": true}, operator()).is(422, "bad_plan")
	require.Empty(t, s.fabric.Starts)
	accepted := into[v1.ActionAccepted](s.do("POST", "/recovery-points/1/restores", body, operator()).is(202))
	require.Equal(t, contract.RestoreID(planned.ID), accepted.WorkflowID)
	in := s.fabric.Starts[0].Input.(contract.RestoreInput)
	require.Equal(t, []string{planned.ID, "ann", planned.PlanDigest}, []string{in.Action, in.Requester, string(in.Plan.Digest)})
	view := into[v1.Action](s.do("GET", accepted.StatusURL, nil, s.as("t1", "auditor")).is(200))
	require.Equal(t, []string{"started", "restore"}, []string{view.State, string(view.Kind)})
	s.do("GET", "/promotions/"+planned.ID, nil, s.as("t1", "auditor")).is(404, "not_found")
	s.do("POST", "/recovery-points/1/restores", body, operator()).is(409, "conflict") // applied once
}

// loosened is why a threshold of 60 protects less than one of 40.
func loosened(t *testing.T) string {
	t.Helper()
	now := governed(t).fabric.Snapshot.Policies[0]
	then := now
	then.Threshold = 60
	why, loosens := policy.Loosens(now, then)
	require.True(t, loosens)
	return why
}

func TestARestoreToTheNewestPointIsARollback(t *testing.T) {
	s := recoverable(t)
	s.fabric.Snapshot.Routes[0].Version = 1 // since the point was taken
	planned := into[v1.Planned](s.do("POST", "/recovery-points/2/restores", map[string]any{}, s.as("t1", "operator")).is(200))
	var plan promotion.Plan
	require.NoError(t, json.Unmarshal(planned.Plan, &plan))
	require.True(t, plan.Rollback)
	require.LessOrEqual(t, planned.ApprovalsNeeded, 1)

	s.fabric.Snapshot.Routes[0].Callers = []string{"t1", "t2"} // another hand
	s.fabric.Snapshot.Version++
	body := map[string]any{"apply": true, "plan_digest": planned.PlanDigest}
	s.do("POST", "/recovery-points/2/restores", body, s.as("t1", "operator")).is(409, "plan_stale")
	require.Empty(t, s.fabric.Starts)
}

func TestARestoreSaysWhatItMoves(t *testing.T) {
	s := recoverable(t)
	route := s.fabric.Snapshot.Routes[0]
	diff := func(routes ...routing.Route) []promotion.Change {
		t.Helper()
		s.fabric.Snapshot.Routes = routes
		s.fabric.Snapshot.Version++
		planned := into[v1.Planned](s.do("POST", "/recovery-points/2/restores", map[string]any{}, s.as("t1", "operator")).is(200))
		var plan promotion.Plan
		require.NoError(t, json.Unmarshal(planned.Plan, &plan))
		return plan.Diff
	}
	shared, eu, us, staging, theirs := route, route, route, route, route
	shared.Callers = []string{"t1", "t2"}
	require.Equal(t, []promotion.Change{{What: "production of m", From: "version 2 in eu, us, apac for t1, t2", To: "version 2 in eu, us, apac for t1"}}, diff(shared))
	eu.Version, eu.Regions, us.Regions = 1, []string{"eu"}, []string{"us"}
	require.Equal(t, []promotion.Change{{What: "production of m", From: "version 1 in eu; version 2 in us", To: "version 2 in eu, us, apac"}}, diff(eu, us))
	staging.Environment, theirs.Tenant, theirs.Model = "staging", "t2", "theirs"
	require.Equal(t, []promotion.Change{{What: "staging of m", From: "version 2 in eu, us, apac", To: "-"}}, diff(route, staging, theirs), "another tenant's is not touched")
	require.Equal(t, []promotion.Change{{What: "production of m", From: "-", To: "version 2 in eu, us, apac"}}, diff(theirs))
}

func TestARollbackIsAPromotionOfWhatServedBefore(t *testing.T) {
	s := recoverable(t)
	body := map[string]any{"environment": "production"}
	planned := into[v1.Planned](s.do("POST", "/models/m/rollbacks", body, s.as("t1", "operator")).is(200))
	var plan promotion.Plan
	require.NoError(t, json.Unmarshal(planned.Plan, &plan))
	require.True(t, plan.Rollback)
	require.Equal(t, 1, plan.Version.Number)
	require.LessOrEqual(t, planned.ApprovalsNeeded, 1)
	body["apply"], body["plan_digest"] = true, planned.PlanDigest
	accepted := into[v1.ActionAccepted](s.do("POST", "/models/m/rollbacks", body, s.as("t1", "operator")).is(202))
	require.Equal(t, contract.PromotionID(planned.ID), accepted.WorkflowID)
	s.do("POST", "/models/m/rollbacks", map[string]any{"environment": "staging"}, s.as("t1", "operator")).is(422, "bad_plan") // nothing has served it
}

func TestReplicasAreShownAndAskedForAgain(t *testing.T) {
	s := governed(t)
	at := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
	s.fabric.Copies = map[string][]api.Replica{"t1/m/1": {
		{Region: "eu", State: "held", Registry: "http://eu.invalid", Package: artifact.DigestOf([]byte("p")), Layers: 3, Referrers: 4, SizeBytes: 99, Statement: artifact.DigestOf([]byte("s")), AskedAt: at, CheckedAt: &at},
		{Region: "us", State: "failed", Cause: "layer differs from its digest", AskedAt: at, CheckedAt: &at},
	}}
	list := into[v1.ReplicaList](s.do("GET", "/models/m/replicas", nil, s.as("t1", "auditor")).is(200))
	require.Equal(t, 1, list.Version, "the newest")
	require.Equal(t, []any{"eu", v1.ReplicaState("held"), 3, 4, int64(99)}, []any{list.Items[0].Region, list.Items[0].State, list.Items[0].Layers, list.Items[0].Referrers, list.Items[0].SizeBytes})
	require.Equal(t, "layer differs from its digest", list.Items[1].Cause)
	s.do("GET", "/models/m/replicas?version=2", nil, s.as("t1", "auditor")).is(404, "not_found")
	s.do("GET", "/models/m/replicas", nil, s.as("t2", "auditor")).is(404, "not_found")

	ask := func(body map[string]any, changes ...request) answer {
		return s.do("POST", "/models/m/replicas", body, append(changes, s.as("t1", "operator"))...)
	}
	ask(map[string]any{"version": 1, "regions": []string{"mars"}}).is(400, "invalid_request")
	ask(map[string]any{"version": 2}).is(404, "not_found")
	require.Empty(t, s.fabric.Asked)
	accepted := into[v1.ReplicationAccepted](ask(map[string]any{"version": 1}).is(202))
	require.Len(t, accepted.Regions, 3, "all, when none is named")
	key := header("Idempotency-Key", "once")
	ask(map[string]any{"version": 1, "regions": []string{"us"}}, key).is(202)
	ask(map[string]any{"version": 1, "regions": []string{"us"}}, key).is(202)
	require.Equal(t, []string{"t1/m/1 eu", "t1/m/1 us", "t1/m/1 apac", "t1/m/1 us"}, s.fabric.Asked, "the same key is the same request")
}
