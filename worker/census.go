package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

const (
	censusEvery = 5 * time.Second
	// A poll waits for up to a minute before it is asked anew.
	pollerSeen = 75 * time.Second
)

// Pollers says who asks a queue for work; a Temporal client does.
type Pollers interface {
	DescribeTaskQueue(ctx context.Context, queue string, kind enums.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error)
}

// A Watch shows operators what is open in the control plane and who works for
// its queues: what no single process can count about itself. Several workers of
// the control queue show the same.
type Watch struct {
	censor  activities.Censor
	pollers Pollers
	queues  []string
	log     *slog.Logger
	now     func() time.Time

	gauges  map[prometheus.Gauge]func(activities.Census) float64
	looks   prometheus.Counter
	polling *prometheus.GaugeVec
	tally   *tally
}

// NewWatch returns a watch over the queues, whose metrics are registered.
func NewWatch(censor activities.Censor, pollers Pollers, queues []string, tel *telemetry.Telemetry) (*Watch, error) {
	w := &Watch{
		censor: censor, pollers: pollers, queues: queues, log: tel.Log.With("component", "census"), now: time.Now,
		gauges: map[prometheus.Gauge]func(activities.Census) float64{
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_run_open", Help: "Runs that have not ended."}):                                                      func(c activities.Census) float64 { return float64(c.Runs) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_round_open", Help: "Rounds that are open."}):                                                        func(c activities.Census) float64 { return float64(c.Rounds) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_round_oldest_seconds", Help: "Since the oldest open round began, 0 for none."}):                     func(c activities.Census) float64 { return c.OldestRound.Seconds() },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_round_silent_seconds", Help: "Longest that an open stage waits without a word from its sites."}):    func(c activities.Census) float64 { return c.SilentStage.Seconds() },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_round_overdue_seconds", Help: "Longest that a stage is open after its deadline."}):                  func(c activities.Census) float64 { return c.OverdueStage.Seconds() },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_round_missing_sites", Help: "Sites that open stages asked and have not heard of."}):                 func(c activities.Census) float64 { return float64(c.MissingSites) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_site_enrolled", Help: "Sites that are enrolled."}):                                                  func(c activities.Census) float64 { return float64(c.Sites) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_site_silent", Help: "Enrolled sites that did not ask for work in the last five minutes."}):          func(c activities.Census) float64 { return float64(c.SilentSites) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_approval_open", Help: "Ballots that wait for votes."}):                                              func(c activities.Census) float64 { return float64(c.Ballots) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_approval_left_seconds", Help: "Until the first open ballot expires, 0 for none."}):                  func(c activities.Census) float64 { return c.BallotLeft.Seconds() },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_rollout_open", Help: "Rollouts that have begun and not ended."}):                                    func(c activities.Census) float64 { return float64(c.Rollouts) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_rollout_held", Help: "Open rollouts that wait for a person."}):                                      func(c activities.Census) float64 { return float64(c.HeldBack) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_rollout_returned", Help: "Rollouts that ever went back; it only grows."}):                           func(c activities.Census) float64 { return float64(c.WentBack) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_privacy_budgets", Help: "Privacy budgets that rounds have taken from."}):                            func(c activities.Census) float64 { return float64(c.Budgets) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_privacy_exhausted", Help: "Budgets that another round like their dearest does not fit into."}):      func(c activities.Census) float64 { return float64(c.Exhausted) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_privacy_least_ratio", Help: "Share that is left of the budget with least, 1 for none."}):            func(c activities.Census) float64 { return c.BudgetLeast },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_audit_leaves", Help: "Leaves of the audit log in the database."}):                                   func(c activities.Census) float64 { return float64(c.Leaves) },
			prometheus.NewGauge(prometheus.GaugeOpts{Name: "fabric_audit_unsigned_seconds", Help: "Since the newest leaf came whose head nobody signed, 0 for none."}): func(c activities.Census) float64 { return c.Unsigned.Seconds() },
		},
		looks: prometheus.NewCounter(prometheus.CounterOpts{Name: "fabric_census_looks_total", Help: "Times that the control plane was counted through."}),
		polling: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fabric_queue_pollers", Help: "Who asked a task queue for work within 75 s, by queue and kind.",
		}, []string{"queue", "kind"}),
	}
	w.tally = newTally(censor, tel)
	all := []prometheus.Collector{w.looks, w.polling}
	for gauge := range w.gauges {
		all = append(all, gauge)
	}
	for _, c := range all {
		if err := tel.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("census: %w", err)
		}
	}
	return w, nil
}

// Run looks again and again until ctx is done. What is away is looked for
// again; the gauges keep what was last seen, and the counter of looks stands.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(censusEvery)
	defer tick.Stop()
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "the control plane cannot be counted", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*censusEvery)
	defer cancel()
	census, err := w.censor.Census(ctx)
	if err == nil {
		for gauge, value := range w.gauges {
			gauge.Set(value(census))
		}
	}
	err = errors.Join(err, w.tally.look(ctx))
	for _, queue := range w.queues {
		for kind, of := range map[string]enums.TaskQueueType{"workflow": enums.TASK_QUEUE_TYPE_WORKFLOW, "activity": enums.TASK_QUEUE_TYPE_ACTIVITY} {
			answer, asked := w.pollers.DescribeTaskQueue(ctx, queue, of)
			if asked != nil {
				err = errors.Join(err, fmt.Errorf("queue %s: %w", queue, asked))
				continue
			}
			live := 0
			for _, p := range answer.GetPollers() {
				if w.now().Sub(p.GetLastAccessTime().AsTime()) < pollerSeen {
					live++
				}
			}
			w.polling.WithLabelValues(queue, kind).Set(float64(live))
		}
	}
	if err == nil {
		w.looks.Inc()
	}
	return err
}
