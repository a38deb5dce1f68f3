package worker

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

type counted struct {
	census activities.Census
	closed []activities.ClosedStage
	err    error
}

func (c *counted) ClosedStages(_ context.Context, after activities.Mark, most int) (found []activities.ClosedStage, err error) {
	for _, s := range c.closed {
		if later := s.At.Compare(after.At); (later > 0 || later == 0 && s.Key > after.Key) && len(found) < most {
			found = append(found, s)
		}
	}
	return found, c.err
}

func (c *counted) Census(context.Context) (activities.Census, error) { return c.census, c.err }

// queues are pollers by queue and kind: when each last asked.
type queues map[string][]time.Time

func (q queues) DescribeTaskQueue(_ context.Context, queue string, kind enums.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error) {
	seen, ok := q[queue+" "+kind.String()]
	if !ok {
		return nil, errors.New("away")
	}
	answer := &workflowservice.DescribeTaskQueueResponse{}
	for _, at := range seen {
		answer.Pollers = append(answer.Pollers, &taskqueue.PollerInfo{LastAccessTime: timestamppb.New(at)})
	}
	return answer, nil
}

// What was counted is shown under the names that the alerts use; what cannot be
// counted leaves what was last seen, and no look is counted.
func TestTheWatchShowsWhatIsOpen(t *testing.T) {
	tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: io.Discard})
	require.NoError(t, err)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	asked := queues{
		"control Workflow": {now.Add(-time.Minute), now.Add(-2 * time.Minute)}, // a poll takes up to a minute
		"control Activity": {now.Add(-10 * time.Minute)},
	}
	censor := &counted{census: activities.Census{Rounds: 2, SilentStage: 90 * time.Second, Ballots: 3, BallotLeft: time.Hour, WentBack: 1, Exhausted: 4, BudgetLeast: 0.25, Leaves: 17}}
	w, err := NewWatch(censor, asked, []string{"control"}, tel)
	require.NoError(t, err)
	w.now = func() time.Time { return now }
	require.NoError(t, w.look(t.Context()))
	shown := func() map[string]float64 {
		families, err := tel.Registry.Gather()
		require.NoError(t, err)
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, label := range m.GetLabel() {
					name += " " + label.GetValue()
				}
				out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return out
	}
	got := shown()
	for name, want := range map[string]float64{
		"fabric_round_open": 2, "fabric_round_silent_seconds": 90, "fabric_approval_open": 3, "fabric_approval_left_seconds": 3600, "fabric_rollout_returned": 1,
		"fabric_privacy_exhausted": 4, "fabric_privacy_least_ratio": 0.25, "fabric_audit_leaves": 17, "fabric_census_looks_total": 1,
		"fabric_queue_pollers workflow control": 1, "fabric_queue_pollers activity control": 0,
	} {
		require.Contains(t, got, name)
		require.InDelta(t, want, got[name], 0, name)
	}
	censor.err = errors.New("away")
	require.Error(t, w.look(t.Context()))
	after := shown()
	require.InDelta(t, 2, after["fabric_round_open"], 0)
	require.InDelta(t, 1, after["fabric_census_looks_total"], 0)
	delete(asked, "control Activity")
	censor.err = nil
	require.ErrorContains(t, w.look(t.Context()), "queue control")
}
