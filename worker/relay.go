package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

const (
	relayBatch   = 10
	relayIdle    = time.Second     // a notice may be lost; a row never waits longer
	startTimeout = 5 * time.Second // of one start
	leastRetry   = 500 * time.Millisecond
	mostRetry    = time.Minute
	mostAttempts = 20              // of a row that fails for a reason of its own
	fresh        = time.Minute     // a row older than this is linked to its trace, no longer part of it
	backlogEvery = 5 * time.Second // how often the backlog is counted
)

// Why a row can never start.
var (
	ErrUnknownWorkflow = errors.New("the contract has no such workflow")
	ErrAttribute       = errors.New("not a search attribute of the contract")
)

// A Starter starts workflows; a Temporal client is one.
type Starter interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// A Relay starts the workflows that committed transactions asked for: each row
// once, in the sense that its workflow ID exists once. A crash between the
// start and the commit hands the row out again, and the second start finds the
// first one done.
type Relay struct {
	outbox  activities.Outbox
	starter Starter
	tracer  trace.Tracer
	log     *slog.Logger
	known   map[string]bool
	now     func() time.Time

	starts  *prometheus.CounterVec
	delay   prometheus.Histogram
	waiting prometheus.Gauge
	dead    prometheus.Gauge
	oldest  prometheus.Gauge
	counted time.Time
}

// NewRelay returns a relay whose metrics are registered.
func NewRelay(outbox activities.Outbox, starter Starter, tel *telemetry.Telemetry) (*Relay, error) {
	r := &Relay{
		outbox:  outbox,
		starter: starter,
		tracer:  tel.Tracers.Tracer("outbox"),
		log:     tel.Log.With("component", "outbox"),
		known:   bound(),
		now:     time.Now,
		starts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_outbox_starts_total", Help: "Rows handed out, by what became of them.",
		}, []string{"result"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fabric_outbox_start_delay_seconds", Help: "From the commit of a row to the start of its workflow.", Buckets: telemetry.Buckets(),
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_outbox_waiting_rows", Help: "Rows that are not started yet."}),
		dead:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_outbox_dead_rows", Help: "Rows that were given up and wait for a person."}),
		oldest:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_outbox_oldest_seconds", Help: "Since the command of the oldest row that is not started."}),
	}
	for _, c := range []prometheus.Collector{r.starts, r.delay, r.waiting, r.dead, r.oldest} {
		if err := tel.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
	}
	return r, nil
}

// Run empties the outbox until ctx is done. While the database or Temporal is
// away it tries again, less and less often; rows lose nothing by it.
func (r *Relay) Run(ctx context.Context) error {
	pause := leastRetry
	for ctx.Err() == nil {
		away, n, err := r.pass(ctx)
		r.count(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil || away:
			if err != nil {
				r.log.WarnContext(ctx, "the outbox cannot be read", "err", err, "retry_in", pause.String())
			}
			sleep(ctx, pause)
			pause = min(2*pause, mostRetry)
		case n == relayBatch:
			pause = leastRetry // there may be more
		default:
			pause = leastRetry
			if err := r.outbox.OutboxChanged(ctx, relayIdle); err != nil && ctx.Err() == nil {
				sleep(ctx, pause)
			}
		}
	}
	return nil
}

// pass hands out one batch. Once Temporal is found away, the rest of the batch
// is not tried: every row would hold its lock for the time of a timeout.
func (r *Relay) pass(ctx context.Context) (away bool, n int, err error) {
	n, err = r.outbox.Relay(ctx, relayBatch, func(ctx context.Context, row activities.Start) activities.Verdict {
		if away {
			return activities.Verdict{RetryIn: leastRetry}
		}
		verdict, result := r.start(ctx, row)
		r.starts.WithLabelValues(result).Inc()
		away = result == "away"
		return verdict
	})
	return away, n, err
}

// start starts one row and says what becomes of it.
func (r *Relay) start(ctx context.Context, row activities.Start) (activities.Verdict, string) {
	remote := traceOf(ctx, row)
	ctx, span := r.span(ctx, row, remote)
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	options, err := r.options(row, remote)
	if err == nil {
		_, err = r.starter.ExecuteWorkflow(ctx, options, row.Workflow, row.Input)
	}
	var again *serviceerror.WorkflowExecutionAlreadyStarted
	switch {
	case err == nil, errors.As(err, &again):
		r.delay.Observe(max(r.now().Sub(row.CreatedAt).Seconds(), 0))
		return activities.Verdict{Done: true}, "started"
	case isAway(err):
		r.log.WarnContext(ctx, "temporal is away", "workflow", row.Workflow, "id", row.WorkflowID, "err", err)
		return activities.Verdict{RetryIn: leastRetry, Cause: "temporal is away"}, "away"
	case hopeless(err) || row.Attempts+1 >= mostAttempts:
		r.log.ErrorContext(ctx, "a workflow can never start", "workflow", row.Workflow, "id", row.WorkflowID, "err", err)
		return activities.Verdict{Dead: true, Counts: true, Cause: err.Error()}, "dead"
	default:
		r.log.WarnContext(ctx, "a workflow did not start", "workflow", row.Workflow, "id", row.WorkflowID, "err", err)
		return activities.Verdict{Counts: true, RetryIn: retryIn(row.Attempts), Cause: err.Error()}, "failed"
	}
}

// options never start a workflow ID twice, closed or not. Temporal remembers
// closed ones as long as the namespace's retention; after that the row, which
// is done, is what guards.
func (r *Relay) options(row activities.Start, remote trace.SpanContext) (client.StartWorkflowOptions, error) {
	if !r.known[row.Workflow] {
		return client.StartWorkflowOptions{}, fmt.Errorf("%q: %w", row.Workflow, ErrUnknownWorkflow)
	}
	attributes, err := searchAttributes(row.Attributes)
	if err != nil {
		return client.StartWorkflowOptions{}, err
	}
	return client.StartWorkflowOptions{
		ID:                                       row.WorkflowID,
		TaskQueue:                                row.Queue,
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		TypedSearchAttributes:                    attributes,
		StaticSummary:                            row.Summary,
		Memo:                                     memo(remote),
	}, nil
}

// span continues the trace of the request that wrote the row. When that was
// long ago, the request's span is closed and the start is only linked to it.
func (r *Relay) span(ctx context.Context, row activities.Start, remote trace.SpanContext) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer)}
	if remote.IsValid() {
		if r.now().Sub(row.CreatedAt) < fresh {
			ctx = trace.ContextWithRemoteSpanContext(ctx, remote)
		} else {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: remote}))
		}
	}
	return r.tracer.Start(ctx, "outbox start "+row.Workflow, options...)
}

// count brings the gauges up to date, now and then.
func (r *Relay) count(ctx context.Context) {
	now := r.now()
	if now.Sub(r.counted) < backlogEvery || ctx.Err() != nil {
		return
	}
	r.counted = now
	backlog, err := r.outbox.OutboxBacklog(ctx)
	if err != nil {
		return // the pass has said so
	}
	r.waiting.Set(float64(backlog.Waiting))
	r.dead.Set(float64(backlog.Dead))
	r.oldest.Set(backlog.Oldest.Seconds())
}

// memo keeps the global trace id with the workflow, for who looks at it later.
func memo(remote trace.SpanContext) map[string]any {
	if !remote.IsValid() {
		return nil
	}
	return map[string]any{"traceId": remote.TraceID().String()}
}

// traceOf reads the trace of the request that wrote a row.
func traceOf(ctx context.Context, row activities.Start) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": row.Traceparent}
	return trace.SpanContextFromContext(telemetry.Propagator().Extract(trace.ContextWithSpanContext(ctx, trace.SpanContext{}), carrier))
}
