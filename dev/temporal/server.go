package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

// server is a running Temporal with, unless it is headless, its Web UI.
type server struct {
	frontend string // host:port
	ui       string // host:port, or empty
	temporal temporal.Server
	web      *uiserver.Server
	webDone  chan struct{}
	db       database
}

// start returns when the frontend serves and the Web UI answers.
func start(ctx context.Context, opts options) (*server, error) {
	addr, err := reserve(opts)
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(opts.dbFile, opts.pragmas)
	if err != nil {
		return nil, err
	}
	core, err := newCore(ctx, opts, addr, db.config)
	if err != nil {
		return nil, errors.Join(err, db.close())
	}
	s := &server{frontend: addr.frontend, ui: addr.ui, temporal: core, db: db}
	// The UI comes first: whoever finds the frontend serving finds the UI too.
	if s.ui != "" {
		s.serveUI(addr)
	}
	if err := core.Start(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if s.ui != "" {
		if err := answers(ctx, "http://"+s.ui+"/healthz", 10*time.Second); err != nil {
			return nil, errors.Join(fmt.Errorf("web UI: %w", err), s.stop())
		}
	}
	return s, nil
}

// newCore makes the four services of Temporal over a database that has all
// that opts asks for.
func newCore(ctx context.Context, opts options, addr addresses, db *config.SQL) (temporal.Server, error) {
	logger := newLogger(opts.logLevel, opts.logFormat)
	if err := ensureNamespaces(ctx, db, opts, logger); err != nil {
		return nil, err
	}
	return temporal.NewServer(
		temporal.WithConfig(serverConfig(db, addr)),
		temporal.ForServices(temporal.DefaultServices),
		// With fixed hosts there is no gossip ring to join, and no wait for it.
		temporal.WithStaticHosts(map[primitives.ServiceName]static.Hosts{
			primitives.FrontendService: static.SingleLocalHost(addr.frontend),
			primitives.HistoryService:  static.SingleLocalHost(local(addr.historyPort)),
			primitives.MatchingService: static.SingleLocalHost(local(addr.matchingPort)),
			primitives.WorkerService:   static.SingleLocalHost(local(addr.workerPort)),
		}),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper {
			return authorization.NewNoopClaimMapper()
		}),
		temporal.WithDynamicConfigClient(dynamicClient(opts.dynamic)),
	)
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// serveUI serves the Web UI, which talks to the frontend only. Nothing in it
// reaches out: no news, no look for a newer version.
func (s *server) serveUI(a addresses) {
	host := a.ip
	if net.ParseIP(host).To4() == nil {
		host = "[" + host + "]" // the UI joins host and port with a bare colon
	}
	s.web = uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		TemporalGRPCAddress: a.frontend,
		Host:                host,
		Port:                a.uiPort,
		EnableUI:            true,
		DefaultNamespace:    defaultNamespace,
		DisableNewsFetch:    true,
		HideLogs:            true,
		// Loopback has no TLS: without this no browser returns the CSRF cookie,
		// and no button of the UI works.
		CORS: uiconfig.CORS{CookieInsecure: true},
	}))
	s.webDone = make(chan struct{})
	go func() {
		defer close(s.webDone)
		_ = s.web.Start() // it reports to its own log and ends the process when it cannot listen
	}()
}

// answers waits until url does.
func answers(ctx context.Context, url string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the UI first, so that nobody clicks into a server that goes away.
func (s *server) stop() error {
	if s.web != nil {
		s.web.Stop()
		<-s.webDone
	}
	return errors.Join(s.temporal.Stop(), s.db.close())
}
