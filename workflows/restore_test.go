package workflows_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// steps returns the calls of the way back and of replicas, in order.
func steps(w *script.World) string {
	var all []string
	for _, c := range w.Calls() {
		for _, name := range []string{"CopyPackage", "InspectReplica", "AttachReplica", "RecordReplica", "VerifyPoint", "VerifyHeld", "PublishRecovery", "TakePoint", "RecordPoint"} {
			if strings.HasPrefix(c, name) {
				all = append(all, c)
			}
		}
	}
	return strings.Join(all, " ")
}

func TestReplication(t *testing.T) {
	bad := script.Final(contract.BadPackage, "layer differs from its digest")
	tests := []struct {
		name    string
		errors  map[string]error
		passing map[string]int
		outcome string
		cause   string
		steps   string
	}{
		{"copies, reads back, states and records", nil, nil, "held", "", "CopyPackage/eu InspectReplica/eu AttachReplica/eu RecordReplica/held"},
		{"goes on after what passes", nil, map[string]int{"CopyPackage/eu": 2, "AttachReplica/eu": 1}, "held", "",
			"CopyPackage/eu CopyPackage/eu CopyPackage/eu InspectReplica/eu AttachReplica/eu AttachReplica/eu RecordReplica/held"},
		{"copies nothing that does not verify", map[string]error{"CopyPackage": bad}, nil, "failed", "layer differs from its digest", "CopyPackage/eu RecordReplica/failed"},
		{"states nothing that is not there", map[string]error{"InspectReplica": bad}, nil, "failed", "layer differs from its digest", "CopyPackage/eu InspectReplica/eu RecordReplica/failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Errors: tt.errors, Passing: tt.passing}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.Replication.Name, script.Copy())
			got := result[contract.ReplicaResult](t, env)
			require.Equal(t, contract.ReplicaResult{Region: "eu", Outcome: tt.outcome, Cause: tt.cause}, got)
			require.Equal(t, tt.steps, steps(w))
			if tt.outcome == "held" {
				require.Equal(t, artifact.PredicateReplication, w.Signed()[0].PredicateType)
				require.Equal(t, script.Copy().Package.Digest, w.Signed()[0].Digest)
			} else {
				require.Empty(t, w.Signed())
			}
		})
	}
}

func TestRecoveryPoint(t *testing.T) {
	raced := script.Final(contract.StalePlan, "recovery point 2 is not the next")
	in := contract.PointInput{Subject: script.Subject(), Action: "snap-1", Actor: "ann"}
	t.Run("is put together again when another was first", func(t *testing.T) {
		w := &script.World{Races: []error{raced, nil}}
		env := environment(t, w)
		env.ExecuteWorkflow(contract.RecoveryPoint.Name, in)
		require.Equal(t, contract.PointResult{Action: "snap-1", Sequence: 2, Digest: script.Blob("point 2").Digest}, result[contract.PointResult](t, env))
		require.Equal(t, "TakePoint RecordPoint TakePoint RecordPoint", steps(w))
		require.Equal(t, artifact.PredicateRecoveryPoint, w.Signed()[0].PredicateType)
	})
	t.Run("gives up when others always are", func(t *testing.T) {
		w := &script.World{Errors: map[string]error{"RecordPoint": raced}}
		env := environment(t, w)
		env.ExecuteWorkflow(contract.RecoveryPoint.Name, in)
		require.Equal(t, contract.StalePlan, kindOf(env.GetWorkflowError()))
		require.Equal(t, 8, count(w, "RecordPoint"))
	})
	t.Run("is not taken while nothing runs", func(t *testing.T) {
		w := &script.World{Errors: map[string]error{"TakePoint": script.Final(contract.BadPlan, "the data plane runs nothing yet")}}
		env := environment(t, w)
		env.ExecuteWorkflow(contract.RecoveryPoint.Name, in)
		require.Equal(t, contract.BadPlan, kindOf(env.GetWorkflowError()))
		require.Equal(t, "the data plane runs nothing yet", causeOf(env.GetWorkflowError()))
		require.Empty(t, w.Signed())
	})
}

func TestRestore(t *testing.T) {
	const verified = "VerifyPoint VerifyHeld/eu VerifyHeld/us"
	const asked = "VerifyPoint " // before anybody is
	bob := []approval.Vote{script.Yes("bob", owner)}
	tests := []struct {
		name    string
		need    int
		votes   []approval.Vote
		checks  []error
		errors  map[string]error
		outcome string
		cause   string
		steps   string
	}{
		{"needs one, and moves all at once", 1, bob, nil, nil, "applied", "", asked + verified + " PublishRecovery/load PublishRecovery/switch"},
		{"stays put without a vote", 1, nil, nil, nil, "expired", "the ballot expired", "VerifyPoint"},
		{"is stale after the ballot", 1, bob, []error{nil, stale()}, nil, "stale", "the version that serves was 3 and is 5", "VerifyPoint"},
		{"goes back to nothing that was set back", 0, nil, nil, map[string]error{"VerifyPoint": script.Final(contract.BadPackage, "a newer point was seen before")},
			"failed", "a newer point was seen before", "VerifyPoint"},
		{"asks nobody about what was set back", 1, nil, nil, map[string]error{"VerifyPoint": script.Final(contract.BadPackage, "a newer point was seen before")},
			"failed", "a newer point was seen before", "VerifyPoint"},
		{"goes back to nothing that a region lacks", 1, bob, nil, map[string]error{"VerifyHeld/us": script.Final(contract.NotHeld, "the region does not hold it")},
			"failed", "the region does not hold it", asked + verified},
		{"moves no route when a region cannot load", 0, nil, nil, map[string]error{"AwaitRecovered/load/us": script.Final(contract.NotActive, "it has not loaded it")},
			"failed", "us: it has not loaded it", verified + " PublishRecovery/load"},
		{"leaves alone what another hand moved", 0, nil, nil, map[string]error{"PublishRecovery/switch": stale()},
			"stale", "the version that serves was 3 and is 5", verified + " PublishRecovery/load PublishRecovery/switch"},
		{"moves back when a region does not switch", 0, nil, nil, map[string]error{"AwaitRecovered/switch/apac": script.Final(contract.NotActive, "it serves version 4")},
			"failed", "apac: it serves version 4; switched back to what ran before", verified + " PublishRecovery/load PublishRecovery/switch PublishRecovery/back"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Checked: script.Restore(tt.need), Checks: tt.checks, Errors: tt.errors}
			env := environment(t, w)
			for i, v := range tt.votes {
				vote(env, "restore-1", time.Duration(i+1)*time.Minute, v)
			}
			env.ExecuteWorkflow(contract.Restore.Name, contract.RestoreInput{Subject: script.Subject(), Action: "restore-1", Requester: "ann", Plan: script.PlanBlob()})
			got := result[contract.RestoreResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.steps, sorted(steps(w)))
			require.Len(t, w.Outcomes(), 1, "the end is recorded once")
			end := w.Outcomes()[0]
			require.Equal(t, promotion.KindRestore, end.Kind)
			require.Equal(t, tt.outcome == "applied", end.Restored != nil, "the index moves only when it was applied")
			if tt.outcome == "applied" {
				require.Len(t, got.Evidence, 3, "each region says itself what it runs")
				require.Equal(t, script.Blob("point 2").Digest, w.Signed()[0].Digest)
			}
		})
	}
}

// sorted puts regions that are asked at once into order.
func sorted(steps string) string {
	return strings.Replace(steps, "VerifyHeld/us VerifyHeld/eu", "VerifyHeld/eu VerifyHeld/us", 1)
}

func TestARollbackReadsEveryByteBeforeItMoves(t *testing.T) {
	checked := script.Promotion(0)
	checked.Plan.Rollback = true
	w := &script.World{Checked: checked, Errors: map[string]error{"VerifyHeld/us": script.Final(contract.BadPackage, "layer differs from its digest")}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
	got := result[contract.PromotionResult](t, env)
	require.Equal(t, "failed", got.Outcome)
	require.Equal(t, "layer differs from its digest", got.Cause)
	require.Empty(t, published(w), "nothing has moved")
	require.Empty(t, w.Signed())
}
