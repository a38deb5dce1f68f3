package local

import (
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/internal/config"
)

// Home is the region that the router is in: what is near its callers counts
// for an endpoint, and its policy decides with the endpoint's own.
func (p Plan) Home() string {
	first, _, _ := strings.Cut(strings.Join(p.Config.RegionNames(), ","), ",")
	return or(p.Config.Region, first)
}

// CheckHome fails when the router's region is none that is served: it would
// permit nothing.
func (p Plan) CheckHome() error {
	if regions := p.Config.RegionNames(); !slices.Contains(regions, p.Home()) {
		return fmt.Errorf("%w: FABRIC_REGION %q is none of FABRIC_REGIONS %v", config.ErrSetting, p.Home(), regions)
	}
	return nil
}
