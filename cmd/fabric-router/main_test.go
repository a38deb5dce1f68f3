package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

// output is a process's log that may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A process is a command that runs; stop ends it as a signal would.
type process struct {
	url  string
	log  *output
	stop func() int
}

// launch runs a command and waits until it listens.
func launch(t *testing.T, environ []string, args ...string) process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := process{log: &output{}}
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, environ, io.Discard, p.log) }()
	var once sync.Once
	code := -1
	p.stop = func() int { once.Do(func() { cancel(); code = <-ended }); return code }
	t.Cleanup(func() { p.stop() })
	require.Eventually(t, func() bool {
		for _, line := range strings.Split(p.log.String(), "\n") {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				p.url = "http://" + entry.Address
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "log: %s", p.log)
	return p
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body)) //nolint:noctx // a test's call
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// The main road of the data plane with its real processes' code: control plane
// and registry serve, then die; router and runtime restart and go on.
func TestServesAndRestartsWithoutTheControlPlane(t *testing.T) {
	w := runtimetest.NewWorld(t)
	pem, err := artifact.MarshalPublicKey(&w.Key.PublicKey)
	require.NoError(t, err)
	trust := filepath.Join(t.TempDir(), "fabric.pub")
	require.NoError(t, os.WriteFile(trust, pem, 0o600))

	var published atomic.Pointer[[]byte]
	plane := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		if text := published.Load(); text != nil && req.URL.Path == "/snapshot" && req.URL.Query().Get("after") == "0" {
			_, _ = out.Write(*text)
			return
		}
		out.WriteHeader(http.StatusNoContent)
	}))
	state := t.TempDir()
	environ := func(name, listen string, more ...string) []string {
		return append([]string{"FABRIC_LISTEN=" + listen, "FABRIC_STATE_DIR=" + filepath.Join(state, name), "FABRIC_REGION=eu",
			"FABRIC_SNAPSHOT_URL=" + plane.URL, "FABRIC_TRUST_KEY=" + trust, "SIMULATION_MODE=true"}, more...)
	}
	runtime := launch(t, environ("runtime", "127.0.0.1:0"), "runtime")
	router := launch(t, environ("router", "127.0.0.1:0"), "serve")
	const ask = `{"tenant":"t1","model_id":"m1","input":{"data":[[0,0]]}}`
	code, body := post(t, router.url+"/invoke", ask)
	require.Equal(t, 503, code, body)
	require.Contains(t, body, "no_snapshot")

	s := routing.Snapshot{Version: 1, Policies: []policy.Document{policy.Default()}, Regions: []routing.Region{{Name: "eu", Policy: 1}},
		Packages:  []routing.Package{w.Push(t, "t1", "m1", 1, runtimetest.Logistic(t, 0), "eu")},
		Endpoints: []routing.Endpoint{{Name: "eu-1", Region: "eu", Kind: policy.Neural, URL: runtime.url}},
		Routes:    []routing.Route{{Tenant: "t1", Model: "m1", Environment: "dev", Version: 1, Regions: []string{"eu"}}}}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	signed, err := json.Marshal(routing.Signed{Snapshot: text, Bundle: runtimetest.Sign(t, w.Key, artifact.DigestOf(text), artifact.PredicateSnapshot, struct{}{})})
	require.NoError(t, err)
	published.Store(&signed)
	answers := func() bool {
		code, body := post(t, router.url+"/invoke", ask)
		return code == 200 && strings.Contains(body, `"probabilities":[[0.5,0.5]]`) && strings.Contains(body, `"simulated":true`)
	}
	require.Eventually(t, answers, 10*time.Second, 20*time.Millisecond)

	plane.Close()
	w.Registry.Close()
	require.Equal(t, exitOK, router.stop())
	require.Equal(t, exitOK, runtime.stop())
	address := strings.TrimPrefix(runtime.url, "http://") // the snapshot names it
	runtime = launch(t, environ("runtime", address), "runtime")
	router = launch(t, environ("router", "127.0.0.1:0"), "serve")
	require.Eventually(t, answers, 10*time.Second, 20*time.Millisecond)
	for _, name := range []string{"runtime", "router"} {
		require.DirExists(t, filepath.Join(state, name, "snapshots"))
	}
	require.Equal(t, exitOK, router.stop())
	require.Equal(t, exitOK, runtime.stop())
}

func TestRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	key := runtimetest.NewKey(t)
	pem, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	trust := filepath.Join(dir, "fabric.pub")
	require.NoError(t, os.WriteFile(trust, pem, 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	good := []string{"FABRIC_LISTEN=127.0.0.1:0", "FABRIC_STATE_DIR=" + dir, "FABRIC_REGION=eu", "FABRIC_TRUST_KEY=" + trust, "SIMULATION_MODE=true"}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	tests := []struct {
		name    string
		args    []string
		environ []string
		code    int
		says    string
	}{
		{"an unknown command", []string{"route"}, good, exitUsage, "unknown command"},
		{"an unknown flag", []string{"serve", "--prot", "1"}, good, exitUsage, "unknown flag"},
		{"no address", []string{"serve"}, with("FABRIC_LISTEN="), exitUsage, "FABRIC_LISTEN"},
		{"a port in use", []string{"serve"}, with("FABRIC_LISTEN=" + taken.Addr().String()), exitError, "address already in use"},
		{"no trusted key", []string{"serve"}, with("FABRIC_TRUST_KEY="), exitUsage, "FABRIC_TRUST_KEY"},
		{"a trusted key that is not there", []string{"runtime"}, with("FABRIC_TRUST_KEY=" + dir + "/none"), exitUsage, "no such file"},
		{"a trusted key that is none", []string{"runtime"}, with("FABRIC_TRUST_KEY=" + os.DevNull), exitUsage, "P-256"},
		{"a runtime without region", []string{"runtime"}, with("FABRIC_REGION="), exitUsage, "FABRIC_REGION"},
		{"production without an issuer", []string{"serve"}, with("SIMULATION_MODE=false"), exitUsage, "FABRIC_JWKS"},
		{"production with the development issuer", []string{"serve"}, with("SIMULATION_MODE=false", "FABRIC_ENV=prod", "FABRIC_JWKS=x"), exitUsage, "development issuer"},
		{"keys by plain http", []string{"serve"}, with("FABRIC_JWKS=http://issuer.example/jwks"), exitUsage, "https"},
		{"a state directory that cannot be written", []string{"serve"}, with("FABRIC_STATE_DIR=" + trust), exitError, "not a directory"},
		{"a snapshot that is a file", []string{"serve"}, with("FABRIC_SNAPSHOT_URL=/snapshot"), exitUsage, "FABRIC_SNAPSHOT_URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log output
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			require.Equal(t, tt.code, run(ctx, tt.args, tt.environ, io.Discard, &log), log.String())
			require.Contains(t, log.String(), tt.says)
		})
	}
	var out bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), []string{"version"}, nil, &out, io.Discard))
	require.Equal(t, fmt.Sprintf("%s (%s)\n", version, commit), out.String())
}
