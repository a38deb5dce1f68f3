package activities

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// unmaskers is on how many goroutines masks are expanded.
const unmaskers = 2

// AggregateMasked closes the last stage, adds the survivors' masked vectors and
// takes the masks out of the sum. Idempotent: the survivors are written, their
// vectors are addressed by digest, and secrets are what was committed to,
// whoever's shares give them; central noise comes from those secrets. In memory
// are one sum and one piece of a vector. A sum that cannot be opened is a
// result with a cause. Heartbeats for every piece.
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
	vector, err := a.masked(ctx, g, sec, set)
	if err != nil {
		return err
	}
	if err := vector.Mask(masks); err != nil {
		return permanent(contract.BadPlan, err)
	}
	sum, err := g.form.Decode(vector, len(set.Survivors))
	if err == nil {
		err = g.form.AddNoise(sum.Tensors, dp.Seed(masks.Derive("central noise")))
	}
	if err != nil {
		result.Cause = fmt.Sprintf("the sum of %d sites: %v", len(set.Survivors), err)
		return nil
	}
	result.Counts.Accepted = len(set.Survivors)
	result.Metrics, result.Weight = sum.Metrics, sum.Weight
	if len(sum.Tensors) > 0 {
		result.Partial, err = keepTensors(ctx, a.Blobs, sum.Tensors)
	}
	return err
}

// masked adds the vectors of exactly the survivors.
func (a *Aggregate) masked(ctx context.Context, g *group, sec *secagg.Group, set secagg.SurvivorSet) (payload.Vector, error) {
	sum := g.form.NewSum()
	submissions, err := g.rounds.CloseStage(ctx, g.at(round.StageMask))
	if err != nil {
		return sum, settled(err)
	}
	vectors := make(map[int]artifact.Descriptor, len(submissions))
	for _, s := range submissions {
		vectors[sec.Index(s.Tenant, s.Site)] = s.Update
	}
	element := int64(g.form.Spec.Ring.Bytes())
	for _, index := range set.Survivors {
		vector := vectors[index]
		if vector.SizeBytes != g.form.Spec.SizeBytes() {
			return sum, permanent(contract.BadUpdate, fmt.Errorf("survivor %d: %w", index, ErrVectorSize))
		}
		err := pieces(ctx, a.Blobs, vector, g.alive, func(offset int64, piece []byte) error {
			return sum.AddAt(int(offset/element), piece)
		})
		switch {
		case errors.Is(err, ErrVectorGone), errors.Is(err, ErrVectorSize):
			return sum, permanent(contract.BadUpdate, fmt.Errorf("survivor %d: %w", index, err))
		case err != nil:
			return sum, err
		}
	}
	return sum, nil
}
