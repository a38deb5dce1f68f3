// Package workflows sequences: it names what is to be done next and waits for
// it. Deciding is the domain's, doing is the activities'.
//
// Invariant: a workflow reads no clock but the workflow's, ranges over no map,
// branches on no float and holds no content, so that yesterday's history
// replays on today's code. Whatever ends one, its end is recorded.
package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
)

// How long an activity may take, by kind. A short StartToClose is how soon a
// step is tried again after its worker was killed. What fails for a passing
// reason (a database that restarts) is retried for ever: the workflow waits.
const (
	quickTimeout    = 15 * time.Second // one transaction
	signTimeout     = 20 * time.Second // one signature
	registryTimeout = time.Minute      // pushes and pulls of a package
	lookTimeout     = 20 * time.Second // a manifest and what refers to it
	computeTimeout  = 30 * time.Minute // sums over many updates, with heartbeats
	computeBeat     = 15 * time.Second
	waitBeat        = 15 * time.Second
	waitSlack       = 30 * time.Second // beyond what a wait was asked for
	regionSlack     = 2 * time.Minute  // beyond a region's deadlines, for one worker restart
	perSite         = time.Second      // and for each site's update to be summed
	regionAway      = 2 * time.Minute  // how long nobody in a region may take up a task
	advanceSlack    = 300              // seconds to work out what a stage begins with, with heartbeats
	secureStages    = 4                // that follow the one in which sites train
)

// quick is for one call to the database.
func quick(ctx workflow.Context, summary string) workflow.Context {
	return control(ctx, summary, quickTimeout)
}

// registry is for calls to the OCI registry.
func registry(ctx workflow.Context, summary string) workflow.Context {
	return control(ctx, summary, registryTimeout)
}

// look is for a few short calls to the OCI registry. Nothing heartbeats in them,
// so that this is how long the work of a killed worker waits.
func look(ctx workflow.Context, summary string) workflow.Context {
	return control(ctx, summary, lookTimeout)
}

// pushing is for a package on its way to the OCI registry: as long as it takes,
// as long as it gets on.
func pushing(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueControl,
		StartToCloseTimeout: computeTimeout,
		HeartbeatTimeout:    registryTimeout,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

func control(ctx workflow.Context, summary string, timeout time.Duration) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueControl,
		StartToCloseTimeout: timeout,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

// signing is for the one queue whose workers hold the key.
func signing(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueSigning,
		StartToCloseTimeout: signTimeout,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

// compute is for heavy arithmetic; it heartbeats.
func compute(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: computeTimeout,
		HeartbeatTimeout:    computeBeat,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

// local is for one call to the database from a region's worker.
func local(ctx workflow.Context, region, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueRegion(region),
		StartToCloseTimeout: quickTimeout,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

// waiting is for an activity that waits for seconds, in a region, and
// heartbeats meanwhile.
func waiting(ctx workflow.Context, region string, seconds int, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueRegion(region),
		StartToCloseTimeout: time.Duration(seconds)*time.Second + waitSlack,
		HeartbeatTimeout:    waitBeat,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

// verdict is for a wait whose failure is an answer: it is given up when the
// time is over, also when nobody in the region took it up.
func verdict(ctx workflow.Context, region string, seconds int, summary string) workflow.Context {
	limit := time.Duration(seconds)*time.Second + waitSlack
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.QueueRegion(region),
		StartToCloseTimeout:    limit,
		ScheduleToCloseTimeout: limit + regionAway,
		HeartbeatTimeout:       waitBeat,
		RetryPolicy:            patient(),
		Summary:                summary,
	})
}

// until bounds the retries of a call: what it is for ends then.
func until(ctx workflow.Context, limit time.Duration) workflow.Context {
	return workflow.WithScheduleToCloseTimeout(ctx, max(limit, time.Second))
}

// urgent puts a way back before everything else that waits for a worker.
func urgent(ctx workflow.Context) workflow.Context {
	return workflow.WithPriority(ctx, temporal.Priority{PriorityKey: 1})
}

// patient retries for ever, at most ten seconds apart. Activities mark what
// would fail again as final themselves.
func patient() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval:    200 * time.Millisecond,
		BackoffCoefficient: 2,
		MaximumInterval:    10 * time.Second,
	}
}

// child names a child workflow. Canceling the parent cancels it and waits for
// its end, so that a round is never open without an owner. limit 0 is none.
func child(ctx workflow.Context, id, queue, summary string, limit time.Duration, labels temporal.SearchAttributes) workflow.Context {
	return workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:               id,
		TaskQueue:                queue,
		WorkflowExecutionTimeout: limit,
		ParentClosePolicy:        enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation:      true,
		StaticSummary:            summary,
		TypedSearchAttributes:    labels,
	})
}

// canceled says whether err is this workflow's own cancellation, and not that
// of a child which somebody canceled alone.
func canceled(ctx workflow.Context, err error) bool {
	return ctx.Err() != nil && temporal.IsCanceledError(err)
}

// closing returns a context to record an end in: the workflow's own, or when
// that was canceled one that was not.
func closing(ctx workflow.Context) (workflow.Context, workflow.CancelFunc) {
	if ctx.Err() == nil {
		return workflow.WithCancel(ctx)
	}
	return workflow.NewDisconnectedContext(ctx)
}
