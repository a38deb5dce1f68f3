package router

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/upstream"
)

const (
	maxTensors = 8 << 20          // of a request of the Open Inference Protocol
	wholeFirst = 256 << 10        // of an answer that is read before its status is sent
	quietFor   = 30 * time.Second // that a stream may be, on either side
)

// What a client of the Open Inference Protocol says in fields what one of
// /invoke says in its preferences.
const (
	tenantHeader      = "X-Fabric-Tenant"
	ownerHeader       = "X-Fabric-Owner"
	environmentHeader = "X-Fabric-Environment"
	regionHeader      = "X-Fabric-Region"
	purposeHeader     = "X-Fabric-Purpose"
)

// passedOn are the fields of a request that a runtime gets, as they are.
var passedOn = [...]string{"Content-Type", "Accept", "Content-Encoding", "Accept-Encoding", "Inference-Header-Content-Length"}

// inference answers what the Open Inference Protocol V2 asks of a model: what
// it is, and an inference. Bodies pass as they are in both directions.
func (r *Router) inference(w http.ResponseWriter, req *http.Request) {
	v := r.visit(w, req)
	defer v.end()
	page := r.memory.get()
	defer r.memory.put(page)
	if p := v.inference(page); p != nil {
		p.oip = true
		v.refuse(p)
	}
	if v.copy != nil {
		v.mirror()
	}
}

func (v *visit) inference(page *page) *problem {
	r := v.r
	in, p := v.asked()
	if p != nil {
		return p
	}
	if p := r.knock(v.who.tenant); p != nil {
		return p
	}
	if p := readBody(v.w, v.req, page, maxTensors); p != nil {
		return p
	}
	t, side, p := v.model(in)
	if p != nil {
		return p
	}
	ctx := within(v.req.Context(), in.deadline())
	try := &trial{target: t, ask: r.ask(t, in, side), once: in.once}
	try.send = func(ctx context.Context, i int) (result, error) { return v.pass(ctx, t, i, page.b) }
	got, err := r.try(ctx, try)
	v.upstream = try.upstream
	if t.mirror != nil && v.req.Method == http.MethodPost {
		v.sample(try, in, side, err, mirrored{call: call{body: page.b}, fields: appendPassed([]upstream.Field{}, v.req.Header)})
	}
	if err != nil {
		v.blame(try)
		return unanswered(try, err)
	}
	defer got.Close()
	digest := artifact.Digest("")
	if got.answer.Stream == nil {
		digest = artifact.DigestOf(got.answer.Body)
	}
	v.status = got.answer.Status
	v.answered(t, try.chosen, digest)
	if p := v.durable(); p != nil {
		return p
	}
	v.relay(&got)
	return nil
}

// asked reads what a request of the protocol is for from its path and fields.
func (v *visit) asked() (*request, *problem) {
	var p *problem
	if v.who, p = v.r.caller(v.req); p != nil {
		return nil, p
	}
	h := v.req.Header
	in := &request{tenant: v.who.tenant, model: v.req.PathValue("model")}
	if named := h.Get(tenantHeader); v.who.simulated || named != "" {
		in.tenant = named
	}
	if !named(in.tenant) {
		return nil, badField(tenantHeader, "must be given without a token, and match %s", name)
	}
	in.prefers.owner, in.prefers.environment, in.prefers.region, in.prefers.purpose = h.Get(ownerHeader), h.Get(environmentHeader), h.Get(regionHeader), h.Get(purposeHeader)
	for _, field := range []struct{ name, value string }{{ownerHeader, in.prefers.owner}, {environmentHeader, in.prefers.environment}, {regionHeader, in.prefers.region}, {purposeHeader, in.prefers.purpose}} {
		if field.value != "" && !named(field.value) {
			return nil, badField(field.name, "must match %s", name)
		}
	}
	if p := in.bounded(h); p != nil {
		return nil, p
	}
	if text := v.req.PathValue("version"); text != "" {
		version, err := strconv.ParseInt(text, 10, 32)
		if err != nil || version < 1 || text[0] == '+' {
			return nil, noRoute("Versions are numbers from 1 on.")
		}
		in.prefers.version = int(version)
	}
	return in, in.keyed(h, v.who)
}

// model resolves the model of a path: by its id, as /invoke does, or by
// <owner>.<id>, the name that runtimes know it by.
func (v *visit) model(in *request) (*target, side, *problem) {
	path := in.model
	if plan := v.r.plan.Load(); plan != nil && in.prefers.owner == "" && plan.models[modelKey{in.tenant, path}] == nil {
		for at := 1; at < len(path)-1; at++ {
			if path[at] == '.' && owned(plan.models[modelKey{in.tenant, path[at+1:]}], path[:at]) {
				in.prefers.owner, in.model = path[:at], path[at+1:]
				break
			}
		}
	}
	if !named(in.model) {
		return nil, side{}, noRoute("No model has that name.")
	}
	return v.resolve(in)
}

func owned(all []*target, owner string) bool {
	for _, t := range all {
		if t.Owner == owner {
			return true
		}
	}
	return false
}

// pass sends a request of the protocol to candidate i as it came. The refusal
// of an input is an answer too: it is the runtime's, in its words.
func (v *visit) pass(ctx context.Context, t *target, i int, body []byte) (result, error) {
	req := &upstream.Request{Method: v.req.Method, Once: v.req.Header[retryHeader] != nil, Path: t.paths[i], Body: body, Whole: wholeFirst}
	if v.req.Method == http.MethodGet {
		req.Path = strings.TrimSuffix(req.Path, "/infer")
	}
	manifest := string(t.legs[i].Package.Manifest)
	req.Header = make([]upstream.Field, 0, len(passedOn)+4)
	req.Header = appendPassed(req.Header, v.req.Header)
	req.Header = append(req.Header, upstream.Field{Name: "Traceparent", Value: v.span.parent},
		upstream.Field{Name: tenantHeader, Value: t.Caller}, upstream.Field{Name: "X-Fabric-Manifest", Value: manifest},
		upstream.Field{Name: latencyHeader, Value: left(ctx)})

	// A stream outlives the attempt whose answer it is: it ends with the caller.
	own, cancel := context.WithCancelCause(v.req.Context())
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	a, err := t.nodes[i].up.Do(own, req)
	if err == nil {
		err = judge(a, manifest)
		var input *inputError
		if errors.As(err, &input) {
			err = nil
		}
		if err != nil {
			a.Close()
		}
	} else {
		err = broken(err)
	}
	if !stop() && err == nil && a.Stream != nil { // lost, or late, as it began
		a.Close()
		err = errTimeout
		if errors.Is(context.Cause(own), context.Canceled) {
			err = errGone
		}
	}
	if err != nil {
		cancel(nil)
		return result{}, err
	}
	return result{answer: a, cancel: cancel}, nil
}

// appendPassed appends the fields of a request that are passed on.
func appendPassed(out []upstream.Field, h http.Header) []upstream.Field {
	for _, name := range passedOn {
		for _, value := range h[name] {
			out = append(out, upstream.Field{Name: name, Value: value})
		}
	}
	return out
}

// relay sends an answer on, piece by piece if it is a stream. One that breaks
// off is broken off here too: nobody must take half for the whole.
func (v *visit) relay(got *result) {
	a, h := got.answer, v.w.Header()
	for name, value := range a.Header.All() {
		if name = http.CanonicalHeaderKey(name); strings.HasPrefix(name, "X-Fabric-") || name == "Traceparent" || name == "X-Trace-Id" || name == "Date" {
			continue
		}
		h[name] = append(h[name], value)
	}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if a.Length >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(a.Length, 10)}
	}
	v.w.WriteHeader(a.Status)
	_, err := v.w.Write(a.Body)
	if a.Stream == nil || err != nil {
		return // the caller may be gone; the decision is recorded
	}
	quiet := time.AfterFunc(quietFor, func() { got.cancel(context.DeadlineExceeded) })
	defer quiet.Stop()
	out := http.NewResponseController(v.w)
	page := v.r.memory.get()
	defer v.r.memory.put(page)
	for {
		_ = out.SetWriteDeadline(time.Now().Add(quietFor)) // in place of the whole answer's
		if err := out.Flush(); err != nil {
			return
		}
		n, err := a.Stream.Read(page.b[:cap(page.b)])
		if _, err := v.w.Write(page.b[:n]); err != nil {
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			panic(http.ErrAbortHandler)
		}
		quiet.Reset(quietFor)
	}
}

// modelReady answers whether an endpoint would answer for a model now.
func (r *Router) modelReady(w http.ResponseWriter, req *http.Request) {
	v := r.visit(w, req)
	in, p := v.asked()
	if p == nil {
		p = v.ready(in)
	}
	if p != nil {
		p.oip = true
		r.refuse(w, req, *p)
		return
	}
	r.write(w, map[string]any{"name": req.PathValue("model"), "ready": true})
}

func (v *visit) ready(in *request) *problem {
	t, side, p := v.model(in)
	if p != nil {
		return p
	}
	if ask := v.r.ask(t, in, side); v.r.pick(t, &ask) < 0 {
		return unfit(t, &ask)
	}
	return nil
}

// serverMetadata, live and serverReady answer for the router itself.
func (r *Router) serverMetadata(w http.ResponseWriter, _ *http.Request) {
	r.write(w, map[string]any{"name": "fabric-router", "version": r.opts.Version, "extensions": []string{"binary_tensor_data"}})
}

func (r *Router) live(w http.ResponseWriter, _ *http.Request) {
	r.write(w, map[string]bool{"live": true})
}

func (r *Router) serverReady(w http.ResponseWriter, _ *http.Request) {
	ready := r.plan.Load() != nil
	if !ready {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	r.write(w, map[string]bool{"ready": ready})
}

// routeV2 adds the paths of the protocol.
func (r *Router) routeV2(mux *http.ServeMux) {
	mux.HandleFunc("GET /v2", r.serverMetadata)
	mux.HandleFunc("GET /v2/health/live", r.live)
	mux.HandleFunc("GET /v2/health/ready", r.serverReady)
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		mux.HandleFunc("GET "+model, r.inference)
		mux.HandleFunc("GET "+model+"/ready", r.modelReady)
		mux.HandleFunc("POST "+model+"/infer", r.inference)
	}
}
