package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// defaultUpload is [Options.MaxUpload] where nobody has said otherwise.
const defaultUpload = 4 << 30

// Limits are requests a second, with bursts of twice as many.
type Limits struct {
	TenantPerSecond int // of one tenant, reads and writes each; 0 means 200
	AddrPerSecond   int // of one client address, before anybody knows who asks; 0 means 2000
}

// Options say how the services behave. What has no zero meaning is required.
type Options struct {
	Version     string
	Simulation  bool                // SIMULATION_MODE, as decided by precheck
	SigningKey  bool                // production rounds can be signed
	Tokens      Tokens              // of callers, audience "fabric"; required
	SiteTokens  Tokens              // of sites, audience "fabric-site"; required
	Enrolment   Enrolment           // the FEDERATION_TOKEN
	TrustedKeys []string            // PEM of the keys that sites check round manifests with
	Regions     []string            // that the control plane serves, in rollout order; required
	RouterURL   string              // where the gateway passes /invoke on to
	Checks      map[string]Check    // dependencies, for /health
	Metrics     prometheus.Gatherer // of the process, beside each service's own
	Limits      Limits
	MaxUpload   int64         // bytes of a blob that comes in pieces; 0 means 4 GiB
	LinkSecret  []byte        // that links in notices are signed with; empty: no link holds
	ShutdownFor time.Duration // how long a stop waits for requests; 0 means 10 s
	Log         *slog.Logger
	Now         func() time.Time // the clock; required
	NewID       func() string    // fresh UUIDs that sort by time (version 7); required
}

// ErrOptions says that the services cannot work as they are wired.
var ErrOptions = errors.New("not wired completely")

// A Service serves operations of the document.
type Service interface {
	Mount(r gin.IRouter)
}

// A Server answers on one port.
type Server struct {
	name    string
	opts    Options
	handler http.Handler
}

// Names of the services, by port 9001 to 9006; 9004 is the router's process.
const (
	ServiceFeatures   = "features"   // 9001
	ServiceTraining   = "training"   // 9002
	ServiceModels     = "models"     // 9003
	ServicePolicies   = "policies"   // 9005
	ServiceScorecards = "scorecards" // 9006
	ServiceGateway    = "gateway"    // 9000
)

// NewGateway returns the server that answers for every service, and passes
// calls of the router on to it.
func NewGateway(opts Options, ports Ports) (*Server, error) {
	return NewService(ServiceGateway, opts, ports)
}

// NewService returns the server of one service.
func NewService(name string, opts Options, ports Ports) (*Server, error) {
	b, err := newBorder(name, opts, ports)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", name, err)
	}
	var services []Service
	switch name {
	case ServiceFeatures:
		services = []Service{NewFeatures(b, ports), NewPrivacy(b, ports), NewGrants(b, ports), NewAccessDesk(b, ports), NewPublications(b, ports)}
	case ServiceTraining:
		services = []Service{NewTraining(b, ports), NewFleet(b, ports)}
	case ServiceModels:
		services = []Service{NewExchange(b, ports), NewPromotions(b, ports), NewCopies(b, ports)}
	case ServicePolicies:
		services = []Service{NewPolicies(b, ports), NewLoop(b, ports), NewInbox(b, ports), NewFeed(b, ports), NewLedger(b, ports), NewRecovery(b, ports), NewDecided(b, ports), NewCredentials(b, ports)}
	case ServiceScorecards:
		services = []Service{NewTuning(b, ports), NewStudyDesk(b, ports)}
	case ServiceGateway:
		proxy, err := NewProxy(b)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		services = []Service{
			NewFeatures(b, ports), NewGrants(b, ports), NewAccessDesk(b, ports), NewTraining(b, ports), NewFleet(b, ports), NewExchange(b, ports), NewPromotions(b, ports), NewCopies(b, ports),
			NewPolicies(b, ports), NewLoop(b, ports), NewInbox(b, ports), NewFeed(b, ports), NewLedger(b, ports), NewRecovery(b, ports), NewDecided(b, ports), NewCredentials(b, ports),
			NewTuning(b, ports), NewStudyDesk(b, ports), NewPrivacy(b, ports), NewPublications(b, ports), proxy,
		}
	default:
		return nil, fmt.Errorf("service %q: %w: there is no such service", name, ErrOptions)
	}
	return &Server{name: name, opts: b.opts, handler: b.handler(name, services)}, nil
}

// newBorder checks the wiring and returns what the services share.
func newBorder(name string, opts Options, ports Ports) (*Border, error) {
	switch {
	case opts.Tokens == nil || opts.SiteTokens == nil:
		return nil, fmt.Errorf("%w: nobody verifies tokens", ErrOptions)
	case opts.Now == nil || opts.NewID == nil:
		return nil, fmt.Errorf("%w: no clock or no ids", ErrOptions)
	case len(opts.Regions) == 0:
		return nil, fmt.Errorf("%w: no regions", ErrOptions)
	}
	all := reflect.ValueOf(ports)
	for i := range all.NumField() {
		if all.Field(i).IsNil() {
			return nil, fmt.Errorf("%w: port %s", ErrOptions, all.Type().Field(i).Name)
		}
	}
	if opts.Limits.TenantPerSecond == 0 {
		opts.Limits.TenantPerSecond = 200
	}
	if opts.Limits.AddrPerSecond == 0 {
		opts.Limits.AddrPerSecond = 2000
	}
	if opts.MaxUpload == 0 {
		opts.MaxUpload = defaultUpload
	}
	if opts.ShutdownFor == 0 {
		opts.ShutdownFor = 10 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s, err := readSpec()
	if err != nil {
		return nil, err
	}
	b := &Border{opts: opts, spec: s, recall: ports.Idempotency, log: opts.Log, metrics: newMeters(name)}
	if b.byTenant, err = newLimiter(opts.Limits.TenantPerSecond, 2*opts.Limits.TenantPerSecond); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if b.byAddr, err = newLimiter(opts.Limits.AddrPerSecond, 2*opts.Limits.AddrPerSecond); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return b, nil
}

// handler builds the engine: trace, count, recover, limit, then the services.
func (b *Border) handler(name string, services []Service) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.ContextWithFallback = true
	engine.RedirectTrailingSlash = false // one resource, one path
	engine.RedirectFixedPath = false
	_ = engine.SetTrustedProxies(nil) // no header says who the client is; nil parses
	engine.Use(b.begin, b.metrics.observe, gin.CustomRecoveryWithWriter(io.Discard, b.recovered), b.limit)
	engine.NoRoute(func(c *gin.Context) { b.fail(c, notFound) })
	engine.NoMethod(func(c *gin.Context) { b.fail(c, methodNotAllowed) })
	m := &monitor{service: name, opts: b.opts}
	engine.GET("/health", m.serve)
	engine.GET("/metrics", gin.WrapH(b.metrics.serve(b.opts.Metrics)))
	for _, s := range services {
		s.Mount(engine)
	}
	return otelhttp.NewHandler(engine, name, otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
		if r.Pattern == "" {
			return r.Method
		}
		return r.Method + " " + r.Pattern
	}))
}

// begin gives the request its trace and says it in the answer.
func (b *Border) begin(c *gin.Context) {
	ctx := traced(c.Request.Context())
	c.Request.Pattern = c.FullPath() // otelhttp reads it for the span's name
	if ctx != c.Request.Context() {
		c.Request = c.Request.WithContext(ctx)
	}
	c.Header("X-Trace-Id", traceID(ctx))
	c.Header("traceparent", traceparent(ctx))
	c.Header("X-Content-Type-Options", "nosniff")
	c.Next()
}

// recovered answers for a handler that panicked. The value is not logged: it
// may hold what the caller sent; the type and the route are.
func (b *Border) recovered(c *gin.Context, value any) {
	b.fail(c, &Problem{Kind: internalError, Err: fmt.Errorf("panic of a %T", value)})
}

// limit refuses an address that sends more than anybody should, before a
// signature is checked for it.
func (b *Border) limit(c *gin.Context) {
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		host = c.Request.RemoteAddr
	}
	if !b.byAddr.allow(host) {
		b.fail(c, &Problem{Kind: rateLimited, RetryAfter: 1, Detail: "this address sends more than it may"})
	}
}

// Handler answers requests as [Server.Serve] does, but never takes anybody for
// a simulated caller: it does not know who can reach it.
func (s *Server) Handler() http.Handler { return s.handler }

// Beside lets another handler answer for paths that begin with a prefix, on the
// same port: the console, which is no part of the document. It is called before
// [Server.Serve]; what it mounts gets requests as they come.
func (s *Server) Beside(prefix string, h http.Handler) {
	inner := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix) || r.URL.Path+"/" == prefix {
			h.ServeHTTP(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// Serve answers on the listener until ctx ends, then lets the requests that
// are under way finish, for a while.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	// Requests outlive the signal to stop, and die with the server.
	base, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	server := &http.Server{
		Handler: s.handler,
		BaseContext: func(l net.Listener) context.Context {
			return withStop(withListener(base, l.Addr()), ctx.Done())
		},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       2 * time.Minute, // 64 MiB over 5 Mbit/s
		WriteTimeout:      5 * time.Minute, // a long poll, or a download
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("service %s: %w", s.name, err)
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.ShutdownFor)
	defer cancel()
	err := server.Shutdown(wait)
	if errors.Is(err, context.DeadlineExceeded) {
		kill() // what still runs is told so
		err = server.Close()
	}
	// Serve has returned: no goroutine is left.
	if ended := <-failed; err == nil && !errors.Is(ended, http.ErrServerClosed) {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("service %s: %w", s.name, err)
	}
	return nil
}
