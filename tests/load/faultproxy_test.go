//go:build bench

package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
	"github.com/atom-fabric/fabric/internal/token"
)

const faultIssuer = "https://faults.invalid/fabric"

// A front is a proxy that stands before servers, as a process.
type front struct {
	name string
	url  string // that takes inferences
	body string
	pid  int
	bear map[string]string // by tenant, of ours
}

// ask sends one inference and reports whether the whole of a good answer came.
func (f *front) ask(ctx context.Context, client *http.Client, tenant, id string) (status int, whole bool) {
	body := f.body
	if tenant != "" {
		body = strings.Replace(body, `"own"`, `"`+tenant+`"`, 1)
	} else {
		tenant = "own"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, strings.NewReader(body))
	if err != nil {
		return 0, false
	}
	req.Header.Set("Content-Type", "application/json")
	if f.bear != nil {
		req.Header.Set("Authorization", "Bearer "+f.bear[tenant])
	}
	if id != "" {
		req.Header.Set("X-Test-Id", id)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(text), "0.25,0.75]")
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// launch starts a program and ends it with the test.
func launch(t testing.TB, environ []string, program string, args ...string) int {
	var log strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %.4000s", program, log.String())
		}
	})
	return cmd.Process.Pid
}

// buildRouter returns the program as it ships, or the one that is named.
func buildRouter(t testing.TB) string {
	if at := os.Getenv("FABRIC_ROUTER_PROGRAM"); at != "" {
		return at
	}
	at := filepath.Join(t.TempDir(), "fabric-router")
	out, err := exec.Command("go", "build", "-o", at, "../../cmd/fabric-router").CombinedOutput()
	require.NoError(t, err, string(out))
	return at
}

func up(t testing.TB, address string) {
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 20*time.Second, 10*time.Millisecond, address)
}

const inference = `{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,2],"data":[1,0]}]}`

// startNginx starts nginx with the settings that a careful operator gives it.
func startNginx(t testing.TB, servers []*server) *front {
	at, dir := freeAddress(t), t.TempDir()
	var upstreams strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&upstreams, "server %s max_fails=3 fail_timeout=2s; ", s.address)
	}
	conf := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; client_body_buffer_size 64k; client_max_body_size 1m; proxy_buffers 64 8k;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  upstream runtime { %[2]s keepalive 64; }
  server { listen %[3]s; location / {
    proxy_pass http://runtime; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_connect_timeout 100ms; proxy_read_timeout 400ms; proxy_send_timeout 400ms;
    proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504 non_idempotent;
    proxy_next_upstream_tries 2; proxy_next_upstream_timeout 2s;
  } }
}
`, dir, upstreams.String(), at), 0o600))
	pid := launch(t, nil, "/usr/sbin/nginx", "-c", conf, "-p", dir)
	up(t, at)
	return &front{name: "nginx, tuned", url: "http://" + at + "/v2/models/own.m/infer", body: inference, pid: pid}
}

// startHAProxy does the same for HAProxy.
func startHAProxy(t testing.TB, servers []*server) *front {
	at, dir := freeAddress(t), t.TempDir()
	var upstreams strings.Builder
	for i, s := range servers {
		fmt.Fprintf(&upstreams, "  server s%d %s check inter 500ms fall 2 rise 2 observe layer7 error-limit 3 on-error mark-down maxconn 256\n", i, s.address)
	}
	conf := filepath.Join(dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `global
  nbthread 1
  maxconn 8192
  tune.bufsize 524288
defaults
  mode http
  timeout connect 100ms
  timeout client 60s
  timeout server 400ms
  timeout queue 1s
  retries 2
  option redispatch 1
  option abortonclose
  retry-on all-retryable-errors
  http-reuse always
frontend front
  bind %s
  default_backend runtimes
backend runtimes
  balance leastconn
  option httpchk GET /v2/health/ready
%s`, at, upstreams.String()), 0o600))
	pid := launch(t, nil, "/usr/sbin/haproxy", "-f", conf, "-db")
	up(t, at)
	return &front{name: "HAProxy, tuned", url: "http://" + at + "/v2/models/own.m/infer", body: inference, pid: pid}
}

// startOurs starts the router in home with a signed snapshot of the servers,
// one or more of a region. The tenants big and small may call the model, home's
// policy apart, as documents says.
func startOurs(t testing.TB, program, home string, servers map[string][]*server, change func(*policy.Document)) *front {
	key := runtimetest.NewKey(t)
	dir, err := os.MkdirTemp("", "faults") // the test's name has commas, of which settings make lists
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	pem, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	trust, jwks := filepath.Join(dir, "fabric.pub"), filepath.Join(dir, "jwks.json")
	require.NoError(t, os.WriteFile(trust, pem, 0o600))
	issuer, err := token.NewDevIssuer(runtimetest.NewKey(t), faultIssuer)
	require.NoError(t, err)
	set, err := issuer.KeySet()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(jwks, set, 0o600))

	doc := policy.Default()
	if change != nil {
		change(&doc)
	}
	s := routing.Snapshot{Version: 1, IssuedAt: time.Now(), Policies: []policy.Document{doc}}
	var regions []string
	for _, region := range []string{"apac", "eu", "us"} {
		for i, up := range servers[region] {
			if i == 0 {
				regions = append(regions, region)
				s.Regions = append(s.Regions, routing.Region{Name: region, Policy: doc.Revision})
			}
			s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: fmt.Sprintf("%s-%d", region, i), Region: region, Kind: policy.Neural, URL: "http://" + up.address, CostMicros: 100, FabricScore: 80})
		}
	}
	s.Packages = []routing.Package{{Tenant: "own", Model: "m", Version: 1, Manifest: artifact.DigestOf([]byte("m")), Regions: regions}}
	s.Routes = []routing.Route{{Tenant: "own", Model: "m", Environment: "production", Version: 1, Regions: regions, Callers: []string{"big", "small"}}}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	signed, err := json.Marshal(routing.Signed{Snapshot: text, Bundle: runtimetest.Sign(t, key, artifact.DigestOf(text), artifact.PredicateSnapshot, struct{}{})})
	require.NoError(t, err)
	plane := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "0" {
			_, _ = w.Write(signed)
			return
		}
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(func() { plane.CloseClientConnections(); plane.Close() })

	at := freeAddress(t)
	environ := append(os.Environ(), "FABRIC_LISTEN="+at, "FABRIC_STATE_DIR="+filepath.Join(dir, "state"), "FABRIC_REGION="+home,
		"FABRIC_SNAPSHOT_URL="+plane.URL, "FABRIC_TRUST_KEY="+trust, "FABRIC_JWKS="+jwks, "FABRIC_ISSUER="+faultIssuer, "FABRIC_LOG_LEVEL=error")
	f := &front{name: "fabric-router", url: "http://" + at + "/invoke", bear: map[string]string{},
		body: `{"tenant":"own","model_id":"m","input":` + inference + `}`}
	f.pid = launch(t, environ, program, "serve")
	up(t, at)
	for _, tenant := range []string{"own", "big", "small"} {
		f.bear[tenant], err = issuer.Issue("fabric", token.Claims{Subject: "ann", Tenant: tenant}.Lifetime(time.Now(), time.Hour))
		require.NoError(t, err)
	}
	client := newClient(8)
	require.Eventually(t, func() bool { status, _ := f.ask(t.Context(), client, "", ""); return status == 200 }, 10*time.Second, 20*time.Millisecond)
	return f
}

// newClient returns a client that keeps so many connections.
func newClient(conns int) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: conns, MaxIdleConns: conns, DisableCompression: true}}
}
