package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// RegionRound runs the part of a round that happens in one region. Its history
// is as long for three sites as for ten thousand: sites are rows that one
// activity counts. A region that cannot deliver says why in its result; only
// cancellation is an error.
func RegionRound(ctx workflow.Context, in contract.RegionInput) (contract.RegionResult, error) {
	r := &regional{in: in, counts: round.Counts{Selected: in.Sites}}
	result, err := r.run(ctx)
	switch {
	case canceled(ctx, err):
		return contract.RegionResult{}, err
	case err != nil:
		result = contract.RegionResult{Counts: r.counts, Cause: words(err, contract.RoundFailed)}
	}
	result.Region = in.Region
	r.show(ctx, result.Cause)
	return result, nil
}

// regional is the state of one region's stage.
type regional struct {
	in     contract.RegionInput
	counts round.Counts
}

func (r *regional) run(ctx workflow.Context) (contract.RegionResult, error) {
	in := r.in
	stage, err := contract.OpenStage.Execute(local(ctx, in.Region, "verify the order, wake the sites"), in)
	if err != nil {
		return contract.RegionResult{}, err
	}
	state := round.State{Need: in.Need, Extensions: in.Params.Extensions}
	for {
		r.show(ctx, "")
		seconds := in.Params.DeadlineSeconds
		summary := fmt.Sprintf("%d sites, %d s", in.Sites, seconds)
		counts, err := contract.AwaitStage.Execute(waiting(ctx, in.Region, seconds, summary), contract.AwaitInput{StageRef: stage, Seconds: seconds})
		if err != nil {
			return contract.RegionResult{}, err
		}
		r.counts = counts.Counts
		switch round.Next(state, r.counts) {
		case round.Proceed:
			return contract.AggregateRegion.Execute(compute(ctx, contract.QueueRegion(in.Region), "the region's sum"), stage)
		case round.Abort:
			return contract.RegionResult{}, &failure{contract.NoQuorum, r.tooFew()}
		case round.Extend:
			state.Extended++
		}
	}
}

func (r *regional) tooFew() string {
	return fmt.Sprintf("%d of %d sites delivered, %d were refused, %d are needed",
		r.counts.Accepted, r.counts.Selected, r.counts.Rejected, max(1, r.in.Need))
}

func (r *regional) show(ctx workflow.Context, cause string) {
	show(ctx,
		fmt.Sprintf("**%s**: %s round %d of model %s", r.in.Region, r.in.Kind, r.in.Number, r.in.ModelID),
		fmt.Sprintf("%d of %d sites delivered, %d were refused", r.counts.Accepted, r.counts.Selected, r.counts.Rejected),
		cause)
}
