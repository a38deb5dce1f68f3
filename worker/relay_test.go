package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/worker"
)

// outbox is an outbox in memory. crashes is how many of the next verdicts are
// lost, as if the process had died before the commit.
type outbox struct {
	mu      sync.Mutex
	rows    []activities.Start
	ended   map[int64]activities.Verdict
	given   map[int64][]activities.Verdict
	crashes int
	away    error
}

func (o *outbox) Relay(ctx context.Context, limit int, start func(context.Context, activities.Start) activities.Verdict) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away != nil {
		return 0, o.away
	}
	n := 0
	for i := range o.rows {
		row := &o.rows[i]
		if _, over := o.ended[row.ID]; over || n == limit {
			continue
		}
		n++
		verdict := start(ctx, *row)
		o.given[row.ID] = append(o.given[row.ID], verdict)
		if o.crashes > 0 {
			o.crashes--
			continue
		}
		if verdict.Counts {
			row.Attempts++
		}
		if verdict.Done || verdict.Dead {
			o.ended[row.ID] = verdict
		}
	}
	return n, nil
}

func (o *outbox) OutboxChanged(ctx context.Context, wait time.Duration) error {
	select {
	case <-ctx.Done():
	case <-time.After(min(wait, time.Millisecond)):
	}
	return nil
}

func (o *outbox) OutboxBacklog(context.Context) (activities.Backlog, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return activities.Backlog{Waiting: len(o.rows) - len(o.ended), Oldest: 3 * time.Second}, nil
}

func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.rows) - len(o.ended)
}

// starter starts each ID once, as Temporal does, after the errors it was given.
type starter struct {
	mu      sync.Mutex
	errs    []error
	started map[string]client.StartWorkflowOptions
	inputs  map[string]any
	calls   int
}

func (s *starter) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		if err != nil {
			return nil, err
		}
	}
	if _, again := s.started[o.ID]; again {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("again", "", "")
	}
	s.started[o.ID] = o
	s.inputs[o.ID] = args[0]
	return nil, nil
}

func row(id int64) activities.Start {
	return activities.Start{
		ID: id, Workflow: contract.TrainingRun.Name, WorkflowID: contract.RunID(string(rune('a' + id))), Queue: contract.QueueControl,
		Input: json.RawMessage(`{"run":"r"}`), Summary: "trains tumour",
		Attributes:  json.RawMessage(`{"FabricTenant":"clinic","FabricRisk":40}`),
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", // example of W3C Trace Context, section 3.2
		CreatedAt:   time.Now(),
	}
}

func relay(t *testing.T, o *outbox, s *starter) (*worker.Relay, *telemetry.Telemetry) {
	t.Helper()
	o.ended, o.given = map[int64]activities.Verdict{}, map[int64][]activities.Verdict{}
	s.started, s.inputs = map[string]client.StartWorkflowOptions{}, map[string]any{}
	tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: &bytes.Buffer{}})
	require.NoError(t, err)
	r, err := worker.NewRelay(o, s, tel)
	require.NoError(t, err)
	return r, tel
}

// empty runs the relay until nothing is left.
func empty(t *testing.T, r *worker.Relay, o *outbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	require.Eventually(t, func() bool { return o.left() == 0 }, 15*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func TestEveryRowIsStartedOnceThroughCrashes(t *testing.T) {
	o, s := &outbox{crashes: 17}, &starter{}
	for id := range int64(25) {
		o.rows = append(o.rows, row(id))
	}
	r, tel := relay(t, o, s)
	empty(t, r, o)
	require.Len(t, s.started, 25)
	require.Equal(t, 25+17, s.calls, "each lost verdict is one more call, none of them a second workflow")

	options := s.started[contract.RunID("a")]
	require.Equal(t, "trains tumour", options.StaticSummary)
	require.Equal(t, enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, options.WorkflowIDReusePolicy)
	require.Equal(t, map[string]any{"traceId": "4bf92f3577b34da6a3ce929d0e0e4736"}, options.Memo)
	tenant, ok := options.TypedSearchAttributes.GetKeyword(contract.AttrTenant)
	require.True(t, ok)
	require.Equal(t, "clinic", tenant)
	risk, ok := options.TypedSearchAttributes.GetInt64(contract.AttrRisk)
	require.True(t, ok)
	require.Equal(t, int64(40), risk)
	require.Equal(t, json.RawMessage(`{"run":"r"}`), s.inputs[contract.RunID("a")])

	answer := httptest.NewRecorder()
	tel.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	require.Contains(t, answer.Body.String(), `fabric_outbox_starts_total{result="started"} 42`)
	require.Contains(t, answer.Body.String(), "fabric_outbox_oldest_seconds 3")
}

func TestARowsFate(t *testing.T) {
	unknown, attribute := row(1), row(1)
	unknown.Workflow = "Nobody"
	attribute.Attributes = json.RawMessage(`{"Patient":"x"}`)
	tired := row(1)
	tired.Attempts = 19
	tests := []struct {
		name    string
		row     activities.Start
		errs    []error
		verdict []activities.Verdict
	}{
		{"starts", row(1), nil, []activities.Verdict{{Done: true}}},
		{"had started", row(1), []error{serviceerror.NewWorkflowExecutionAlreadyStarted("", "", "")}, []activities.Verdict{{Done: true}}},
		{"waits while Temporal is away, at no cost of its own", row(1), []error{serviceerror.NewUnavailable("down"), context.DeadlineExceeded},
			[]activities.Verdict{{RetryIn: 500 * time.Millisecond}, {RetryIn: 500 * time.Millisecond}, {Done: true}}},
		{"is retried later and later when it fails by itself", row(1), []error{errors.New("odd"), errors.New("odd")},
			[]activities.Verdict{{Counts: true, RetryIn: 500 * time.Millisecond}, {Counts: true, RetryIn: time.Second}, {Done: true}}},
		{"is given up after many failures", tired, []error{errors.New("odd")}, []activities.Verdict{{Counts: true, Dead: true}}},
		{"is given up at once when the server calls it invalid", row(1), []error{serviceerror.NewInvalidArgument("no")}, []activities.Verdict{{Counts: true, Dead: true}}},
		{"is given up when nobody serves its workflow", unknown, nil, []activities.Verdict{{Counts: true, Dead: true}}},
		{"is given up when it would show what is no attribute", attribute, nil, []activities.Verdict{{Counts: true, Dead: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, s := &outbox{rows: []activities.Start{tt.row}}, &starter{errs: tt.errs}
			r, _ := relay(t, o, s)
			empty(t, r, o)
			for i := range o.given[tt.row.ID] {
				o.given[tt.row.ID][i].Cause = ""
			}
			require.Equal(t, tt.verdict, o.given[tt.row.ID])
		})
	}
}

func TestAnOutageCostsOneTimeoutABatch(t *testing.T) {
	o, s := &outbox{}, &starter{errs: []error{serviceerror.NewUnavailable("down")}}
	for id := range int64(10) {
		o.rows = append(o.rows, row(id))
	}
	r, _ := relay(t, o, s)
	empty(t, r, o)
	require.Equal(t, 11, s.calls)
	require.Equal(t, []activities.Verdict{{RetryIn: 500 * time.Millisecond}, {Done: true}}, o.given[9],
		"one call found it away; the rows behind it were not tried in that batch")
}
