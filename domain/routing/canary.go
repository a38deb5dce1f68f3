package routing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Whole is a share of everything, in basis points.
const Whole = 10_000

// Why a canary cannot be started or changed as asked, or not be served.
var (
	ErrCanary   = errors.New("the model has a canary in that environment")
	ErrNoCanary = errors.New("no canary has that lineage")
	ErrLineage  = errors.New("must be 1 to 255 of A-Z a-z 0-9 . _ : / - and no other canary's")
	ErrShare    = fmt.Errorf("must be 0 to %d basis points", Whole)
	ErrNoRoute  = errors.New("no other version answers in the region")
	ErrMirror   = fmt.Errorf("must be 0 to %d basis points, and 0 while the canary answers", Whole)
)

// A Canary is a version that answers a share of a model's callers in some
// regions, beside the version that the routes there name: the challenger of
// their champion. Who calls and from where it may be answered is as for the
// route; a canary permits nothing that the route does not.
//
// Which callers it answers is decided by a hash of lineage, tenant and caller
// key ([Bucket]). While the lineage stays, a larger share adds callers and
// takes none away, and a share that returns brings the same callers back: after
// a pause, a restart or on another router.
type Canary struct {
	Lineage     string   `json:"lineage"` // of the rollout; names the canary
	Tenant      string   `json:"tenant"`
	Model       string   `json:"model"`
	Environment string   `json:"environment"`
	Version     int      `json:"version"`
	Share       int      `json:"shareBasisPoints"`            // 0..10000; at 0 it answers nobody, also not by name
	Mirror      int      `json:"mirrorBasisPoints,omitempty"` // of the requests; they are copied to it when they are answered
	Regions     []string `json:"regions"`
	Simulated   bool     `json:"simulated,omitempty"`
}

// Canary returns the canary of that lineage.
func (s Snapshot) Canary(lineage string) (Canary, bool) {
	i := slices.IndexFunc(s.Canaries, func(c Canary) bool { return c.Lineage == lineage })
	if i < 0 {
		return Canary{}, false
	}
	return s.Canaries[i], true
}

// Challenger returns the canary of a model in an environment.
func (s Snapshot) Challenger(tenant, model, environment string) (Canary, bool) {
	i := slices.IndexFunc(s.Canaries, func(c Canary) bool {
		return c.Tenant == tenant && c.Model == model && c.Environment == environment
	})
	if i < 0 {
		return Canary{}, false
	}
	return s.Canaries[i], true
}

// Split returns the next snapshot, in which the canary answers its share.
// It may begin with a share of 0, to be moved later.
// Errors: [ErrCanary] when the model has one in that environment, under
// whatever lineage; [ErrLineage]; [ErrShare]; [ErrRegion]; [ErrNotLoaded] when a
// region does not load the version; [ErrNoRoute] when a region has no champion,
// or the canary's own version is it.
func (s Snapshot) Split(c Canary, at time.Time) (Snapshot, error) {
	if _, taken := s.Challenger(c.Tenant, c.Model, c.Environment); taken {
		return Snapshot{}, fmt.Errorf("%s/%s in %s: %w", c.Tenant, c.Model, c.Environment, ErrCanary)
	}
	if err := s.known(c.Regions); err != nil {
		return Snapshot{}, err
	}
	next := s.next(at)
	c.Regions = union(nil, c.Regions)
	next.Canaries = append(next.Canaries, c)
	slices.SortFunc(next.Canaries, compareCanaries)
	if err := next.checkCanaries(); err != nil {
		return Snapshot{}, err
	}
	return next, nil
}

// Shift returns the next snapshot, in which the canary answers another share,
// smaller or larger. 0 pauses it: everybody is answered by the champion, and the
// same callers come back with the share. What was mirrored is so no more.
// Errors: [ErrNoCanary]; [ErrShare].
func (s Snapshot) Shift(lineage string, share int, at time.Time) (Snapshot, error) {
	return s.canary(lineage, at, func(c *Canary) { c.Share, c.Mirror = share, 0 })
}

// Move returns the next snapshot, in which the canary of c's lineage is as c
// says: in its regions and in no other, with its share or what is mirrored.
// Errors: [ErrNoCanary] when there is none, or it is another version's; those of
// [Snapshot.Split] but [ErrCanary].
func (s Snapshot) Move(c Canary, at time.Time) (Snapshot, error) {
	if err := s.known(c.Regions); err != nil {
		return Snapshot{}, err
	}
	was, ok := s.Canary(c.Lineage)
	if !ok || was.Tenant != c.Tenant || was.Model != c.Model || was.Environment != c.Environment || was.Version != c.Version {
		return Snapshot{}, fmt.Errorf("%q: %w", c.Lineage, ErrNoCanary)
	}
	c.Regions = union(nil, c.Regions)
	return s.canary(c.Lineage, at, func(there *Canary) { *there = c })
}

// Widen returns the next snapshot, in which the canary answers its share in
// these regions too. A region that it is in already stays as it is.
// Errors: [ErrNoCanary]; [ErrRegion]; [ErrNotLoaded]; [ErrNoRoute].
func (s Snapshot) Widen(lineage string, regions []string, at time.Time) (Snapshot, error) {
	if err := s.known(regions); err != nil {
		return Snapshot{}, err
	}
	return s.canary(lineage, at, func(c *Canary) { c.Regions = union(c.Regions, regions) })
}

// Withdraw returns the next snapshot, in which the champion answers everybody
// again in the regions, and the canary is gone with its last region. Its package
// stays loaded until another version's is loaded and needs its place.
// Errors: [ErrNoCanary]; [ErrRegion].
func (s Snapshot) Withdraw(lineage string, regions []string, at time.Time) (Snapshot, error) {
	if err := s.known(regions); err != nil {
		return Snapshot{}, err
	}
	return s.canary(lineage, at, func(c *Canary) { c.Regions = without(c.Regions, regions) })
}

// Promote returns the next snapshot, in which the canary's version is the
// champion in the regions and answers everybody whom the champion there answered;
// the canary is gone with its last region. The version before stays loaded as a
// spare, for the way back ([Snapshot.Restore]).
// Errors: [ErrNoCanary]; [ErrRegion], also for a region that the canary is not in.
func (s Snapshot) Promote(lineage string, regions []string, at time.Time) (Snapshot, error) {
	if err := s.known(regions); err != nil {
		return Snapshot{}, err
	}
	c, ok := s.Canary(lineage)
	if !ok {
		return Snapshot{}, fmt.Errorf("%q: %w", lineage, ErrNoCanary)
	}
	if i := slices.IndexFunc(regions, func(region string) bool { return !slices.Contains(c.Regions, region) }); i >= 0 {
		return Snapshot{}, fmt.Errorf("canary %s in %q: %w", lineage, regions[i], ErrRegion)
	}
	r := Route{Tenant: c.Tenant, Model: c.Model, Environment: c.Environment, Version: c.Version, Regions: regions, Simulated: c.Simulated}
	for _, champion := range s.champions(c) {
		if slices.ContainsFunc(champion.Regions, func(region string) bool { return slices.Contains(regions, region) }) {
			r.Callers = union(r.Callers, champion.Callers)
		}
	}
	return s.Switch(r, at)
}

// canary returns the next snapshot with one canary changed, and checked.
func (s Snapshot) canary(lineage string, at time.Time, change func(*Canary)) (Snapshot, error) {
	next := s.next(at)
	i := slices.IndexFunc(next.Canaries, func(c Canary) bool { return c.Lineage == lineage })
	if i < 0 {
		return Snapshot{}, fmt.Errorf("%q: %w", lineage, ErrNoCanary)
	}
	change(&next.Canaries[i])
	if len(next.Canaries[i].Regions) == 0 {
		next.Canaries = slices.Delete(next.Canaries, i, i+1)
	}
	if err := next.checkCanaries(); err != nil {
		return Snapshot{}, err
	}
	return next, nil
}

// settle lets go of canaries where the model has no champion any more that they
// would be beside: a route that moved, went back or was recovered ends what was
// being tried against it.
func (s *Snapshot) settle() {
	for i := range s.Canaries {
		c := &s.Canaries[i]
		c.Regions = slices.DeleteFunc(c.Regions, func(region string) bool { return s.beside(*c, region) != nil })
	}
	s.Canaries = slices.DeleteFunc(s.Canaries, func(c Canary) bool { return len(c.Regions) == 0 })
	if len(s.Canaries) == 0 {
		s.Canaries = nil
	}
}

// release ends the canary of a route's model where the route moves.
func (s *Snapshot) release(tenant, model, environment string, regions []string) {
	for i := range s.Canaries {
		if c := &s.Canaries[i]; c.Tenant == tenant && c.Model == model && c.Environment == environment {
			c.Regions = without(c.Regions, regions)
		}
	}
	s.settle()
}

// beside returns why the canary cannot answer in a region, or nil.
func (s *Snapshot) beside(c Canary, region string) error {
	if !slices.ContainsFunc(s.Packages, func(p Package) bool {
		return p.Tenant == c.Tenant && p.Model == c.Model && p.Version == c.Version && slices.Contains(p.Regions, region)
	}) {
		return fmt.Errorf("version %d in %s: %w", c.Version, region, ErrNotLoaded)
	}
	for _, r := range s.champions(c) {
		if slices.Contains(r.Regions, region) && r.Version != c.Version {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", region, ErrNoRoute)
}

// champions returns the routes of the canary's model and environment.
func (s *Snapshot) champions(c Canary) []Route {
	var all []Route
	for _, r := range s.Routes {
		if r.Tenant == c.Tenant && r.Model == c.Model && r.Environment == c.Environment {
			all = append(all, r)
		}
	}
	return all
}

// checkCanaries returns a [*SnapshotError] for the first canary that is wrong.
func (s *Snapshot) checkCanaries() error {
	lineages, models := map[string]bool{}, map[string]bool{}
	for _, c := range s.Canaries {
		part := "canary " + c.Lineage
		model := WireName(c.Tenant, c.Model) + "/" + c.Environment
		switch {
		case !isLineage(c.Lineage) || lineages[c.Lineage]:
			return &SnapshotError{part, ErrLineage}
		case models[c.Tenant+"\x00"+model]:
			return &SnapshotError{part, ErrTwice}
		case c.Share < 0 || c.Share > Whole:
			return &SnapshotError{part, ErrShare}
		case c.Mirror < 0 || c.Mirror > Whole || c.Mirror > 0 && c.Share > 0:
			return &SnapshotError{part, ErrMirror}
		case len(c.Regions) == 0:
			return &SnapshotError{part, ErrRegion}
		}
		lineages[c.Lineage], models[c.Tenant+"\x00"+model] = true, true
		for i, region := range c.Regions {
			if slices.Contains(c.Regions[:i], region) {
				return &SnapshotError{part, ErrTwice}
			}
			if err := s.beside(c, region); err != nil {
				return &SnapshotError{part, err}
			}
		}
	}
	return nil
}

// isLineage keeps lineages fit for ids of workflows and for records.
func isLineage(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		return !letter && !strings.ContainsRune("._:/-", c)
	})
}

func without(from, regions []string) []string {
	return slices.DeleteFunc(slices.Clone(from), func(region string) bool { return slices.Contains(regions, region) })
}

func compareCanaries(a, b Canary) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Environment, b.Environment))
}
