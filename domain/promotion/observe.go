package promotion

import (
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

// ErrNoPolicy says that a policy plan holds no document.
var ErrNoPolicy = errors.New("the plan holds no policy")

// Observe returns what a plan of that kind depends on. What does not concern
// the kind stays zero: another model's promotion makes no plan stale.
func Observe(kind, tenant, model, environment string, regions []string, s routing.Snapshot) Observed {
	o := Observed{Snapshot: s.Version}
	switch kind {
	case KindPromotion:
		o.Champion, o.Package = s.Champion(tenant, model, environment, regions)
		for _, r := range regions {
			serves, _ := s.Champion(tenant, model, environment, []string{r})
			o.Served = append(o.Served, serves)
		}
	case KindPolicy:
		for _, r := range s.Regions {
			o.Policy = max(o.Policy, r.Policy)
		}
	case KindRestore:
		o.State = s.StateOf(tenant)
	}
	return o
}

// Holds returns nil while what the plan observed is so in s. A policy goes from
// region to region, so the regions that already run the plan's own document
// are as the plan wants them and do not count.
// Errors: [*StaleError]; for a policy plan those of [Plan.Document].
func (p Plan) Holds(s routing.Snapshot) error {
	if s.Version < p.Observed.Snapshot {
		return &StaleError{"the snapshot", fmt.Sprint(p.Observed.Snapshot), fmt.Sprint(s.Version)}
	}
	now := Observe(p.Kind, p.Tenant, p.ModelID, p.Environment, p.Regions, s)
	if p.Kind == KindPolicy {
		_, digest, err := p.Document()
		if err != nil {
			return err
		}
		now.Policy = p.Observed.Policy
		for _, r := range s.Regions {
			if r.PolicyDigest != digest {
				now.Policy = max(now.Policy, r.Policy)
			}
		}
	}
	return Stale(p.Observed, now)
}

// Climbs returns nil while a rollout may take its next step: every region
// serves what the plan observed there, or the plan's own version already. Where
// the rollout is on its way, the canary is the plan's.
// Errors: [*StaleError]; [ErrKind] for a plan without a rollout.
func (p Plan) Climbs(s routing.Snapshot) error {
	if p.Kind != KindPromotion || p.Version == nil || p.Canary == nil || len(p.Observed.Served) != len(p.Regions) {
		return ErrKind
	}
	if s.Version < p.Observed.Snapshot {
		return &StaleError{"the snapshot", fmt.Sprint(p.Observed.Snapshot), fmt.Sprint(s.Version)}
	}
	for i, region := range p.Regions {
		serves, _ := s.Champion(p.Tenant, p.ModelID, p.Environment, []string{region})
		if was := p.Observed.Served[i]; serves != was && serves != p.Version.Number {
			return &StaleError{"the version that serves " + region, fmt.Sprint(was), fmt.Sprint(serves)}
		}
	}
	if c, ok := s.Challenger(p.Tenant, p.ModelID, p.Environment); ok && c.Lineage != p.Canary.Lineage {
		return &StaleError{"the canary", p.Canary.Lineage, c.Lineage}
	}
	return nil
}

// Document returns the policy that the plan sets, with the digest of its
// canonical bytes. A plan's own bytes may have been encoded again on the way.
// Errors: [ErrNoPolicy]; those of [policy.Parse].
func (p Plan) Document() (policy.Document, artifact.Digest, error) {
	if p.Policy == nil {
		return policy.Document{}, "", ErrNoPolicy
	}
	document, err := policy.Parse(*p.Policy)
	if err != nil {
		return policy.Document{}, "", err
	}
	encoded, err := document.Encode()
	if err != nil {
		return policy.Document{}, "", err
	}
	return document, artifact.DigestOf(encoded), nil
}

// Retractable returns nil while the regions run what the plan brought or what
// it observed: what somebody else brought since is not to be taken back.
// Errors: [*StaleError]; for a policy plan those of [Plan.Document].
func (p Plan) Retractable(now, before routing.Snapshot, regions []string) error {
	var own artifact.Digest
	if p.Kind == KindPolicy {
		var err error
		if _, own, err = p.Document(); err != nil {
			return err
		}
	}
	for _, region := range regions {
		switch p.Kind {
		case KindPromotion:
			serves, _ := now.Champion(p.Tenant, p.ModelID, p.Environment, []string{region})
			served, _ := before.Champion(p.Tenant, p.ModelID, p.Environment, []string{region})
			if serves != served && (p.Version == nil || serves != p.Version.Number) {
				return &StaleError{"the version that serves " + region, fmt.Sprint(served), fmt.Sprint(serves)}
			}
		case KindPolicy:
			runs, _ := now.Region(region)
			ran, _ := before.Region(region)
			if runs.PolicyDigest != ran.PolicyDigest && runs.PolicyDigest != own {
				return &StaleError{"the policy revision of " + region, fmt.Sprint(ran.Policy), fmt.Sprint(runs.Policy)}
			}
		}
	}
	return nil
}
