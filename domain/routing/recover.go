package routing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// A State is what a tenant is to run: its routes with their packages,
// and the policy document of each region that changes.
type State struct {
	Tenant   string
	Routes   []Route
	Packages []Package
	Policies map[string]policy.Document // by region; revisions are of then
}

// StateOf returns the digest of everything that a recovery of the tenant would
// replace: its routes and canaries, and the policy of each region. Two snapshots with equal
// digests differ in nothing that it would lose.
func (s Snapshot) StateOf(tenant string) artifact.Digest {
	var state struct {
		Routes   []Route  `json:"routes"`
		Canaries []Canary `json:"canaries,omitempty"`
		Regions  []Region `json:"regions"`
	}
	state.Regions = s.Regions
	for _, r := range s.Routes {
		if r.Tenant == tenant {
			state.Routes = append(state.Routes, r)
		}
	}
	for _, c := range s.Canaries {
		if c.Tenant == tenant {
			state.Canaries = append(state.Canaries, c)
		}
	}
	text, err := artifact.Canonical(state)
	if err != nil {
		return "" // equals no digest of a state
	}
	return artifact.DigestOf(text)
}

// Prepare returns the next snapshot, in which the state's packages are loaded
// where its routes will need them. No route moves and nothing is let go: what
// serves goes on to serve.
// Errors: [ErrRegion]; [ErrOther].
func (s Snapshot) Prepare(state State, at time.Time) (Snapshot, error) {
	next := s.next(at)
	for _, p := range state.Packages {
		if err := s.known(p.Regions); err != nil {
			return Snapshot{}, err
		}
		same := func(o Package) bool { return o.Tenant == p.Tenant && o.Model == p.Model && o.Version == p.Version }
		i := slices.IndexFunc(next.Packages, same)
		if i < 0 {
			next.Packages = append(next.Packages, p)
			continue
		}
		if next.Packages[i].Manifest != p.Manifest {
			return Snapshot{}, fmt.Errorf("%s/%s version %d: %w", p.Tenant, p.Model, p.Version, ErrOther)
		}
		p.Regions = union(next.Packages[i].Regions, p.Regions)
		p.Mirrors = mirrors(next.Packages[i].Mirrors, p.Mirrors)
		next.Packages[i] = p
	}
	slices.SortFunc(next.Packages, comparePackages)
	return next, nil
}

// Recover returns the next snapshot, in which the tenant's routes are those of
// the state and no others, without a canary, and the regions that it names run its policies,
// under new revisions: revisions only grow. A region whose policy says the same
// already keeps it.
// Errors: [ErrRegion]; [ErrNotLoaded] when a package was not prepared.
func (s Snapshot) Recover(state State, at time.Time) (Snapshot, error) {
	next := s.next(at)
	next.Routes = slices.DeleteFunc(next.Routes, func(r Route) bool { return r.Tenant == state.Tenant })
	next.Canaries = slices.DeleteFunc(next.Canaries, func(c Canary) bool { return c.Tenant == state.Tenant })
	for _, r := range state.Routes {
		switched, err := next.Switch(r, at)
		if err != nil {
			return Snapshot{}, err
		}
		next.Routes = switched.Routes
	}
	slices.SortFunc(next.Routes, compareRoutes)
	next.settle()
	highest := int64(0)
	for _, r := range s.Regions {
		highest = max(highest, r.Policy)
	}
	again := map[int64]policy.Document{} // by the revision that it had
	for _, region := range s.Regions {
		want, ok := state.Policies[region.Name]
		if now, runs := s.Policy(region.Name); !ok || runs && policy.Same(now, want) {
			continue
		}
		document, ok := again[want.Revision]
		if !ok {
			highest++
			document = want
			document.Revision = highest
			again[want.Revision] = document
		}
		governed, err := next.Govern(document, []string{region.Name}, at)
		if err != nil {
			return Snapshot{}, err
		}
		next.Regions, next.Policies = governed.Regions, governed.Policies
	}
	return next, nil
}

// A Mirror is where the runtimes of a region pull a package from.
type Mirror struct {
	Region string `json:"region"`
	URL    string `json:"url"` // base URL of a registry
}

// From returns the base URL of the registry that a region pulls the package
// from: its mirror, or the one that it was pushed to.
func (p Package) From(region string) string {
	for _, m := range p.Mirrors {
		if m.Region == region {
			return m.URL
		}
	}
	return p.Registry
}

// mirrors returns both lists by region; where both name one, b's.
func mirrors(a, b []Mirror) []Mirror {
	all := slices.Clone(b)
	for _, m := range a {
		if !slices.ContainsFunc(b, func(o Mirror) bool { return o.Region == m.Region }) {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(x, y Mirror) int { return cmp.Compare(x.Region, y.Region) })
	return all
}
