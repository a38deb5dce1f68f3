package api

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/routing"
)

// What the 95th percentile of a call stays under: P6.
const (
	withinRegionMS  = 500
	betweenRegionMS = 1000
)

// loadedSince is how far back calls are looked at.
const loadedSince = time.Hour

// regions answers with where the tenant's models run and how that goes. The
// addresses of runtimes stay here: names are enough to talk of them.
func (s *Decided) regions(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	snapshot, err := s.snapshots.Latest(ctx)
	if err != nil {
		return err
	}
	loads, err := s.decisions.Endpoints(ctx, k.Tenant, s.b.now().Add(-loadedSince))
	if err != nil {
		return err
	}
	out := v1.RegionMap{
		Snapshot: snapshot.Version, IssuedAt: snapshot.IssuedAt, Simulated: k.Simulated,
		Budget: v1.LatencyBudget{WithinMs: withinRegionMS, BetweenMs: betweenRegionMS},
		Regions: views(snapshot.Regions, func(r routing.Region) v1.RegionPolicy {
			return v1.RegionPolicy{Region: r.Name, Revision: r.Policy}
		}),
		Endpoints: views(snapshot.Endpoints, func(e routing.Endpoint) v1.RegionEndpoint {
			return v1.RegionEndpoint{Name: e.Name, Region: e.Region, Kind: e.Kind, FabricScore: e.FabricScore, CostMicros: e.CostMicros, Simulated: e.Simulated}
		}),
		Routes: []v1.RegionRoute{},
		Loads: views(loads, func(l EndpointLoad) v1.RegionLoad {
			return v1.RegionLoad{From: l.From, Region: l.Region, Endpoint: l.Endpoint, Calls: l.Calls, Failed: l.Failed, P50Ms: l.P50, P95Ms: l.P95, P99Ms: l.P99, LastAt: l.LastAt}
		}),
	}
	for _, r := range snapshot.Routes {
		if r.Tenant != k.Tenant {
			continue
		}
		route := v1.RegionRoute{ModelID: r.Model, Environment: v1.Environment(r.Environment), Version: r.Version, Regions: views(r.Regions, func(n string) v1.Name { return n })}
		for _, canary := range snapshot.Canaries {
			if canary.Tenant == r.Tenant && canary.Model == r.Model && canary.Environment == r.Environment {
				route.CanaryVersion = canary.Version
			}
		}
		out.Routes = append(out.Routes, route)
	}
	return s.b.send(c, http.StatusOK, out)
}
