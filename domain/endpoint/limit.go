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
	tolerance   = 1.15  // times the latency without a queue
	slack       = 1e6   // ns more
	noQueue     = 5e6   // ns: an answer this quick waits in no queue worth shedding for
	nearBase    = 1.05  // times it, and half the slack: there is room to grow fast
	fast        = 1.5   // times the limit then
	carefully   = 0.25  // of its square root otherwise
	deepest     = 0.5   // of the limit after a cut
	heldRate    = 0.9   // of the answers a second that must be left after a cut
	settling    = 1     // windows that a cut has before it is judged
	fewSamples  = 10    // fewer tell nothing
	forget      = 2e9   // ns after which so few are dropped
	firstPause  = 1e9   // ns after a cut that was wrong; doubles
	longPause   = 16e9  // ns
	lookAgain   = 30e9  // ns after which the latency without a queue is measured anew
	lookSoon    = 1e9   // ns after the start
	lookFor     = 200e6 // ns, or three answers' time
	longLook    = 2e9   // ns
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

// A Gradient finds how many requests an endpoint can take at once. While there
// is room it does nothing but make more. When requests wait although the latency
// has grown, it cuts the limit, which is a question: if as many answers come as
// before, there was a queue at the endpoint, and it is shorter now; if fewer
// come, the endpoint (or this machine) is slow for reasons of its own, the cut is
// taken back, and that latency counts as its own from then on. Latency alone
// would tell the two apart as little as a caller can, and would refuse most of
// what a busy machine could do. It is used by one goroutine.
//
// Latencies are means over a window, because requests of unlike models share an
// endpoint: the least latency of all would be that of the smallest model. While
// it has to limit, the limit shrinks every 30 seconds for a moment so that the
// latency without a queue is seen again; under a load that never lets up it
// would be forgotten. If as many answers come all the same, it stays where it is
// and shrinks again.
//
// Source: Netflix concurrency-limits, Gradient2Limit; the moment of measuring
// is that of BBR (Cardwell et al., CACM 60, 2017); that what counts is the rate of
// answers is from the hill climbing of .NET's thread pool (Hellerstein et al.,
// 2009).
type Gradient struct {
	limit float64
	base  float64 // ns, mean latency without a queue; 0: unknown

	began      int64 // of the window
	sum, count int64

	slow  int     // windows in a row that were too slow, with requests waiting
	rate  float64 // answers a second in the last of these but one
	cut   cut
	pause int64 // ns after the next cut that is wrong
	until int64 // no cut before

	since    int64   // the last look
	crowded  bool    // requests had to wait since then
	looking  int64   // until when; 0: not now
	seen     window  // the last one meanwhile
	before   window  // the last one before
	restored float64 // limit after that
}

// A cut is what was before the limit was cut, while nobody knows yet whether
// that was right.
type cut struct {
	from   float64 // limit; 0: none is tried
	rate   float64 // answers a second
	settle int     // windows until it is judged
}

// A window is what was seen since the last one.
type window struct {
	mean, rate float64 // ns, answers a second
	late       float64 // ns of the mean that are this process's own
	full       bool    // there is no room at its end
}

// Step takes the latencies since the last step and sets the limit of l. Call it
// about every 100 ms. lag is how many nanoseconds this process itself was late
// meanwhile, on average: where the own machine is busy every latency grows, and
// fewer requests to the endpoint would not help.
func (g *Gradient) Step(now, lag int64, l *Live) {
	if g.limit == 0 {
		g.limit, g.pause, g.began, g.since = float64(min(mostLimit, max(firstLimit, l.inflight.Load()))), firstPause, now, now-lookAgain+lookSoon
	}
	g.count += l.window.count.Swap(0)
	g.sum += l.window.sum.Swap(0)
	// A window is at least as long as an answer takes, so that most of what it
	// sums was sent under the limit that it is judged by.
	age, mean := now-g.began, g.sum/max(g.count, 1)
	if g.count >= fewSamples && age >= mean && age > 0 {
		full := l.queued.Load() > 0 || l.inflight.Load() >= int64(math.Round(g.limit))
		g.sample(now, window{mean: float64(mean), rate: float64(g.count) * 1e9 / float64(age), late: lags * float64(lag), full: full})
		g.began, g.sum, g.count = now, 0, 0
	} else if age > forget {
		g.began, g.sum, g.count = now, 0, 0
	}
	g.look(now)
	l.limit.Store(int32(math.Round(g.limit)))
}

// look begins and ends the moments in which the latency without a queue is
// measured.
func (g *Gradient) look(now int64) {
	switch {
	case g.looking > 0 && now >= g.looking:
		g.looking, g.since, g.crowded = 0, now, false
		if g.seen.full && g.seen.rate >= heldRate*g.before.rate && g.limit > leastLimit {
			g.since, g.crowded = now-lookAgain, true // there was a queue; there may be one still
		} else {
			g.limit = g.restored
		}
		if g.seen.mean > 0 {
			g.base = g.seen.mean
		}
	case g.looking == 0 && g.crowded && g.cut.from == 0 && now-g.since >= lookAgain:
		g.restored, g.seen = g.limit, window{}
		g.looking = now + int64(min(longLook, max(lookFor, 3*g.before.mean)))
		g.limit = max(leastLimit, g.limit*lookingUses)
		g.slow = 0
	}
}

// sample moves the limit by what a window saw.
func (g *Gradient) sample(now int64, w window) {
	if g.looking > 0 {
		g.seen = w
		return
	}
	g.before = w
	g.crowded = g.crowded || w.full
	switch {
	case g.base == 0:
		g.base = w.mean
	case w.mean < g.base:
		g.base -= (g.base - w.mean) / 4 // one quick window proves little
	}
	allowed := max(noQueue, tolerance*g.base+slack) + w.late
	switch {
	case w.mean <= allowed:
		g.slow, g.cut = 0, cut{}
		g.grow(w)
	case !w.full: // it is slow, but nobody waits for that
		g.slow, g.cut = 0, cut{}
	case g.cut.settle > 0:
		g.cut.settle--
	case g.cut.from > 0 && w.rate < heldRate*g.cut.rate:
		g.limit, g.base = g.cut.from, max(g.base, w.mean-w.late)
		g.until, g.pause = now+g.pause, min(longPause, 2*g.pause)
		g.slow, g.cut = 0, cut{}
	case g.cut.from > 0:
		g.pause = firstPause
		g.shorten(allowed / w.mean)
	default:
		if g.slow++; g.slow >= 2 && now >= g.until {
			g.cut = cut{from: g.limit, rate: (w.rate + g.rate) / 2}
			g.shorten(allowed / w.mean)
		}
		g.rate = w.rate
	}
}

// shorten cuts the limit.
func (g *Gradient) shorten(by float64) {
	g.limit = max(leastLimit, g.limit*max(deepest, by))
	g.cut.settle = settling
}

// grow makes more room if there is a use for it: nobody knows what more would
// do than was ever asked for.
func (g *Gradient) grow(w window) {
	if under := w.rate * w.mean / 1e9; !w.full && under < g.limit/2 {
		return
	}
	if w.mean < max(noQueue/2, nearBase*g.base+slack/2)+w.late {
		g.limit *= fast
	} else {
		g.limit += max(1, carefully*math.Sqrt(g.limit))
	}
	g.limit = min(mostLimit, g.limit)
}
