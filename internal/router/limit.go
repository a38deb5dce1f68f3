package router

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/atom-fabric/fabric/domain/policy"
)

// A meter counts one tenant's calls. It outlives the snapshots that bound it.
// Tenants share no word of memory, so that a storm of one costs another nothing.
type meter struct {
	due  atomic.Int64  // ns: when the calls so far would all have been due at the rate
	hour atomic.Uint64 // its number since 1970 in the upper 24 bits, then how many calls
	day  atomic.Uint64
	came atomic.Uint32 // since the doorkeeper looked
	out  atomic.Uint32 // of them, that were kept out
	shut atomic.Uint32 // of 2^32: the share of them that is kept out
	_    [28]byte
}

// A bound is a tenant's quota, ready to be asked.
type bound struct {
	meter   *meter
	between int64 // ns between two calls at the rate, 0: any
	ahead   int64 // ns that calls may be ahead of it
	perHour uint64
	perDay  uint64
}

// countBits hold a count; [policy.MaxCalls] fits.
const (
	countBits = 40
	countMask = 1<<countBits - 1
)

// bound works out what bounds each tenant that the snapshot lets call anything;
// memory is bounded by the snapshot, not by who knocks. The others are refused
// before they cost anything.
//
// kept is what a tenant that the plan before did not know had called already.
func (p *plan) bound(doc policy.Document, before *plan, kept map[string]counts) {
	p.bounds = map[string]*bound{}
	for key := range p.models {
		if p.bounds[key.caller] != nil {
			continue
		}
		b := &bound{meter: &meter{}}
		if before != nil && before.bounds[key.caller] != nil {
			b.meter = before.bounds[key.caller].meter
		} else if c, ok := kept[key.caller]; ok {
			b.meter.hour.Store(c.Hour)
			b.meter.day.Store(c.Day)
		}
		q := doc.Quota(key.caller)
		if q.PerSecond > 0 {
			b.between = int64(time.Second) / int64(q.PerSecond)
			b.ahead = b.between * int64(q.AtOnce()-1)
		}
		b.perHour, b.perDay = uint64(q.PerHour), uint64(q.PerDay)
		p.bounds[key.caller] = b
	}
}

// Why a call is one too many; labels of a metric.
const (
	overRate = "rate"
	overHour = "hour"
	overDay  = "day"
)

// take counts a call, at now in ns since the router's start and at wall, or
// says which bound refuses it and for how long. A refused call counts nowhere.
func (b *bound) take(now int64, wall time.Time) (over string, wait time.Duration) {
	unix := wall.Unix()
	hour, day := uint64(unix/3600), uint64(unix/86400)
	switch {
	case b.perHour > 0 && counted(b.meter.hour.Load(), hour) >= b.perHour:
		return overHour, time.Duration(3600-unix%3600) * time.Second
	case b.perDay > 0 && counted(b.meter.day.Load(), day) >= b.perDay:
		return overDay, time.Duration(86400-unix%86400) * time.Second
	}
	if b.between > 0 {
		if wait := b.spend(now); wait > 0 {
			return overRate, wait
		}
	}
	// They are counted without a bound too: a policy may bring one at noon.
	if !countIn(&b.meter.hour, hour, b.perHour) {
		return overHour, time.Duration(3600-unix%3600) * time.Second
	}
	if !countIn(&b.meter.day, day, b.perDay) {
		return overDay, time.Duration(86400-unix%86400) * time.Second
	}
	return "", 0
}

// spend takes a token and returns 0, or how long it takes until there is one.
// It keeps one number: when the next call is due if all keep to the rate. That
// is a bucket that fills at the rate and holds the burst.
// Source: ITU-T I.371, generic cell rate algorithm, virtual scheduling.
func (b *bound) spend(now int64) time.Duration {
	for {
		old := b.meter.due.Load()
		due := max(old, now)
		if wait := due - now - b.ahead; wait > 0 {
			return time.Duration(wait)
		}
		if b.meter.due.CompareAndSwap(old, due+b.between) {
			return 0
		}
	}
}

// counted returns the count of a window, 0 if the word is of another one.
func counted(word, window uint64) uint64 {
	if word>>countBits != window {
		return 0
	}
	return word & countMask
}

// countIn adds one to a window unless it is full; most is 0 for no bound.
func countIn(word *atomic.Uint64, window, most uint64) bool {
	for {
		old := word.Load()
		n := counted(old, window)
		if most > 0 && n >= most {
			return false
		}
		if word.CompareAndSwap(old, window<<countBits|min(n+1, countMask)) {
			return true
		}
	}
}

// admit counts a call of a tenant, or refuses it by the tenant's quota.
func (r *Router) admit(p *plan, tenant string) *problem {
	b := p.bounds[tenant]
	if b == nil {
		return nil // it may call nothing, and is told so
	}
	over, wait := b.take(r.now(), r.opts.Now())
	if over == "" {
		return nil
	}
	r.metrics.limited.WithLabelValues(over).Inc()
	out := &problem{code: "rate_limited", status: http.StatusTooManyRequests, title: "The tenant's quota is used up",
		retry: int((wait + time.Second - 1) / time.Second)}
	switch over {
	case overRate:
		out.detail = fmt.Sprintf("Tenant %s makes more calls a second than policy %d allows here.", tenant, p.table.Governing.Revision)
	case overHour:
		out.detail = fmt.Sprintf("Tenant %s has made the calls that policy %d allows here in an hour.", tenant, p.table.Governing.Revision)
	case overDay:
		out.detail = fmt.Sprintf("Tenant %s has made the calls that policy %d allows here in a day.", tenant, p.table.Governing.Revision)
	}
	return out
}
