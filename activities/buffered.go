package activities

import (
	"context"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// starts returns the older weights that an update may have started from to be
// taken in a buffered round: those of the round before, and what that one took.
// What a round was begun with never changes, so a second run finds the same.
func (r *Round) starts(ctx context.Context, in contract.RoundInput) ([]round.Start, error) {
	if !in.Params.Buffers(in.Kind) || in.Number < 2 {
		return nil, nil
	}
	begun, _, ok, err := r.Rounds.Begun(ctx, in.Tenant, in.Run, in.Number-1)
	if err != nil || !ok { // a run that begins with somebody's checkpoint has no round before
		return nil, err
	}
	var before round.Manifest
	if err := decode(ctx, r.Blobs, begun.Digest, contract.BadPlan, &before); err != nil {
		return nil, err
	}
	return before.Successor(), nil
}

// tooOld says whether an update started from weights that the round does not take.
func tooOld(m round.Manifest, s Submission) bool {
	_, ok := m.Staleness(s.From)
	return !ok
}

// weigh returns what an update is multiplied by: its examples, and in a buffered
// round thousandths by its age, whatever its examples. It was checked.
func weigh(m round.Manifest, s Submission) int64 {
	if !m.Params.Buffers(m.Kind) {
		return s.Metrics.Examples
	}
	tau, _ := m.Staleness(s.From)
	return round.StaleWeight(tau)
}

// perUpdate returns the groups of a buffered round with the weights that make
// their mean the buffer's: it is divided by the number of updates and not by
// what they weigh, so that old ones move the model less. How many are in a sum
// is no secret of a masked one. Where updates are seen their weights were
// thousandths, and so is their sum.
func perUpdate(groups []contract.RegionResult) []contract.RegionResult {
	out := make([]contract.RegionResult, len(groups))
	for i, g := range groups {
		each := int64(1000)
		if g.Weight == 0 {
			each *= 1000
		}
		out[i] = g
		out[i].Weight = each * int64(g.Counts.Accepted)
	}
	return out
}
