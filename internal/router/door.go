package router

import (
	"math"
	"math/rand/v2"
	"net/http"
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

// A doorkeeper moves the [endpoint.Door] that stands before all calls, and tells
// each tenant's meter what share of its calls is kept out.
type doorkeeper struct {
	door     endpoint.Door
	waited   func() time.Duration // of goroutines for a processor, since it was asked last
	began    time.Time            // of the window
	came, in []int64
	meters   []*meter
}

// window ends one, if it was long enough to tell anything.
func (k *doorkeeper) window(p *plan, now time.Time) {
	age := now.Sub(k.began)
	if age < limitEvery/2 {
		return
	}
	k.began = now
	k.came, k.in, k.meters = k.came[:0], k.in[:0], k.meters[:0]
	scale := float64(limitEvery) / float64(age) // a window that came late counts more than its calls
	for _, b := range p.bounds {
		came, out := b.meter.came.Swap(0), b.meter.out.Swap(0)
		if came == 0 {
			b.meter.shut.Store(0)
			continue
		}
		k.meters = append(k.meters, b.meter)
		k.came = append(k.came, int64(math.Round(float64(came)*scale)))
		k.in = append(k.in, int64(math.Round(float64(came-out)*scale)))
	}
	each := k.door.Step(int64(k.waited()), k.came, k.in)
	for i, m := range k.meters {
		shut := 0.0
		if each > 0 {
			shut = max(0, 1-each/float64(max(1, k.came[i])))
		}
		m.shut.Store(uint32(shut * math.MaxUint32))
	}
}

// knock lets a call of a tenant in, or refuses it before it has cost anything.
func (r *Router) knock(tenant string) *problem {
	p := r.plan.Load()
	if p == nil {
		return nil
	}
	b := p.bounds[tenant]
	if b == nil {
		return nil // it may call nothing, and is told so
	}
	b.meter.came.Add(1)
	if shut := b.meter.shut.Load(); shut == 0 || rand.Uint32() >= shut {
		return nil
	}
	b.meter.out.Add(1)
	r.metrics.shed.Inc()
	return &problem{code: "overloaded", status: http.StatusServiceUnavailable, title: "The router has all it can take", detail: "Send less, or again a little later.", retry: 1}
}

// waiting returns a function that says how long goroutines of this process that
// could run have waited, on average, since it was called last. That is the queue
// of calls that nobody has begun to read.
func waiting() func() time.Duration {
	sample := []runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	return func() time.Duration {
		runtimemetrics.Read(sample)
		if sample[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
			return 0
		}
		h := sample[0].Value.Float64Histogram()
		if len(before) != len(h.Counts) {
			before = make([]uint64, len(h.Counts))
		}
		var sum, count float64
		for i, n := range h.Counts {
			if low := h.Buckets[i]; low > 0 {
				sum += float64(n-before[i]) * low
			}
			count += float64(n - before[i])
			before[i] = n
		}
		if count == 0 {
			return 0
		}
		return time.Duration(sum / count * float64(time.Second))
	}
}
