package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
)

// ErrSchedule says that a loop cannot be scheduled as it is asked for.
var ErrSchedule = errors.New("the policy loop needs a window of 1 second to 7 days, a baseline of 1 to 90 windows, and dev, staging or production")

// ScheduleFeedback has the policy loop evaluated once a window. Whoever calls
// it again with other settings changes the schedule; the same ones change
// nothing. An evaluation that is late is skipped: the next one sees the same
// telemetry.
func ScheduleFeedback(ctx context.Context, c client.Client, in contract.FeedbackInput) error {
	if in.Seconds < 1 || in.Seconds > 7*24*3600 || in.Baseline < 1 || in.Baseline > 90 || in.Environment != "dev" && in.Environment != "staging" && in.Environment != "production" {
		return ErrSchedule
	}
	id := contract.FeedbackSchedule(in.Tenant)
	spec := client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: time.Duration(in.Seconds) * time.Second}}}
	action := &client.ScheduleWorkflowAction{
		ID: contract.FeedbackID(in.Tenant), Workflow: contract.Feedback.Name, Args: []any{in}, TaskQueue: contract.QueueControl,
	}
	_, err := c.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: id, Spec: spec, Action: action, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: time.Duration(in.Seconds) * time.Second,
	})
	if err == nil || !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err
	}
	err = c.ScheduleClient().GetHandle(ctx, id).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(now client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			next := now.Description.Schedule
			next.Spec, next.Action = &spec, action
			return &client.ScheduleUpdate{Schedule: &next}, nil
		},
	})
	if err != nil {
		return fmt.Errorf("schedule %s: %w", id, err)
	}
	return nil
}
