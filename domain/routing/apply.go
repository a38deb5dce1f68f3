package routing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Why a snapshot cannot be changed as asked.
var (
	ErrRegion    = errors.New("the fabric has no such region")
	ErrOther     = errors.New("the version exists with another package")
	ErrNotLoaded = errors.New("the region does not load that version")
	ErrRevision  = errors.New("the region runs this revision or a higher one")
)

// spare is how many versions of a model stay loaded that no route names, for a
// way back that does not wait for a download.
const spare = 2

// Renew returns the next snapshot with the same content, to be signed anew.
func (s Snapshot) Renew(at time.Time) Snapshot { return s.next(at) }

// Load returns the next snapshot, in which the package's regions load it too.
// No route moves. Versions of the model that nothing needs are let go.
// Errors: [ErrRegion]; [ErrOther] when the number is taken by another package.
func (s Snapshot) Load(p Package, at time.Time) (Snapshot, error) {
	if err := s.known(p.Regions); err != nil {
		return Snapshot{}, err
	}
	next := s.next(at)
	same := func(o Package) bool { return o.Tenant == p.Tenant && o.Model == p.Model && o.Version == p.Version }
	if i := slices.IndexFunc(next.Packages, same); i >= 0 {
		if next.Packages[i].Manifest != p.Manifest {
			return Snapshot{}, fmt.Errorf("%s/%s version %d: %w", p.Tenant, p.Model, p.Version, ErrOther)
		}
		p.Regions = union(next.Packages[i].Regions, p.Regions)
		p.Mirrors = mirrors(next.Packages[i].Mirrors, p.Mirrors)
		next.Packages[i] = p
	} else {
		p.Regions = union(nil, p.Regions)
		next.Packages = append(next.Packages, p)
	}
	next.prune(p)
	slices.SortFunc(next.Packages, comparePackages)
	return next, nil
}

// Switch returns the next snapshot, in which the route's regions answer with
// its version, and no other version of the model and environment: a canary there
// ends, also one that was about the version before.
// Errors: [ErrRegion]; [ErrNotLoaded] when a region would route to nothing.
func (s Snapshot) Switch(r Route, at time.Time) (Snapshot, error) {
	if err := s.known(r.Regions); err != nil {
		return Snapshot{}, err
	}
	for _, region := range r.Regions {
		if !slices.ContainsFunc(s.Packages, func(p Package) bool {
			return p.Tenant == r.Tenant && p.Model == r.Model && p.Version == r.Version && slices.Contains(p.Regions, region)
		}) {
			return Snapshot{}, fmt.Errorf("%s/%s version %d in %s: %w", r.Tenant, r.Model, r.Version, region, ErrNotLoaded)
		}
	}
	next, moved := s.next(at), r.Regions
	routes := make([]Route, 0, len(next.Routes)+1)
	for _, o := range next.Routes {
		if o.Tenant != r.Tenant || o.Model != r.Model || o.Environment != r.Environment {
			routes = append(routes, o)
			continue
		}
		if o.Version == r.Version {
			r.Regions = append(slices.Clone(o.Regions), r.Regions...)
			continue
		}
		o.Regions = slices.DeleteFunc(slices.Clone(o.Regions), func(region string) bool { return slices.Contains(r.Regions, region) })
		if len(o.Regions) > 0 {
			routes = append(routes, o)
		}
	}
	r.Regions = union(nil, r.Regions)
	r.Callers = union([]string{r.Tenant}, r.Callers)
	next.Routes = append(routes, r)
	slices.SortFunc(next.Routes, compareRoutes)
	next.release(r.Tenant, r.Model, r.Environment, moved)
	return next, nil
}

// Govern returns the next snapshot, in which the regions run the document.
// Documents that no region names are let go.
// Errors: [ErrRegion]; [ErrRevision] when a region would not go forward.
func (s Snapshot) Govern(document policy.Document, regions []string, at time.Time) (Snapshot, error) {
	if err := s.known(regions); err != nil {
		return Snapshot{}, err
	}
	encoded, err := document.Encode()
	if err != nil {
		return Snapshot{}, err
	}
	next := s.next(at)
	for i, r := range next.Regions {
		if !slices.Contains(regions, r.Name) {
			continue
		}
		if r.Policy >= document.Revision {
			return Snapshot{}, fmt.Errorf("%s runs %d: %w", r.Name, r.Policy, ErrRevision)
		}
		next.Regions[i].Policy, next.Regions[i].PolicyDigest = document.Revision, artifact.DigestOf(encoded)
	}
	next.Policies = next.named(append(next.Policies, document))
	return next, nil
}

// Rebase returns the next snapshot with these regions and endpoints, which are
// configuration. A region that is new runs the newest policy, or first where
// there is none yet; the others keep theirs, and what lived in a region that is
// gone is gone. It returns false, and s, when nothing would change.
func (s Snapshot) Rebase(regions []string, endpoints []Endpoint, first policy.Document, at time.Time) (Snapshot, bool, error) {
	document := first
	if n := len(s.Policies); n > 0 {
		document = s.Policies[n-1]
	}
	encoded, err := document.Encode()
	if err != nil {
		return Snapshot{}, false, err
	}
	next := s.next(at)
	next.Regions = nil
	for _, name := range union(nil, regions) {
		r := Region{Name: name, Policy: document.Revision, PolicyDigest: artifact.DigestOf(encoded)}
		if old, ok := s.Region(name); ok {
			r = old
		}
		next.Regions = append(next.Regions, r)
	}
	next.Endpoints = slices.Clone(endpoints)
	slices.SortFunc(next.Endpoints, func(a, b Endpoint) int { return cmp.Compare(a.Name, b.Name) })
	if slices.EqualFunc(s.Regions, next.Regions, func(a, b Region) bool { return a.Name == b.Name }) && slices.Equal(s.Endpoints, next.Endpoints) {
		return s, false, nil
	}
	gone := func(region string) bool { return !slices.Contains(regions, region) }
	for i := range next.Packages {
		next.Packages[i].Regions = slices.DeleteFunc(next.Packages[i].Regions, gone)
	}
	for i := range next.Routes {
		next.Routes[i].Regions = slices.DeleteFunc(next.Routes[i].Regions, gone)
	}
	next.Packages = slices.DeleteFunc(next.Packages, func(p Package) bool { return len(p.Regions) == 0 })
	next.Routes = slices.DeleteFunc(next.Routes, func(r Route) bool { return len(r.Regions) == 0 })
	next.settle()
	next.Policies = next.named(append(next.Policies, document))
	return next, true, nil
}

// Region returns the region of that name.
func (s Snapshot) Region(name string) (Region, bool) {
	i := slices.IndexFunc(s.Regions, func(r Region) bool { return r.Name == name })
	if i < 0 {
		return Region{}, false
	}
	return s.Regions[i], true
}

// Policy returns the document that a region runs.
func (s Snapshot) Policy(region string) (policy.Document, bool) {
	r, ok := s.Region(region)
	if !ok {
		return policy.Document{}, false
	}
	i := slices.IndexFunc(s.Policies, func(d policy.Document) bool { return d.Revision == r.Policy })
	if i < 0 {
		return policy.Document{}, false
	}
	return s.Policies[i], true
}

// Threshold is the risk from which a change of these regions needs somebody: the
// strictest of their policies'. A region without a policy, and a change of no
// region, wants somebody for everything.
func (s Snapshot) Threshold(regions []string) int {
	if len(regions) == 0 {
		return 0
	}
	lowest := 100
	for _, region := range regions {
		d, _ := s.Policy(region)
		lowest = min(lowest, d.Threshold)
	}
	return lowest
}

// Champion returns the version that serves a model in any of the regions, the
// highest where there are several, with its package; 0 when none does.
func (s Snapshot) Champion(tenant, model, environment string, regions []string) (int, artifact.Digest) {
	version := 0
	for _, r := range s.Routes {
		serves := slices.ContainsFunc(regions, func(region string) bool { return slices.Contains(r.Regions, region) })
		if r.Tenant == tenant && r.Model == model && r.Environment == environment && serves {
			version = max(version, r.Version)
		}
	}
	for _, p := range s.Packages {
		if p.Tenant == tenant && p.Model == model && p.Version == version {
			return version, p.Manifest
		}
	}
	return version, ""
}

// next returns a copy that may be changed without changing s.
func (s Snapshot) next(at time.Time) Snapshot {
	s.Version++
	s.IssuedAt = at.UTC()
	s.Regions, s.Endpoints = slices.Clone(s.Regions), slices.Clone(s.Endpoints)
	s.Packages, s.Routes, s.Policies = slices.Clone(s.Packages), slices.Clone(s.Routes), slices.Clone(s.Policies)
	s.Canaries = slices.Clone(s.Canaries)
	for i := range s.Canaries {
		s.Canaries[i].Regions = slices.Clone(s.Canaries[i].Regions)
	}
	for i := range s.Packages {
		s.Packages[i].Regions = slices.Clone(s.Packages[i].Regions)
	}
	for i := range s.Routes {
		s.Routes[i].Regions, s.Routes[i].Callers = slices.Clone(s.Routes[i].Regions), slices.Clone(s.Routes[i].Callers)
	}
	return s
}

func (s Snapshot) known(regions []string) error {
	if len(regions) == 0 {
		return fmt.Errorf("none is named: %w", ErrRegion)
	}
	for _, name := range regions {
		if _, ok := s.Region(name); !ok {
			return fmt.Errorf("%q: %w", name, ErrRegion)
		}
	}
	return nil
}

// named returns the documents that a region names, by ascending revision.
func (s Snapshot) named(documents []policy.Document) []policy.Document {
	var kept []policy.Document
	for _, d := range documents {
		used := slices.ContainsFunc(s.Regions, func(r Region) bool { return r.Policy == d.Revision })
		twice := slices.ContainsFunc(kept, func(k policy.Document) bool { return k.Revision == d.Revision })
		if used && !twice {
			kept = append(kept, d)
		}
	}
	slices.SortFunc(kept, func(a, b policy.Document) int { return cmp.Compare(a.Revision, b.Revision) })
	return kept
}

// Answers says whether a route or a canary names a package: the others are spare.
func (s Snapshot) Answers(p Package) bool {
	return slices.ContainsFunc(s.Routes, func(r Route) bool {
		return r.Tenant == p.Tenant && r.Model == p.Model && r.Version == p.Version
	}) || slices.ContainsFunc(s.Canaries, func(c Canary) bool {
		return c.Tenant == p.Tenant && c.Model == p.Model && c.Version == p.Version
	})
}

// prune lets go of versions of p's model that are neither p, nor answer, nor
// are among the newest spare ones.
func (s *Snapshot) prune(p Package) {
	var idle []int
	for _, o := range s.Packages {
		if o.Tenant == p.Tenant && o.Model == p.Model && o.Version != p.Version && !s.Answers(o) {
			idle = append(idle, o.Version)
		}
	}
	slices.Sort(idle)
	idle = idle[:max(0, len(idle)-spare)]
	s.Packages = slices.DeleteFunc(s.Packages, func(o Package) bool {
		return o.Tenant == p.Tenant && o.Model == p.Model && slices.Contains(idle, o.Version)
	})
}

func union(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func comparePackages(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Version, b.Version))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Model, b.Model),
		cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Version, b.Version))
}
