package endpoint

import (
	"math"
	"sync/atomic"
)

// How many requests an endpoint is given at once.
const (
	firstLimit  = 32
	leastLimit  = 4
	mostLimit   = 1024
	lags        = 6     // of them in a request: to send it, to be scheduled there, to read the answer
	tolerance   = 1.3   // times the latency without a queue
	nearBase    = 1.1   // times it: there is room to grow fast
	carefully   = 0.25  // of the growth otherwise
	backAt      = 2.0   // times the limit after it
	relearnAt   = 0.25  // of a limit that was good
	noQueue     = 5e6   // ns: an answer this quick waits in no queue worth shedding for
	fewSamples  = 10    // fewer tell nothing
	smoothing   = 0.3   // of a new limit
	lookAgain   = 30e9  // ns after which the latency without a queue is measured anew
	lookSoon    = 1e9   // ns after the start
	lookFor     = 200e6 // ns
	lookingUses = 0.4   // of the limit meanwhile, so that the queue drains
)

// A latencyWindow sums good answers' latencies until the limiter takes them.
type latencyWindow struct {
	sum, count atomic.Int64
}

func (w *latencyWindow) add(took int64) {
	w.sum.Add(took)
	w.count.Add(1)
}

// Room reports whether the endpoint takes a request now: it has fewer under way
// than its limit, and nobody waits already.
func (l *Live) Room() bool {
	limit := l.limit.Load()
	return limit == 0 || l.queued.Load() == 0 && l.inflight.Load() < int64(limit)
}

// Enter counts a request that is sent to the endpoint, as Begin does, if there
// is room for it.
func (l *Live) Enter() bool {
	if l.queued.Load() > 0 {
		return false
	}
	return l.take()
}

// take is Enter for the one that is first in the queue.
func (l *Live) take() bool {
	limit := int64(l.limit.Load())
	if n := l.inflight.Add(1); limit == 0 || n <= limit {
		return true
	}
	l.inflight.Add(-1)
	return false
}

// Queue counts n more requests that wait for room; n is negative when they leave.
func (l *Live) Queue(n int) { l.queued.Add(int32(n)) }

// Queued returns how many wait for room.
func (l *Live) Queued() int { return int(l.queued.Load()) }

// TakeQueued counts a request that waited, if there is room; it must still
// leave the queue.
func (l *Live) TakeQueued() bool { return l.take() }

// Limit returns how many requests may be under way, 0 when there is no limit.
func (l *Live) Limit() int { return int(l.limit.Load()) }

// A Gradient finds how many requests an endpoint can take at once, by the
// latency: while it stays near what it is without a queue there may be more,
// when it grows there must be fewer. It is used by one goroutine.
//
// Latencies are means over a window, because requests of unlike models share an
// endpoint: the least latency of all would be that of the smallest model. Every
// 30 seconds the limit shrinks for a moment so that the latency without a queue
// is seen again; under a load that never lets up it would be forgotten.
//
// Source: Netflix concurrency-limits, Gradient2Limit; the moment of measuring
// is that of BBR (Cardwell et al., CACM 60, 2017).
type Gradient struct {
	limit    float64
	base     float64 // ns, mean latency without a queue; 0: unknown
	fresh    float64 // the least window mean since since
	since    int64
	looking  int64   // until when; 0: not now
	restored float64 // limit after that
	proven   float64 // limit that was last seen to cost no queue
	before   float64 // the highest that was, before a slow time
}

// Step takes the latencies since the last step and sets the limit of l. Call it
// about every 100 ms. lag is how many nanoseconds this process itself was late
// meanwhile, on average: where the own machine is busy every latency grows, and
// fewer requests to the endpoint would not help.
func (g *Gradient) Step(now, lag int64, l *Live) {
	if g.limit == 0 {
		g.limit, g.proven, g.since = firstLimit, firstLimit, now-lookAgain+lookSoon
	}
	count := l.window.count.Swap(0)
	sum := l.window.sum.Swap(0)
	if count >= fewSamples {
		g.sample(float64(sum)/float64(count), lags*float64(lag), float64(l.inflight.Load()+l.queuedNow()))
	}
	switch {
	case g.looking > 0 && now >= g.looking:
		g.limit, g.looking = g.restored, 0
		if g.fresh > 0 {
			g.base = g.fresh
		}
		g.fresh, g.since = 0, now
	case g.looking == 0 && now-g.since >= lookAgain:
		g.restored, g.looking, g.fresh = g.limit, now+lookFor, 0
		g.limit = max(leastLimit, g.limit*lookingUses)
	}
	l.limit.Store(int32(math.Round(g.limit)))
}

func (l *Live) queuedNow() int64 { return int64(l.queued.Load()) }

// sample moves the limit by a window's mean latency.
func (g *Gradient) sample(mean, late, demand float64) {
	if g.fresh == 0 || mean < g.fresh {
		g.fresh = mean
	}
	if g.base == 0 || mean < g.base {
		g.base = mean
	}
	if g.looking > 0 {
		return
	}
	allowed := tolerance*max(g.base, noQueue) + late
	switch {
	case mean <= allowed:
		g.proven = g.limit
	case g.limit <= max(leastLimit, relearnAt*g.proven):
		// A quarter of the requests, and no quicker: it is not for a queue of ours
		// that it is slow. What it is now is what it can do.
		g.base, g.before, g.proven = mean, max(g.before, g.proven), g.limit
		return
	}
	gradient := min(1, max(0.5, allowed/mean))
	growth := carefully
	if mean < nearBase*max(g.base, noQueue)+late {
		growth = 1
	}
	next := g.limit*gradient + growth*math.Sqrt(g.limit)
	if gradient == 1 && g.limit < g.before {
		next = min(g.before, backAt*g.limit) // what was good before may be so again
	}
	if gradient == 1 && demand < g.limit/2 {
		return // nobody knows what more would do
	}
	g.limit = min(mostLimit, max(leastLimit, g.limit*(1-smoothing)+next*smoothing))
}
