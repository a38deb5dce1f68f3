//go:build bench

package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/opa"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/tests/harness"
	"github.com/atom-fabric/fabric/web"
	"github.com/atom-fabric/fabric/worker"
)

// What the console promises, with as much as consoleseed_test.go fills in.
const (
	firstByte  = 100 * time.Millisecond // at the 95th percentile, of any page
	inboxBytes = 150_000                // the page with all that it loads
	looks      = 60                     // at each page
	together   = 4                      // visitors at the same time, in the second part
)

// provider signs everybody in as the same person, in no time.
type provider struct{ callback, token string }

func (p provider) Simulated() bool { return true }
func (p provider) Begin(_ context.Context, state, _, _ string) (string, error) {
	return p.callback + "?code=any&state=" + url.QueryEscape(state), nil
}
func (p provider) Finish(context.Context, string, string, string) (string, error) {
	return p.token, nil
}

// console serves the product's gateway and console on a port, over PostgreSQL
// and a folder of blobs. Nothing of Temporal is asked by a page.
func console(t *testing.T, db *postgres.DB, blobs *blob.Dir) string {
	t.Helper()
	own, err := issuer.Open(t.TempDir(), harness.Issuer)
	require.NoError(t, err)
	token, err := own.Mint(tenantOf, "approver-00", []string{"approver", "operator", "auditor", "admin"}, time.Hour)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	verifier, err := cosign.NewVerifier(&key.PublicKey)
	require.NoError(t, err)
	registry, err := oci.New("http://127.0.0.1:1", oci.Login{})
	require.NoError(t, err)
	uploads, err := blobs.Uploads(blob.Limits{})
	require.NoError(t, err)
	rules, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	tel, err := telemetry.New(t.Context(), "load", telemetry.Options{Out: io.Discard})
	require.NoError(t, err)
	temporal, err := worker.Lazy(worker.Options{Address: "127.0.0.1:1", Namespace: "default", Telemetry: tel})
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	enrolment, err := api.NewEnrolment("federation-token-of-32-bytes-or-more")
	require.NoError(t, err)
	gateway, err := api.NewGateway(api.Options{
		Version: "bench", Simulation: true, Tokens: own.Verifier("fabric", time.Now), SiteTokens: own.Verifier("fabric-site", time.Now), Enrolment: enrolment,
		TrustedKeys: []string{"-----BEGIN PUBLIC KEY-----"}, Regions: []string{"eu", "us", "apac"}, Log: tel.Log, Now: time.Now,
		NewID:  func() string { return uuid.Must(uuid.NewV7()).String() },
		Limits: api.Limits{TenantPerSecond: 100_000, AddrPerSecond: 100_000}, // this one visitor reads faster than any
	}, api.Ports{
		Idempotency: db.Idempotency(), Catalog: db.Catalog(), Consents: db.Catalog(), Statistics: db.Statistics(), Studies: db.StudyViews(), Runs: db.Runs(), Sites: db.Sites(), Models: db.Models(), Actions: db.Actions(),
		Approvals: db.Approvals(), Workflows: api.NewTemporal(temporal), Snapshots: db.Snapshots(), AuditLog: db.AuditLog(), Scorecards: db.Scorecards(),
		Blobs: blobs, Uploads: uploads, Verifier: verifier, Packages: registry, SiteTokens: own, Rules: rules, Budgets: db.Budgets(),
		Replicas: db.ModelReplicas(), Recoveries: db.RecoveryPoints(), Decisions: db.Decisions(), Rollouts: db.RolloutViews(), Revocations: db.Revocations(),
		Verdicts: db.Verdicts(), Proposals: db.Proposals(), Replayer: opa.Replayer{},
	})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + listener.Addr().String()
	pages, err := web.New(web.Options{
		API: gateway.Handler(), URL: address, SessionKey: []byte(strings.Repeat("k", 32)), SignIn: provider{address + web.Callback, token},
		Simulation: true, Version: "bench", Now: time.Now, Log: tel.Log,
	})
	require.NoError(t, err)
	gateway.Beside(web.Path, pages)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- gateway.Serve(ctx, listener) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	return address
}

// looked is what one look at a page took.
type looked struct {
	first time.Duration
	body  string
}

func look(t testing.TB, client *http.Client, address string) looked {
	t.Helper()
	var out looked
	began := time.Now()
	trace := &httptrace.ClientTrace{GotFirstResponseByte: func() { out.first = time.Since(began) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", address, text)
	out.body = string(text)
	return out
}

// paths are every page of the console, by what they show here.
func paths() [][2]string {
	return [][2]string{
		{"inbox: what waits", "/console/"}, {"inbox: for me", "/console/?show=mine"}, {"inbox: all", "/console/?show=all"}, {"request", "/console/requests/" + requestID(manyRequests/2)},
		{"runs", "/console/runs"}, {"runs of a model that failed", "/console/runs?status=failed&model=" + modelOf}, {"runs of a model that nobody has", "/console/runs?model=none"},
		{"run, 20 rounds", "/console/runs/" + runID(manyRuns-5)}, {fmt.Sprintf("run, %d rounds", longRun), "/console/runs/" + runID(manyRuns-1)},
		{"models", "/console/models"}, {"model, 200 versions", "/console/models/" + modelOf}, {"model, at a time", "/console/models/" + modelOf + "?at=" + time.Now().UTC().Add(time.Minute).Format("2006-01-02T15:04")},
		{"version beside the champion", fmt.Sprintf("/console/models/%s/versions/%d", modelOf, manyVersions)},
		{"rollouts", "/console/rollouts"}, {"rollout", "/console/rollouts/" + requestID(7)}, {"policies", "/console/policies"}, {"policy rollout", "/console/policies/rollouts/policy-9"},
		{"catalog", "/console/catalog"}, {"catalog: search", "/console/catalog?q=study"}, {"feature", "/console/catalog/" + tenantOf + "/feature-0100"}, {"regions", "/console/regions"},
		{"audit", "/console/audit"}, {"audit: search", "/console/audit?match=" + runID(4321)}, {"audit: nothing is like it", "/console/audit?match=nothing-is"}, {"leaf", "/console/audit/4321"},
		{"settings", "/console/settings"},
	}
}

func percentile(sorted []time.Duration, p int) time.Duration { return sorted[(len(sorted)*p+99)/100-1] }

func TestConsolePages(t *testing.T) {
	dsn := pgtest.New(t, postgres.Migrate)
	db, err := postgres.Open(t.Context(), postgres.Options{DSN: dsn})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	blobs, err := blob.NewDir(t.TempDir())
	require.NoError(t, err)
	fill(t, db, blobs, dsn)
	address := console(t, db, blobs)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	look(t, client, address+"/console/auth/start")

	var table strings.Builder
	for _, p := range paths() {
		for range 3 {
			look(t, client, address+p[1])
		}
		var all []time.Duration
		size, busy := 0, spent(t)
		for range looks {
			l := look(t, client, address+p[1])
			all, size = append(all, l.first), len(l.body)
		}
		busy = (spent(t) - busy) / looks
		slices.Sort(all)
		fmt.Fprintf(&table, "| %s | %.1f | %.1f | %.1f | %.1f | %.1f |\n", p[0], ms(percentile(all, 50)), ms(percentile(all, 95)), ms(all[len(all)-1]), ms(busy), float64(size)/1000)
		t.Logf("%-32s p50 %6.1f p95 %6.1f max %6.1f ms, %6.1f ms of processor, %6.1f kB", p[0], ms(percentile(all, 50)), ms(percentile(all, 95)), ms(all[len(all)-1]), ms(busy), float64(size)/1000)
		if percentile(all, 95) > firstByte {
			t.Errorf("%s: the first byte takes %s at the 95th percentile", p[0], percentile(all, 95))
		}
	}
	mixed := atOnce(t, client, address)
	page, whole, wire := weight(t, client, address)
	if whole > inboxBytes {
		t.Errorf("the inbox with all that it loads has %d bytes", whole)
	}

	var b strings.Builder
	fmt.Fprintf(&b, "# The console\n\nThe product's gateway and console in one process on a port of this machine, over PostgreSQL 15, with a visitor who is\n"+
		"approver, operator, auditor and admin: %d runs (%d of them with %d rounds each, one with %d), %d requests that wait, each over its own plan,\n"+
		"%d versions of one model, %d sites, %d features, %d calls of the last hour, %d revisions of the policy.\n\n", manyRuns, 2000, manyRounds, longRun, manyRequests, manyVersions, manySites, manyFeatures, manyCalls, manyRevisions)
	fmt.Fprintf(&b, "- command: `make bench-console` (`go test -tags bench -count=1 -run TestConsolePages ./tests/load`)\n- machine: %s\n\n", harness.Describe(t))
	fmt.Fprintf(&b, "## First byte, ms\n\nOne visitor, %d looks at each page. Promised: %d ms at the 95th percentile.\n\n| page | p50 | p95 | most | processor time of the process, its reader too | page, kB, not compressed |\n|---|---|---|---|---|---|\n%s\n", looks, firstByte.Milliseconds(), table.String())
	fmt.Fprintf(&b, "%d visitors at once, each going through all pages: p50 %.1f ms, p95 %.1f ms, most %.1f ms.\n\n", together, ms(percentile(mixed, 50)), ms(percentile(mixed, 95)), ms(mixed[len(mixed)-1]))
	fmt.Fprintf(&b, "## Inbox\n\n| what | kB | promised |\n|---|---|---|\n| the page | %.1f | |\n| with its style and scripts | %.1f | %d |\n| the same as it is sent, compressed | %.1f | |\n", float64(page)/1000, float64(whole)/1000, inboxBytes/1000, float64(wire)/1000)
	b.WriteString("\n## What limits\n\nA page is as slow as what it asks of the API: one to twelve questions, those that do not need each other's answer at the same\n" +
		"time. The dearest are a request and a version, whose scorecards are computed anew from the latest 200 runs of the model and 500 of their\n" +
		"rounds, the candidate's and the champion's; a run of many rounds, which are drawn; and the regions, whose percentiles are taken of the latest\n" +
		"20,000 calls. A search of the log reads the tenant's leaves until it has found a page of them: it alone grows with the age of the system.\n")
	write(t, "console.md", b.String())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spent is the processor time of this process so far: gateway, console and the
// visitor, without PostgreSQL. Unlike the time by the clock it is the same on a
// busy machine.
func spent(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// atOnce lets several visitors go through all pages at the same time.
func atOnce(t *testing.T, client *http.Client, address string) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var visitors sync.WaitGroup
	for v := range together {
		visitors.Go(func() {
			for i := range 5 * len(paths()) {
				l := look(t, client, address+paths()[(i+v*7)%len(paths())][1])
				mu.Lock()
				all = append(all, l.first)
				mu.Unlock()
			}
		})
	}
	visitors.Wait()
	slices.Sort(all)
	return all
}

// weight returns how large the inbox is: the page, all that it loads, and that
// as it is sent.
func weight(t *testing.T, client *http.Client, address string) (page, whole, wire int) {
	t.Helper()
	raw := &http.Client{Jar: client.Jar, Transport: &http.Transport{DisableCompression: true}}
	sent := func(path string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+path, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := raw.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return int(n)
	}
	inbox := look(t, client, address+"/console/").body
	page, whole, wire = len(inbox), len(inbox), sent("/console/")
	for _, m := range regexp.MustCompile(`(?:src|href)="(/console/assets/[^"]+)"`).FindAllStringSubmatch(inbox, -1) {
		path := strings.ReplaceAll(m[1], "&amp;", "&")
		whole += len(look(t, client, address+path).body)
		wire += sent(path)
	}
	return page, whole, wire
}
