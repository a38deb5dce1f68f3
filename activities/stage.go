package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrManifest says that a manifest, though signed, is that of another round.
var ErrManifest = errors.New("the manifest is of another round")

// beat is how often a wait shows that it is alive; heartbeat timeouts are a
// multiple of it.
const beat = 2 * time.Second

// A Stage opens a region's stage and waits for its sites.
type Stage struct {
	Blobs    Blobs
	Rounds   Rounds
	Verifier Verifier
	Now      func() time.Time
}

// OpenStage verifies the manifest's signature and lets the region's sites see
// the round. Idempotent: a stage that is open is left as it is, its deadline
// too. Final: [contract.BadPackage] for a manifest that is unsigned, altered or
// of another round; no site has seen it then.
func (s *Stage) OpenStage(ctx context.Context, in contract.RegionInput) (contract.StageRef, error) {
	ref := contract.StageRef{Subject: in.Subject, Run: in.Run, Number: in.Number, Kind: in.Kind, Region: in.Region}
	if in.Secured {
		ref.Stage = round.StageAdvertise
	}
	bundle, err := read(ctx, s.Blobs, in.Signature.Digest)
	if err != nil {
		return ref, about(in.Run, in.Number, err)
	}
	if _, err := s.Verifier.Verify(ctx, bundle, artifact.PredicateRoundManifest, in.Manifest.Digest); err != nil {
		return ref, about(in.Run, in.Number, unverified(ctx, err))
	}
	// The signature is over the digest, and what is read by digest has it.
	var manifest round.Manifest
	if err := decode(ctx, s.Blobs, in.Manifest.Digest, contract.BadPackage, &manifest); err != nil {
		return ref, about(in.Run, in.Number, err)
	}
	if manifest.Run != in.Run || manifest.Number != in.Number || manifest.Kind != in.Kind || manifest.Tenant != in.Tenant || manifest.Secured != in.Secured {
		return ref, permanent(contract.BadPackage, about(in.Run, in.Number, ErrManifest))
	}
	deadline := s.Now().Add(time.Duration(manifest.Params.DeadlineSeconds) * time.Second)
	if err := s.Rounds.OpenStage(ctx, in, ref.Stage.Or(), deadline); err != nil {
		return ref, about(in.Run, in.Number, settled(err))
	}
	return ref, nil
}

// A wait is what the heartbeats of a wait carry from one attempt to the next.
type wait struct {
	Deadline time.Time    `json:"deadline"`
	Counts   round.Counts `json:"counts"`
}

// AwaitStage returns the counts when every site has answered, or enough have,
// or the time is up. Idempotent: it changes nothing. When the worker dies, the
// next attempt takes the deadline from the last heartbeat, or from the time at
// which the wait was first scheduled, so that a restart never restarts the clock.
func (s *Stage) AwaitStage(ctx context.Context, in contract.AwaitInput) (contract.StageCounts, error) {
	state := wait{Deadline: deadline(ctx, s.Now, in.Seconds)}
	w := waiter{rounds: s.Rounds, now: s.Now, ref: in.StageRef, enough: in.Enough}
	counts, err := w.wait(ctx, &state)
	if err != nil {
		return contract.StageCounts{}, about(in.Run, in.Number, err)
	}
	return contract.StageCounts{Counts: counts}, nil
}

// A waiter waits for the sites of one stage.
type waiter struct {
	rounds Rounds
	now    func() time.Time
	ref    contract.StageRef
	enough int // accepted answers after which nobody else is waited for; 0 waits for all
}

// wait returns when there is nobody to wait for, or at the deadline.
func (w waiter) wait(ctx context.Context, state *wait) (round.Counts, error) {
	for {
		counts, err := w.rounds.StageCounts(ctx, w.ref)
		if err != nil {
			return counts, err
		}
		state.Counts = counts
		activity.RecordHeartbeat(ctx, *state)
		left := state.Deadline.Sub(w.now())
		if counts.Accepted+counts.Rejected >= counts.Selected || w.enough > 0 && counts.Accepted >= w.enough || left <= 0 {
			return counts, nil
		}
		if err := w.rounds.StageChanged(ctx, w.ref, min(left, beat)); err != nil {
			return counts, err
		}
		if err := ctx.Err(); err != nil {
			return counts, within(err, "stage in %s", w.ref.Region)
		}
	}
}

// resumed returns what an earlier attempt knew of its wait.
func resumed(ctx context.Context) (before wait) {
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, &before) == nil {
		return before
	}
	return wait{}
}

// deadline returns when a wait of so many seconds ends, over all its attempts.
func deadline(ctx context.Context, now func() time.Time, seconds int) time.Time {
	if before := resumed(ctx); !before.Deadline.IsZero() {
		return before.Deadline
	}
	begun := now()
	// An attempt that died before its first heartbeat left no deadline. The
	// time of scheduling is the same for every attempt.
	if info := activity.GetInfo(ctx); info.Attempt > 1 && info.ScheduledTime.Before(begun) {
		begun = info.ScheduledTime
	}
	return begun.Add(time.Duration(seconds) * time.Second)
}

// unverified makes a refused signature final. A verifier that could not judge,
// because the attempt was canceled or what it asks was away, has refused nothing.
func unverified(ctx context.Context, err error) error {
	var refused *artifact.VerifyError
	if err == nil || ctx.Err() != nil || !errors.As(err, &refused) {
		return err
	}
	return permanent(contract.BadPackage, err)
}
