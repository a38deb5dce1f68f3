// Package endpoint knows how the endpoints of the data plane are doing and
// picks one of those that are permitted. Who is permitted is decided elsewhere.
//
// Invariant: a pick is one of the candidates that it was given, never another;
// when all of them are unfit there is no pick. Time and chance are arguments.
package endpoint

import (
	"math"
	"sync/atomic"
)

// How an endpoint that fails is set aside.
const (
	failuresToEject = 3
	firstEjection   = 250e6 // ns
	longestEjection = 8e9   // ns
	maxDoublings    = 5     // 250 ms · 2^5 = 8 s
)

// decay is the time constant of the latency estimate, in milliseconds.
const decay = 10_000

// A Live is what is known of an endpoint right now. All methods may be called
// by many goroutines at once; none waits for another. Times are nanoseconds
// since an instant that is the same for all calls, and never go back.
//
// The zero value is an endpoint that nobody has heard of: it is fit, and
// expected to be quick, so that it is tried and known soon.
type Live struct {
	latency  atomic.Uint64 // float32 bits of ms, then uint32 ms of the last sample
	inflight atomic.Int64
	failures atomic.Int32 // in a row
	ejected  atomic.Int32 // times in a row that it was set aside
	until    atomic.Int64 // set aside until
	unready  atomic.Bool  // its own readiness check says no
	_        [24]byte     // two endpoints never share a cache line
}

// Begin counts a request that is sent to the endpoint. End must follow.
func (l *Live) Begin() { l.inflight.Add(1) }

// End reports how a request went after took nanoseconds. A failure counts into
// the latency as at least penalty: an endpoint that fails fast must not look
// attractive. It returns true if this failure set the endpoint aside; jitter,
// in [0,1), spreads how long.
func (l *Live) End(now, took int64, ok bool, penalty int64, jitter float64) (ejected bool) {
	l.inflight.Add(-1)
	if ok {
		l.failures.Store(0)
		l.ejected.Store(0)
		l.observe(now, took)
		return false
	}
	l.observe(now, max(took, penalty))
	if l.failures.Add(1) < failuresToEject {
		return false
	}
	// From here on every further failure sets it aside again, for longer: the
	// first request after an ejection is the probe.
	k := min(l.ejected.Add(1)-1, maxDoublings)
	pause := min(firstEjection*float64(int64(1)<<k), longestEjection)
	l.until.Store(now + int64(pause*(1+jitter/4)))
	return true
}

// Cancel takes back a Begin whose request ended without telling anything, as
// when the caller left.
func (l *Live) Cancel() { l.inflight.Add(-1) }

// SetReady records what the endpoint's own readiness check said.
func (l *Live) SetReady(ready bool) { l.unready.Store(!ready) }

// Ready reports the last readiness check.
func (l *Live) Ready() bool { return !l.unready.Load() }

// Ejected reports whether the endpoint is set aside.
func (l *Live) Ejected(now int64) bool { return now < l.until.Load() }

// Until returns the end of the last ejection.
func (l *Live) Until() int64 { return l.until.Load() }

// InFlight returns the number of requests that are under way.
func (l *Live) InFlight() int64 { return l.inflight.Load() }

// observe moves the peak-sensitive moving average of the latency: a sample
// above it is taken at once, one below it with weight 1 - exp(-Δt/10 s).
// Source: Finagle, PeakEwma.
func (l *Live) observe(now, took int64) {
	sample, at := float32(took)/1e6, uint32(now/1e6)
	for {
		old := l.latency.Load()
		was, before := unpack(old)
		next := sample
		if old != 0 && sample < was {
			w := float32(math.Exp(-float64(at-before) / decay))
			next = was*w + sample*(1-w)
		}
		if l.latency.CompareAndSwap(old, pack(next, at)) {
			return
		}
	}
}

// Latency returns the expected latency in milliseconds, 0 when there is no
// sample. It fades while nothing is heard, so that an endpoint that was slow
// once is tried again: Δt after the last sample it is 1/(1+Δt/10 s) of it.
func (l *Live) Latency(now int64) float64 {
	was, at := unpack(l.latency.Load())
	if was == 0 {
		return 0
	}
	since := uint32(now/1e6) - at
	if since > math.MaxInt32 {
		since = 0 // another goroutine's sample is newer than our now
	}
	return float64(was) / (1 + float64(since)/decay)
}

func pack(ms float32, at uint32) uint64 { return uint64(math.Float32bits(ms))<<32 | uint64(at) }

func unpack(v uint64) (ms float32, at uint32) {
	return math.Float32frombits(uint32(v >> 32)), uint32(v)
}
