package activities

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// unmaskers is on how many goroutines masks are expanded.
const unmaskers = 2

// AggregateMasked closes the last stage, adds the survivors' masked vectors and
// takes the masks out of the sum, piece by piece: in memory are one piece of the
// sum and one of a vector. Idempotent: the survivors are written, their
// vectors are addressed by digest, and secrets are what was committed to,
// whoever's shares give them; central noise comes from those secrets. A sum
// that cannot be opened is a result with a cause. Heartbeats for every piece.
// Final: [contract.BadPlan] when the rows do not lead here, [contract.BadUpdate]
// when a committed vector is lost.
func (a *Aggregate) AggregateMasked(ctx context.Context, in contract.StageRef) (contract.RegionResult, error) {
	result := contract.RegionResult{Region: in.Region}
	in.Stage = round.StageUnmask
	g, err := loadGroup(ctx, a.Blobs, a.Rounds, in)
	if err != nil {
		return result, about(in.Run, in.Number, err)
	}
	g.alive = func() { activity.RecordHeartbeat(ctx, "adding masked vectors") }
	result.Counts.Selected = g.sites()
	if err := a.unmask(ctx, g, &result); err != nil {
		return result, about(in.Run, in.Number, err)
	}
	return result, nil
}

func (a *Aggregate) unmask(ctx context.Context, g *group, result *contract.RegionResult) error {
	set, _, err := g.survivors(ctx)
	if err != nil {
		return err
	}
	sec, err := g.open(ctx)
	if err != nil {
		return err
	}
	answers, in, err := collect(ctx, g, round.StageUnmask, func(m *secagg.Unmasking) secagg.Header { return m.Header })
	if err != nil {
		return err
	}
	cause, err := g.withdrawn(ctx, set)
	if err != nil || cause != "" {
		for i := range answers {
			answers[i].Erase()
		}
		result.Cause = cause
		return err
	}
	sec.Workers = unmaskers
	masks, dropped, err := sec.Reconstruct(set, answers)
	for i := range answers {
		answers[i].Erase()
	}
	in.refused.take(dropped)
	result.Dropped = in.refused.names
	if err != nil {
		result.Cause = in.stopped(len(set.Survivors), err).cause
		return nil
	}
	defer masks.Erase()
	vectors, err := a.committed(ctx, g, sec, set)
	if err != nil {
		return err
	}
	sum, err := a.openMasked(ctx, g, vectors, masks)
	if err != nil {
		return err
	}
	defer sum.close()
	opened, partial, err := a.decode(ctx, g, sum, len(set.Survivors), dp.Seed(masks.Derive("central noise")))
	if undecodable(err) {
		result.Cause = fmt.Sprintf("the sum of %d sites: %v", len(set.Survivors), err)
		return nil
	}
	if err != nil {
		return err
	}
	result.Counts.Accepted, result.Partial = len(set.Survivors), partial
	result.Metrics, result.Weight, result.Within = opened.Metrics, opened.Weight, opened.Within
	return nil
}

// committed returns the vectors of exactly the survivors.
func (a *Aggregate) committed(ctx context.Context, g *group, sec *secagg.Group, set secagg.SurvivorSet) ([]artifact.Descriptor, error) {
	submissions, err := g.rounds.CloseStage(ctx, g.at(round.StageMask))
	if err != nil {
		return nil, settled(err)
	}
	sent := make(map[int]artifact.Descriptor, len(submissions))
	for _, s := range submissions {
		sent[sec.Index(s.Tenant, s.Site)] = s.Update
	}
	vectors := make([]artifact.Descriptor, len(set.Survivors))
	for i, index := range set.Survivors {
		vectors[i] = sent[index]
		if vectors[i].SizeBytes != g.form.Spec.SizeBytes() {
			return nil, permanent(contract.BadUpdate, fmt.Errorf("survivor %d: %w", index, ErrVectorSize))
		}
	}
	return vectors, nil
}

// decode reads the sum to its end and stores what it holds.
func (a *Aggregate) decode(ctx context.Context, g *group, sum *maskedSum, survivors int, noise dp.Seed) (payload.Sum, artifact.Descriptor, error) {
	opened, err := g.form.Head(sum.piece, survivors)
	if err != nil {
		return opened, artifact.Descriptor{}, err
	}
	if len(opened.Counts) > 0 {
		partial, err := keepTensors(ctx, a.Blobs, measure.ToTensors(opened.Counts))
		if err == nil {
			err = sum.end()
		}
		return opened, partial, err
	}
	if g.form.Layout.Dim == 0 {
		if err := sum.end(); err != nil || len(opened.Tensors) == 0 {
			return opened, artifact.Descriptor{}, err
		}
		partial, err := keepTensors(ctx, a.Blobs, opened.Tensors)
		return opened, partial, err
	}
	partial, err := keepWritten(ctx, a.Blobs, func(dst io.Writer) error {
		err := g.form.WriteTensors(dst, sum.piece, noise)
		if err == nil {
			opened.Within, err = g.form.Within(sum.piece, noise)
		}
		if err != nil {
			return err
		}
		return sum.end() // a vector that is not what its digest says spoils the content
	})
	return opened, partial, err
}

// undecodable tells a sum that nobody can read from a store that failed.
func undecodable(err error) bool {
	for _, fault := range []error{payload.ErrVector, dp.ErrRange, dp.ErrNotFinite, ring.ErrShape, ring.ErrParameter, ring.ErrOverflow} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}
