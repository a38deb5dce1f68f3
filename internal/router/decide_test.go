package router

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/token"
)

// decide is all of a decision: the target of the caller, the side that it is
// on, and one of its endpoints.
//
// work is the memory to pick in, nil for the router's own, a sync.Pool that
// forgets on purpose under the race detector.
func decide(r *Router, in *request, work *endpoint.Work) int {
	t, p := r.plan.Load().resolve(caller{tenant: "t1", claims: token.Claims{Subject: "ann"}}, in)
	if p != nil {
		return -1
	}
	s, p := t.side(in)
	if p != nil {
		return -1
	}
	ask := r.ask(t, in, s)
	if work == nil {
		return r.pick(t, &ask)
	}
	return t.pool.Pick(&ask, work)
}

// A decision allocates nothing: over 50 and 500 endpoints, while a canary runs,
// and with every preference that narrows it.
func TestADecisionAllocatesNothing(t *testing.T) {
	for _, n := range []int{50, 500} {
		s := wide(n, "http://127.0.0.1:1")
		s.Packages = append(s.Packages, routing.Package{Tenant: "t1", Model: "m1", Version: 2, Regions: []string{"apac", "eu", "us"}})
		s, err := s.Split(routing.Canary{Lineage: "trial", Tenant: "t1", Model: "m1", Environment: production, Version: 2, Share: 5000, Regions: []string{"eu", "us"}}, time.Now())
		require.NoError(t, err)
		r, err := New(Options{Region: "eu", Version: "test", Listener: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, StateDir: t.TempDir(), Client: NewClient(nil),
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registry: prometheus.NewRegistry(), Confirmed: time.Now, MaxAge: time.Hour, Now: time.Now})
		require.NoError(t, err)
		require.NoError(t, r.Use(s))
		for _, prefers := range []preferences{{}, {region: "us"}, {kind: "neural", maxCost: 5}, {version: 2}, {alias: champion, environment: production, owner: "t1"}} {
			in := request{tenant: "t1", model: "m1", prefers: prefers, callerKey: "an application's user 4711"}
			work := &endpoint.Work{}
			require.GreaterOrEqual(t, decide(r, &in, work), 0, prefers)
			require.Zero(t, testing.AllocsPerRun(500, func() { decide(r, &in, work) }), prefers)
		}
	}
}
