package router

import (
	"fmt"
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

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

// wide is a snapshot with n endpoints over three regions that one model is
// served by.
func wide(n int, url string) routing.Snapshot {
	regions := []string{"apac", "eu", "us"}
	s := routing.Snapshot{Version: 1, Policies: []policy.Document{policy.Default()},
		Packages: []routing.Package{{Tenant: "t1", Model: "m1", Version: 1, Regions: regions}},
		Routes:   []routing.Route{{Tenant: "t1", Model: "m1", Environment: production, Version: 1, Regions: regions, Simulated: true}}}
	for _, region := range regions {
		s.Regions = append(s.Regions, routing.Region{Name: region, Policy: 1})
	}
	for i := range n {
		s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: fmt.Sprintf("e-%d", i), Region: regions[i%3], Kind: policy.Neural, URL: url, CostMicros: int64(i % 7), FabricScore: 50 + i%50})
	}
	return s
}

func benched(b *testing.B, s routing.Snapshot) *Router {
	b.Helper()
	r, err := New(Options{Region: "eu", Version: "bench", Simulation: true, Listener: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, StateDir: b.TempDir(),
		Client: NewClient(nil), Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, MaxAge: time.Hour, Now: time.Now})
	require.NoError(b, err)
	require.NoError(b, r.Use(s))
	return r
}

// BenchmarkDecision is filter, score and pick: the route of the caller, then
// one of its endpoints.
func BenchmarkDecision(b *testing.B) {
	for _, n := range []int{3, 50, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := benched(b, wide(n, "http://127.0.0.1:1"))
			in := request{tenant: "t1", model: "m1"}
			b.ReportAllocs()
			for b.Loop() {
				if decide(r, &in, nil) < 0 {
					b.Fatal("none")
				}
			}
		})
	}
}

// BenchmarkInvoke is a whole call, with a runtime that answers at once, over
// loopback on both sides.
func BenchmarkInvoke(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"model_name":"t1.m1","model_version":"1","outputs":[{"name":"p","shape":[1,2],"datatype":"FP64","data":[0.25,0.75]}]}`))
	}))
	defer upstream.Close()
	r := benched(b, wide(3, upstream.URL))
	front := httptest.NewServer(r.Handler())
	defer front.Close()
	body := `{"tenant":"t1","model_id":"m1","input":{"data":[[` + strings.Repeat("0.5,", 29) + `0.5]]}}`
	client := front.Client()
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		resp, err := client.Post(front.URL+"/invoke", "application/json", strings.NewReader(body))
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(err, resp)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		_ = resp.Body.Close()
	}
}
