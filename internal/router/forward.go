package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// How an attempt at an endpoint failed.
var (
	errUnreachable = errors.New("the endpoint does not answer")
	errTimeout     = errors.New("the endpoint did not answer in time")
	errBadAnswer   = errors.New("the endpoint's answer cannot be used")
	errNotLoaded   = errors.New("the endpoint does not have the model")
	errRefused     = errors.New("the endpoint's own policy refuses")
)

// An inputError is the runtime's word on an input that it cannot take. Another
// runtime would say the same, so it is not tried again.
type inputError struct{ detail string }

func (e *inputError) Error() string { return "input: " + e.detail }

// A result is a checked answer.
type result struct {
	output json.RawMessage
	took   time.Duration
}

// forward asks one candidate and reports to its live state how that went.
func (r *Router) forward(ctx context.Context, t *target, i int, body []byte, back bool) (result, error) {
	live := t.nodes[i].live
	live.Begin()
	began := r.opts.Now()
	text, err := r.exchange(ctx, t, i, body)
	var out result
	if err == nil {
		if out.output, err = output(text, t.Wire, t.legs[i].Package.Version, back); err != nil {
			err = fmt.Errorf("%w: %w", errBadAnswer, err)
		}
	}
	out.took = r.opts.Now().Sub(began)
	r.metrics.upstream.WithLabelValues(t.nodes[i].Region).Observe(out.took.Seconds())
	var input *inputError
	switch {
	case errors.Is(err, context.Canceled):
		live.Cancel() // the caller left: that says nothing of the endpoint
	case err == nil || errors.As(err, &input):
		live.End(r.now(), int64(out.took), true, 0, 0)
	default:
		if live.End(r.now(), int64(out.took), false, latencyLimit*int64(time.Millisecond), rand.Float64()) {
			r.metrics.ejections.WithLabelValues(t.nodes[i].Region).Inc()
			r.opts.Log.Warn("endpoint set aside", "endpoint", t.nodes[i].Name, "err", err)
		}
	}
	return out, err
}

// exchange sends the request and returns the body of an answer of status 200,
// whole: what breaks off in the middle is an error, not an answer.
func (r *Router) exchange(ctx context.Context, t *target, i int, body []byte) ([]byte, error) {
	manifest := string(t.legs[i].Package.Manifest)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.paths[i], bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", traceOf(ctx).parent)
	req.Header.Set("X-Fabric-Tenant", t.Caller)
	req.Header.Set("X-Fabric-Manifest", manifest)
	// Tells the transport, and nobody else, that the request may be sent again
	// when an idle connection turns out to be closed.
	req.Header["Idempotency-Key"] = nil
	resp, err := r.opts.Client.Do(req)
	if err != nil {
		return nil, broken(ctx, errUnreachable, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, broken(ctx, errBadAnswer, err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("%w: longer than %d bytes", errBadAnswer, maxAnswer)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return nil, &inputError{said(text)}
	case http.StatusNotFound:
		return nil, errNotLoaded
	case http.StatusForbidden:
		return nil, errRefused
	default:
		return nil, fmt.Errorf("%w: status %d", errBadAnswer, resp.StatusCode)
	}
	// Our runtimes say which package answered; others say nothing.
	if got := resp.Header.Get("X-Fabric-Manifest"); got != "" && got != manifest {
		return nil, fmt.Errorf("%w: of another package", errBadAnswer)
	}
	return text, nil
}

// broken tells a caller who left from a deadline, and both from a failure.
func broken(ctx context.Context, otherwise, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%w: %w", errGone, context.Canceled)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errTimeout
	}
	return fmt.Errorf("%w: %w", otherwise, err)
}

// said returns a runtime's {"error"}, short and printable.
func said(text []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &e) != nil || e.Error == "" {
		return "the runtime refuses it"
	}
	out := []rune{}
	for _, c := range e.Error {
		if c < ' ' || c == 0x7f {
			c = ' '
		}
		if out = append(out, c); len(out) == 200 {
			break
		}
	}
	return string(out)
}

// failed is the problem of a request of which every attempt failed.
func failed(err error) *problem {
	var input *inputError
	switch {
	case errors.As(err, &input):
		return badInput("/input", "%s", input.detail)
	case errors.Is(err, errTimeout):
		return &problem{code: "deadline_exceeded", status: http.StatusGatewayTimeout, title: "No endpoint answered in time"}
	case errors.Is(err, errBadAnswer):
		return &problem{code: "bad_upstream_answer", status: http.StatusBadGateway, title: "The endpoint's answer cannot be used"}
	case errors.Is(err, errRefused):
		return &problem{code: "not_permitted", status: http.StatusForbidden, title: "The policy does not permit it", detail: "The region's runtime refuses by its own policy, rule policy/runtime."}
	}
	return &problem{code: "none_healthy", status: http.StatusServiceUnavailable, title: "No permitted endpoint can answer now", detail: "The endpoints that may answer do not.", retry: 1}
}
