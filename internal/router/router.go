// Package router answers POST /invoke: it decides which runtime may and should
// answer, asks it, and says with a MAC what it did. It needs no other process
// than the runtimes.
//
// Invariant: a request goes to an endpoint only if the signed snapshot's
// policies permit it for the tenant that the token names, whatever else fails;
// nothing widens that set. A status of 200 is sent only after the whole answer
// was read and checked.
package router

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/token"
	"github.com/atom-fabric/fabric/internal/upstream"
)

const (
	maxBody         = 1 << 20
	maxAnswer       = 8 << 20
	defaultDeadline = 2 * time.Second
	longestDeadline = time.Minute
	latencyLimit    = 1000 // ms that score 0 where the caller gives no limit
)

// Options are what a router needs. All fields are required but those that say
// otherwise.
type Options struct {
	Region     string           // home; "" for a router that belongs to none
	Version    string           // of the software
	Verifier   *token.Verifier  // of callers; nil: none can present a token
	Simulation bool             // serve callers without a token, on loopback
	Listener   net.Addr         // that the handler answers on
	StateDir   string           // for the audit key and the decision records
	Client     *upstream.Client // to the runtimes; see [NewClient]
	Log        *slog.Logger
	Registry   *prometheus.Registry
	// Confirmed returns when the snapshot was last confirmed by the control
	// plane; older than MaxAge it is called stale, and goes on being used.
	Confirmed func() time.Time
	MaxAge    time.Duration
	Now       func() time.Time
	// Gone is closed when no predecessor writes records any more, and Beside says
	// which of the two folders this process writes to. Optional: see [Opening].
	Gone   <-chan struct{}
	Beside bool
	// Decisions are shipped to Sink; nil: they stay here. SpoolBytes bounds what is
	// kept of them, 0 means 64 MiB.
	Sink       Sink
	SpoolBytes int64
	// Strict are the tenants whose calls are answered when their record is on disk
	// and not before; "*" is every tenant.
	Strict []string
}

// A Router routes. Use must have taken a snapshot before it answers.
type Router struct {
	opts    Options
	start   time.Time
	plan    atomic.Pointer[plan] // nil: no snapshot yet
	kick    chan struct{}        // capacity 1: check the endpoints now
	key     *auditKey
	retries *endpoint.Budget // hedges included
	hedges  *endpoint.Budget
	records *recorder
	ships   *shipper // nil: nowhere
	mirrors *mirrors
	strict  map[string]bool   // tenants, "*" for all
	kept    map[string]counts // of calls, from before the start
	metrics metrics
	scratch sync.Pool            // of *endpoint.Work
	waited  func() time.Duration // see [doorkeeper]
	memory  memory
}

// New returns a router without a snapshot.
func New(opts Options) (*Router, error) {
	key, err := loadAuditKey(opts.StateDir)
	if err != nil {
		return nil, err
	}
	r := &Router{opts: opts, start: opts.Now(), kick: make(chan struct{}, 1), key: key, waited: waiting(),
		retries: endpoint.NewBudget(retryShare, retryFloor), hedges: endpoint.NewBudget(hedgeShare, hedgeFloor)}
	r.scratch.New = func() any { return new(endpoint.Work) }
	if r.metrics, err = newMetrics(opts.Registry, r); err != nil {
		return nil, err
	}
	if r.mirrors, err = newMirrors(opts.Registry); err != nil {
		return nil, err
	}
	if err = r.openRecords(); err != nil {
		return nil, err
	}
	if r.kept, err = loadCounts(opts.StateDir); err != nil {
		opts.Log.Warn("quotas of this hour and day begin anew", "err", err)
	}
	return r, nil
}

// NewClient returns a client that suits runtimes: it keeps connections, follows
// no redirect out of the permitted set, and uses no proxy. config is of https; nil: the
// system's roots, and no certificate of our own.
func NewClient(config *tls.Config) *upstream.Client {
	return upstream.New(upstream.Options{TLS: config})
}

// Use takes a verified snapshot: it is the Use of a follower.
func (r *Router) Use(s routing.Snapshot) error {
	table, err := routing.Compile(s, r.opts.Region)
	if err != nil {
		return err
	}
	plan, err := newPlan(table, r.plan.Load(), r.kept, r.opts.Client, r.now())
	if err != nil {
		return err
	}
	if r.opts.Verifier != nil {
		r.opts.Verifier.Revoke(s.Revocations)
	}
	r.plan.Store(plan)
	if !plan.unasked { // all of it was asked within this second
		return nil
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return nil
}

// Run checks endpoints, sends copies to versions on trial, and writes and ships
// decision records, until ctx ends; then it writes what is left of them.
func (r *Router) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { r.watch(ctx) })
	group.Go(func() { r.adapt(ctx) })
	group.Go(func() { r.keepCounts(ctx) })
	for range mirrorAtOnce {
		group.Go(func() { r.mirrorAll(ctx) })
	}
	if r.ships != nil {
		group.Go(func() { r.ships.run(ctx) })
		if r.opts.Gone != nil {
			group.Go(func() { r.inherit(ctx) })
		}
	}
	err := r.records.run(ctx)
	group.Wait()
	return err
}

// Handler answers /invoke and what people and machines ask of a router.
func (r *Router) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invoke", r.invoke)
	r.routeV2(mux)
	mux.HandleFunc("GET /router/active", r.getActive)
	mux.HandleFunc("GET /router/decisions/{id}", r.getDecision)
	mux.HandleFunc("GET /health", r.getHealth)
	mux.Handle("GET /metrics", r.metrics.handler)
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if allowed := allows(mux, req); allowed != "" {
			w.Header().Set("Allow", allowed)
			r.refuse(w, req, problem{code: "method_not_allowed", status: http.StatusMethodNotAllowed, title: "The method is not allowed here"})
			return
		}
		r.refuse(w, req, problem{code: "not_found", status: http.StatusNotFound, title: "There is no such thing"})
	})
	return traced(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/invoke" && req.Method == http.MethodPost { // nearly all: what the mux would find
			r.invoke(w, req)
			return
		}
		mux.ServeHTTP(w, req)
	}))
}

// allows returns the method by which there is something at a path, or "".
func allows(mux *http.ServeMux, req *http.Request) string {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if _, pattern := mux.Handler(&http.Request{Method: method, URL: req.URL, Host: req.Host}); pattern != "/" && pattern != "" {
			return method
		}
	}
	return ""
}

// now is the time in the nanoseconds that [endpoint.Live] counts in.
func (r *Router) now() int64 { return int64(r.opts.Now().Sub(r.start)) }

// errGone says that the caller left; nobody reads an answer.
var errGone = errors.New("the caller is gone")
