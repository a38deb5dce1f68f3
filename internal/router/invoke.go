package router

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A visit is a call of a model from its arrival until it is answered.
type visit struct {
	r        *Router
	w        http.ResponseWriter
	req      *http.Request
	span     span
	who      caller
	plan     *plan
	began    time.Time
	upstream time.Duration // of it spent waiting for runtimes
	status   int
	place    uint64 // of the record among the others
	kept     bool
	record   Record    // from the moment on that it is known what is asked
	copy     *mirrored // for a version on trial, when this is answered; nil: none
}

// visit begins a call. Whoever begins one ends it.
func (r *Router) visit(w http.ResponseWriter, req *http.Request) *visit {
	return &visit{r: r, w: w, req: req, span: spanOf(w), began: r.opts.Now(), status: http.StatusOK}
}

// end counts the call.
func (v *visit) end() {
	v.r.metrics.calls.ended(v, v.r.opts.Now())
}

// refuse answers with a problem, and records that if it was decided upon.
// Nothing is sent to a caller that left.
func (v *visit) refuse(p *problem) {
	v.status = p.status
	if v.record.DecisionID != "" {
		v.record.Status, v.record.Problem = p.status, p.code
		v.keep()
	}
	if p.status != statusGone {
		v.r.refuse(v.w, v.req, *p)
	}
}

// resolve finds what a request is for, in the plan that then serves it to its end.
func (v *visit) resolve(in *request) (t *target, s side, p *problem) {
	if v.who.simulated {
		v.who.tenant = in.tenant
		v.w.Header()["X-Fabric-Simulated"] = []string{"true"}
	}
	if in.tenant != v.who.tenant { // another tenant's things are not there
		return nil, s, notFound()
	}
	if v.plan = v.r.plan.Load(); v.plan == nil {
		return nil, s, &problem{code: "no_snapshot", status: http.StatusServiceUnavailable, title: "The router has no signed snapshot yet",
			detail: "It follows the control plane, which has published none.", retry: 1}
	}
	v.r.age(v.w, v.plan)
	if p = v.r.admit(v.plan, in.tenant); p != nil {
		return nil, s, p
	}
	if t, p = v.plan.resolve(v.who, in); p != nil {
		return nil, s, p
	}
	v.record = Record{DecisionID: v.span.decision(), At: v.began.UTC(), Tenant: v.who.tenant, Owner: t.Owner, Model: t.Model,
		Environment: t.Environment, Snapshot: v.plan.table.Snapshot.Version, Policy: t.Policy, TraceID: v.span.trace, Simulated: v.who.simulated}
	if p = permitted(t, in); p == nil {
		s, p = t.side(in)
	}
	if s.tried {
		v.record.Lineage, v.record.Canary = s.trial.Lineage, s.trial.Canary
	}
	return t, s, p
}

// answered notes who answered with what, and seals it with the audit header.
func (v *visit) answered(t *target, i int, output artifact.Digest) {
	n, leg := t.nodes[i], t.legs[i]
	v.record.Version, v.record.Manifest = leg.Package.Version, leg.Package.Manifest
	v.record.Region, v.record.Endpoint, v.record.Output = n.Region, n.Name, output
	v.record.Simulated = v.record.Simulated || leg.Route.Simulated || n.Simulated
	v.record.Status = v.status
	v.record.KeyID, v.record.Header = v.r.key.id, v.r.key.header(&v.record)
	v.place, v.kept = v.keep()
	v.w.Header()[auditHeader] = []string{v.record.Header}
}

// deadline is how long an answer may take.
func (in *request) deadline() time.Duration {
	if in.prefers.maxLatency > 0 {
		return in.prefers.maxLatency
	}
	return defaultDeadline
}

// unanswered is the problem of a request to which no endpoint gave an answer.
func unanswered(try *trial, err error) *problem {
	switch {
	case errors.Is(err, errGone):
		return &problem{status: statusGone}
	case errors.Is(err, errNobody):
		return unfit(try.target, &try.ask)
	case errors.Is(err, errTimeout) && aside(try.target, &try.ask): // others waited in vain as well: it is no matter of this deadline
		err = errUnreachable
	}
	p := failed(err)
	if p.code == "none_healthy" || p.code == "deadline_exceeded" {
		p.detail += barred(try.target)
	}
	return p
}

// statusGone is how a caller that left is counted; it is never sent.
const statusGone = 499

// invoke answers POST /invoke.
func (r *Router) invoke(w http.ResponseWriter, req *http.Request) {
	v := r.visit(w, req)
	defer v.end()
	page := r.memory.get()
	defer r.memory.put(page) // all that was sent of it has been sent by then
	if p := v.invoke(page); p != nil {
		v.refuse(p)
	}
	if v.copy != nil {
		v.mirror()
	}
}

func (v *visit) invoke(page *page) (p *problem) {
	r := v.r
	if v.who, p = r.caller(v.req); p != nil {
		return p
	}
	if p = r.knock(v.who.tenant); p != nil {
		return p
	}
	in, p := r.read(v.w, v.req, page, v.who)
	if p != nil {
		return p
	}
	if p = in.keyed(v.req.Header, v.who); p != nil {
		return p
	}
	if p = in.bounded(v.req.Header); p != nil {
		return p
	}
	t, side, p := v.resolve(&in)
	if p != nil {
		return p
	}
	// The translated input lies behind the body that it is made from.
	body, back, p := translate(page.b[len(page.b):], in.input)
	if p != nil {
		return p
	}
	if back && cap(page.b)-len(page.b) < len(body) {
		page.b = body // it grew
	}
	ctx := within(v.req.Context(), in.deadline())
	ask := r.ask(t, &in, side)
	why := explain(t, &ask, &in, side)
	why.ID = v.record.DecisionID
	c := &call{target: t, once: in.once, body: body, back: back, parent: v.span.parent}
	try := &trial{target: t, ask: ask, once: in.once, send: func(ctx context.Context, i int) (result, error) { return r.forward(ctx, c, i) }}
	got, err := r.try(ctx, try)
	v.upstream = try.upstream
	if t.mirror != nil {
		v.sample(try, &in, side, err, mirrored{call: call{body: body, back: back}})
	}
	if err != nil {
		v.blame(try)
		return unanswered(try, err)
	}
	defer got.Close()
	why.Attempts, why.Reason = try.sent, reason(t, &try.ask, try.chosen, try.place())
	v.answered(t, try.chosen, artifact.DigestOf(got.output))
	if p := v.durable(); p != nil {
		return p
	}
	v.write(got.output, &why)
	return nil
}

// write sends the answer of /invoke, which is written around the output.
func (v *visit) write(output []byte, why *decision) {
	page := v.r.memory.get()
	defer v.r.memory.put(page)
	page.b = appendAnswer(page.b, &v.record, output, why)
	h := v.w.Header()
	values := [...]string{"application/json", "nosniff", strconv.Itoa(len(page.b))}
	h["Content-Type"], h["X-Content-Type-Options"], h["Content-Length"] = values[0:1:1], values[1:2:2], values[2:3:3]
	_, _ = v.w.Write(page.b) // the caller may be gone; the decision is recorded
}

// age says in the headers which snapshot decided and how long ago the control
// plane confirmed it. A stale one still decides, and is called stale: what it
// forbids stays forbidden, and its models are the last that were approved.
func (r *Router) age(w http.ResponseWriter, p *plan) {
	age := r.snapshotAge()
	said := p.said.Load()
	if second := int64(age / time.Second); said == nil || said.second != second { // once a second, not once a call
		said = &agedText{second, []string{fmt.Sprintf("%d;age=%d", p.table.Snapshot.Version, second)}}
		p.said.Store(said)
	}
	w.Header()["X-Fabric-Snapshot"] = said.value
	if age > r.opts.MaxAge {
		w.Header()["X-Fabric-Snapshot-Stale"] = []string{"true"}
	}
}

// An agedText is what a header says of a snapshot's age for a second.
type agedText struct {
	second int64
	value  []string
}

func (r *Router) snapshotAge() time.Duration {
	return max(0, r.opts.Now().Sub(r.opts.Confirmed()))
}
