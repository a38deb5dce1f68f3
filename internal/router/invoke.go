package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// attempts is how many endpoints a request may be sent to. An inference changes
// nothing, so a second one is safe.
const attempts = 2

// An answer is the body of a 200.
type answer struct {
	Tenant    string          `json:"tenant"`
	Model     string          `json:"model_id"`
	Version   int             `json:"version"`
	Region    string          `json:"region"`
	Endpoint  string          `json:"endpoint"`
	Output    json.RawMessage `json:"output"`
	Decision  decision        `json:"decision"`
	Audit     audit           `json:"audit"`
	Simulated bool            `json:"simulated"`
}

// invoke answers POST /invoke.
func (r *Router) invoke(w http.ResponseWriter, req *http.Request) {
	began := r.opts.Now()
	upstream, status := time.Duration(0), http.StatusOK
	defer func() {
		r.metrics.requests.WithLabelValues(strconv.Itoa(status)).Inc()
		r.metrics.added.Observe((r.opts.Now().Sub(began) - upstream).Seconds())
	}()
	refuse := func(p *problem) {
		status = p.status
		r.refuse(w, req, *p)
	}

	who, p := r.caller(req)
	if p != nil {
		refuse(p)
		return
	}
	in, p := r.read(w, req, who)
	if p != nil {
		refuse(p)
		return
	}
	if who.simulated {
		who.tenant = in.tenant
		w.Header().Set("X-Fabric-Simulated", "true")
	}
	if in.tenant != who.tenant { // another tenant's things are not there
		refuse(notFound())
		return
	}
	plan := r.plan.Load()
	if plan == nil {
		refuse(&problem{code: "no_snapshot", status: http.StatusServiceUnavailable, title: "The router has no signed snapshot yet",
			detail: "It follows the control plane, which has published none.", retry: 1})
		return
	}
	r.age(w, plan)
	t, p := plan.resolve(who, in)
	if p != nil {
		refuse(p)
		return
	}
	record := Record{DecisionID: traceOf(req.Context()).decision(), At: began.UTC(), Tenant: who.tenant, Owner: t.Owner, Model: t.Model,
		Environment: t.Environment, Snapshot: plan.table.Snapshot.Version, Policy: t.Policy, TraceID: traceOf(req.Context()).trace, Simulated: who.simulated}
	out, took, p := r.serve(req.Context(), t, in, &record)
	upstream = took
	if p != nil {
		if record.Status = p.status; p.status == statusGone {
			status = statusGone
			r.records.put(record)
			return
		}
		record.Problem = p.code
		r.records.put(record)
		refuse(p)
		return
	}
	record.Status = http.StatusOK
	record.KeyID, record.Header = r.key.id, r.key.header(record)
	r.records.put(record)
	r.metrics.decisions.WithLabelValues(record.Region).Inc()

	out.Audit = audit{DecisionID: record.DecisionID, TraceID: record.TraceID, Manifest: record.Manifest, Snapshot: record.Snapshot, Policy: record.Policy, Output: record.Output, Header: record.Header}
	out.Simulated = record.Simulated
	text, err := compact(out)
	if err != nil {
		r.opts.Log.ErrorContext(req.Context(), "answer", "err", err)
		refuse(&problem{code: "internal", status: http.StatusInternalServerError, title: "Something failed; the trace id says where to look"})
		return
	}
	w.Header().Set(auditHeader, record.Header)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text) // the caller may be gone; the decision is recorded
}

// statusGone is how a caller that left is counted; it is never sent.
const statusGone = 499

// serve decides, asks the endpoint, and once more another one if the first
// fails. It returns the answer without its audit part.
func (r *Router) serve(ctx context.Context, t *target, in request, record *Record) (answer, time.Duration, *problem) {
	if p := permitted(t, in.prefers.region); p != nil {
		return answer{}, 0, p
	}
	body, back, p := translate(in.input)
	if p != nil {
		return answer{}, 0, p
	}
	deadline := defaultDeadline
	if in.prefers.maxLatency > 0 {
		deadline = in.prefers.maxLatency
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()

	ask := r.ask(t, in)
	why := explain(t, &ask, in)
	why.ID = record.DecisionID
	var upstream time.Duration
	var last error
	for attempt := 1; attempt <= attempts; attempt++ {
		i := r.pick(t, &ask)
		if i < 0 {
			break
		}
		got, err := r.attempt(ctx, t, i, attempt, body, back)
		upstream += got.took
		if err == nil {
			why.Attempts, why.Reason = attempt, reason(t, &ask, i, attempt)
			return t.answered(i, got.output, why, record), upstream, nil
		}
		last = err
		var input *inputError
		if errors.Is(err, errGone) || errors.As(err, &input) || ctx.Err() != nil {
			break
		}
		r.metrics.retries.Inc()
		ask.Skip, ask.Now = t.nodes[i].live, r.now()
	}
	switch {
	case errors.Is(last, errGone):
		return answer{}, upstream, &problem{status: statusGone}
	case last != nil:
		return answer{}, upstream, failed(last)
	}
	return answer{}, upstream, unfit(t, &ask)
}

// attempt asks candidate i. The first attempt gets half of the time where there
// is somebody else to ask, so that one that hangs costs half, not all.
func (r *Router) attempt(ctx context.Context, t *target, i, attempt int, body []byte, back bool) (result, error) {
	if end, ok := ctx.Deadline(); ok && attempt == 1 && len(t.candidates) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	return r.forward(ctx, t, i, body, back)
}

// answered fills in what was answered by whom, in the answer and the record.
func (t *target) answered(i int, output json.RawMessage, why decision, record *Record) answer {
	n, leg := t.nodes[i], t.legs[i]
	record.Version, record.Manifest = leg.Package.Version, leg.Package.Manifest
	record.Region, record.Endpoint = n.Region, n.Name
	record.Output = artifact.DigestOf(output)
	record.Simulated = record.Simulated || leg.Route.Simulated || n.Simulated
	return answer{Tenant: t.Caller, Model: t.Model, Version: leg.Package.Version, Region: n.Region, Endpoint: n.Name, Output: output, Decision: why}
}

// age says in the headers which snapshot decided and how long ago the control
// plane confirmed it. A stale one still decides, and is called stale: what it
// forbids stays forbidden, and its models are the last that were approved.
func (r *Router) age(w http.ResponseWriter, p *plan) {
	age := r.snapshotAge()
	w.Header().Set("X-Fabric-Snapshot", fmt.Sprintf("%d;age=%d", p.table.Snapshot.Version, int(age.Seconds())))
	if age > r.opts.MaxAge {
		w.Header().Set("X-Fabric-Snapshot-Stale", "true")
	}
}

func (r *Router) snapshotAge() time.Duration {
	return max(0, r.opts.Now().Sub(r.opts.Confirmed()))
}
