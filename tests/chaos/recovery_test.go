//go:build chaos

package chaos

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// within bounds each of these from its kill on: the heartbeats of a step that was
// cut are missed for fifteen seconds, and one minute is what an operator waits.
const within = 60 * time.Second

// TestKillTheWayBack kills the control plane's worker in the middle of a
// replication, of a promotion, of a rollback and of a restore. It counts as
// failure when one of them does not complete within a minute, happens twice,
// is not confirmed by each region, or leaves an audit log that does not verify.
func TestKillTheWayBack(t *testing.T) {
	n := seed(t)
	t.Logf("FABRIC_SEED=%d", n)
	random := rand.New(rand.NewPCG(n, n))
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	s.Consent(t)
	lead, plane := s.Lead(t), s.Person(t, demo.Consortium, "router", "data-plane")
	one := s.Enrol(t, lead, "vera", "owner")
	two := s.Enrol(t, lead, "wim", "risk")
	var killed time.Time
	kill := func() {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		harness.Kill(t, s.Child(t, "worker-control"))
		killed = time.Now()
	}
	struck := func(t *testing.T, ended time.Time) {
		t.Helper()
		require.True(t, ended.After(killed), "it was over before the kill: nothing was shown")
		t.Logf("over %.1f s after the kill", ended.Sub(killed).Seconds())
	}
	for range 2 {
		harness.Watch(t, lead, s.Train(t, lead, harness.Request(1)), bound, harness.Completed)
	}
	held(t, lead, 1, 1)
	held(t, lead, 2, 1)

	t.Run("a replication", func(t *testing.T) {
		_, err := v1.Fetch[v1.ReplicationAccepted](lead.ReplicateModel(t.Context(), demo.Model, &v1.ReplicateModelParams{}, v1.ReplicationRequest{Version: 2}))
		require.NoError(t, err)
		kill()
		struck(t, held(t, lead, 2, 2))
	})
	promote := func(version int, killed bool) v1.Action {
		id := harness.Promote(t, lead, version, "production")
		approve(t, lead, id, one, two)
		if killed {
			kill()
		}
		return ended(t, func() (v1.Action, error) {
			return v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), id, &v1.GetPromotionParams{}))
		})
	}
	confirmed(t, promote(1, false))
	point := taken(t, lead)
	t.Run("a promotion", func(t *testing.T) {
		action := promote(2, true)
		confirmed(t, action)
		struck(t, action.EndedAt)
		serves(t, plane, 2)
	})
	t.Run("a rollback, which one person allows", func(t *testing.T) {
		request := v1.RollbackRequest{Environment: "production"}
		planned, err := v1.Fetch[v1.Planned](lead.RollbackModel(t.Context(), demo.Model, &v1.RollbackModelParams{}, request))
		require.NoError(t, err)
		require.LessOrEqual(t, planned.ApprovalsNeeded, 1)
		request.Apply, request.PlanDigest = true, planned.PlanDigest
		accepted, err := v1.Fetch[v1.ActionAccepted](lead.RollbackModel(t.Context(), demo.Model, &v1.RollbackModelParams{}, request))
		require.NoError(t, err)
		if planned.ApprovalsNeeded > 0 {
			approve(t, lead, accepted.ID, one)
		}
		kill()
		action := ended(t, func() (v1.Action, error) {
			return v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), accepted.ID, &v1.GetPromotionParams{}))
		})
		confirmed(t, action)
		struck(t, action.EndedAt)
		serves(t, plane, 1)
	})
	confirmed(t, promote(2, false))
	t.Run("a restore", func(t *testing.T) {
		params := &v1.RestoreRecoveryPointParams{}
		planned, err := v1.Fetch[v1.Planned](lead.RestoreRecoveryPoint(t.Context(), point, params, v1.RestoreRequest{}))
		require.NoError(t, err)
		accepted, err := v1.Fetch[v1.ActionAccepted](lead.RestoreRecoveryPoint(t.Context(), point, params, v1.RestoreRequest{Apply: true, PlanDigest: planned.PlanDigest}))
		require.NoError(t, err)
		if planned.ApprovalsNeeded > 0 {
			approve(t, lead, accepted.ID, one)
		}
		kill()
		action := ended(t, func() (v1.Action, error) {
			return v1.Fetch[v1.Action](lead.GetRestore(t.Context(), accepted.ID, &v1.GetRestoreParams{}))
		})
		confirmed(t, action)
		struck(t, action.EndedAt)
		serves(t, plane, 1)
	})
	aliases, err := v1.Fetch[v1.AliasList](lead.ListAliases(t.Context(), demo.Model, &v1.ListAliasesParams{}))
	require.NoError(t, err)
	require.Len(t, aliases.Items, 1)
	require.EqualValues(t, 5, aliases.Items[0].Sequence, "three promotions, a rollback and a restore: each moved the champion once")
	verified(t, s)
}

// held waits until every region holds a version with at least so many statements,
// and returns when the last of them was verified.
func held(t *testing.T, lead *v1.Client, version, statements int) time.Time {
	t.Helper()
	var last v1.ReplicaList
	require.Eventually(t, func() bool {
		list, err := v1.Fetch[v1.ReplicaList](lead.ListReplicas(t.Context(), demo.Model, &v1.ListReplicasParams{Version: version}))
		if err != nil || len(list.Items) != 3 {
			return false
		}
		last = list
		for _, r := range list.Items {
			if r.State != "held" {
				return false
			}
		}
		return true
	}, within, 50*time.Millisecond, "version %d is not held: %+v", version, &last)
	var checked time.Time
	for _, r := range last.Items {
		require.Positive(t, r.Layers, r.Region)
		require.GreaterOrEqual(t, r.Referrers, statements, r.Region)
		require.NotEmpty(t, r.Statement, r.Region)
		if r.CheckedAt.After(checked) {
			checked = r.CheckedAt
		}
	}
	return checked
}

func approve(t *testing.T, lead *v1.Client, id string, people ...harness.Approver) {
	t.Helper()
	for _, p := range people {
		require.Eventually(t, func() bool {
			ballot := harness.Ballot(t, lead, id)
			if ballot.Outcome != "pending" {
				return true
			}
			_, err := p.Approve(t, ballot)
			var problem *v1.ProblemError
			if errors.As(err, &problem) && problem.Code == "not_ready" {
				return false // its row is there, its workflow is on its way
			}
			require.NoError(t, err)
			return true
		}, within, 50*time.Millisecond, "%s cannot vote", p.Name)
	}
}

// ended waits until an action is over. What is away meanwhile is waited for.
func ended(t *testing.T, get func() (v1.Action, error)) v1.Action {
	t.Helper()
	var action v1.Action
	require.Eventually(t, func() bool {
		found, err := get()
		var problem *v1.ProblemError
		if errors.As(err, &problem) && problem.Status < http.StatusInternalServerError {
			require.NoError(t, err)
		}
		action = found
		return err == nil && action.State != "started" && action.State != "planned"
	}, within, 50*time.Millisecond, "it did not end within a minute")
	return action
}

// confirmed checks that an action was applied and that each region said so.
func confirmed(t *testing.T, action v1.Action) {
	t.Helper()
	require.Equal(t, "applied", action.State, action.Cause)
	require.Len(t, action.Evidence, 3)
	for _, e := range action.Evidence {
		require.GreaterOrEqual(t, e.Snapshot, action.Snapshot, e.Region)
	}
}

// serves checks that the data plane has one route of the model in production.
func serves(t *testing.T, plane *v1.Client, version int) {
	t.Helper()
	signed, err := v1.Fetch[v1.SignedSnapshot](plane.GetSnapshot(t.Context(), &v1.GetSnapshotParams{}))
	require.NoError(t, err)
	var shown struct {
		Routes []struct {
			Model, Environment string
			Version            int
		} `json:"routes"`
	}
	require.NoError(t, json.Unmarshal(signed.Snapshot, &shown))
	var served []int
	for _, r := range shown.Routes {
		if r.Model == demo.Model && r.Environment == "production" {
			served = append(served, r.Version)
		}
	}
	require.Equal(t, []int{version}, served)
}

// taken takes a recovery point and returns its number.
func taken(t *testing.T, lead *v1.Client) int64 {
	t.Helper()
	accepted, err := v1.Fetch[v1.ActionAccepted](lead.TakeRecoveryPoint(t.Context(), &v1.TakeRecoveryPointParams{}, v1.RecoveryPointRequest{Reason: "before the kills"}))
	require.NoError(t, err)
	var sequence int64
	require.Eventually(t, func() bool {
		page, err := v1.Fetch[v1.RecoveryPointPage](lead.ListRecoveryPoints(t.Context(), &v1.ListRecoveryPointsParams{}))
		for _, p := range page.Items {
			if p.Action == accepted.ID {
				sequence = p.Sequence
			}
		}
		return err == nil && sequence > 0
	}, within, 50*time.Millisecond)
	return sequence
}
