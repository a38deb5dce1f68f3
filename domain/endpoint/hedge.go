package endpoint

import (
	"math"
	"sync/atomic"
)

// When an answer is late enough to ask another endpoint as well.
const (
	soonestHedge = 10e6 // ns
	blindHedge   = 50e6 // ns, while nothing is known
	pastTail     = 2    // times the 95th percentile
)

// A Pace is how long a model's answers take at an endpoint: an estimate of the
// 95th percentile. All methods may be called by many goroutines at once. The
// zero value knows nothing.
type Pace struct{ nanos atomic.Uint64 } // float64 bits

// Observe takes a good answer's time into account. Failures and lost races are
// none: an endpoint that begins to hang must not move the time after which that
// is noticed.
//
// The estimate steps up by 0.19 of a factor e when a sample is above it, and down
// by 0.01 when it is not, which balances where one in twenty is above.
// Source: Robbins and Monro, Ann. Math. Stat. 22 (1951), on the logarithm, with
// a constant step.
func (p *Pace) Observe(took int64) {
	sample := float64(max(took, 1))
	for {
		old := p.nanos.Load()
		was := math.Float64frombits(old)
		next := sample
		switch {
		case old == 0:
		case sample > was:
			next = min(was*upStep, sample)
		default:
			next = max(was*downStep, sample)
		}
		if p.nanos.CompareAndSwap(old, math.Float64bits(next)) {
			return
		}
	}
}

// e^(0.2·0.95) and e^(-0.2·0.05).
const (
	upStep   = 1.2092495976572515
	downStep = 0.9900498337491681
)

// P95 returns the estimate in nanoseconds, 0 when nothing is known.
func (p *Pace) P95() int64 { return int64(math.Float64frombits(p.nanos.Load())) }

// HedgeAfter returns after how many nanoseconds without an answer another
// endpoint is asked as well: twice the 95th percentile, at least 10 ms.
// Source: Dean and Barroso, The Tail at Scale, CACM 56 (2013).
func (p *Pace) HedgeAfter() int64 {
	p95 := p.P95()
	if p95 == 0 {
		return blindHedge
	}
	return max(soonestHedge, pastTail*p95)
}
