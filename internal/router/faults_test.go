package router_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/follow"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

const good = `{"model_name":"consortium.tumour","model_version":"3","outputs":[{"name":"p","shape":[1,2],"datatype":"FP64","data":[0.25,0.75]}]}`

// faulty starts a runtime of eu that is ready and answers inferences as told,
// and one of us that is fine.
func faulty(t *testing.T, f *fabric, infer http.HandlerFunc) (calls *atomic.Int32) {
	t.Helper()
	calls = &atomic.Int32{}
	serve := func(infer http.HandlerFunc) *httptest.Server {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("POST /", infer)
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		return server
	}
	eu := serve(func(w http.ResponseWriter, r *http.Request) { calls.Add(1); infer(w, r) })
	us := serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) })
	pkg := routing.Package{Tenant: "consortium", Model: "tumour", Version: 3, Manifest: artifact.DigestOf([]byte("m")), Regions: []string{"eu", "us"}}
	require.NoError(t, f.Use(endpoints(world(pkg), map[string]string{"eu": eu.URL, "us": us.URL})))
	return calls
}

func TestAFaultyEndpointCostsNoAnswer(t *testing.T) {
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	abort := func(before string, length int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if length > 0 {
				w.Header().Set("Content-Length", fmt.Sprint(length))
			}
			_, _ = io.WriteString(w, before)
			panic(http.ErrAbortHandler)
		}
	}
	tests := []struct {
		name  string
		infer http.HandlerFunc
	}{
		{"500", say(500, "oops")},
		{"503", say(503, "")},
		{"429", say(429, "")},
		{"404: it lost the model", say(404, `{"error":"unknown"}`)},
		{"403: its own policy differs", say(403, `{"error":"no"}`)},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}},
		{"not JSON", say(200, "<html>")},
		{"nothing", say(200, "")},
		{"another model", say(200, strings.Replace(good, "consortium", "other", 1))},
		{"another version", say(200, strings.Replace(good, `"3"`, `"4"`, 1))},
		{"no outputs", say(200, `{"model_name":"consortium.tumour","model_version":"3","outputs":[]}`)},
		{"too little data for its shape", say(200, strings.Replace(good, "[1,2]", "[2,2]", 1))},
		{"a shape below zero", say(200, strings.Replace(good, "[1,2]", "[-1,-2]", 1))},
		{"a shape without bounds", say(200, strings.Replace(good, "[1,2]", "[8000000,8000000,0]", 1))},
		{"an output without name", say(200, strings.Replace(good, `"p"`, `""`, 1))},
		{"another package", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Fabric-Manifest", string(artifact.DigestOf([]byte("other"))))
			_, _ = io.WriteString(w, good)
		}},
		{"too large", say(200, strings.Repeat(" ", 8<<20)+good)},
		{"a connection that breaks", abort("", 0)},
		{"a body that breaks off", abort(good[:20], len(good))},
		{"a chunked body that breaks off", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, good[:20])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"a hang", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the caller leave
			<-r.Context().Done()
		}},
		{"a body that drips", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			for i := 0; r.Context().Err() == nil && i < 100; i++ {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFabric(t, setup{slow: true})
			calls := faulty(t, f, tt.infer)
			bearer := f.token(t, "clinic")
			prefers := `{"region":"eu","max_latency_ms":20000}`
			if strings.Contains(tt.name, "hang") || strings.Contains(tt.name, "drips") {
				prefers = `{"region":"eu","max_latency_ms":1200}` // of which half is lost
			}
			got := f.invoke(t, bearer, asking("clinic", prefers))
			require.Equal(t, 200, got.status, got.text)
			require.Equal(t, "us", got.body.Region)
			require.Equal(t, 2, got.body.Decision.Attempts)
			require.JSONEq(t, `{"p":[[0.25,0.75]]}`, string(got.body.Output))
			require.Regexp(t, `fabric_router_(retries_total{region="eu"}|hedges_won_total) 1`, f.call(t, "GET", "/metrics", "", "").text, "a late one is made up for before it fails")

			// Three in a row and it is set aside: no call more.
			for range 2 {
				require.Equal(t, 200, f.invoke(t, bearer, asking("clinic", prefers)).status)
			}
			sent := calls.Load()
			require.GreaterOrEqual(t, sent, int32(3))
			require.LessOrEqual(t, sent, int32(6), "a connection that was idle may be tried afresh once")
			require.Equal(t, 1, f.invoke(t, bearer, asking("clinic", `{"region":"eu"}`)).body.Decision.Attempts)
			require.Equal(t, sent, calls.Load())
			require.Contains(t, f.call(t, "GET", "/metrics", "", "").text, `fabric_router_ejections_total{region="eu"} 1`)
		})
	}
}

func TestWhatTheCallerLearnsWhenNobodyCanAnswer(t *testing.T) {
	only := func(f *fabric, infer http.HandlerFunc) *httptest.Server {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("POST /", infer)
		server := httptest.NewServer(mux)
		pkg := routing.Package{Tenant: "consortium", Model: "tumour", Version: 3, Manifest: artifact.DigestOf([]byte("m")), Regions: []string{"eu", "us"}}
		require.NoError(t, f.Use(endpoints(world(pkg), map[string]string{"eu": server.URL})))
		return server
	}
	tests := []struct {
		name   string
		infer  http.HandlerFunc
		status int
		code   string
	}{
		{"bad answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, 502, "bad_upstream_answer"},
		{"error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 502, "bad_upstream_answer"},
		{"model not loaded", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 503, "none_healthy"},
		{"its own policy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, 403, "not_permitted"},
		{"hang", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }, 504, "deadline_exceeded"},
		{"connection reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "none_healthy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFabric(t, setup{})
			defer only(f, tt.infer).Close()
			got := f.invoke(t, f.token(t, "clinic"), asking("clinic", `{"max_latency_ms":200}`))
			require.Equal(t, tt.status, got.status, got.text)
			require.Equal(t, tt.code, got.body.Code)
			if tt.status == 503 {
				require.Equal(t, "1", got.header.Get("Retry-After"))
			}
			require.Empty(t, got.header.Get("X-Fabric-Audit"))
		})
	}
	// A tenant whose one region is away gets no byte across the border.
	f := newFabric(t, setup{})
	var crossed atomic.Int32
	server := only(f, func(http.ResponseWriter, *http.Request) { crossed.Add(1) })
	defer server.Close()
	got := f.invoke(t, f.token(t, "lab"), asking("lab", `{}`))
	require.Equal(t, 403, got.status)
	require.Zero(t, crossed.Load())
}

// A runtime that closes connections which the router thinks are idle costs
// nobody an answer, also where there is no second one.
func TestAConnectionClosedWhileIdleIsTriedAfresh(t *testing.T) {
	f := newFabric(t, setup{})
	type served struct{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(served{}).(*atomic.Int32).Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, good)
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, served{}, &atomic.Int32{})
	}
	server.Start()
	defer server.Close()
	pkg := routing.Package{Tenant: "consortium", Model: "tumour", Version: 3, Manifest: artifact.DigestOf([]byte("m")), Regions: []string{"eu", "us"}}
	require.NoError(t, f.Use(endpoints(world(pkg), map[string]string{"eu": server.URL})))
	for range 20 {
		got := f.invoke(t, f.token(t, "clinic"), ask)
		require.Equal(t, 200, got.status, got.text)
		require.Equal(t, 1, got.body.Decision.Attempts)
	}
}

func TestFailsOverWhenARuntimeDiesAndComesBack(t *testing.T) {
	f := newFabric(t, setup{})
	eu, us, _ := f.two(t)
	bearer := f.token(t, "clinic")
	require.Equal(t, "eu", f.invoke(t, bearer, ask).body.Region)
	eu.Close()
	for range 20 {
		got := f.invoke(t, bearer, ask)
		require.Equal(t, 200, got.status, got.text)
		require.Equal(t, "us", got.body.Region)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(f.call(t, "GET", "/health", "", "").text, "1 of 2 can answer")
	}, 5*time.Second, 20*time.Millisecond)
	us.Close()
	require.Eventually(t, func() bool {
		got := f.invoke(t, bearer, ask)
		return got.status == 503 && got.body.Code == "none_healthy" && got.header.Get("Retry-After") == "1"
	}, 5*time.Second, 20*time.Millisecond)
}

func TestACallerWhoLeavesCancelsTheRuntime(t *testing.T) {
	f := newFabric(t, setup{})
	left := make(chan time.Time, 1)
	began := make(chan struct{}, 1)
	faulty(t, f, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		began <- struct{}{}
		<-r.Context().Done()
		left <- time.Now()
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+"/invoke", strings.NewReader(asking("clinic", `{"region":"eu"}`)))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+f.token(t, "clinic"))
	req.Header.Set("Content-Type", "application/json")
	go func() { <-began; cancel() }()
	_, err = f.Client().Do(req) //nolint:bodyclose // it fails
	require.ErrorIs(t, err, context.Canceled)
	gone := time.Now()
	require.Less(t, (<-left).Sub(gone), time.Second, "long before the deadline of two seconds")
	require.Eventually(t, func() bool {
		return strings.Contains(f.call(t, "GET", "/metrics", "", "").text, `fabric_router_requests_total{code="499"} 1`)
	}, time.Second, 5*time.Millisecond)
}

// A router that starts while the control plane is down answers from the
// snapshot on its disk, and with the packages that the runtimes kept.
func TestRestartsWithoutTheControlPlane(t *testing.T) {
	w := runtimetest.NewWorld(t)
	s := world(w.Push(t, "consortium", "tumour", 3, runtimetest.Logistic(t, 0), "eu", "us"))
	eu := startRuntime(t, w, "eu", s)
	s = endpoints(s, map[string]string{"eu": eu.URL})
	text, err := json.Marshal(s)
	require.NoError(t, err)
	signed, err := json.Marshal(routing.Signed{Snapshot: text, Bundle: runtimetest.Sign(t, w.Key, artifact.DigestOf(text), artifact.PredicateSnapshot, struct{}{})})
	require.NoError(t, err)
	plane := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(out, bytes.NewReader(signed)) }))

	dir := t.TempDir()
	start := func() (*fabric, *follow.Follower) {
		f := newFabric(t, setup{})
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		follower, err := follow.New(follow.Options{URL: plane.URL + "/snapshot", Trust: pinned(t, &w.Key.PublicKey), Dir: dir, Wait: time.Second,
			Client: client, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now, Use: f.Use})
		require.NoError(t, err)
		return f, follower
	}
	_, first := start()
	require.False(t, first.Load())
	require.NoError(t, first.Poll(t.Context()))
	plane.Close()
	w.Registry.Close()

	f, second := start()
	require.True(t, second.Load())
	got := f.invoke(t, f.token(t, "clinic"), ask)
	require.Equal(t, 200, got.status, got.text)
	require.Equal(t, "eu", got.body.Region)
}
