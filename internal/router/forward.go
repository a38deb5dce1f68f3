package router

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/atom-fabric/fabric/internal/upstream"
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

// A call is what a request sends to whichever endpoint is chosen.
type call struct {
	target *target
	body   []byte
	once   bool   // it must not be done twice
	back   bool   // the answer is to be translated back
	copied bool   // nobody gets the answer
	parent string // traceparent
}

// A result is a checked answer. It must be closed.
type result struct {
	output []byte // of /invoke
	page   *page  // that output lies in
	memory *memory

	answer *upstream.Answer // of the Open Inference Protocol
	cancel context.CancelCauseFunc
}

// Close gives back what the answer holds.
func (o result) Close() {
	if o.answer != nil {
		o.answer.Close()
		o.cancel(nil)
	}
	if o.memory != nil {
		o.memory.put(o.page)
	}
}

// forward asks candidate i. It may run several times at once for a request.
func (r *Router) forward(ctx context.Context, c *call, i int) (result, error) {
	a, err := r.exchange(ctx, c, i)
	if err != nil {
		return result{}, err
	}
	defer a.Close()
	page := r.memory.get()
	page.b, err = output(page.b, a.Body, c.target.Wire, c.target.legs[i].Package.Version, c.back)
	if err != nil {
		r.memory.put(page)
		return result{}, fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	return result{output: page.b, page: page, memory: &r.memory}, nil
}

// A sending is a request to a runtime with room for its fields.
type sending struct {
	upstream.Request
	fields [5]upstream.Field
}

// exchange sends the request and returns an answer of status 200, whole: what
// breaks off in the middle is an error, not an answer.
func (r *Router) exchange(ctx context.Context, c *call, i int) (*upstream.Answer, error) {
	t := c.target
	manifest := string(t.legs[i].Package.Manifest)
	s := sending{Request: upstream.Request{Method: http.MethodPost, Once: c.once, Path: t.paths[i], Body: c.body, Whole: maxAnswer, Limit: maxAnswer}}
	s.fields = [...]upstream.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "Traceparent", Value: c.parent},
		{Name: "X-Fabric-Tenant", Value: t.Caller}, {Name: "X-Fabric-Manifest", Value: manifest}, {Name: latencyHeader, Value: left(ctx)}}
	s.Header = s.fields[:]
	if c.copied {
		s.Header = append(s.Header, upstream.Field{Name: mirrorHeader, Value: "true"})
	}
	a, err := t.nodes[i].up.Do(ctx, &s.Request)
	if err != nil {
		return nil, broken(err)
	}
	if err := judge(a, manifest); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// judge says what an answer's status and package are worth.
func judge(a *upstream.Answer, manifest string) error {
	switch a.Status {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return &inputError{said(a.Body)}
	case http.StatusNotFound:
		return errNotLoaded
	case http.StatusForbidden:
		return errRefused
	default:
		return fmt.Errorf("%w: status %d", errBadAnswer, a.Status)
	}
	// Our runtimes say which package answered; others say nothing.
	if got := a.Header.Get("X-Fabric-Manifest"); got != "" && got != manifest {
		return fmt.Errorf("%w: of another package", errBadAnswer)
	}
	return nil
}

// broken tells a caller who left from a deadline, and both from a failure.
func broken(err error) error {
	var how *upstream.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", errGone, context.Canceled)
	case errors.Is(err, upstream.ErrTimeout):
		return errTimeout
	case errors.Is(err, upstream.ErrFull):
		return fmt.Errorf("%w: %w", errBusy, err)
	case errors.As(err, &how) && how.Answered:
		return fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	return fmt.Errorf("%w: %w", errUnreachable, err)
}

// failed is the problem of a request of which every attempt failed.
func failed(err error) *problem {
	var input *inputError
	switch {
	case errors.As(err, &input):
		return badInput("/input", "%s", input.detail)
	case errors.Is(err, errBusy):
		return &problem{code: "overloaded", status: http.StatusServiceUnavailable, title: "Every permitted endpoint has all it can take", detail: "Send less, or again a little later.", retry: 1}
	case errors.Is(err, errTimeout):
		return &problem{code: "deadline_exceeded", status: http.StatusGatewayTimeout, title: "No endpoint answered in time", detail: "The endpoints that may answer took too long.", retry: 1}
	case errors.Is(err, errBadAnswer):
		return &problem{code: "bad_upstream_answer", status: http.StatusBadGateway, title: "The endpoint's answer cannot be used"}
	case errors.Is(err, errRefused):
		return &problem{code: "not_permitted", status: http.StatusForbidden, title: "The policy does not permit it", detail: "The region's runtime refuses by its own policy, rule policy/runtime."}
	}
	return &problem{code: "none_healthy", status: http.StatusServiceUnavailable, title: "No permitted endpoint can answer now", detail: "The endpoints that may answer do not.", retry: 1}
}
