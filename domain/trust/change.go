package trust

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrUnknownKey says that a policy has no such key.
var ErrUnknownKey = errors.New("the trust policy has no such key")

// ControlPlane is the rule of the keys that sign in the fabric's name.
const ControlPlane = "control-plane"

// ControlPlanePredicates returns the types that the fabric's own key signs. What
// people and sites sign is not among them: their keys are registered one by
// one, and the control plane must not be able to vote.
func ControlPlanePredicates() []string {
	return []string{
		artifact.PredicateRoundManifest, artifact.PredicateModelPackage, artifact.PredicateSurvivors, artifact.PredicatePromotion,
		artifact.PredicatePolicy, artifact.PredicateSnapshot, artifact.PredicateAlias, artifact.PredicateRound, artifact.PredicateReplication,
		artifact.PredicateRecoveryPoint, artifact.PredicateEvidence, artifact.PredicateOMS, artifact.PredicateSign,
		artifact.PredicateGrant, artifact.PredicateWithdrawal, artifact.PredicateProposal, artifact.PredicateStatistics,
	}
}

// First returns the first policy of a fabric with one signing key and one root
// key, good for every statement that a control plane signs.
func First(root, signing Key, environments []string, now time.Time, lasts time.Duration) Policy {
	issued := now.UTC().Truncate(time.Second)
	return Policy{
		Version: 1, IssuedAt: issued, ExpiresAt: issued.Add(lasts),
		Root: Root{Threshold: 1, Keys: []Key{root}},
		Keys: []Key{signing},
		Rules: []Rule{{
			Name: ControlPlane, Predicates: ControlPlanePredicates(), Environments: environments,
			Repositories: []string{"**"}, Keys: []artifact.Digest{signing.ID},
		}},
	}
}

// Rotate lets next sign whatever old may sign from now on, and old for as long
// as overlap: both are trusted while processes change over. What the old key
// signed before stays verifiable, because the key stays listed.
// Errors: [ErrUnknownKey]; [ErrPolicy] when next is listed already or old is
// over or revoked.
func (p Policy) Rotate(old artifact.Digest, next Key, now time.Time, overlap time.Duration) (Policy, error) {
	now = now.UTC().Truncate(time.Second)
	i := p.index(old)
	if i < 0 {
		return p, fmt.Errorf("%s: %w", old.Short(), ErrUnknownKey)
	}
	if p.index(next.ID) >= 0 {
		return p, fmt.Errorf("%w: key %s is listed already", ErrPolicy, next.ID.Short())
	}
	end := now.Add(overlap)
	if !end.After(p.Keys[i].NotBefore) { // rotated in the second of its birth
		end = p.Keys[i].NotBefore.Add(time.Second)
	}
	if over := p.Keys[i].NotAfter; !over.IsZero() && over.Before(end) || !p.Keys[i].RevokedAt.IsZero() {
		return p, fmt.Errorf("%w: key %s is retired or revoked already", ErrPolicy, old.Short())
	}
	p.Keys, p.Rules = slices.Clone(p.Keys), slices.Clone(p.Rules)
	p.Keys[i].NotAfter = end
	p.Keys = append(p.Keys, next)
	for r := range p.Rules {
		if slices.Contains(p.Rules[r].Keys, old) {
			p.Rules[r].Keys = append(slices.Clone(p.Rules[r].Keys), next.ID)
		}
	}
	return p, p.Validate()
}

// Revoke takes back the word of a key for whatever was accepted at since or
// later. A revocation may be made earlier, never later.
// Errors: [ErrUnknownKey]; [ErrPolicy] for a later one, or one without a reason.
func (p Policy) Revoke(id artifact.Digest, since time.Time, reason string) (Policy, error) {
	i := p.index(id)
	switch {
	case i < 0:
		return p, fmt.Errorf("%s: %w", id.Short(), ErrUnknownKey)
	case reason == "":
		return p, fmt.Errorf("%w: a revocation needs a reason", ErrPolicy)
	case !p.Keys[i].RevokedAt.IsZero() && since.After(p.Keys[i].RevokedAt):
		return p, fmt.Errorf("%w: key %s is revoked since %s already", ErrPolicy, id.Short(), p.Keys[i].RevokedAt.Format(time.RFC3339))
	}
	p.Keys = slices.Clone(p.Keys)
	p.Keys[i].RevokedAt, p.Keys[i].Reason = since.UTC().Truncate(time.Second), reason
	return p, p.Validate()
}

// Allow adds a key and lets it sign for the rule of that name.
// Errors: [ErrPolicy] when there is no such rule or the key is listed already.
func (p Policy) Allow(key Key, rule string) (Policy, error) {
	r := slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Name == rule })
	if r < 0 {
		return p, fmt.Errorf("%w: no rule %q", ErrPolicy, clip(rule))
	}
	p.Keys, p.Rules = append(slices.Clone(p.Keys), key), slices.Clone(p.Rules)
	p.Rules[r].Keys = append(slices.Clone(p.Rules[r].Keys), key.ID)
	return p, p.Validate()
}

func (p Policy) index(id artifact.Digest) int {
	return slices.IndexFunc(p.Keys, func(k Key) bool { return k.ID == id })
}

// State says in one word how a key stands.
func (k Key) State(now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero() && !now.Before(k.RevokedAt):
		return "revoked"
	case now.Before(k.NotBefore):
		return "pending"
	case !k.NotAfter.IsZero() && !now.Before(k.NotAfter):
		return "retired"
	case !k.NotAfter.IsZero():
		return "retiring"
	}
	return "active"
}
