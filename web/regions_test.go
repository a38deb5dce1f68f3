package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

// aMap has a region that answers well, one over its budget, one that is down
// and one that nobody asked.
func aMap() v1.RegionMap {
	return v1.RegionMap{
		Snapshot: 12, IssuedAt: noon, Budget: v1.LatencyBudget{WithinMs: 50, BetweenMs: 150},
		Regions: []v1.RegionPolicy{{Region: "eu", Revision: 3}, {Region: "us", Revision: 3}, {Region: "apac", Revision: 2}, {Region: "sa", Revision: 3}},
		Endpoints: []v1.RegionEndpoint{
			{Name: "eu-1", Region: "eu", Kind: "neural", FabricScore: 90}, {Name: "us-1", Region: "us", Kind: "neural", FabricScore: 80},
			{Name: hostile, Region: "apac", Kind: "quantum", Simulated: true}, {Name: "sa-1", Region: "sa", Kind: "neural"},
		},
		Loads: []v1.RegionLoad{
			{From: "eu", Region: "eu", Endpoint: "eu-1", Calls: 9000, Failed: 3, P50Ms: 8, P95Ms: 31, P99Ms: 44},
			{From: "eu", Region: "us", Endpoint: "us-1", Calls: 900, Failed: 20, P50Ms: 90, P95Ms: 210, P99Ms: 400},
			{From: "", Region: "apac", Endpoint: hostile, Calls: 4, Failed: 4},
		},
		Routes: []v1.RegionRoute{
			{ModelID: "screen", Environment: "production", Version: 2, CanaryVersion: 3, Regions: []string{"eu", "us"}},
			{ModelID: hostile, Environment: "dev", Version: 1, Regions: []string{"apac"}},
		},
	}
}

func TestRegions(t *testing.T) {
	c := testConsole(t, &fakeAPI{answers: map[string]any{"GET /regions": aMap()}})
	w := ask(t, c, rea(), "GET", "/console/regions", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "regions", w)
	page := w.Body.String()
	require.NotContains(t, page, "<script>alert")
	for _, want := range []string{"healthy", "in part", "down", "not asked", "within budget", "over budget", "no answers", "under 50 ms", "under 150 ms", "no region to apac"} {
		require.Contains(t, page, want)
	}
	require.Equal(t, 3, strings.Count(page, `role="img"`), "the map, and what is known of two latencies")

	c = testConsole(t, &fakeAPI{answers: map[string]any{"GET /regions": v1.RegionMap{}}})
	w = ask(t, c, rea(), "GET", "/console/regions", nil)
	require.Contains(t, w.Body.String(), "Nobody called.")
	sound(t, w)
}
