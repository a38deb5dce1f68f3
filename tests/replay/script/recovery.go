package script

import (
	"context"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Copy is the input of a replication of version 4 of m1 to eu.
func Copy() contract.ReplicaInput {
	return contract.ReplicaInput{
		Subject: Subject(), Region: "eu", Version: 4, Attempt: 1, Repository: "models/consortium/m1", Package: Blob("version 4"), Weights: Blob("weights 4").Digest,
	}
}

// Restore returns a checked plan that goes back to recovery point 2.
func Restore(need int) contract.Checked {
	plan := promotion.Plan{
		Kind:        promotion.KindRestore,
		Tenant:      "consortium",
		Environment: promotion.Production,
		Regions:     []string{"eu", "us", "apac"},
		Observed:    promotion.Observed{Snapshot: 7, State: Blob("state 7").Digest},
		Restore:     &promotion.Restore{Sequence: 2, Point: Blob("point 2").Digest, Head: 2},
		Diff:        []promotion.Change{{What: "production of m1", From: "version 4 in eu", To: "version 3 in eu"}},
		Risk:        promotion.Risk{Score: 40},
		Rollback:    true,
	}
	return contract.Checked{Plan: plan, Risk: 40, Request: Request(plan, "restore-1", need)}
}

// bindRecovery registers the activities of replicas and of the way back.
func (w *World) bindRecovery(r worker.ActivityRegistry) {
	contract.CopyPackage.Bind(r, func(_ context.Context, in contract.ReplicaInput) (contract.Copied, error) {
		return contract.Copied{Referrers: []artifact.Digest{Blob("referrer").Digest}}, w.call("CopyPackage", in.Region)
	})
	contract.InspectReplica.Bind(r, func(_ context.Context, in contract.InspectInput) (contract.Inspected, error) {
		return contract.Inspected{Registry: "http://mirror.invalid", Layers: 3, SizeBytes: 7, Referrers: len(in.Referrers), Predicate: Blob("replication")}, w.call("InspectReplica", in.Region)
	})
	contract.AttachReplica.Bind(r, func(_ context.Context, in contract.AttachReplicaInput) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("AttachReplica", in.Region)
	})
	contract.RecordReplica.Bind(r, func(_ context.Context, in contract.ReplicaOutcome) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("RecordReplica", in.Outcome)
	})
	contract.VerifyHeld.Bind(r, func(_ context.Context, in contract.HeldInput) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("VerifyHeld", in.Region)
	})
	contract.TakePoint.Bind(r, func(_ context.Context, in contract.PointInput) (contract.Point, error) {
		return contract.Point{Sequence: 2, Point: Blob("point 2"), Predicate: Blob("predicate 2")}, w.call("TakePoint", "")
	})
	contract.RecordPoint.Bind(r, func(_ context.Context, in contract.RecordPointInput) (contract.PointResult, error) {
		err := w.call("RecordPoint", "")
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.Races) > 0 {
			err, w.Races = w.Races[0], w.Races[1:]
		}
		return contract.PointResult{Action: in.Action, Sequence: in.Point.Sequence, Digest: in.Point.Point.Digest}, err
	})
	contract.VerifyPoint.Bind(r, func(_ context.Context, in contract.VerifyPointInput) (contract.VerifiedPoint, error) {
		return contract.VerifiedPoint{Items: 4, Holds: []contract.HeldPart{
			{ModelID: "m1", Version: 3, Package: Blob("version 3").Digest, Regions: []string{"eu", "us"}},
		}}, w.call("VerifyPoint", "")
	})
	contract.PublishRecovery.Bind(r, func(_ context.Context, in contract.RecoverInput) (contract.Recovered, error) {
		err := w.call("PublishRecovery", in.Phase)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			return contract.Recovered{}, err
		}
		w.snapshot++
		out := contract.Recovered{Snapshot: contract.SnapshotRef{Version: w.snapshot, Digest: artifact.DigestOf([]byte(in.Action + in.Phase))}}
		for _, region := range in.Plan.Regions {
			out.Regions = append(out.Regions, contract.RegionWant{Region: region})
		}
		return out, nil
	})
	contract.AwaitRecovered.Bind(r, func(_ context.Context, in contract.AwaitRecoveredInput) (contract.Evidence, error) {
		return contract.Evidence{Region: in.Want.Region, Snapshot: in.Version}, w.call("AwaitRecovered", in.Phase+"/"+in.Want.Region)
	})
}
