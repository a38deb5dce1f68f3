// Package opa asks the rules whether a run may start: the rules that ship,
// evaluated here, or those of an operator's own OPA.
//
// Invariant: a run is admitted only by an answer that says so and gives no
// reason against it. No answer, a late one, or one that cannot be read is an
// error, and an error admits nothing.
package opa

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/atom-fabric/fabric/domain/policy"
)

// Why there is no decision.
var (
	ErrOptions     = errors.New("not the URL of a rules engine")
	ErrUnavailable = errors.New("the rules engine does not answer")              // asking again may help
	ErrUndecided   = errors.New("the rules engine gives no decision on the run") // it serves other rules
)

// DefaultTimeout is how long one decision may take.
const DefaultTimeout = 2 * time.Second

// Options choose the engine.
type Options struct {
	URL     string        // of a remote OPA; empty: the rules that ship
	Client  *http.Client  // to the remote; nil: one of its own
	Timeout time.Duration // of one decision; 0: [DefaultTimeout]
}

// An Engine decides. It is safe for concurrent use.
type Engine struct {
	ask     func(context.Context, policy.Admission) (answer, error)
	timeout time.Duration
}

// An answer is the document data.fabric.admission. Allow is a pointer, for a
// document that says nothing must not read as one that says no.
type answer struct {
	Allow   *bool    `json:"allow"`
	Reasons []string `json:"reasons"`
}

// New returns an engine. The embedded rules are compiled here, once; a remote
// is not called before it is needed.
// Errors: [ErrOptions]; those of the compiler for rules that do not compile.
func New(ctx context.Context, opts Options) (*Engine, error) {
	e := &Engine{timeout: opts.Timeout}
	if e.timeout <= 0 {
		e.timeout = DefaultTimeout
	}
	if opts.URL == "" {
		ask, err := embedded(ctx)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		e.ask = ask
		return e, nil
	}
	at, err := url.Parse(opts.URL)
	if err != nil || at.Host == "" || at.User != nil || (at.Scheme != "http" && at.Scheme != "https") {
		return nil, ErrOptions // without its text: it may hold a password
	}
	client := opts.Client
	if client == nil {
		client = &http.Client{}
	}
	e.ask = remote{client, at.JoinPath("v1", "data", "fabric", "admission").String()}.ask
	return e, nil
}

// Admit says whether the run may start, and every reason why not, sorted.
// Errors: [ErrUnavailable], [ErrUndecided]; then the run is not admitted.
func (e *Engine) Admit(ctx context.Context, run policy.Admission) (allowed bool, reasons []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	a, err := e.ask(ctx, run)
	switch {
	case err != nil:
		return false, nil, fmt.Errorf("admission of model %s: %w", run.Model, err)
	case a.Allow == nil, *a.Allow && len(a.Reasons) > 0, !*a.Allow && len(a.Reasons) == 0:
		return false, nil, fmt.Errorf("admission of model %s: %w", run.Model, ErrUndecided)
	}
	return *a.Allow, a.Reasons, nil
}

// Check says whether the engine decides at all: it asks about a run without
// anything, which must be refused.
func (e *Engine) Check(ctx context.Context) error {
	allowed, _, err := e.Admit(ctx, policy.Admission{})
	if err == nil && allowed {
		return fmt.Errorf("an empty run is admitted: %w", ErrUndecided)
	}
	return err
}
