package router_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/router"
	"github.com/atom-fabric/fabric/internal/runtime"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
	"github.com/atom-fabric/fabric/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuer = "https://dev.invalid/fabric"

// A fabric is a router in eu with an issuer of tokens.
type fabric struct {
	*router.Router
	*httptest.Server
	issuer *token.DevIssuer
	key    *ecdsa.PrivateKey // of the issuer
	state  string
}

type setup struct {
	state      string
	simulation bool
	confirmed  func() time.Time
	slow       bool // the router's clock goes at a twentieth, so that an ejection outlasts the test
}

func newFabric(t testing.TB, s setup) *fabric {
	t.Helper()
	if s.state == "" {
		s.state = t.TempDir()
	}
	if s.confirmed == nil {
		s.confirmed = time.Now
	}
	now := time.Now
	if began := now(); s.slow {
		now = func() time.Time { return began.Add(time.Since(began) / 20) }
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	dev, err := token.NewDevIssuer(key, issuer)
	require.NoError(t, err)
	set, err := dev.KeySet()
	require.NoError(t, err)
	keys, err := token.ParseKeySet(set)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client := router.NewClient(nil)
	r, err := router.New(router.Options{
		Region: "eu", Version: "test", Verifier: token.NewVerifier(keys, issuer, "fabric", time.Now), Simulation: s.simulation,
		Listener: listener.Addr(), StateDir: s.state, Client: client, Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Confirmed: s.confirmed, MaxAge: time.Hour, Now: now,
	})
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: r.Handler()}}
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		require.NoError(t, <-done)
		client.CloseIdleConnections()
	})
	return &fabric{Router: r, Server: server, issuer: dev, key: key, state: s.state}
}

// token returns one for a caller of the tenant.
func (f *fabric) token(t testing.TB, tenant string, roles ...string) string {
	t.Helper()
	raw, err := f.issuer.Issue("fabric", token.Claims{Subject: "ann", Tenant: tenant, Roles: roles}.Lifetime(time.Now(), time.Hour))
	require.NoError(t, err)
	return raw
}

// A reply is an answer of the router, decoded.
type reply struct {
	status int
	header http.Header
	text   string
	body   struct {
		Code, Detail, Title, Instance string
		Errors                        []struct{ Pointer, Detail string }
		Version                       int
		Region, Endpoint              string
		Output                        json.RawMessage
		Simulated                     bool
		Decision                      struct {
			ID, Reason, Environment string
			Considered, Attempts    int
			Excluded                []routing.Exclusion
			Scores                  []struct {
				Endpoint string
				Total    float64
			}
		}
		Audit struct {
			DecisionID string `json:"decision_id"`
			Output     string
			Header     string
			Manifest   string
		}
	}
}

func (f *fabric) call(t testing.TB, method, path, bearer, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, f.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := f.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	out := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if path == "/invoke" || strings.Contains(resp.Header.Get("Content-Type"), "problem") {
		require.NoError(t, json.Unmarshal(text, &out.body), string(text))
	}
	return out
}

func (f *fabric) invoke(t testing.TB, bearer, body string) reply {
	t.Helper()
	return f.call(t, "POST", "/invoke", bearer, body)
}

// pinned trusts one key for everything.
func pinned(t testing.TB, key *ecdsa.PublicKey) trust.Source {
	t.Helper()
	judge, err := trust.Pin(key)
	require.NoError(t, err)
	return judge
}

// A region's runtime, ours, in the test's process.
func startRuntime(t testing.TB, w *runtimetest.World, region string, s routing.Snapshot) *httptest.Server {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	r, err := runtime.New(runtime.Options{Region: region, Kind: policy.Neural, Version: "test", Trust: pinned(t, &w.Key.PublicKey),
		Dir: t.TempDir(), MaxWeights: 1 << 20, Client: client, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		Confirmed: time.Now, Now: time.Now})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	server := httptest.NewServer(r.Handler())
	t.Cleanup(func() { server.Close(); cancel(); <-done; client.CloseIdleConnections() })
	require.NoError(t, r.Use(s))
	require.Eventually(t, func() bool {
		resp, err := server.Client().Get(server.URL + "/health")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == 200 && !strings.Contains(string(text), "loading")
	}, 5*time.Second, 5*time.Millisecond)
	return server
}

// world is the consortium's model, version 3, in production in eu and us, which
// clinic and lab may call; lab only in us, by rule lab-stays.
func world(packages ...routing.Package) routing.Snapshot {
	doc := policy.Default()
	doc.Rules = append([]policy.Rule{{Name: "lab-stays", Tenant: "lab", Model: "*", Regions: []string{"us"}, Kinds: []string{policy.Neural}}}, doc.Rules...)
	return routing.Snapshot{
		Version: 9, Policies: []policy.Document{doc}, Packages: packages,
		Regions: []routing.Region{{Name: "eu", Policy: 1}, {Name: "us", Policy: 1}},
		Routes: []routing.Route{{Tenant: "consortium", Model: "tumour", Environment: "production", Version: 3,
			Regions: []string{"eu", "us"}, Callers: []string{"clinic", "lab"}}},
	}
}

func endpoints(s routing.Snapshot, urls map[string]string) routing.Snapshot {
	for _, region := range []string{"eu", "us"} {
		if url := urls[region]; url != "" {
			s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: region + "-1", Region: region, Kind: policy.Neural, URL: url, CostMicros: 100, FabricScore: 80})
		}
	}
	return s
}

// two starts the runtimes of eu and us and routes to them.
func (f *fabric) two(t testing.TB) (eu, us *httptest.Server, s routing.Snapshot) {
	t.Helper()
	w := runtimetest.NewWorld(t)
	s = world(w.Push(t, "consortium", "tumour", 3, runtimetest.Logistic(t, 0), "eu", "us"))
	eu, us = startRuntime(t, w, "eu", s), startRuntime(t, w, "us", s)
	s = endpoints(s, map[string]string{"eu": eu.URL, "us": us.URL})
	require.NoError(t, f.Use(s))
	return eu, us, s
}

const ask = `{"tenant":"clinic","model_id":"tumour","input":{"data":[[1,0],[0,3]]}}`

func asking(tenant, preferences string) string {
	return `{"tenant":"` + tenant + `","model_id":"tumour","input":{"data":[[1,0]]},"preferences":` + preferences + `}`
}
