// Package opa asks the rules: those that ship, evaluated here over the policy in
// force, or those of an operator's own OPA, which serves the same bundle.
//
// Invariant: something is allowed only by an answer that says so and gives no
// reason against it. No answer, a late one, or one that cannot be read is an
// error, and an error allows nothing. A bundle that is refused leaves the one in
// force in force.
package opa

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Why there is no decision.
var (
	ErrOptions     = errors.New("not the URL of a rules engine")
	ErrUnavailable = errors.New("the rules engine does not answer")              // asking again may help
	ErrUndecided   = errors.New("the rules engine gives no decision on the run") // it serves other rules
)

// ErrBehind says that a remote serves an earlier bundle than the one in force.
var ErrBehind = errors.New("the rules engine is behind: serve it the bundle of the policy hub")

// DefaultTimeout is how long one decision may take.
const DefaultTimeout = 2 * time.Second

// Options choose the engine.
type Options struct {
	URL     string        // of a remote OPA; empty: the rules that ship
	Client  *http.Client  // to the remote; nil: one of its own
	Timeout time.Duration // of one decision; 0: [DefaultTimeout]
}

// An Engine decides. It is safe for concurrent use, and a bundle may be put in
// force meanwhile: a decision is of one bundle.
type Engine struct {
	inForce atomic.Pointer[program] // nil while a remote decides
	wanted  atomic.Int64            // revision that a remote should serve; 0: not known
	remote  *remote
	timeout time.Duration
}

// An answer is the document data.fabric.<question>. Allow is a pointer, for a
// document that says nothing must not read as one that says no.
type answer struct {
	Allow   *bool    `json:"allow"`
	Reasons []string `json:"reasons"`
}

// A Verdict is a decision with what it was made by. Revision and Content are of
// the bundle; a remote says its revision or 0, and not its content.
type Verdict struct {
	Allowed  bool
	Reasons  []string // why not, sorted
	Revision int64
	Content  artifact.Digest
}

// New returns an engine. The embedded rules are compiled here, over the policy
// that a new fabric begins with; see Activate. A remote is not called before it
// is needed.
// Errors: [ErrOptions]; [ErrCompile].
func New(ctx context.Context, opts Options) (*Engine, error) {
	e := &Engine{timeout: opts.Timeout}
	if e.timeout <= 0 {
		e.timeout = DefaultTimeout
	}
	if opts.URL == "" {
		b, err := Shipped(policy.Default())
		if err != nil {
			return nil, err
		}
		p, err := b.program(ctx)
		if err != nil {
			return nil, err
		}
		e.inForce.Store(p)
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
	e.remote = &remote{client, at}
	return e, nil
}

// Activate puts a bundle in force. Where a remote decides, its operator serves
// it the bundle, and Check says when it is behind.
// Errors: [ErrCompile]; [ErrRevision] for a revision that is not higher, unless
// it is the one in force; both leave what is in force.
func (e *Engine) Activate(ctx context.Context, b Bundle) error {
	if e.remote != nil {
		e.wanted.Store(b.Document.Revision)
		return nil
	}
	next, err := b.program(ctx)
	if err != nil {
		return err
	}
	for {
		now := e.inForce.Load()
		if next.content == now.content && next.revision == now.revision {
			return nil
		}
		if next.revision <= now.revision {
			return fmt.Errorf("revision %d, in force is %d: %w", next.revision, now.revision, ErrRevision)
		}
		if e.inForce.CompareAndSwap(now, next) {
			return nil
		}
	}
}

// Revision returns the revision in force; 0 where a remote decides.
func (e *Engine) Revision() int64 {
	if p := e.inForce.Load(); p != nil {
		return p.revision
	}
	return 0
}

// Decide answers a question of [policy.Questions]. The input is a value whose
// JSON the question takes; a map of plain values is the quickest.
// Errors: [ErrUnavailable], [ErrUndecided]; then nothing is allowed.
func (e *Engine) Decide(ctx context.Context, question string, input any) (Verdict, error) {
	v, err := e.decide(ctx, question, input)
	if err != nil {
		return Verdict{}, fmt.Errorf("%s: %w", question, err)
	}
	return v, nil
}

func (e *Engine) decide(ctx context.Context, question string, input any) (Verdict, error) {
	var a answer
	var v Verdict
	if p := e.inForce.Load(); p != nil {
		return p.verdict(ctx, question, input)
	}
	text, err := json.Marshal(input)
	if err != nil {
		return v, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	if a, v.Revision, err = e.remote.ask(ctx, question, text); err != nil {
		return v, err
	}
	if err := a.check(); err != nil {
		return v, err
	}
	v.Allowed, v.Reasons = *a.Allow, a.Reasons
	return v, nil
}

// verdict is what a bundle decides, remembered where its rules are those that
// ship. The reasons are shared: nobody writes to them.
func (p *program) verdict(ctx context.Context, question string, input any) (Verdict, error) {
	var k any
	if p.shipped {
		k = key(question, input)
		if v, ok := p.known.of(k); ok && ctx.Err() == nil {
			return v, nil
		}
	}
	value, err := p.words.valueOf(input)
	if err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	a, err := p.decide(ctx, question, value)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Allowed: *a.Allow, Reasons: a.Reasons, Revision: p.revision, Content: p.content}
	p.known.keep(k, v)
	return v, nil
}

// check refuses an answer that says nothing, or yes and no.
func (a answer) check() error {
	if a.Allow == nil || *a.Allow && len(a.Reasons) > 0 || !*a.Allow && len(a.Reasons) == 0 {
		return ErrUndecided
	}
	return nil
}

// Admit says whether the run may start, and every reason why not, sorted.
// Errors: [ErrUnavailable], [ErrUndecided]; then the run is not admitted.
func (e *Engine) Admit(ctx context.Context, run policy.Admission) (allowed bool, reasons []string, err error) {
	v, err := e.decide(ctx, policy.AskAdmission, run)
	if err != nil {
		return false, nil, fmt.Errorf("admission of model %s: %w", run.Model, err)
	}
	return v.Allowed, v.Reasons, nil
}

// Admission is Admit as a decision for the log. The names of the other tenants
// that a feature is granted to are masked; the asking tenant's stays.
// Errors: those of Admit.
func (e *Engine) Admission(ctx context.Context, d policy.Decision, run policy.Admission) (policy.Decision, error) {
	v, err := e.decide(ctx, policy.AskAdmission, run)
	if err != nil {
		return policy.Decision{}, fmt.Errorf("admission of model %s: %w", run.Model, err)
	}
	d.Question = policy.AskAdmission
	return v.Log(d, run, run.Tenant)
}

// Check says whether the engine decides at all, by the revision in force: it
// asks about a run without anything, which must be refused.
// Errors: [ErrUnavailable], [ErrUndecided], [ErrBehind].
func (e *Engine) Check(ctx context.Context) error {
	v, err := e.Decide(ctx, policy.AskAdmission, policy.Admission{})
	if err != nil {
		return err
	}
	if v.Allowed {
		return fmt.Errorf("an empty run is admitted: %w", ErrUndecided)
	}
	if want := e.wanted.Load(); want > 0 && v.Revision > 0 && v.Revision < want {
		return fmt.Errorf("revision %d, in force is %d: %w", v.Revision, want, ErrBehind)
	}
	return nil
}
