package router

import (
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What a call may take, which a twentieth may miss: P6.
const (
	budgetWithin  = 500 * time.Millisecond // a region
	budgetBetween = time.Second            // two regions
	budgetShare   = 0.05
)

// calls counts calls as their callers saw them.
type calls struct {
	home     string // region of the router
	bounds   []float64
	requests *prometheus.CounterVec
	decided  *prometheus.CounterVec
	failed   *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	addedAll prometheus.Histogram
	added    *examples
	budgeted *prometheus.CounterVec
	missed   *prometheus.CounterVec
	byCode   [600]atomic.Pointer[prometheus.Counter]
	byRegion sync.Map // region of the runtime -> *pair
}

// A pair is the way from the router's region to a runtime's.
type pair struct {
	decided  prometheus.Counter
	failed   prometheus.Counter
	latency  *examples
	budget   time.Duration
	budgeted prometheus.Counter
	missed   prometheus.Counter
	hour     hour
}

func newCalls(home string, bounds []float64) *calls {
	c := &calls{home: home, bounds: bounds,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_requests_total", Help: "Calls of /invoke, by status code; 499 for a caller that left.",
		}, []string{"code"}),
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_decisions_total", Help: "Calls that were answered, by region of the runtime.",
		}, []string{"region"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_failed_total", Help: "Calls that a runtime was asked for and that failed for a fault of ours, by its region.",
		}, []string{"region"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fabric_router_call_seconds", Help: "Time of a call that a runtime was asked for, by the regions of the router and of the runtime.", Buckets: bounds,
		}, []string{"from", "to"}),
		addedAll: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fabric_router_added_seconds", Help: "Time that the router added to a call.", Buckets: bounds,
		}),
		budgeted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_budget_calls_total", Help: "Calls that count against the budget of P6: answered, or failed for a fault of ours.",
		}, []string{"from", "to"}),
		missed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_budget_missed_total", Help: "Of these, those that failed or took longer than 500 ms within a region, 1 s between two.",
		}, []string{"from", "to"}),
	}
	c.added = newExamples(c.addedAll, bounds)
	return c
}

// collectors are what is registered.
func (c *calls) collectors() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.decided, c.failed, c.latency, c.addedAll, c.budgeted, c.missed, newBudgetLeft(c)}
}

// ended counts a call that has ended at now.
func (c *calls) ended(v *visit, now time.Time) {
	c.code(v.status).Inc()
	took, failed, at := now.Sub(v.began), v.status >= 500, now.UnixNano()
	c.added.observe((took - v.upstream).Seconds(), v.span.trace, failed, at)
	if v.record.Region == "" { // no runtime was asked
		return
	}
	p := c.pair(v.record.Region)
	p.latency.observe(took.Seconds(), v.span.trace, failed, at)
	if !failed && v.status >= 400 { // for what the caller asked, or it left
		return
	}
	missed := failed || took > p.budget
	p.budgeted.Inc()
	if missed {
		p.missed.Inc()
	}
	if failed {
		p.failed.Inc()
	} else {
		p.decided.Inc()
	}
	p.hour.count(at, missed)
}

// code returns the counter of a status without a look-up by name.
func (c *calls) code(status int) prometheus.Counter {
	slot := &c.byCode[min(max(status, 0), len(c.byCode)-1)]
	if found := slot.Load(); found != nil {
		return *found
	}
	counter := c.requests.WithLabelValues(strconv.Itoa(status))
	slot.Store(&counter)
	return counter
}

func (c *calls) pair(region string) *pair {
	if found, ok := c.byRegion.Load(region); ok {
		return found.(*pair)
	}
	p := &pair{decided: c.decided.WithLabelValues(region), failed: c.failed.WithLabelValues(region), budget: budgetBetween,
		budgeted: c.budgeted.WithLabelValues(c.home, region), missed: c.missed.WithLabelValues(c.home, region)}
	if region == c.home {
		p.budget = budgetWithin
	}
	p.latency = newExamples(c.latency.WithLabelValues(c.home, region), c.bounds)
	found, _ := c.byRegion.LoadOrStore(region, p)
	return found.(*pair)
}

// exemplars stand for so long; one of an error gives way to another error only.
const (
	exemplarStands = time.Second
	errorStands    = time.Minute
)

// examples is a histogram whose buckets each have one exemplar: the trace of a
// recent call, of a failed one first. Most calls leave none, which is what it
// would cost them.
type examples struct {
	prometheus.Observer
	bounds []float64
	until  []atomic.Int64 // by bucket; negative for that of an error
}

func newExamples(h prometheus.Observer, bounds []float64) *examples {
	return &examples{h, bounds, make([]atomic.Int64, len(bounds)+1)}
}

func (e *examples) observe(seconds float64, trace string, failed bool, now int64) {
	slot := &e.until[sort.SearchFloat64s(e.bounds, seconds)]
	until := slot.Load()
	with, ok := e.Observer.(prometheus.ExemplarObserver)
	if due := now > max(until, -until) || failed && until >= 0; !due || !ok || trace == "" {
		e.Observe(seconds)
		return
	}
	next := now + int64(exemplarStands)
	if failed {
		next = -(now + int64(errorStands))
	}
	if !slot.CompareAndSwap(until, next) {
		e.Observe(seconds)
		return
	}
	with.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": trace})
}

// An hour counts the last sixty minutes, in twelve parts.
type hour [12]struct{ part, calls, missed atomic.Int64 }

const hourPart = int64(5 * time.Minute)

func (h *hour) count(now int64, missed bool) {
	slot := &h[now/hourPart%int64(len(h))]
	if part := slot.part.Load(); part != now/hourPart && slot.part.CompareAndSwap(part, now/hourPart) {
		slot.calls.Store(0) // a call that is counted in between is lost: one in an hour
		slot.missed.Store(0)
	}
	slot.calls.Add(1)
	if missed {
		slot.missed.Add(1)
	}
}

// left returns the share of the error budget that is left: 1 is all of it, 0
// none, less than 0 that the promise is broken.
func (h *hour) left(now int64) float64 {
	var calls, missed int64
	for i := range h {
		if now/hourPart-h[i].part.Load() < int64(len(h)) {
			calls, missed = calls+h[i].calls.Load(), missed+h[i].missed.Load()
		}
	}
	if calls == 0 {
		return 1
	}
	return 1 - float64(missed)/(budgetShare*float64(calls))
}

// A budgetLeft shows what is left of the budgets of the last hour: it is
// reckoned when it is asked for.
type budgetLeft struct {
	*prometheus.GaugeVec
	calls *calls
}

func newBudgetLeft(c *calls) *budgetLeft {
	return &budgetLeft{prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "fabric_router_budget_left_ratio",
		Help: "Share of the error budget of P6 that is left in the last hour, by the regions of the router and of the runtime; below 0 it is overspent.",
	}, []string{"from", "to"}), c}
}

// Collect implements [prometheus.Collector].
func (b *budgetLeft) Collect(out chan<- prometheus.Metric) {
	now := time.Now().UnixNano()
	b.calls.byRegion.Range(func(region, p any) bool {
		b.WithLabelValues(b.calls.home, region.(string)).Set(p.(*pair).hour.left(now))
		return true
	})
	b.GaugeVec.Collect(out)
}
