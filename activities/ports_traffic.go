package activities

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/routing"
)

// TrafficGrain is what traffic is counted by: a decision counts for the ten
// seconds that it was asked in.
const TrafficGrain = 10 * time.Second

// Traffic is what routers have decided, as far as it has arrived: a router
// ships within about a second, and after an outage when it can again.
type Traffic interface {
	// TrafficBetween returns how the calls of a model of tenant ended that were
	// asked in [from, to), one entry for each environment, version, region, rollout and
	// side of it that had any, in that order. Version 0 is every version, no
	// regions are all of them. Both ends are moved down to a multiple of
	// [TrafficGrain], so windows that meet never count a call twice.
	TrafficBetween(ctx context.Context, tenant, model string, version int, regions []string, from, to time.Time) ([]routing.Traffic, error)
	// MirroredBetween returns how the copies of requests ended that a version on
	// trial was sent in a region and an environment, which answered nobody and are
	// no traffic. The window is as above.
	MirroredBetween(ctx context.Context, tenant, model, environment string, version int, region string, from, to time.Time) (routing.Traffic, error)
}
