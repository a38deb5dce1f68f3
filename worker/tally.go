package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

const (
	// A stage's row says when its transaction began. Whoever commits later than
	// this after that is not counted; one update of a row is far from it.
	tallyOverlap = time.Minute
	tallyPage    = 1000
)

// A tally counts what stages that have closed were like. It is made of their
// rows, each once, from the first that there is: whichever worker is asked, and
// after whatever restart, the totals are the same. They are shown once the past
// is counted: a total on its way up would read as a great many in a moment.
type tally struct {
	source   activities.Censor
	registry *prometheus.Registry
	page     int
	shown    bool
	newest   activities.Mark
	seen     map[string]time.Time // keys within the overlap

	asked, dropped, answers, refused *prometheus.CounterVec
	seconds, norms                   *prometheus.HistogramVec
}

func newTally(source activities.Censor, tel *telemetry.Telemetry) *tally {
	return &tally{
		source: source, registry: tel.Registry, page: tallyPage, seen: map[string]time.Time{},
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_round_asked_total", Help: "Sites that stages asked, over all stages that have closed, by the region that sums; it begins with the first stage ever.",
		}, []string{"region"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_round_dropped_total", Help: "Of these, those that were not heard of by the deadline; whom a stage did not wait for is none of them.",
		}, []string{"region"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_site_answers_total", Help: "Answers of sites in stages that have closed, by the region that sums.",
		}, []string{"region"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_site_refused_total", Help: "Of these, those that were refused when they came.",
		}, []string{"region"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fabric_round_stage_seconds", Help: "From the opening of a stage to its close, by the region that sums and by step.",
			Buckets: []float64{0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"region", "stage"}),
		norms: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fabric_round_update_norm", Help: "Euclidean norm of trained updates that count, in rounds where the control plane can read them; one that is masked has none.",
			Buckets: prometheus.ExponentialBuckets(0.001, 10, 8),
		}, []string{"region"}),
	}
}

// look counts what has closed since the last look.
func (t *tally) look(ctx context.Context) error {
	from := activities.Mark{}
	if !t.newest.At.IsZero() {
		from.At = t.newest.At.Add(-tallyOverlap)
	}
	for {
		found, err := t.source.ClosedStages(ctx, from, t.page)
		if err != nil {
			return fmt.Errorf("stages: %w", err)
		}
		for _, s := range found {
			if _, before := t.seen[s.Key]; !before {
				t.count(s)
			}
			from = s.Mark
		}
		if from.At.After(t.newest.At) {
			t.newest = from
		}
		if len(found) < t.page {
			break
		}
	}
	for key, at := range t.seen {
		if t.newest.At.Sub(at) > 2*tallyOverlap {
			delete(t.seen, key)
		}
	}
	return t.show()
}

func (t *tally) count(s activities.ClosedStage) {
	t.seen[s.Key] = s.At
	t.asked.WithLabelValues(s.Region).Add(float64(s.Asked))
	t.dropped.WithLabelValues(s.Region).Add(float64(s.Dropped))
	t.answers.WithLabelValues(s.Region).Add(float64(s.Answers))
	t.refused.WithLabelValues(s.Region).Add(float64(s.Refused))
	t.seconds.WithLabelValues(s.Region, s.Step).Observe(max(s.Seconds, 0))
	norms := t.norms.WithLabelValues(s.Region)
	for _, norm := range s.Norms {
		norms.Observe(norm)
	}
}

func (t *tally) show() error {
	if t.shown {
		return nil
	}
	for _, c := range []prometheus.Collector{t.asked, t.dropped, t.answers, t.refused, t.seconds, t.norms} {
		if err := t.registry.Register(c); err != nil {
			return fmt.Errorf("tally: %w", err)
		}
	}
	t.shown = true
	return nil
}
