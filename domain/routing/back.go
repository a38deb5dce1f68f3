package routing

import (
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/policy"
)

// Restore returns the next snapshot, in which the regions answer for a model
// and environment as they did in before: with the version of then, or not at
// all. Its package is loaded again where it was let go. A canary there ends; one
// that ran in before does not come back.
// Errors: [ErrRegion], [ErrOther].
func (s Snapshot) Restore(before Snapshot, tenant, model, environment string, regions []string, at time.Time) (Snapshot, error) {
	if err := s.known(regions); err != nil {
		return Snapshot{}, err
	}
	next := s.next(at)
	mine := func(r Route) bool { return r.Tenant == tenant && r.Model == model && r.Environment == environment }
	for i := range next.Routes {
		if mine(next.Routes[i]) {
			next.Routes[i].Regions = slices.DeleteFunc(next.Routes[i].Regions, func(region string) bool { return slices.Contains(regions, region) })
		}
	}
	next.Routes = slices.DeleteFunc(next.Routes, func(r Route) bool { return len(r.Regions) == 0 })
	next.release(tenant, model, environment, regions)
	for _, r := range before.Routes {
		back := slices.DeleteFunc(slices.Clone(r.Regions), func(region string) bool { return !slices.Contains(regions, region) })
		if !mine(r) || len(back) == 0 {
			continue
		}
		r.Regions = back
		for _, p := range before.Packages {
			if p.Tenant != r.Tenant || p.Model != r.Model || p.Version != r.Version {
				continue
			}
			p.Regions = back
			loaded, err := next.Load(p, at)
			if err != nil {
				return Snapshot{}, err
			}
			next.Packages = loaded.Packages
		}
		switched, err := next.Switch(r, at)
		if err != nil {
			return Snapshot{}, err
		}
		next.Routes = switched.Routes
	}
	return next, nil
}

// Retract returns the next snapshot, in which the regions run the policies
// that they ran in before, under new revisions: revisions only grow.
// Errors: [ErrRegion], also for a region that before did not have.
func (s Snapshot) Retract(before Snapshot, regions []string, at time.Time) (Snapshot, error) {
	if err := s.known(regions); err != nil {
		return Snapshot{}, err
	}
	if err := before.known(regions); err != nil {
		return Snapshot{}, err
	}
	highest := int64(0)
	for _, r := range s.Regions {
		highest = max(highest, r.Policy)
	}
	next := s.next(at)
	restored := map[int64]policy.Document{} // by the revision that it had
	for _, region := range regions {
		old, ok := before.Policy(region)
		if !ok {
			return Snapshot{}, ErrNoPolicy
		}
		document, ok := restored[old.Revision]
		if !ok {
			highest++
			again, err := old.Again(highest)
			if err != nil {
				return Snapshot{}, err
			}
			document = again
			restored[old.Revision] = document
		}
		governed, err := next.Govern(document, []string{region}, at)
		if err != nil {
			return Snapshot{}, err
		}
		next.Regions, next.Policies = governed.Regions, governed.Policies
	}
	return next, nil
}
