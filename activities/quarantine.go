package activities

import (
	"context"
	"slices"

	"github.com/atom-fabric/fabric/domain/site"
)

// unquarantined returns the sites that the policy in force lets a round ask. It
// is looked at when each round is planned, so that a site which comes under
// quarantine in the middle of a run is in its next round no more.
func (r *Round) unquarantined(ctx context.Context, sites []site.Site) ([]site.Site, error) {
	if r.Snapshots == nil {
		return sites, nil
	}
	world, err := r.Snapshots.Latest(ctx)
	if err != nil {
		return nil, err
	}
	document, ok := inForce(world)
	if !ok {
		return sites, nil
	}
	return slices.DeleteFunc(sites, func(s site.Site) bool { return document.Isolates(s.Tenant, s.ID) }), nil
}
