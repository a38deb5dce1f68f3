package workflows

import (
	"cmp"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// RegionRound runs the part of a round that happens in one group of sites: a
// region's, or one that is summed there. Its history is as long for three sites
// as for ten thousand: sites are rows that one activity counts. A group that
// cannot deliver says why in its result; only cancellation is an error.
func RegionRound(ctx workflow.Context, in contract.RegionInput) (contract.RegionResult, error) {
	r := &regional{in: in, host: cmp.Or(in.Host, in.Region), counts: round.Counts{Selected: in.Sites}}
	result, err := r.run(ctx)
	switch {
	case canceled(ctx, err):
		return contract.RegionResult{}, err
	case err != nil:
		result = contract.RegionResult{Counts: r.counts, Dropped: r.dropped, Cause: words(err, contract.RoundFailed)}
	}
	result.Region = in.Region
	r.show(ctx, result.Cause)
	return result, nil
}

// regional is the state of one group's part.
type regional struct {
	in      contract.RegionInput
	host    string // whose workers do it
	counts  round.Counts
	refused int      // of a secured group, whose counts begin anew with every stage
	dropped []string // and who that was, at most maxDropped
}

func (r *regional) run(ctx workflow.Context) (contract.RegionResult, error) {
	in := r.in
	stage, err := contract.OpenStage.Execute(local(ctx, r.host, "verify the order, wake the sites"), in)
	if err != nil {
		return contract.RegionResult{}, err
	}
	state := round.State{Need: r.need(), Extensions: in.Params.Extensions}
	for {
		r.show(ctx, "")
		seconds := in.Params.DeadlineSeconds
		summary := fmt.Sprintf("%d sites, %d s", in.Sites, seconds)
		counts, err := contract.AwaitStage.Execute(waiting(ctx, r.host, seconds, summary), contract.AwaitInput{StageRef: stage, Seconds: seconds, Enough: in.Enough})
		if err != nil {
			return contract.RegionResult{}, err
		}
		r.counts = counts.Counts
		switch round.Next(state, r.counts) {
		case round.Proceed:
			if in.Secured {
				return r.secured(ctx, stage)
			}
			return contract.AggregateRegion.Execute(compute(ctx, contract.QueueRegion(r.host), "the region's sum"), stage)
		case round.Abort:
			return contract.RegionResult{}, &failure{contract.NoQuorum, r.tooFew()}
		case round.Extend:
			state.Extended++
		}
	}
}

// need is how many sites must answer: a sum over fewer than three hides nobody.
func (r *regional) need() int {
	if r.in.Secured {
		return max(r.in.Need, round.MinBucket)
	}
	return r.in.Need
}

func (r *regional) tooFew() string {
	return fmt.Sprintf("%d of %d sites delivered, %d were refused, %d are needed",
		r.counts.Accepted, r.counts.Selected, r.counts.Rejected, max(1, r.need()))
}

func (r *regional) show(ctx workflow.Context, cause string) {
	show(ctx,
		fmt.Sprintf("**%s**: %s round %d of model %s", r.in.Region, r.in.Kind, r.in.Number, r.in.ModelID),
		fmt.Sprintf("%d of %d sites delivered, %d were refused", r.counts.Accepted, r.counts.Selected, r.counts.Rejected),
		cause)
}
