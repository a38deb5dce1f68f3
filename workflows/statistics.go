package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
)

// FeatureStatistics has the statistics of a version of a feature computed by the
// sites of its tenant, and publishes them. They were charged when it was
// started. Whatever ends it, the attempt is ended: what nobody answered is given
// back, and what somebody did is not asked again.
func FeatureStatistics(ctx workflow.Context, in contract.StatisticsInput) (contract.StatisticsResult, error) {
	begin(ctx, in.Subject, "statistics")
	shown := func(now string) {
		show(ctx, fmt.Sprintf("Statistics of feature **%s** of %s, version %d, attempt %d: %s", in.Feature, in.Tenant, in.Version, in.Attempt, now))
	}
	shown("asking its sites")
	end := contract.StatisticsEnd{StatisticsInput: in}
	asked, err := contract.AskStatistics.Execute(quick(ctx, "ask the sites"), in)
	if err == nil {
		shown(fmt.Sprintf("%d sites have %d s", asked.Sites, asked.Seconds))
		var counts contract.StatisticsCounts
		counts, err = contract.AwaitStatistics.Execute(waitingHere(ctx, asked.Seconds, "answers of the sites"), asked)
		shown(fmt.Sprintf("%d of %d sites answered, %d refused", counts.Answered, asked.Sites, counts.Refused))
	}
	end.Cause = words(err, contract.BadPlan)
	stopped := err != nil && ctx.Err() != nil
	if stopped {
		end.Cause = "it was canceled"
	}
	ending, done := workflow.NewDisconnectedContext(ctx) // nobody cancels the end
	defer done()
	result, failed := contract.PublishStatistics.Execute(quick(ending, "publish"), end)
	if failed != nil {
		return result, failed
	}
	shown(result.State)
	if stopped {
		return result, ctx.Err()
	}
	return result, nil
}

// waitingHere is for an activity of the control queue that waits for seconds and
// heartbeats meanwhile.
func waitingHere(ctx workflow.Context, seconds int, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueControl,
		StartToCloseTimeout: time.Duration(seconds)*time.Second + waitSlack,
		HeartbeatTimeout:    waitBeat,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}
