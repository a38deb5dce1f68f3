package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// races bounds how often a publish tries again at once after another one was
// faster. Then the workflow tries again, later.
const races = 8

// ErrPhase says that a change of the data plane has no such phase.
var ErrPhase = errors.New("no phase of this plan")

// A Snapshot changes what the data plane runs, one signed document after the
// other.
type Snapshot struct {
	Blobs     Blobs
	Snapshots Snapshots
	Replicas  Replicas
	Registry  Registry
	Signer    Signer
	Grants    Grants
	// Accepted returns when a bundle was accepted, by the index that the audit log
	// covers. It may be nil.
	Accepted func(ctx context.Context, bundle artifact.Digest) (time.Time, error)
	Now      func() time.Time
}

// PublishSnapshot publishes the next snapshot with one phase of a plan in it.
// Idempotent: an action publishes a step once, and a second run returns what
// the first one published. Another action that publishes in between is no
// fault: the change is made again on what is newest then, as long as what the
// plan observed still holds. Final: [contract.StalePlan] when it does not,
// [contract.BadPlan] when the change is not possible.
func (s *Snapshot) PublishSnapshot(ctx context.Context, in contract.PublishInput) (contract.SnapshotRef, error) {
	if err := granted(ctx, s.Grants, in.Grant, in.Tenant, in.Action, in.Plan); err != nil {
		return contract.SnapshotRef{}, within(err, "action %s: %s", in.Action, in.Step())
	}
	ref, err := s.publish(ctx, in.Action, in.Step(), func(latest routing.Snapshot) (routing.Snapshot, error) {
		return s.change(ctx, in, latest)
	})
	return ref, within(err, "action %s: %s", in.Action, in.Step())
}

// publish makes the change on the newest snapshot, signs it and publishes it.
func (s *Snapshot) publish(ctx context.Context, action, step string, change func(routing.Snapshot) (routing.Snapshot, error)) (contract.SnapshotRef, error) {
	for range races {
		if ref, ok, err := s.Snapshots.Published(ctx, action, step); err != nil || ok {
			return ref, err
		}
		latest, err := s.Snapshots.Latest(ctx)
		if err != nil {
			return contract.SnapshotRef{}, err
		}
		next, err := change(latest)
		if err != nil {
			return contract.SnapshotRef{}, err
		}
		signed, err := s.seal(ctx, next)
		if err != nil {
			return contract.SnapshotRef{}, err
		}
		// If we crash after this line, the next run finds the step published.
		err = s.Snapshots.Publish(ctx, action, step, next, signed)
		if err != nil && !errors.Is(err, ErrStale) {
			return contract.SnapshotRef{}, settled(err)
		}
	}
	ref, ok, err := s.Snapshots.Published(ctx, action, step)
	if err == nil && !ok {
		err = ErrStale // retried by the workflow
	}
	return ref, err
}

// seal signs the bytes of a snapshot. What the data plane would refuse is not
// signed. The bytes are those of encoding/json, so that they stay as they are
// when they travel inside another document.
func (s *Snapshot) seal(ctx context.Context, next routing.Snapshot) (routing.Signed, error) {
	if _, err := routing.Compile(next, ""); err != nil {
		return routing.Signed{}, permanent(contract.BadPlan, err)
	}
	document, err := json.Marshal(next)
	if err != nil {
		return routing.Signed{}, permanent(contract.BadPlan, err)
	}
	statement, err := artifact.NewStatement(fmt.Sprintf("snapshot/%d", next.Version), artifact.DigestOf(document),
		artifact.PredicateSnapshot, map[string]int64{"version": next.Version})
	if err != nil {
		return routing.Signed{}, permanent(contract.BadPlan, err)
	}
	bundle, _, err := sign(ctx, s.Signer, statement)
	if err != nil {
		return routing.Signed{}, err
	}
	return routing.Signed{Snapshot: document, Bundle: bundle}, nil
}

// change makes one phase of a plan on the newest snapshot.
func (s *Snapshot) change(ctx context.Context, in contract.PublishInput, latest routing.Snapshot) (routing.Snapshot, error) {
	plan, at := in.Plan, s.Now()
	switch in.Phase {
	case contract.PhaseBack:
		return s.back(ctx, in, latest)
	case contract.PhaseShadow, contract.PhaseCanary, contract.PhaseGive:
		return s.climb(in, latest)
	}
	if err := plan.Holds(latest); err != nil {
		return latest, stale(err)
	}
	var next routing.Snapshot
	var err error
	switch {
	case in.Phase == contract.PhaseLoad && plan.Version != nil:
		bundle, failed := read(ctx, s.Blobs, plan.Version.Bundle)
		if failed != nil {
			return latest, failed
		}
		accepted, failed := s.accepted(ctx, plan.Version.Bundle)
		if failed != nil {
			return latest, failed
		}
		if unknown := slices.IndexFunc(in.Regions, func(name string) bool { _, ok := latest.Region(name); return !ok }); unknown >= 0 {
			err = fmt.Errorf("region %s: %w", in.Regions[unknown], routing.ErrRegion)
			break // nobody mirrors to a region that is not there
		}
		mirrors, failed := s.mirrors(ctx, in.Subject, *plan.Version, in.Regions)
		if failed != nil {
			return latest, failed
		}
		next, err = latest.Load(routing.Package{
			Tenant:     plan.Tenant,
			Model:      plan.ModelID,
			Version:    plan.Version.Number,
			Registry:   s.Registry.URL(),
			Mirrors:    mirrors,
			Repository: plan.Version.Repository,
			Manifest:   plan.Version.Package,
			Bundle:     bundle,
			Regions:    in.Regions,
			AcceptedAt: accepted,
		}, at)
	case in.Phase == contract.PhaseSwitch && plan.Version != nil:
		callers, failed := s.Snapshots.Callers(ctx, plan.Tenant, plan.ModelID)
		if failed != nil {
			return latest, failed
		}
		next, err = latest.Switch(routing.Route{
			Tenant:      plan.Tenant,
			Model:       plan.ModelID,
			Environment: plan.Environment,
			Version:     plan.Version.Number,
			Regions:     in.Regions,
			Callers:     callers,
			Simulated:   plan.Simulated,
		}, at)
	case in.Phase == contract.PhasePolicy && plan.Policy != nil:
		var document policy.Document
		if document, _, err = plan.Document(); err == nil {
			next, err = latest.Govern(document, in.Regions, at)
		}
	default:
		err = fmt.Errorf("%q: %w", in.Phase, ErrPhase)
	}
	if err != nil {
		return latest, permanent(contract.BadPlan, err)
	}
	return next, nil
}

// climb gives a canary its next share in one region, or copies of what is asked
// there, or the region to it. After its shadow it begins in the first region
// again: it is moved.
func (s *Snapshot) climb(in contract.PublishInput, latest routing.Snapshot) (routing.Snapshot, error) {
	plan, at := in.Plan, s.Now()
	if err := plan.Climbs(latest); err != nil {
		return latest, stale(err)
	}
	lineage := plan.Canary.Lineage
	running, there := latest.Canary(lineage)
	wanted := routing.Canary{
		Lineage: lineage, Tenant: plan.Tenant, Model: plan.ModelID, Environment: plan.Environment,
		Version: plan.Version.Number, Share: in.ShareBP, Regions: in.Regions, Simulated: plan.Simulated,
	}
	if in.Phase == contract.PhaseShadow {
		wanted.Share, wanted.Mirror = 0, in.ShareBP
	}
	var next routing.Snapshot
	var err error
	switch {
	case in.Phase == contract.PhaseGive && there:
		next, err = latest.Promote(lineage, in.Regions, at)
	case in.Phase == contract.PhaseGive: // the ladder has one step
		next, err = latest.Switch(s.route(in, latest), at)
	case there && in.Phase == contract.PhaseCanary && slices.Equal(running.Regions, in.Regions):
		next, err = latest.Shift(lineage, in.ShareBP, at)
	case there:
		next, err = latest.Move(wanted, at)
	default:
		next, err = latest.Split(wanted, at)
	}
	if err != nil {
		return latest, permanent(contract.BadPlan, err)
	}
	return next, nil
}

// route is what serves the regions, with the plan's version in its place.
func (s *Snapshot) route(in contract.PublishInput, latest routing.Snapshot) routing.Route {
	plan := in.Plan
	to := routing.Route{Tenant: plan.Tenant, Model: plan.ModelID, Environment: plan.Environment, Version: plan.Version.Number, Regions: in.Regions, Simulated: plan.Simulated}
	for _, r := range latest.Routes {
		if r.Tenant == to.Tenant && r.Model == to.Model && r.Environment == to.Environment {
			to.Callers = append(to.Callers, r.Callers...)
		}
	}
	return to
}

// back undoes the plan's change where nobody else has changed it since.
func (s *Snapshot) back(ctx context.Context, in contract.PublishInput, latest routing.Snapshot) (routing.Snapshot, error) {
	plan := in.Plan
	before, err := s.Snapshots.At(ctx, plan.Observed.Snapshot)
	if err != nil {
		return latest, within(settled(err), "snapshot %d", plan.Observed.Snapshot)
	}
	regions := in.Regions
	if plan.Canary != nil { // what another hand brought to one region keeps no other from going back
		regions = slices.DeleteFunc(slices.Clone(regions), func(r string) bool { return plan.Retractable(latest, before, []string{r}) != nil })
	}
	if len(regions) == 0 {
		regions = in.Regions
	}
	if err := plan.Retractable(latest, before, regions); err != nil {
		return latest, stale(err)
	}
	next := latest
	switch plan.Kind {
	case promotion.KindPromotion:
		next, err = latest.Restore(before, plan.Tenant, plan.ModelID, plan.Environment, regions, s.Now())
	case promotion.KindPolicy:
		next, err = latest.Retract(before, regions, s.Now())
	default:
		err = fmt.Errorf("%q: %w", in.Phase, ErrPhase)
	}
	if err != nil {
		return latest, permanent(contract.BadPlan, err)
	}
	return next, nil
}

// Renew publishes the newest snapshot once more, signed by today's key: one that
// a retired key signed would be refused by whoever asks for it first. Nothing
// is published where there is none yet, or while others publish.
func (s *Snapshot) Renew(ctx context.Context) error {
	latest, err := s.Snapshots.Latest(ctx)
	if err != nil {
		return within(err, "renew")
	}
	if latest.Version == 0 {
		return nil
	}
	next := latest.Renew(s.Now())
	signed, err := s.seal(ctx, next)
	if err != nil {
		return within(err, "renew")
	}
	err = s.Snapshots.Publish(ctx, "key", fmt.Sprintf("renewal/%d", next.Version), next, signed)
	if err == nil || errors.Is(err, ErrStale) { // another process was faster, with a key of today
		return nil
	}
	return within(err, "renew")
}

// accepted returns when the control plane took in the bundle of a package; the
// zero time where nobody can say, and then the data plane judges it as of now.
func (s *Snapshot) accepted(ctx context.Context, bundle artifact.Digest) (time.Time, error) {
	if s.Accepted == nil {
		return time.Time{}, nil
	}
	at, err := s.Accepted(ctx, bundle)
	return at, within(err, "when bundle %s was accepted", bundle.Short())
}

// Bootstrap gives the data plane its regions and endpoints, which are
// configuration: the first snapshot, and another one whenever a process starts
// with other ones. Idempotent: nothing is published when nothing changes.
func (s *Snapshot) Bootstrap(ctx context.Context, regions []string, endpoints []routing.Endpoint) (contract.SnapshotRef, error) {
	for range races {
		latest, err := s.Snapshots.Latest(ctx)
		if err != nil {
			return contract.SnapshotRef{}, within(err, "bootstrap")
		}
		next, changed, err := latest.Rebase(regions, endpoints, policy.Default(), s.Now())
		if err != nil || !changed {
			return contract.SnapshotRef{Version: latest.Version}, err
		}
		signed, err := s.seal(ctx, next)
		if err != nil {
			return contract.SnapshotRef{}, within(err, "bootstrap")
		}
		err = s.Snapshots.Publish(ctx, "bootstrap", fmt.Sprintf("topology/%d", next.Version), next, signed)
		if err == nil {
			return contract.SnapshotRef{Version: next.Version, Digest: artifact.DigestOf(signed.Snapshot)}, nil
		}
		if !errors.Is(err, ErrStale) { // else another process was faster; what it published may be the same
			return contract.SnapshotRef{}, within(err, "bootstrap")
		}
	}
	return contract.SnapshotRef{}, fmt.Errorf("bootstrap: %w", ErrStale)
}
