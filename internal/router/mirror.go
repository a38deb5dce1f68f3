package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/internal/upstream"
)

// What copies may cost at most. What is beyond is not sent, and counted.
const (
	mirrorAtOnce = 16       // under way
	mirrorWaits  = 16       // that wait for one of these to end
	mirrorBytes  = 32 << 20 // of all their bodies
	mirrorRate   = 200      // a second, over ten seconds
	mirrorTries  = 2        // at the endpoint, as what is served is tried again
)

// mirrorHeader tells a runtime, with the value "true", that nobody gets its answer.
const mirrorHeader = "X-Fabric-Mirrored"

// How a copy ended; labels of a metric.
const (
	mirrorAnswered = "answered"
	mirrorRefused  = "refused"  // for what was asked
	mirrorFailed   = "failed"   // for a fault of the version, or of its runtime
	mirrorDropped  = "dropped"  // never sent: the bounds were reached
	mirrorUnloaded = "unloaded" // never sent: the endpoint does not have the version, or no room
)

// A mirror is where copies of a target's requests go: to the canary's package
// at the very endpoint that answered. That one was permitted for this call, by
// tenant, region, purpose and whatever its caller prefers, and policies do not
// tell versions apart: a copy reaches nothing that the request did not reach.
type mirror struct {
	as       target         // with the nodes of the real one, and the canary's legs and paths
	unloaded []*atomic.Bool // by node; nil where the region does not run the canary
}

// mirror returns where copies go, or nil.
func (p *plan) mirror(t *target, before *plan) *mirror {
	if t.Trial == nil || t.Trial.Mirror == 0 {
		return nil
	}
	m := &mirror{as: target{Target: t.Target}}
	for i, permit := range t.Trial.Permitted { // as the target's own, in their order
		leg := &t.Legs[permit.Leg]
		model := fmt.Sprintf("/v2/models/%s/versions/%d", t.Wire, leg.Package.Version)
		var flag *atomic.Bool
		if permit.Leg == t.Trial.Leg {
			flag = p.watched(t.nodes[i], model+"/ready", string(leg.Package.Manifest), before)
		}
		m.as.nodes, m.as.legs, m.as.paths = append(m.as.nodes, t.nodes[i]), append(m.as.legs, leg), append(m.as.paths, model+"/infer")
		m.unloaded = append(m.unloaded, flag)
	}
	return m
}

// mirrors sends copies when their requests have been answered. The bodies of
// those that wait or are under way are counted.
type mirrors struct {
	queue   chan *mirrored
	bytes   atomic.Int64
	budget  *endpoint.Budget
	outcome *prometheus.CounterVec
}

func newMirrors(registry *prometheus.Registry) (*mirrors, error) {
	m := &mirrors{queue: make(chan *mirrored, mirrorWaits), budget: endpoint.NewBudget(0, mirrorRate), outcome: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fabric_router_mirrored_total", Help: "Copies of requests for a version on trial, by outcome: answered, refused, failed; dropped, unloaded: not sent.",
	}, []string{"outcome"})}
	return m, registry.Register(m.outcome)
}

// A mirrored request is one of which the canary gets a copy.
type mirrored struct {
	to     *mirror
	at     int              // node
	call   call             // its body is the request's own until it is queued
	fields []upstream.Field // of the Open Inference Protocol's request; nil: of /invoke
	within time.Duration    // as long as the caller gave, from when it is sent
	record Record
	added  time.Duration // what the router had added to the request
}

// sample notes that the canary is to get a copy of a request that a runtime was
// asked for. One that must not be done twice has none, nor one of a caller that
// names its version or left.
func (v *visit) sample(try *trial, in *request, s side, err error, c mirrored) {
	m := try.target.mirror
	if !s.tried || in.once || try.sent == 0 || errors.Is(err, errGone) || !try.target.Trial.Mirrors(try.target.Caller, v.record.DecisionID) {
		return
	}
	at := try.chosen
	if err != nil {
		at = try.last()
	}
	if at < 0 || at >= len(m.unloaded) || m.unloaded[at] == nil {
		return
	}
	c.to, c.at, c.within = m, at, in.deadline()
	c.call.target, c.call.copied = &m.as, true
	v.copy = &c
}

// mirror hands the copy of a request over to be sent, after its answer. Whatever
// is in the way costs the copy, not the call.
func (v *visit) mirror() {
	c, m, n := v.copy, v.r.mirrors, v.copy.to.as.nodes[v.copy.at]
	_ = http.NewResponseController(v.w).Flush() // the caller has it before anything else is done
	switch {
	case c.to.unloaded[c.at].Load() || !n.live.Ready() || !n.live.Room():
		m.outcome.WithLabelValues(mirrorUnloaded).Inc()
		return
	case m.bytes.Add(int64(len(c.call.body))) > mirrorBytes || len(m.queue) == cap(m.queue) || !m.budget.Spend(v.r.now()):
		m.drop(c)
		return
	}
	c.call.body = bytes.Clone(c.call.body)
	span := newSpan(v.span.parent) // of the same trace
	c.call.parent = span.parent
	leg := c.to.as.legs[c.at]
	c.record = Record{DecisionID: span.decision(), Tenant: v.record.Tenant, Owner: v.record.Owner, Model: v.record.Model, Environment: v.record.Environment,
		Version: leg.Package.Version, Lineage: v.record.Lineage, Canary: true, Mirrored: true, Manifest: leg.Package.Manifest, Region: n.Region, Endpoint: n.Name,
		Snapshot: v.record.Snapshot, Policy: v.record.Policy, TraceID: span.trace, Simulated: v.who.simulated || leg.Route.Simulated || n.Simulated}
	c.added = max(0, time.Duration(v.record.LatencyMicros-v.record.UpstreamMicros)*time.Microsecond)
	select {
	case m.queue <- c:
	default:
		m.drop(c)
	}
}

// drop counts a copy that is not sent.
func (m *mirrors) drop(c *mirrored) {
	m.bytes.Add(-int64(len(c.call.body)))
	m.outcome.WithLabelValues(mirrorDropped).Inc()
}

// mirrorAll sends copies, one after the other, until ctx ends. What waits then
// is let go.
func (r *Router) mirrorAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-r.mirrors.queue:
			r.mirrorOne(ctx, c)
		}
	}
}

// mirrorOne sends a copy and records how that went. Nothing of it counts for the
// endpoint, or against what may be sent beyond the requests themselves.
func (r *Router) mirrorOne(ctx context.Context, c *mirrored) {
	defer r.mirrors.bytes.Add(-int64(len(c.call.body)))
	own, cancel := context.WithTimeout(ctx, c.within)
	defer cancel()
	began := r.opts.Now()
	var answered time.Time
	var err error
	for try := 1; ; try++ {
		answered, err = r.mirrorTo(own, c)
		if err == nil || final(err) || try == mirrorTries || pause(own) != nil || !r.mirrors.budget.Spend(r.now()) {
			break
		}
	}
	if ctx.Err() != nil {
		return // the router ends: nobody knows how it would have gone
	}
	if errors.Is(err, errBusy) {
		r.mirrors.outcome.WithLabelValues(mirrorDropped).Inc()
		return
	}
	took := answered.Sub(began)
	c.record.At, c.record.Status = began.UTC(), http.StatusOK
	c.record.UpstreamMicros, c.record.LatencyMicros = took.Microseconds(), (c.added + took).Microseconds()
	outcome := mirrorAnswered
	if err != nil {
		p := failed(err)
		c.record.Status, c.record.Problem = p.status, p.code
		if outcome = mirrorFailed; final(err) {
			outcome = mirrorRefused
		}
	}
	r.mirrors.outcome.WithLabelValues(outcome).Inc()
	r.records.put(&c.record)
}

// mirrorTo asks the version once, reads its answer to the end and forgets it. It
// returns when there was an answer.
func (r *Router) mirrorTo(ctx context.Context, c *mirrored) (time.Time, error) {
	if c.fields == nil {
		out, err := r.forward(ctx, &c.call, c.at)
		out.Close()
		return r.opts.Now(), err
	}
	manifest := string(c.to.as.legs[c.at].Package.Manifest)
	req := &upstream.Request{Method: http.MethodPost, Path: c.to.as.paths[c.at], Body: c.call.body, Whole: wholeFirst, Header: append([]upstream.Field{
		{Name: "Traceparent", Value: c.call.parent}, {Name: tenantHeader, Value: c.to.as.Caller}, {Name: "X-Fabric-Manifest", Value: manifest},
		{Name: latencyHeader, Value: left(ctx)}, {Name: mirrorHeader, Value: "true"}}, c.fields...)}
	a, err := c.to.as.nodes[c.at].up.Do(ctx, req)
	if err != nil {
		return r.opts.Now(), broken(err)
	}
	defer a.Close()
	at := r.opts.Now()
	if err := judge(a, manifest); err != nil {
		return at, err
	}
	if a.Stream != nil {
		if _, err := io.Copy(io.Discard, a.Stream); err != nil {
			return at, broken(err)
		}
	}
	return at, nil
}
