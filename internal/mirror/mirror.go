// Package mirror knows which registry each region's runtimes pull from.
//
// Invariant: a region has one mirror for as long as a process runs, and a
// region without one of its own pulls from the registry that packages are
// pushed to. Nothing here trusts a mirror: what it holds counts once it has
// been read back and verified.
package mirror

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/oci"
)

// ErrRegion says that a mirror is configured for a region that is not served.
var ErrRegion = errors.New("a mirror of a region that the fabric does not have")

// A Set is the source and the mirrors: an [activities.Mirrors].
type Set struct {
	source  *oci.Registry
	mirrors map[string]*oci.Registry // by region
}

var _ activities.Mirrors = (*Set)(nil)

// New returns the mirrors at the base URLs, by region. Nobody is asked yet.
// Errors: [ErrRegion]; those of [oci.New], with the region.
func New(source *oci.Registry, regions []string, bases map[string]string) (*Set, error) {
	s := &Set{source: source, mirrors: map[string]*oci.Registry{}}
	for _, region := range slices.Sorted(maps.Keys(bases)) {
		if !slices.Contains(regions, region) {
			return nil, fmt.Errorf("%s: %w", region, ErrRegion)
		}
		r, err := oci.New(bases[region], oci.Login{})
		if err != nil {
			return nil, fmt.Errorf("mirror of %s: %w", region, err)
		}
		s.mirrors[region] = r
	}
	return s, nil
}

// Source returns the registry that packages are pushed to.
func (s *Set) Source() activities.Carrier { return s.source }

// Mirror returns the registry that a region's runtimes pull from.
func (s *Set) Mirror(region string) activities.Carrier {
	if m, ok := s.mirrors[region]; ok {
		return m
	}
	return s.source
}
