package router_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
)

func onlyPackage() routing.Package {
	return routing.Package{Tenant: "consortium", Model: "tumour", Version: 3, Manifest: artifact.DigestOf([]byte("m")), Regions: []string{"eu", "us"}}
}

// A region is lost, and policy keeps a tenant in it: it is refused, by the
// rule's name, as long as that lasts, and not a byte of it crosses the border.
// A tenant that may go elsewhere notices nothing.
func TestARegionIsLost(t *testing.T) {
	f := newFabric(t, setup{})
	var crossed atomic.Int32
	serve := func(infer http.HandlerFunc) *httptest.Server {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("POST /", infer)
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		return server
	}
	eu := serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Fabric-Tenant") == "lab" {
			crossed.Add(1)
		}
		_, _ = io.WriteString(w, good)
	})
	us := serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) })
	require.NoError(t, f.Use(endpoints(world(onlyPackage()), map[string]string{"eu": eu.URL, "us": us.URL})))
	lab, clinic := f.token(t, "lab"), f.token(t, "clinic")
	require.Equal(t, "us", f.invoke(t, lab, asking("lab", `{}`)).body.Region)
	us.Close()
	for range 50 {
		got := f.invoke(t, lab, asking("lab", `{}`))
		require.Equal(t, 503, got.status, got.text)
		require.Equal(t, "none_healthy", got.body.Code)
		require.Contains(t, got.body.Detail, "policy/1/lab-stays")
		require.Equal(t, "1", got.header.Get("Retry-After"))
		got = f.invoke(t, clinic, asking("clinic", `{"region":"us"}`))
		require.Equal(t, 200, got.status, got.text)
		require.Equal(t, "eu", got.body.Region)
	}
	require.Zero(t, crossed.Load())
}

func TestTheDeadlineTravels(t *testing.T) {
	f := newFabric(t, setup{})
	var left atomic.Int64
	var calls atomic.Int32
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			calls.Add(1)
			ms, err := strconv.ParseInt(r.Header.Get("X-Fabric-Max-Latency-Ms"), 10, 64)
			if err != nil {
				ms = -1
			}
			left.Store(ms)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, good)
		}
	}))
	defer server.Close()
	require.NoError(t, f.Use(endpoints(world(onlyPackage()), map[string]string{"eu": server.URL})))
	bearer := f.token(t, "clinic")
	for _, tt := range []struct {
		prefers string
		header  string
		most    int64
	}{{`{}`, "", 2000}, {`{"max_latency_ms":5000}`, "", 5000}, {`{"max_latency_ms":5000}`, "700", 700}, {`{"max_latency_ms":600}`, "5000", 600}, {`{}`, "10000", 10000}} {
		headers := []string{}
		if tt.header != "" {
			headers = []string{"X-Fabric-Max-Latency-Ms", tt.header}
		}
		got := f.call(t, "POST", "/invoke", bearer, asking("clinic", tt.prefers), headers...)
		require.Equal(t, 200, got.status, got.text)
		require.LessOrEqual(t, left.Load(), tt.most)
		require.Greater(t, left.Load(), tt.most-500)
	}
	for _, bad := range []string{"0", "60001", "soon", "-1", ""} {
		require.Equal(t, 400, f.call(t, "POST", "/invoke", bearer, asking("clinic", `{}`), "X-Fabric-Max-Latency-Ms", bad).status, bad)
	}
	require.Equal(t, 400, f.call(t, "POST", "/invoke", bearer, asking("clinic", `{}`), "X-Fabric-Retry", "always").status)

	// What must not be done twice is sent once, also where a retry would be due.
	status = http.StatusInternalServerError
	calls.Store(0)
	require.Equal(t, 502, f.call(t, "POST", "/invoke", bearer, asking("clinic", `{}`), "X-Fabric-Retry", "never").status)
	require.EqualValues(t, 1, calls.Load())
	calls.Store(0)
	require.Equal(t, 502, f.invoke(t, bearer, asking("clinic", `{}`)).status)
	require.Greater(t, calls.Load(), int32(1))
}
