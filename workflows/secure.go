package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// maxDropped bounds the names of dropped sites in a history; the rows name all.
const maxDropped = 10

// secured leads a group whose sites are ready through secure aggregation. What
// sites are told is in rows before they are told, and the survivors are written
// and signed before any of them is asked for a share: whatever is run twice
// tells nobody a second thing. A group that falls below what a step needs ends
// with a cause, and nothing of it is ever seen.
func (r *regional) secured(ctx workflow.Context, stage contract.StageRef) (contract.RegionResult, error) {
	stage.Stage = round.StageAdvertise
	asked := r.counts.Selected
	for _, closes := range []round.Stage{round.StageAdvertise, round.StageShare} {
		if err := r.advance(ctx, stage, closes, artifact.Descriptor{}); err != nil {
			return r.broken(asked, err)
		}
	}
	bundle, err := r.commit(ctx, stage)
	if err != nil {
		return r.broken(asked, err)
	}
	refused := r.refused // those after this are in the sum all the same
	for _, closes := range []round.Stage{round.StageMask, round.StageCheck} {
		if err := r.advance(ctx, stage, closes, bundle); err != nil {
			return r.broken(asked, err)
		}
	}
	stage.Stage = round.StageUnmask
	result, err := contract.AggregateMasked.Execute(compute(ctx, contract.QueueRegion(r.host), "the sum, without its masks"), stage)
	if err != nil {
		return r.broken(asked, err)
	}
	r.drop(result.Dropped)
	result.Counts.Rejected += refused
	result.Dropped = r.dropped
	r.counts = result.Counts
	return result, nil
}

// broken leaves counts that say how far the group got, of all that were asked.
func (r *regional) broken(asked int, err error) (contract.RegionResult, error) {
	r.counts = round.Counts{Selected: asked, Rejected: min(r.refused, asked)}
	return contract.RegionResult{}, err
}

// advance closes one stage, opens the next and waits for it.
func (r *regional) advance(ctx workflow.Context, stage contract.StageRef, closes round.Stage, bundle artifact.Descriptor) error {
	in := contract.AdvanceInput{StageRef: stage, Seconds: r.in.Params.Secure.StageSeconds}
	in.Stage = closes
	if closes == round.StageMask {
		in.Signature = bundle
	}
	opens, _ := closes.Following()
	summary := fmt.Sprintf("close %s, open %s, wait %d s", closes, opens, in.Seconds)
	next, err := contract.AdvanceStage.Execute(waiting(ctx, r.host, in.Seconds+advanceSlack, summary), in)
	if err != nil {
		return err
	}
	r.refused += next.Refused
	r.drop(next.Dropped)
	if next.Cause != "" {
		return &failure{contract.NoQuorum, next.Cause}
	}
	r.counts = next.Counts
	r.show(ctx, "stage "+string(opens))
	if opens != round.StageUnmask && next.Counts.Accepted < next.Need {
		return &failure{contract.NoQuorum, fmt.Sprintf("stage %s: %d of %d sites answered, %d were refused, %d are needed",
			opens, next.Counts.Accepted, next.Sites, next.Counts.Rejected, next.Need)}
	}
	return nil
}

// commit writes the survivors, once, and has the set signed. No site has seen
// it before.
func (r *regional) commit(ctx workflow.Context, stage contract.StageRef) (artifact.Descriptor, error) {
	stage.Stage = round.StageMask
	survivors, err := contract.CommitSurvivors.Execute(compute(ctx, contract.QueueRegion(r.host), "whose vectors are in the sum"), stage)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	r.refused += survivors.Refused
	r.drop(survivors.Dropped)
	if survivors.Cause != "" {
		return artifact.Descriptor{}, &failure{contract.NoQuorum, survivors.Cause}
	}
	signed, err := contract.SignStatement.Execute(signing(ctx, "the survivors"), contract.SignInput{
		Subject:       r.in.Subject,
		Name:          contract.RegionID(r.in.Run, r.in.Number, r.in.Region),
		Digest:        survivors.Set.Digest,
		PredicateType: artifact.PredicateSurvivors,
	})
	return signed.Bundle, err
}

// drop names more of those who were refused.
func (r *regional) drop(names []string) {
	r.dropped = append(r.dropped, names[:min(len(names), maxDropped-len(r.dropped))]...)
}
