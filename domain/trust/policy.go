// Package trust says whose signature counts for what: which key may sign which
// kind of statement, in which environment and repositories, from when until
// when, and which keys must not be believed any more.
//
// Invariant: a [Judge] exists only for a policy that is well formed and whose
// root signed it, or for keys that somebody pinned by hand; it accepts a subset
// of what [artifact.VerifyBundle] accepts for the same keys. A policy never
// follows one that it does not name, and never goes back.
package trust

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrPolicy says that a document is no trust policy.
var ErrPolicy = errors.New("not a trust policy")

// Environments that a rule may allow. A key of the one is nothing in the other.
const (
	Simulation = "simulation"
	Production = "production"
)

// Bounds of a policy. They are far above what a consortium needs and keep
// reading one cheap.
const (
	maxKeys  = 1024
	maxRules = 1024
	maxRoots = 32
	maxText  = 256
)

// A Policy is one version of the rules of trust. Its digest is that of its
// canonical bytes.
type Policy struct {
	Version   int64           `json:"version"` // from 1, each one more
	IssuedAt  time.Time       `json:"issuedAt"`
	ExpiresAt time.Time       `json:"expiresAt"`          // from then on it proves nothing: who withholds a newer one gains only until then
	Previous  artifact.Digest `json:"previous,omitempty"` // digest of the version before
	Root      Root            `json:"root"`
	Keys      []Key           `json:"keys"`
	Rules     []Rule          `json:"rules"`
}

// A Root is who may sign the next version: Threshold of Keys.
type Root struct {
	Threshold int   `json:"threshold"`
	Keys      []Key `json:"keys"`
}

// A Key is a public key and how long its word is taken. Zero times do not bound.
type Key struct {
	ID        artifact.Digest `json:"id"`        // artifact.KeyID, so that people can compare it
	PublicKey string          `json:"publicKey"` // base64 of the DER SPKI
	Owner     string          `json:"owner"`     // for people
	NotBefore time.Time       `json:"notBefore,omitzero"`
	NotAfter  time.Time       `json:"notAfter,omitzero"`
	RevokedAt time.Time       `json:"revokedAt,omitzero"` // what was accepted before still counts
	Reason    string          `json:"reason,omitempty"`   // of the revocation
}

// A Rule allows keys to sign some kinds of statement. Repositories are patterns
// of path.Match; "**" at the end stands for everything below.
type Rule struct {
	Name         string            `json:"name"`
	Predicates   []string          `json:"predicates"`
	Environments []string          `json:"environments"`
	Repositories []string          `json:"repositories"`
	Keys         []artifact.Digest `json:"keys"`
}

// NewKey returns the entry of a public key.
// Errors: [artifact.ErrKey].
func NewKey(public *ecdsa.PublicKey, owner string, notBefore time.Time) (Key, error) {
	if err := artifact.CheckPublicKey(public); err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", artifact.ErrKey, err)
	}
	return Key{
		ID: artifact.KeyID(public), PublicKey: base64.StdEncoding.EncodeToString(der), Owner: owner,
		NotBefore: notBefore.UTC().Truncate(time.Second),
	}, nil
}

// Public returns the key itself.
// Errors: [ErrPolicy] when it is none, or not the one that ID names.
func (k Key) Public() (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(k.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: not base64", ErrPolicy, k.ID.Short())
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: %w", ErrPolicy, k.ID.Short(), err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || artifact.KeyID(public) != k.ID {
		return nil, fmt.Errorf("%w: key %s: %w, or another one", ErrPolicy, k.ID.Short(), artifact.ErrKey)
	}
	return public, nil
}

// Encode returns the canonical bytes, whose digest is signed.
// Errors: [ErrPolicy].
func (p Policy) Encode() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return artifact.Canonical(p)
}

// Validate refuses a policy that could be read in two ways or that trusts more
// than it seems to.
// Errors: [ErrPolicy].
func (p Policy) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrPolicy, fmt.Sprintf(format, args...))
	}
	switch {
	case p.Version < 1:
		return bad("version %d", p.Version)
	case p.IssuedAt.IsZero() || !p.IssuedAt.Before(p.ExpiresAt):
		return bad("it expires before it is issued")
	case (p.Version == 1) != (p.Previous == ""):
		return bad("version %d with previous %q", p.Version, p.Previous)
	case len(p.Root.Keys) == 0 || len(p.Root.Keys) > maxRoots:
		return bad("%d root keys", len(p.Root.Keys))
	case p.Root.Threshold < 1 || p.Root.Threshold > len(p.Root.Keys):
		return bad("threshold %d of %d root keys", p.Root.Threshold, len(p.Root.Keys))
	case len(p.Keys) > maxKeys || len(p.Rules) > maxRules:
		return bad("%d keys and %d rules", len(p.Keys), len(p.Rules))
	}
	seen := map[artifact.Digest]string{}
	for _, group := range []struct {
		role string
		keys []Key
	}{{"root", p.Root.Keys}, {"signing", p.Keys}} {
		for _, k := range group.keys {
			if role, twice := seen[k.ID]; twice {
				return bad("key %s is listed twice, as %s and as %s", k.ID.Short(), role, group.role)
			}
			seen[k.ID] = group.role
			if err := k.validate(); err != nil {
				return err
			}
			if group.role == "root" && (k.NotBefore != time.Time{} || k.NotAfter != time.Time{} || k.RevokedAt != time.Time{}) {
				return bad("root key %s has times; a root ends when another follows it", k.ID.Short())
			}
		}
	}
	names := map[string]bool{}
	for _, r := range p.Rules {
		if names[r.Name] {
			return bad("two rules %q", clip(r.Name))
		}
		names[r.Name] = true
		if err := r.validate(seen); err != nil {
			return err
		}
	}
	return nil
}

func (k Key) validate() error {
	if _, err := k.Public(); err != nil {
		return err
	}
	switch {
	case k.Owner == "" || len(k.Owner) > maxText || len(k.Reason) > maxText:
		return fmt.Errorf("%w: key %s needs an owner, and short texts", ErrPolicy, k.ID.Short())
	case !k.NotAfter.IsZero() && !k.NotBefore.Before(k.NotAfter):
		return fmt.Errorf("%w: key %s ends before it begins", ErrPolicy, k.ID.Short())
	case k.RevokedAt.IsZero() && k.Reason != "":
		return fmt.Errorf("%w: key %s has a reason and is not revoked", ErrPolicy, k.ID.Short())
	}
	return nil
}

func (r Rule) validate(keys map[artifact.Digest]string) error {
	bad := func(why string) error { return fmt.Errorf("%w: rule %q: %s", ErrPolicy, clip(r.Name), why) }
	switch {
	case r.Name == "" || len(r.Name) > maxText:
		return bad("its name")
	case len(r.Predicates) == 0 || slices.Contains(r.Predicates, ""):
		return bad("no predicate type")
	case slices.Contains(r.Predicates, artifact.PredicateTrustPolicy):
		return bad("trust policies are signed by the root alone")
	case len(r.Environments) == 0:
		return bad("no environment")
	case len(r.Repositories) == 0:
		return bad(`no repository; "**" is all of them`)
	}
	for _, e := range r.Environments {
		if e != Simulation && e != Production {
			return bad("environment " + clip(e))
		}
	}
	for _, pattern := range r.Repositories {
		if _, err := path.Match(strings.TrimSuffix(pattern, "**"), ""); err != nil || pattern == "" {
			return bad("pattern " + clip(pattern))
		}
	}
	for _, id := range r.Keys {
		if keys[id] != "signing" { // a root key that also signs artefacts is on a machine
			return bad("key " + id.Short() + " is none of the signing keys")
		}
	}
	return nil
}

// covers says whether the rule's patterns hold the repository. A statement that
// is in no repository is held only by a rule for all of them.
func (r Rule) covers(repository string) bool {
	return slices.ContainsFunc(r.Repositories, func(pattern string) bool {
		if below, ok := strings.CutSuffix(pattern, "**"); ok {
			return below == "" || repository != "" && strings.HasSuffix(below, "/") && matchesBelow(below, repository)
		}
		ok, err := path.Match(pattern, repository)
		return err == nil && ok
	})
}

// matchesBelow matches the first segments of a repository with a pattern that
// ends in a slash; at least one segment follows.
func matchesBelow(pattern, repository string) bool {
	n := strings.Count(pattern, "/")
	segments := strings.SplitN(repository, "/", n+1)
	if len(segments) <= n || segments[n] == "" {
		return false
	}
	ok, err := path.Match(pattern, strings.Join(segments[:n], "/")+"/")
	return err == nil && ok
}

// clip shortens foreign text before it goes into an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
