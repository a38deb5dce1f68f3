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
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/token"
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
	Region     string          // home; "" for a router that belongs to none
	Version    string          // of the software
	Verifier   *token.Verifier // of callers; nil: none can present a token
	Simulation bool            // serve callers without a token, on loopback
	Listener   net.Addr        // that the handler answers on
	StateDir   string          // for the audit key and the decision records
	Client     *http.Client    // to the runtimes; see [NewClient]
	Log        *slog.Logger
	Registry   *prometheus.Registry
	// Confirmed returns when the snapshot was last confirmed by the control
	// plane; older than MaxAge it is called stale, and goes on being used.
	Confirmed func() time.Time
	MaxAge    time.Duration
	Now       func() time.Time
}

// A Router routes. Use must have taken a snapshot before it answers.
type Router struct {
	opts    Options
	start   time.Time
	plan    atomic.Pointer[plan] // nil: no snapshot yet
	kick    chan struct{}        // capacity 1: check the endpoints now
	key     auditKey
	records *recorder
	metrics metrics
	scratch sync.Pool // of *[]float64
}

// New returns a router without a snapshot.
func New(opts Options) (*Router, error) {
	key, err := loadAuditKey(opts.StateDir)
	if err != nil {
		return nil, err
	}
	r := &Router{opts: opts, start: opts.Now(), kick: make(chan struct{}, 1), key: key}
	r.scratch.New = func() any { return new([]float64) }
	if r.metrics, err = newMetrics(opts.Registry, r); err != nil {
		return nil, err
	}
	if r.records, err = openRecorder(opts.StateDir, r.metrics.dropped); err != nil {
		return nil, err
	}
	return r, nil
}

// NewClient returns a client that suits runtimes: it keeps connections, follows
// no redirect out of the permitted set, and uses no proxy.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: time.Second, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConnsPerHost:    128,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    2 * time.Second,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Use takes a verified snapshot: it is the Use of a follower.
func (r *Router) Use(s routing.Snapshot) error {
	table, err := routing.Compile(s, r.opts.Region)
	if err != nil {
		return err
	}
	r.plan.Store(newPlan(table, r.plan.Load()))
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return nil
}

// Run checks endpoints and writes decision records until ctx ends; then it
// writes what is left of them.
func (r *Router) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { r.watch(ctx) })
	err := r.records.run(ctx)
	group.Wait()
	return err
}

// Handler answers /invoke and what people and machines ask of a router.
func (r *Router) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invoke", r.invoke)
	mux.HandleFunc("GET /router/active", r.getActive)
	mux.HandleFunc("GET /router/decisions/{id}", r.getDecision)
	mux.HandleFunc("GET /health", r.getHealth)
	mux.Handle("GET /metrics", r.metrics.handler)
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		_, pattern := mux.Handler(&http.Request{Method: http.MethodPost, URL: req.URL, Host: req.Host})
		if pattern == "POST /invoke" {
			w.Header().Set("Allow", http.MethodPost)
			r.refuse(w, req, problem{code: "method_not_allowed", status: http.StatusMethodNotAllowed, title: "The method is not allowed here"})
			return
		}
		r.refuse(w, req, problem{code: "not_found", status: http.StatusNotFound, title: "There is no such thing"})
	})
	return traced(mux)
}

// now is the time in the nanoseconds that [endpoint.Live] counts in.
func (r *Router) now() int64 { return int64(r.opts.Now().Sub(r.start)) }

// errGone says that the caller left; nobody reads an answer.
var errGone = errors.New("the caller is gone")
