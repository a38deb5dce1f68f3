package router

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/internal/upstream"
)

// tries is to how many endpoints a request may be sent, hedges included.
const tries = 3

// What may be sent beyond the requests themselves. Hedges count as retries too,
// so there are never more than 1.2 sends for a request, once there are 50
// requests a second.
const (
	retryShare = 0.20
	retryFloor = 10 // a second
	hedgeShare = 0.05
	hedgeFloor = 2 // a second
)

// Why no endpoint was asked.
var (
	errNobody = errors.New("no permitted endpoint fits")
	errBusy   = errors.New("every permitted endpoint has all it can take")
)

// A trial is one request's way to an answer.
type trial struct {
	target *target
	ask    endpoint.Ask
	// send asks candidate i until ctx ends. It may be called again, also while
	// it runs. An error is one of forward.go.
	send func(ctx context.Context, i int) (result, error)
	// once: the caller says that it must not be done twice.
	once bool

	chosen   int           // the candidate that answered
	sent     int           // to how many it was sent
	upstream time.Duration // that was spent waiting for them
	skip     [tries]*endpoint.Live
}

// place returns 1 if the endpoint that was asked first answered, else more.
func (t *trial) place() int {
	if t.sent > 1 && t.target.nodes[t.chosen].live == t.skip[0] {
		return 1
	}
	return t.sent
}

// An entry is a candidate that has room for a request, which is counted there
// already. Whoever has one ends it by r.leg.
type entry struct {
	i     int
	live  *endpoint.Live
	pace  *endpoint.Pace
	probe bool
	began int64
}

// try asks endpoints until one answers, as often as the budgets allow: another
// endpoint first, and only where it is safe. Its time is that of ctx.
func (r *Router) try(ctx context.Context, t *trial) (result, error) {
	now := r.now()
	r.retries.Request(now)
	r.hedges.Request(now)
	var last error
	for {
		e, err := r.enter(ctx, t)
		if err != nil {
			if last != nil {
				return result{}, last
			}
			if errors.Is(err, errBusy) {
				r.metrics.shed.Inc()
			}
			return result{}, err
		}
		began := r.opts.Now()
		out, err := r.race(ctx, t, e)
		t.upstream += r.opts.Now().Sub(began)
		if err == nil {
			return out, nil
		}
		last = err
		if ctx.Err() != nil || t.sent >= tries || !t.again(err) || !r.retries.Spend(r.now()) {
			return result{}, last
		}
		r.metrics.retries.WithLabelValues(t.target.nodes[e.i].Region).Inc()
	}
}

// again reports whether a failure may be made up for by sending the request once
// more. What another runtime would refuse as well is not sent again; what may
// not be done twice, only if it certainly was not done.
func (t *trial) again(err error) bool {
	var input *inputError
	switch {
	case errors.Is(err, errGone), errors.As(err, &input):
		return false
	case t.once:
		return errors.Is(err, upstream.ErrUnreachable)
	}
	return true
}

// enter picks an endpoint that has room. When none has, the request waits for
// a bounded time at the best one. One that failed this request is asked again
// only when there is no other.
func (r *Router) enter(ctx context.Context, t *trial) (entry, error) {
	t.ask.Now, t.ask.Probe, t.ask.Crowd = r.now(), false, false
	t.ask.Skip = t.skip[:min(t.sent, tries)]
	for range tries {
		i := r.pick(t.target, &t.ask)
		if i < 0 && len(t.ask.Skip) > 0 {
			t.ask.Skip = nil
			if i = r.pick(t.target, &t.ask); i >= 0 && pause(ctx) != nil {
				return entry{}, errTimeout
			}
		}
		if i < 0 {
			break
		}
		if e := t.entry(i); e.live.Enter() {
			return e, nil
		}
		// Another request took the last place a moment ago.
	}
	t.ask.Crowd = true
	i := r.pick(t.target, &t.ask)
	if i < 0 {
		return entry{}, errNobody
	}
	e := t.entry(i)
	if e.probe { // a probe waits for nobody
		e.live.Begin()
		return e, nil
	}
	if err := t.target.nodes[i].queue.wait(ctx, t.target.Caller); err != nil {
		return entry{}, err
	}
	return e, nil
}

// entry returns candidate i as the pick found it.
func (t *trial) entry(i int) entry {
	return entry{i: i, live: t.target.nodes[i].live, pace: t.target.paces[i], probe: t.ask.Probe}
}

// pause waits for 2 to 8 ms: the same endpoint is not asked again at once.
func pause(ctx context.Context) error {
	timer := time.NewTimer(2*time.Millisecond + rand.N(6*time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// leg asks one candidate and reports how that went to what is known of it.
// verdict says, of a leg that was cancelled, whether it lost to a later one.
func (r *Router) leg(ctx context.Context, t *trial, e entry, verdict func() endpoint.Result) (result, error) {
	e.began = r.now()
	out, err := t.send(ctx, e.i)
	now := r.now()
	region := t.target.nodes[e.i].Region
	o := endpoint.Outcome{Now: now, Took: now - e.began, Probe: e.probe}
	r.metrics.upstream.WithLabelValues(region).Observe(float64(o.Took) / 1e9)
	var input *inputError
	switch {
	case err == nil:
		e.pace.Observe(o.Took)
	case errors.As(err, &input):
	case errors.Is(err, errGone):
		o.Result = verdict()
	case errors.Is(err, errTimeout) && o.Took < e.pace.HedgeAfter(), errors.Is(err, errBusy):
		o.Result = endpoint.Void // the caller's deadline was shorter than an answer takes, or nothing was sent
	default:
		o.Result, o.Penalty, o.Jitter = endpoint.Failed, latencyLimit*int64(time.Millisecond), rand.Float64()
	}
	if o.Result == endpoint.Lost {
		o.Jitter = rand.Float64()
	}
	if e.live.Report(o) {
		r.metrics.ejections.WithLabelValues(region).Inc()
		r.opts.Log.Warn("endpoint set aside", "endpoint", t.target.nodes[e.i].Name, "err", err)
	}
	t.target.nodes[e.i].queue.next()
	return out, err
}
