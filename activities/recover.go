package activities

import (
	"context"
	"fmt"
	"slices"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/routing"
)

// patience is how long a region may take to be given a package, before a change
// that needs it there is given up.
const patience = 600 // seconds

// mirrors returns where each region that a package is loaded in pulls it from,
// and fails while one does not hold it: a region is given no route to what it
// would have to fetch from another. A replication that was never asked for is
// asked for. Final: [contract.BadPackage] when one failed for good,
// [contract.NotHeld] when the wait is over.
func (s *Snapshot) mirrors(ctx context.Context, subject contract.Subject, version promotion.Version, regions []string) ([]routing.Mirror, error) {
	all, err := s.Replicas.Replicas(ctx, subject.Tenant, subject.ModelID, version.Number)
	if err != nil {
		return nil, settled(err)
	}
	var found []routing.Mirror
	var lacking []string
	for _, region := range regions {
		i := slices.IndexFunc(all, func(r Replica) bool { return r.Region == region })
		switch {
		case i >= 0 && all[i].State == contract.ReplicaHeld && all[i].Package == version.Package:
			if all[i].Registry != s.Registry.URL() {
				found = append(found, routing.Mirror{Region: region, URL: all[i].Registry})
			}
		case i >= 0 && all[i].State == contract.ReplicaFailed:
			return nil, permanent(contract.BadPackage, fmt.Errorf("replica in %s: %s", region, all[i].Cause))
		default:
			lacking = append(lacking, region)
		}
	}
	if len(lacking) == 0 {
		return found, nil
	}
	if err := s.Replicas.Ask(ctx, subject, version.Number, lacking, false); err != nil {
		return nil, settled(err)
	}
	err = fmt.Errorf("%v: %w", lacking, ErrNotHeld)
	if activity.IsActivity(ctx) && s.Now().Sub(activity.GetInfo(ctx).ScheduledTime).Seconds() > patience {
		return nil, permanent(contract.NotHeld, err)
	}
	return nil, err // retried: it is on its way
}

// PublishRecovery publishes one phase of a restore: the packages of a recovery
// point, then its routes and policies, or the way back to what the plan
// observed. Idempotent: an action publishes a phase once. Final:
// [contract.StalePlan] when what the plan observed has moved by another hand.
func (s *Snapshot) PublishRecovery(ctx context.Context, in contract.RecoverInput) (contract.Recovered, error) {
	out, err := s.publishRecovery(ctx, in)
	return out, within(err, "action %s: %s", in.Action, in.Phase)
}

func (s *Snapshot) publishRecovery(ctx context.Context, in contract.RecoverInput) (contract.Recovered, error) {
	var out contract.Recovered
	if in.Plan.Kind != promotion.KindRestore || in.Plan.Restore == nil {
		return out, permanent(contract.BadPlan, ErrPhase)
	}
	if err := granted(ctx, s.Grants, in.Grant, in.Tenant, in.Action, in.Plan); err != nil {
		return out, err
	}
	step := "restore/" + in.Phase
	ref, err := s.publish(ctx, in.Action, step, func(latest routing.Snapshot) (routing.Snapshot, error) {
		return s.recovered(ctx, in, latest)
	})
	if err != nil {
		return out, err
	}
	now, err := s.Snapshots.At(ctx, ref.Version)
	if err != nil {
		return out, settled(err)
	}
	before, err := s.Snapshots.At(ctx, ref.Version-1)
	if err != nil {
		return out, settled(err)
	}
	if in.Phase == contract.PhaseLoad {
		point, err := s.point(ctx, in.Plan)
		return contract.Recovered{Snapshot: ref, Regions: loads(point, now)}, err
	}
	out = contract.Recovered{Snapshot: ref, Regions: wants(in.Plan.Tenant, before, now)}
	out.Models = champions(in.Plan.Tenant, now)
	if in.Phase == contract.PhaseSwitch {
		point, err := s.point(ctx, in.Plan)
		if err != nil {
			return out, err
		}
		for _, a := range point.Aliases {
			out.Aliases = append(out.Aliases, contract.AliasAt{ModelID: a.Model, Environment: a.Environment, Alias: a.Name, Version: a.Version, Package: a.Package})
		}
	}
	for _, d := range now.Policies {
		if slices.ContainsFunc(before.Policies, func(o policy.Document) bool { return o.Revision == d.Revision }) {
			continue
		}
		text, err := d.Encode()
		if err != nil {
			return out, permanent(contract.BadPlan, err)
		}
		out.Policies = append(out.Policies, contract.GovernedDoc{Revision: d.Revision, Document: text})
	}
	return out, nil
}

// recovered makes one phase of a restore on the newest snapshot.
func (s *Snapshot) recovered(ctx context.Context, in contract.RecoverInput, latest routing.Snapshot) (routing.Snapshot, error) {
	plan, at := in.Plan, s.Now()
	var state routing.State
	var err error
	if in.Phase == contract.PhaseBack {
		if err := s.ours(ctx, in, latest); err != nil {
			return latest, err
		}
		before, err := s.Snapshots.At(ctx, plan.Observed.Snapshot)
		if err != nil {
			return latest, settled(err)
		}
		state = stateOf(plan.Tenant, before)
	} else {
		if err := plan.Holds(latest); err != nil {
			return latest, stale(err)
		}
		if state, err = s.stateAt(ctx, in.Subject, plan); err != nil {
			return latest, err
		}
	}
	next := latest
	switch in.Phase {
	case contract.PhaseLoad:
		next, err = latest.Prepare(state, at)
	case contract.PhaseSwitch:
		next, err = latest.Recover(state, at)
	case contract.PhaseBack:
		if next, err = latest.Prepare(state, at); err == nil {
			next.Version = latest.Version // one step, not two
			next, err = next.Recover(state, at)
		}
	default:
		err = ErrPhase
	}
	if err != nil {
		return latest, permanent(contract.BadPlan, err)
	}
	return next, nil
}

// ours says whether the tenant runs what this action brought, or what it found:
// what somebody else brought since is not taken back.
func (s *Snapshot) ours(ctx context.Context, in contract.RecoverInput, latest routing.Snapshot) error {
	now := latest.StateOf(in.Plan.Tenant)
	if now == in.Plan.Observed.State {
		return nil
	}
	ref, ok, err := s.Snapshots.Published(ctx, in.Action, "restore/"+contract.PhaseSwitch)
	if err != nil {
		return err
	}
	if ok {
		brought, err := s.Snapshots.At(ctx, ref.Version)
		if err != nil {
			return settled(err)
		}
		if brought.StateOf(in.Plan.Tenant) == now {
			return nil
		}
	}
	return permanent(contract.StalePlan, &promotion.StaleError{What: "what the tenant runs", From: in.Plan.Observed.State.Short(), To: now.Short()})
}

// stateAt builds what a recovery point lists out of the blobs that it names,
// each compared with its digest on the way.
func (s *Snapshot) stateAt(ctx context.Context, subject contract.Subject, plan promotion.Plan) (routing.State, error) {
	point, err := s.point(ctx, plan)
	if err != nil {
		return routing.State{}, err
	}
	state := routing.State{Tenant: plan.Tenant, Policies: map[string]policy.Document{}}
	for _, r := range point.Routes {
		model, _ := point.Model(r.Model, r.Version) // Parse has seen that it is there
		bundle, err := read(ctx, s.Blobs, model.Bundle)
		if err != nil {
			return state, err
		}
		accepted, err := s.accepted(ctx, model.Bundle)
		if err != nil {
			return state, err
		}
		subject.ModelID = r.Model
		mirrors, err := s.mirrors(ctx, subject, promotion.Version{Number: r.Version, Package: r.Package}, r.Regions)
		if err != nil {
			return state, err
		}
		state.Packages = append(state.Packages, routing.Package{Tenant: plan.Tenant, Model: r.Model, Version: r.Version, Registry: s.Registry.URL(),
			Mirrors: mirrors, Repository: model.Repository, Manifest: r.Package, Bundle: bundle, Regions: r.Regions, AcceptedAt: accepted})
		state.Routes = append(state.Routes, routing.Route{Tenant: plan.Tenant, Model: r.Model, Environment: r.Environment, Version: r.Version,
			Regions: r.Regions, Callers: r.Callers, Simulated: r.Simulated})
	}
	for _, d := range point.Policies {
		document, err := policyAt(ctx, s.Blobs, d)
		if err != nil {
			return state, err
		}
		state.Policies[d.Region] = document
	}
	return state, nil
}

// point reads the recovery point that a plan names.
func (s *Snapshot) point(ctx context.Context, plan promotion.Plan) (recovery.Point, error) {
	text, err := read(ctx, s.Blobs, plan.Restore.Point)
	if err != nil {
		return recovery.Point{}, err
	}
	point, err := recovery.Parse(text)
	if err == nil && (point.Tenant != plan.Tenant || point.Sequence != plan.Restore.Sequence) {
		err = ErrPoint
	}
	if err != nil {
		return point, permanent(contract.BadPlan, err)
	}
	return point, nil
}

// stateOf is what a tenant ran in a snapshot.
func stateOf(tenant string, s routing.Snapshot) routing.State {
	state := routing.State{Tenant: tenant, Policies: map[string]policy.Document{}}
	for _, r := range s.Routes {
		if r.Tenant != tenant {
			continue
		}
		state.Routes = append(state.Routes, r)
		for _, p := range s.Packages {
			if p.Tenant == tenant && p.Model == r.Model && p.Version == r.Version {
				p.Regions = r.Regions
				state.Packages = append(state.Packages, p)
			}
		}
	}
	for _, region := range s.Regions {
		if d, ok := s.Policy(region.Name); ok {
			state.Policies[region.Name] = d
		}
	}
	return state
}

// loads is what each region must have loaded before the routes of a point move.
func loads(point recovery.Point, now routing.Snapshot) []contract.RegionWant {
	var all []contract.RegionWant
	for _, region := range now.Regions {
		want := contract.RegionWant{Region: region.Name}
		for _, r := range point.Routes {
			if slices.Contains(r.Regions, region.Name) {
				want.Packages = append(want.Packages, contract.PackageWant{Key: versionKey(point.Tenant, r.Model, r.Version), Package: r.Package})
			}
		}
		all = append(all, want)
	}
	return all
}

// wants is what each region must report after the routes have moved, in the
// order of regions: what serves now, and no more of what served before.
func wants(tenant string, before, now routing.Snapshot) []contract.RegionWant {
	var all []contract.RegionWant
	for _, region := range now.Regions {
		want := contract.RegionWant{Region: region.Name, Policy: region.PolicyDigest, Routes: routesIn(tenant, region.Name, now)}
		for _, p := range now.Packages {
			if p.Tenant == tenant && slices.Contains(p.Regions, region.Name) && routed(now, p) {
				want.Packages = append(want.Packages, contract.PackageWant{Key: versionKey(p.Tenant, p.Model, p.Version), Package: p.Manifest})
			}
		}
		for _, r := range routesIn(tenant, region.Name, before) {
			if !slices.ContainsFunc(want.Routes, func(o contract.RouteWant) bool { return o.Key == r.Key }) {
				want.Routes = append(want.Routes, contract.RouteWant{Key: r.Key})
			}
		}
		all = append(all, want)
	}
	return all
}

// routed says whether a route names the package: the others are spare.
func routed(s routing.Snapshot, p routing.Package) bool {
	return slices.ContainsFunc(s.Routes, func(r routing.Route) bool {
		return r.Tenant == p.Tenant && r.Model == p.Model && r.Version == p.Version
	})
}

func routesIn(tenant, region string, s routing.Snapshot) []contract.RouteWant {
	var all []contract.RouteWant
	for _, r := range s.Routes {
		if r.Tenant == tenant && slices.Contains(r.Regions, region) {
			all = append(all, contract.RouteWant{Key: r.Tenant + "/" + r.Model + "/" + r.Environment, Version: r.Version})
		}
	}
	return all
}

// champions is what serves each environment, the highest where there are several.
func champions(tenant string, s routing.Snapshot) []contract.ChampionAt {
	var all []contract.ChampionAt
	for _, r := range s.Routes {
		if r.Tenant != tenant {
			continue
		}
		i := slices.IndexFunc(all, func(c contract.ChampionAt) bool { return c.ModelID == r.Model && c.Environment == r.Environment })
		if i < 0 {
			all = append(all, contract.ChampionAt{ModelID: r.Model, Environment: r.Environment, Version: r.Version})
		} else {
			all[i].Version = max(all[i].Version, r.Version)
		}
	}
	return all
}

func versionKey(tenant, model string, version int) string {
	return fmt.Sprintf("%s/%s/%d", tenant, model, version)
}

// AwaitRecovered returns when the region's runtime reports that it runs what a
// phase of a restore has given it. Idempotent: it asks. Final:
// [contract.NotActive] with what the runtime said last, when the time is up.
func (r *Region) AwaitRecovered(ctx context.Context, in contract.AwaitRecoveredInput) (contract.Evidence, error) {
	active, err := r.await(ctx, in.Want.Region, in.Seconds, func(a Active) string { return unlike(in, a) })
	return contract.Evidence{Region: in.Want.Region, Snapshot: active.Snapshot, Policy: active.Policy}, err
}

// unlike says what a runtime's report lacks of what a restore wants, or nothing.
func unlike(in contract.AwaitRecoveredInput, active Active) string {
	if active.Snapshot < in.Version {
		return fmt.Sprintf("it is at snapshot %d, not %d", active.Snapshot, in.Version)
	}
	for _, p := range in.Want.Packages {
		if active.Packages[p.Key] != p.Package {
			return "it has not loaded " + p.Key
		}
	}
	for _, route := range in.Want.Routes {
		if active.Routes[route.Key] != route.Version {
			return fmt.Sprintf("it serves version %d of %s, not %d", active.Routes[route.Key], route.Key, route.Version)
		}
	}
	if in.Phase != contract.PhaseLoad && active.Policy != in.Want.Policy {
		return "it runs policy " + active.Policy.Short()
	}
	return ""
}
