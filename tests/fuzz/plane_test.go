package fuzz

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/opa"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/router"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	federationToken = "federation-token-of-32-bytes-or-more"
	issuerName      = "https://dev.invalid/fabric"
)

// A plane is what is asked: the gateway over PostgreSQL, a registry, blobs on
// disk, the rules engine and a router. Workflows alone are in memory, so that
// a million requests start nothing.
type plane struct {
	db       *postgres.DB
	key      *ecdsa.PrivateKey // that packages and snapshots are signed with
	issuer   *issuer.Issuer
	memory   *apitest.Fabric
	blobs    *blob.Dir
	url      string // wants a token
	simulate string // takes a caller without one for a simulated one
	doc      *openapi3.T
	ops      []*operation
	people   []person
	ids      map[string][]string // what exists, by tenant
	digests  map[string][]string
	bodies   map[string][]template // by operation
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	world := runtimetest.NewWorld(t)
	p := &plane{key: world.Key, memory: apitest.New(), bodies: map[string][]template{}, ids: map[string][]string{}, digests: map[string][]string{}}
	var err error
	p.db, err = postgres.Open(t.Context(), postgres.Options{DSN: pgtest.New(t, postgres.Migrate), PrivacyEpsilon: 8, Regions: []string{"eu", "us"}, SystemConns: 8})
	require.NoError(t, err)
	t.Cleanup(p.db.Close)
	p.issuer, err = issuer.Open(t.TempDir(), issuerName)
	require.NoError(t, err)
	p.blobs, err = blob.NewDir(t.TempDir())
	require.NoError(t, err)
	uploads, err := p.blobs.Uploads(blob.Limits{})
	require.NoError(t, err)
	verifier, err := cosign.NewVerifier(&p.key.PublicKey)
	require.NoError(t, err)
	registry, err := oci.New(world.Registry.URL, oci.Login{})
	require.NoError(t, err)
	rules, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	enrolment, err := api.NewEnrolment(federationToken)
	require.NoError(t, err)
	trusted, err := artifact.MarshalPublicKey(&p.key.PublicKey)
	require.NoError(t, err)
	ports := api.Ports{
		Idempotency: p.db.Idempotency(), Catalog: p.db.Catalog(), Consents: p.db.Catalog(), Runs: p.db.Runs(), Sites: p.db.Sites(), Models: p.db.Models(), Actions: p.db.Actions(),
		Approvals: p.db.Approvals(), Workflows: p.memory.Ports().Workflows, Snapshots: p.db.Snapshots(), AuditLog: p.db.AuditLog(), Scorecards: p.db.Scorecards(),
		Blobs: p.blobs, Uploads: uploads, Verifier: verifier, Packages: registry, SiteTokens: p.issuer, Rules: rules, Budgets: p.db.Budgets(),
		Replicas: p.db.ModelReplicas(), Recoveries: p.db.RecoveryPoints(), Decisions: p.db.Decisions(), Rollouts: p.db.RolloutViews(), Revocations: p.db.Revocations(),
		Verdicts: p.db.Verdicts(), Proposals: p.db.Proposals(), Replayer: opa.Replayer{}, Statistics: p.db.Statistics(), Studies: p.db.StudyViews(),
	}
	options := api.Options{
		Version: "test", SigningKey: true, SiteTokens: p.issuer.Verifier(api.AudienceSite, time.Now), Enrolment: enrolment, TrustedKeys: []string{string(trusted)},
		// Nobody follows the revocations here: the fuzzer would take its own tokens away.
		Tokens: p.issuer.Verifier(api.AudienceAPI, time.Now), Regions: []string{"eu", "us"}, RouterURL: p.router(t), LinkSecret: make([]byte, 32),
		Log: slog.New(slog.DiscardHandler), Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
		Limits: api.Limits{TenantPerSecond: 1_000_000, AddrPerSecond: 1_000_000}, Checks: map[string]api.Check{"postgres": p.db.Health},
	}
	p.url = gateway(t, options, ports)
	options.Simulation, options.SigningKey = true, false
	p.simulate = gateway(t, options, ports)
	p.doc, p.ops = document(t)
	p.seed(t)
	return p
}

// gateway serves on this machine until the test ends.
func gateway(t testing.TB, options api.Options, ports api.Ports) string {
	t.Helper()
	server, err := api.NewGateway(options, ports)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return "http://" + listener.Addr().String()
}

// router routes each tenant's model to a runtime that always answers.
func (p *plane) router(t testing.TB) string {
	t.Helper()
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"model_name":"m","model_version":"1","outputs":[{"name":"class","shape":[1],"datatype":"INT64","data":[1]}]}`)
	}))
	t.Cleanup(runtime.Close)
	signer, err := cosign.NewSigner(p.key)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client := router.NewClient(nil)
	r, err := router.New(router.Options{Region: "eu", Version: "test", Verifier: p.issuer.Verifier(api.AudienceAPI, time.Now), Listener: listener.Addr(), StateDir: t.TempDir(), Client: client,
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, MaxAge: time.Hour, Now: time.Now})
	require.NoError(t, err)
	publisher := &activities.Snapshot{Snapshots: p.db.Snapshots(), Signer: signer, Now: time.Now}
	_, err = publisher.Bootstrap(t.Context(), []string{"eu", "us"}, []routing.Endpoint{{Name: "eu-0", Region: "eu", Kind: policy.Neural, URL: runtime.URL}})
	require.NoError(t, err)
	s, err := p.db.Snapshots().Latest(t.Context())
	require.NoError(t, err)
	s.Version++
	for _, tenant := range tenants {
		s.Packages = append(s.Packages, routing.Package{Tenant: tenant, Model: "m-" + tenant, Version: 1, Manifest: artifact.DigestOf([]byte(tenant)), Bundle: json.RawMessage(`{}`), Regions: []string{"eu"}})
		s.Routes = append(s.Routes, routing.Route{Tenant: tenant, Model: "m-" + tenant, Environment: "production", Version: 1, Regions: []string{"eu"}, Callers: []string{tenant}})
	}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	bundle := runtimetest.Sign(t, p.key, artifact.DigestOf(text), artifact.PredicateSnapshot, map[string]int64{"version": s.Version})
	require.NoError(t, p.db.Snapshots().Publish(t.Context(), "test", "switch", s, routing.Signed{Snapshot: text, Bundle: bundle}))
	require.NoError(t, r.Use(s))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: r.Handler()}}
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		<-ended
		client.CloseIdleConnections()
	})
	return server.URL
}
