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

// decay is the time constant of the latency estimate, in milliseconds.
const decay = 5_000

// failureWeight is how far one failure moves the latency estimate towards its
// penalty. One hiccup must not send a whole region's load across a border;
// three of them do.
const failureWeight = 0.2

// A Live is what is known of an endpoint right now. All methods may be called
// by many goroutines at once; none waits for another. Times are nanoseconds
// since an instant that is the same for all calls, and never go back.
//
// The zero value is an endpoint that nobody has heard of: it is fit, without a
// limit, and expected to be quick, so that it is tried and known soon.
type Live struct {
	// What a pick reads.
	latency  atomic.Uint64 // float32 bits of ms, then uint32 ms of the last sample
	inflight atomic.Int64
	gate     atomic.Int64 // 0: takes its full share; else see eject.go
	limit    atomic.Int32 // of requests under way, 0: none; see limit.go
	queued   atomic.Int32 // requests that wait for one of them to end
	unready  atomic.Bool  // its own readiness check says no

	// What the end of a request writes.
	failures atomic.Int32  // in a row
	ejected  atomic.Int32  // times that it was set aside with little between
	returned atomic.Int64  // when it last came back
	recent   atomic.Uint64 // share of failures, see eject.go
	window   latencyWindow // see limit.go
	_        [48]byte      // two endpoints never share a cache line
}

// A Result is how a request to an endpoint went.
type Result uint8

const (
	Good   Result = iota // it answered, be it that the input is bad
	Failed               // it did not, or not in a usable way
	Lost                 // another endpoint, asked later, answered first
	Void                 // nothing was learned: the caller left, or its hedge was not needed
)

// An Outcome reports the end of a request to an endpoint.
type Outcome struct {
	Now, Took int64 // ns
	Result    Result
	Probe     bool    // the request was one that [Live.Claim] granted
	Penalty   int64   // ns that a failure counts as, at least
	Jitter    float64 // [0,1), spreads ejections
}

// Begin counts a request that is sent to the endpoint. Report must follow.
func (l *Live) Begin() { l.inflight.Add(1) }

// Report counts the end of a request and returns true if it set the endpoint
// aside. A failure counts into the latency: an endpoint that fails fast must
// not look attractive. So does a lost race, with the time that was waited in
// vain; without that, an endpoint that hangs would never look slow.
func (l *Live) Report(o Outcome) (ejected bool) {
	l.inflight.Add(-1)
	switch o.Result {
	case Void:
		if o.Probe {
			l.unclaim(o.Now)
		}
		return false
	case Good:
		l.failures.Store(0)
		l.count(o.Now, false)
		if l.back(o.Now, o.Probe) {
			l.latency.Store(pack(float32(o.Took)/1e6, uint32(o.Now/1e6)))
			return false
		}
		l.window.add(o.Took)
		l.observe(o.Now, float32(o.Took)/1e6, 1)
		return false
	case Lost:
		l.observe(o.Now, float32(o.Took)/1e6, 1)
	case Failed:
		l.observe(o.Now, float32(max(o.Took, o.Penalty))/1e6, failureWeight)
	}
	share := l.count(o.Now, true)
	row := l.failures.Add(1)
	return l.judge(o, row, share)
}

// End reports a request that succeeded or failed; see [Live.Report].
func (l *Live) End(now, took int64, ok bool, penalty int64, jitter float64) (ejected bool) {
	o := Outcome{Now: now, Took: took, Penalty: penalty, Jitter: jitter}
	if !ok {
		o.Result = Failed
	}
	return l.Report(o)
}

// SetReady records what the endpoint's own readiness check said.
func (l *Live) SetReady(ready bool) { l.unready.Store(!ready) }

// Ready reports the last readiness check.
func (l *Live) Ready() bool { return !l.unready.Load() }

// InFlight returns the number of requests that are under way.
func (l *Live) InFlight() int64 { return l.inflight.Load() }

// observe moves the peak-sensitive moving average of the latency towards a
// sample in ms: one above it is taken with the weight rise, one below it with
// weight 1 - exp(-Δt/5 s).
// Source: Finagle, PeakEwma, where rise is 1.
func (l *Live) observe(now int64, sample, rise float32) {
	at := uint32(now / 1e6)
	for {
		old := l.latency.Load()
		was, before := unpack(old)
		next := sample
		switch {
		case sample > was:
			next = was + rise*(sample-was)
		case old != 0:
			since := at - before
			if since > math.MaxInt32 {
				since = 0 // another goroutine's sample is newer
			}
			w := float32(math.Exp(-float64(since) / decay))
			next = was*w + sample*(1-w)
		}
		if l.latency.CompareAndSwap(old, pack(next, at)) {
			return
		}
	}
}

// Latency returns the expected latency in milliseconds, 0 when there is no
// sample. It fades while nothing is heard, so that an endpoint that was slow
// once is tried again: Δt after the last sample it is 1/(1+Δt/5 s) of it.
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
