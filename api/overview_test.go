package api_test

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Ten equal rounds of the Gaussian mechanism, charged on two features, one of
// which saw half of them: the run has spent what the first one paid, and the
// curve ends there.
func TestWhatARunHasSpent(t *testing.T) {
	s := serve(t)
	s.fabric.RunRows["run-1"] = api.Run{ID: "run-1", Tenant: "t1", ModelID: "m", Status: "running", Done: 10, CreatedAt: apitest.Epoch}
	event := []dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: 2, SampleRate: 1}}
	var p api.RunProgress
	for feature, rounds := range map[string]int{"t1/a": 10, "t2/b": 5} {
		for n := 1; n <= rounds; n++ {
			p.Costs = append(p.Costs, api.RoundCost{Feature: feature, Number: n, Events: event})
		}
	}
	p.Rounds = []api.RoundTraffic{{Number: 1, Answers: 3, Refused: 1, UploadedBytes: 4096}}
	p.Stages = []api.StageProgress{{Number: 10, Region: "eu", Stage: "update", Status: "open", Sites: 4, Answered: 3, OpenedAt: apitest.Epoch, Deadline: apitest.Epoch.Add(time.Minute), Waiting: []string{"t1/late"}}}
	s.fabric.Progressed = map[string]api.RunProgress{"run-1": p}

	got := into[v1.RunProgress](s.do("GET", "/train/runs/run-1/progress?tenant=t1", nil))
	want, err := dp.Epsilon([]dp.Event{{Mechanism: dp.Gaussian, Count: 10, NoiseMultiplier: 2, SampleRate: 1}}, 1e-5)
	require.NoError(t, err)
	require.Equal(t, "t1/a", got.Privacy.Feature)
	require.InDelta(t, want.Epsilon, got.Privacy.Spent, 1e-9)
	require.Equal(t, 10, got.Privacy.Points[len(got.Privacy.Points)-1].Number)
	require.Equal(t, got.Privacy.Spent, got.Privacy.Points[len(got.Privacy.Points)-1].Epsilon)
	for i := 1; i < len(got.Privacy.Points); i++ {
		require.Greater(t, got.Privacy.Points[i].Epsilon, got.Privacy.Points[i-1].Epsilon)
	}
	require.Equal(t, []string{"t1/late"}, got.Stages[0].Waiting)
	require.Equal(t, int64(4096), got.Rounds[0].UploadedBytes)
}

func TestARunWithoutNoiseHasSpentNothing(t *testing.T) {
	s := serve(t)
	s.fabric.RunRows["run-1"] = api.Run{ID: "run-1", Tenant: "t1", ModelID: "m", Status: "accepted", CreatedAt: apitest.Epoch}
	got := into[v1.RunProgress](s.do("GET", "/train/runs/run-1/progress?tenant=t1", nil))
	require.Zero(t, got.Privacy.Spent)
	require.Empty(t, got.Privacy.Points)
	require.Empty(t, got.Rounds)
}

func TestRunsAreFiltered(t *testing.T) {
	s := serve(t)
	for i, status := range []string{"running", "completed", "running"} {
		id := fmt.Sprintf("run-%d", i)
		s.fabric.RunRows[id] = api.Run{ID: id, Tenant: "t1", ModelID: fmt.Sprintf("m%d", i), Status: status, CreatedAt: apitest.Epoch}
	}
	ids := func(query string) (out []string) {
		for _, r := range into[v1.RunPage](s.do("GET", "/train/runs?tenant=t1"+query, nil)).Items {
			out = append(out, r.ID)
		}
		return out
	}
	require.Equal(t, []string{"run-2", "run-1", "run-0"}, ids(""))
	require.Equal(t, []string{"run-2", "run-0"}, ids("&status=running"))
	require.Equal(t, []string{"run-0"}, ids("&status=running&model=m0"))
}

func TestPromotionsAreListedByTime(t *testing.T) {
	s := serve(t)
	for i := range 5 {
		id := fmt.Sprintf("promote-%d", i)
		s.fabric.ActionRows[id] = api.Action{ID: id, Kind: api.KindPromotion, Tenant: "t1", ModelID: "m", Environment: "dev", State: "started", CreatedAt: apitest.Epoch.Add(time.Duration(i%3) * time.Second)}
	}
	s.fabric.ActionRows["policy-1"] = api.Action{ID: "policy-1", Kind: api.KindPolicy, Tenant: "t1", CreatedAt: apitest.Epoch}
	var ids []string
	for cursor := ""; ; {
		path := "/promotions?tenant=t1&limit=2"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		page := into[v1.ActionPage](s.do("GET", path, nil).is(200))
		for _, a := range page.Items {
			ids = append(ids, a.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{"promote-2", "promote-4", "promote-1", "promote-3", "promote-0"}, ids)
	bad := s.do("GET", "/promotions?tenant=t1&cursor="+base64.RawURLEncoding.EncodeToString([]byte("yesterday")), nil)
	bad.is(400)
}

func TestTheMapShowsTheTenantsRoutesAndNoAddresses(t *testing.T) {
	s := serve(t)
	s.fabric.Snapshot = routing.Snapshot{
		Version: 7, IssuedAt: apitest.Epoch, Regions: []routing.Region{{Name: "eu", Policy: 3}},
		Endpoints: []routing.Endpoint{{Name: "eu-1", Region: "eu", Kind: "neural", URL: "http://10.1.2.3:8000", FabricScore: 80}},
		Routes:    []routing.Route{{Tenant: "t1", Model: "m", Environment: "production", Version: 2, Regions: []string{"eu"}}, {Tenant: "t2", Model: "secret", Environment: "dev", Version: 1}},
		Canaries:  []routing.Canary{{Tenant: "t1", Model: "m", Environment: "production", Version: 3, Share: 100}},
	}
	s.fabric.Endpoints = map[string][]api.EndpointLoad{"t1": {{From: "eu", Region: "eu", Endpoint: "eu-1", Calls: 10, Failed: 1, P50: 3, P95: 9, P99: 12, LastAt: apitest.Epoch}}}
	answer := s.do("GET", "/regions?tenant=t1", nil)
	got := into[v1.RegionMap](answer)
	require.Equal(t, v1.LatencyBudget{WithinMs: 500, BetweenMs: 1000}, got.Budget, "P6")
	require.Len(t, got.Routes, 1)
	require.Equal(t, 3, got.Routes[0].CanaryVersion)
	require.Equal(t, 9.0, got.Loads[0].P95Ms)
	require.NotContains(t, string(answer.body), "10.1.2.3")
	require.NotContains(t, string(answer.body), "secret")
}
