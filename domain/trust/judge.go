package trust

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a signature that verifies does not count.
var (
	ErrRevoked     = errors.New("the key is revoked")
	ErrNotYet      = errors.New("the key is not valid yet")
	ErrRetired     = errors.New("the key's time is over")
	ErrNotAllowed  = errors.New("the key may not sign statements of this type")
	ErrEnvironment = errors.New("the key may not sign in this environment")
	ErrRepository  = errors.New("the key may not sign for this repository")
	ErrExpired     = errors.New("the trust policy has expired")
)

// A RefusalError says whose signature does not count, for what, and why.
type RefusalError struct {
	Key           artifact.Digest
	Owner         string
	PredicateType string
	Reason        string // of a revocation
	Err           error
}

func (e *RefusalError) Error() string {
	text := fmt.Sprintf("key %s of %s on %s: %v", e.Key.Short(), clip(e.Owner), clip(e.PredicateType), e.Err)
	if e.Reason != "" {
		text += " (" + clip(e.Reason) + ")"
	}
	return text
}
func (e *RefusalError) Unwrap() error { return e.Err }

// A Question is what a bundle is verified for.
type Question struct {
	PredicateType string
	Subject       artifact.Digest
	Environment   string
	Repository    string // where the subject is kept; empty when in none
	// At is when the bundle was accepted, by the audit log, and now for one that
	// is only coming in. A key's window and revocation are judged by it, so that
	// what was accepted in time stays verifiable after a rotation.
	At time.Time
	// Now is what the policy's own expiry is judged by.
	Now time.Time
}

// A Source gives the judge that counts now. A [*Judge] is its own source.
type Source interface {
	Judge() (*Judge, error)
}

// A Judge is a policy in force. It is immutable and safe for concurrent use.
type Judge struct {
	policy  *Policy // nil: the keys were pinned by hand
	publics []*ecdsa.PublicKey
	keys    map[artifact.Digest]Key
}

// Pin returns a judge without a policy: these keys may sign everything. It is
// for whoever was handed a public key and nothing else.
// Errors: [artifact.ErrKey], also for no key at all.
func Pin(keys ...*ecdsa.PublicKey) (*Judge, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no trusted key", artifact.ErrKey)
	}
	for _, k := range keys {
		if err := artifact.CheckPublicKey(k); err != nil {
			return nil, err
		}
	}
	return &Judge{publics: slices.Clone(keys)}, nil
}

// newJudge is only for a policy that its root signed, see [Open].
func newJudge(p Policy) (*Judge, error) {
	j := &Judge{policy: &p, keys: map[artifact.Digest]Key{}}
	for _, k := range p.Keys {
		public, err := k.Public()
		if err != nil {
			return nil, err
		}
		j.publics = append(j.publics, public)
		j.keys[k.ID] = k
	}
	return j, nil
}

// Judge returns the judge itself.
func (j *Judge) Judge() (*Judge, error) { return j, nil }

// Policy returns the policy, and whether there is one.
func (j *Judge) Policy() (Policy, bool) {
	if j.policy == nil {
		return Policy{}, false
	}
	return *j.policy, true
}

// Publics returns every key that the judge knows, those included whose word it
// does not take: only by looking can a refusal name its reason.
func (j *Judge) Publics() []*ecdsa.PublicKey { return slices.Clone(j.publics) }

// Signers returns the keys whose statements of a type would be accepted now.
func (j *Judge) Signers(predicateType, environment string, now time.Time) []*ecdsa.PublicKey {
	return slices.DeleteFunc(j.Publics(), func(k *ecdsa.PublicKey) bool {
		return j.Allows(artifact.KeyID(k), Question{PredicateType: predicateType, Environment: environment, At: now, Now: now}) != nil
	})
}

// Verify accepts a bundle only if [artifact.VerifyBundle] does for a key that
// the policy allows to say this, here, then.
// Errors: [*artifact.VerifyError]; behind it [*RefusalError] or [ErrExpired].
func (j *Judge) Verify(bundle []byte, q Question) (artifact.Verified, error) {
	verified, err := artifact.VerifyBundle(j.publics, bundle, q.PredicateType, q.Subject)
	if err != nil {
		return artifact.Verified{}, err
	}
	if err := j.Allows(verified.Key, q); err != nil {
		return artifact.Verified{}, &artifact.VerifyError{PredicateType: q.PredicateType, Subject: q.Subject, Err: err}
	}
	return verified, nil
}

// Allows says whether the word of a key counts for the question.
// Errors: [ErrExpired]; [*RefusalError].
func (j *Judge) Allows(id artifact.Digest, q Question) error {
	if j.policy == nil {
		return nil
	}
	if !q.Now.Before(j.policy.ExpiresAt) {
		return fmt.Errorf("version %d, on %s: %w", j.policy.Version, j.policy.ExpiresAt.Format(time.RFC3339), ErrExpired)
	}
	key := j.keys[id]
	refuse := func(err error, reason string) error {
		return &RefusalError{Key: id, Owner: key.Owner, PredicateType: q.PredicateType, Reason: reason, Err: err}
	}
	switch {
	case !key.RevokedAt.IsZero() && !q.At.Before(key.RevokedAt):
		return refuse(ErrRevoked, key.Reason)
	case q.At.Before(key.NotBefore):
		return refuse(ErrNotYet, "")
	case !key.NotAfter.IsZero() && !q.At.Before(key.NotAfter):
		return refuse(ErrRetired, "")
	}
	return j.rules(id, q, refuse)
}

// rules finds a rule for the question; without one it returns the reason of
// the rule that came nearest.
func (j *Judge) rules(id artifact.Digest, q Question, refuse func(error, string) error) error {
	nearest := ErrNotAllowed
	for _, r := range j.policy.Rules {
		switch {
		case !slices.Contains(r.Keys, id) || !slices.Contains(r.Predicates, q.PredicateType):
		case !slices.Contains(r.Environments, q.Environment):
			if errors.Is(nearest, ErrNotAllowed) {
				nearest = ErrEnvironment
			}
		case !r.covers(q.Repository):
			nearest = ErrRepository
		default:
			return nil
		}
	}
	return refuse(nearest, "")
}

// Revoked returns the refusal of a key that is revoked now, whatever it signed
// and when: what runs should not rest on it. A key that the judge does not know
// is not revoked.
func (j *Judge) Revoked(id artifact.Digest, now time.Time) error {
	key, known := j.keys[id]
	if !known || key.RevokedAt.IsZero() || now.Before(key.RevokedAt) {
		return nil
	}
	return &RefusalError{Key: id, Owner: key.Owner, PredicateType: "anything in use", Reason: key.Reason, Err: ErrRevoked}
}
