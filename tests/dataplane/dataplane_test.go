// Package dataplane_test runs routers with the control plane's own handlers over
// a real PostgreSQL: what crosses between the two is all there.
package dataplane_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/follow"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/router"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A plane is a control plane: its database, its API on one address over stops
// and starts, and its publisher of snapshots.
type plane struct {
	db        *postgres.DB
	key       *ecdsa.PrivateKey
	issuer    *issuer.Issuer
	publisher *activities.Snapshot
	address   string
	stop      func()
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{DSN: pgtest.New(t, postgres.Migrate), SystemConns: 16})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	p := &plane{db: db, address: "127.0.0.1:0"}
	p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := cosign.NewSigner(p.key)
	require.NoError(t, err)
	p.issuer, err = issuer.Open(t.TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	p.publisher = &activities.Snapshot{Snapshots: db.Snapshots(), Signer: signer, Now: time.Now}
	p.start(t)
	t.Cleanup(func() { p.stop() })
	return p
}

// start serves the API; it comes back where it was.
func (p *plane) start(t testing.TB) {
	t.Helper()
	tokens, sites := p.issuer.Verifier("fabric", time.Now), p.issuer.Verifier("fabric-site", time.Now)
	enrolment, err := api.NewEnrolment("federation-token-of-32-bytes-or-more")
	require.NoError(t, err)
	ports := apitest.New().Ports()
	ports.Idempotency, ports.Snapshots, ports.Decisions, ports.Revocations = p.db.Idempotency(), p.db.Snapshots(), p.db.Decisions(), p.db.Revocations()
	ports.SiteTokens = p.issuer
	server, err := api.NewGateway(api.Options{Version: "test", Tokens: tokens, SiteTokens: sites, Enrolment: enrolment, TrustedKeys: []string{"x"}, Regions: []string{"eu", "us"},
		Log: slog.New(slog.DiscardHandler), Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, LinkSecret: make([]byte, 32),
		Limits: api.Limits{TenantPerSecond: 100_000, AddrPerSecond: 100_000}}, ports)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", p.address)
	require.NoError(t, err)
	p.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = server.Serve(ctx, listener) })
	// As in fabric api and fabric worker.
	group.Go(func() {
		p.db.Revocations().Follow(ctx, slog.New(slog.DiscardHandler), func(_ context.Context, active []routing.Revocation) error { tokens.Revoke(active); return nil })
	})
	group.Go(func() { p.db.Revocations().Follow(ctx, slog.New(slog.DiscardHandler), p.publisher.Revoke) })
	var once sync.Once
	p.stop = func() { once.Do(func() { cancel(); group.Wait() }) }
}

func (p *plane) token(t testing.TB, tenant, subject string, roles ...string) string {
	t.Helper()
	text, err := p.issuer.Mint(tenant, subject, roles, time.Hour)
	require.NoError(t, err)
	return text
}

func (p *plane) post(t testing.TB, path, bearer, body string) (int, string) {
	t.Helper()
	return call(t, http.MethodPost, "http://"+p.address+path, bearer, body)
}

func call(t testing.TB, method, url, bearer, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", uuid.NewString())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// publish brings out the next snapshot: model m1 of t1 at the runtimes.
func (p *plane) publish(t testing.TB, runtimes ...string) routing.Snapshot {
	t.Helper()
	endpoints := []routing.Endpoint{}
	for i, url := range runtimes {
		endpoints = append(endpoints, routing.Endpoint{Name: fmt.Sprintf("eu-%d", i), Region: "eu", Kind: policy.Neural, URL: url})
	}
	_, err := p.publisher.Bootstrap(t.Context(), []string{"eu", "us"}, endpoints)
	require.NoError(t, err)
	latest, err := p.db.Snapshots().Latest(t.Context())
	require.NoError(t, err)
	latest.Version++
	latest.Packages = []routing.Package{{Tenant: "t1", Model: "m1", Version: 1, Manifest: "sha256:" + "05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
		Bundle: json.RawMessage(`{}`), Regions: []string{"eu"}}}
	latest.Routes = []routing.Route{{Tenant: "t1", Model: "m1", Environment: "production", Version: 1, Regions: []string{"eu"}, Callers: []string{"t1"}}}
	p.release(t, latest)
	return latest
}

// release signs and publishes a snapshot as an action would.
func (p *plane) release(t testing.TB, s routing.Snapshot) {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	bundle := runtimetest.Sign(t, p.key, artifact.DigestOf(text), artifact.PredicateSnapshot, map[string]int64{"version": s.Version})
	require.NoError(t, p.db.Snapshots().Publish(t.Context(), fmt.Sprint("test/", s.Version), "switch", s, routing.Signed{Snapshot: text, Bundle: bundle}))
}

// A node is a router process's code: follower, router, spool.
type node struct {
	router *router.Router
	follow *follow.Follower
	url    string
	stop   func()
}

func (p *plane) node(t testing.TB, state string, used func(version int64)) *node {
	t.Helper()
	judge, err := trust.Pin(&p.key.PublicKey)
	require.NoError(t, err)
	bearer := p.token(t, "fabric", "router", "data-plane")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client := router.NewClient(nil)
	n := &node{}
	callers := p.issuer.Verifier("fabric", time.Now)
	plain := &http.Client{Transport: &http.Transport{}}
	n.router, err = router.New(router.Options{Region: "eu", Version: "test", Verifier: callers, Listener: listener.Addr(), StateDir: state, Client: client,
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: func() time.Time { return n.follow.State().Confirmed }, MaxAge: time.Hour, Now: time.Now,
		Sink: router.NewSink(plain, "http://"+p.address+"/decisions", bearer)})
	require.NoError(t, err)
	n.follow, err = follow.New(follow.Options{URL: "http://" + p.address + "/snapshot", Token: config.Secret(bearer), Trust: judge, Dir: filepath.Join(state, "snapshots"),
		Wait: 20 * time.Second, Client: plain, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now,
		Use: func(s routing.Snapshot) error {
			err := n.router.Use(s)
			if err == nil && used != nil {
				used(s.Version)
			}
			return err
		}})
	require.NoError(t, err)
	n.follow.Load()
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: n.router.Handler()}}
	server.Start()
	n.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { n.follow.Run(ctx) })
	group.Go(func() { _ = n.router.Run(ctx) })
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			server.Close()
			cancel()
			group.Wait()
			client.CloseIdleConnections()
			plain.CloseIdleConnections()
		})
	}
	t.Cleanup(n.stop)
	return n
}

// oip answers every inference with the same output.
func oip(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, bytes.NewReader([]byte(`{"model_name":"t1.m1","model_version":"1","outputs":[{"name":"probabilities","shape":[1,2],"datatype":"FP32","data":[0.25,0.75]},{"name":"class","shape":[1],"datatype":"INT64","data":[1]}]}`)))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const ask = `{"tenant":"t1","model_id":"m1","input":{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[0,0]}]}}`

func (n *node) ask(t testing.TB, bearer string) (int, string) {
	t.Helper()
	return call(t, http.MethodPost, n.url+"/invoke", bearer, ask)
}
