package trust

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a chain of policies is refused, beside [ErrPolicy].
var (
	ErrPin       = errors.New("the first trust policy is not the pinned one")
	ErrThreshold = errors.New("too few root keys signed the trust policy")
	ErrChain     = errors.New("the trust policy does not follow the one before")
	ErrRollback  = errors.New("an older trust policy than was seen before")
	ErrFork      = errors.New("another trust policy than was seen under this version")
)

// maxChain bounds the text of a chain: thousands of versions.
const maxChain = 16 << 20

// A Signed is a policy as it travels: its canonical bytes, and one bundle of
// each root key that signed it. A bundle holds a single signature, so that
// people can sign at different times and stock cosign verifies each.
type Signed struct {
	Policy  json.RawMessage   `json:"policy"`
	Bundles []json.RawMessage `json:"bundles"`
}

// A Predicate is what a root key says of the policy that is its subject.
type Predicate struct {
	Version int64 `json:"version"`
}

// A Mark is the newest policy that somebody has seen.
type Mark struct {
	Version int64           `json:"version"`
	Digest  artifact.Digest `json:"digest"`
}

// A Chain is every version of the policy from the first, each verified.
type Chain struct {
	signed   []Signed
	policies []Policy
	digests  []artifact.Digest
}

// Statement returns what a root key signs for a policy.
// Errors: [ErrPolicy].
func Statement(p Policy) (artifact.Statement, error) {
	text, err := p.Encode()
	if err != nil {
		return artifact.Statement{}, err
	}
	return artifact.NewStatement("trust policy "+strconv.FormatInt(p.Version, 10), artifact.DigestOf(text), artifact.PredicateTrustPolicy, Predicate{Version: p.Version})
}

// Open reads a chain, one [Signed] a line, and accepts it only if the first
// policy is the pinned one, each is signed by its root and by the root of the
// one before, and it goes on from what was seen before (the zero Mark: nothing).
// It does not look at expiry: who has to mend an expired chain must read it.
// Errors: [ErrPolicy], [ErrPin], [ErrThreshold], [ErrChain], [ErrRollback],
// [ErrFork].
func Open(text []byte, pin artifact.Digest, seen Mark) (Chain, error) {
	if len(text) > maxChain {
		return Chain{}, fmt.Errorf("%w: %w", ErrPolicy, artifact.ErrTooLarge)
	}
	var c Chain
	for line := range bytes.Lines(text) {
		var s Signed
		if err := artifact.DecodeStrict(line, &s); err != nil {
			return Chain{}, fmt.Errorf("%w: line %d: %w", ErrPolicy, len(c.policies)+1, err)
		}
		var err error
		if c, err = c.Append(s); err != nil {
			return Chain{}, err
		}
	}
	switch {
	case len(c.digests) == 0:
		return Chain{}, fmt.Errorf("%w: it is empty", ErrPolicy)
	case c.digests[0] != pin:
		return Chain{}, fmt.Errorf("%w: it is %s", ErrPin, c.digests[0])
	}
	return c, c.goesOnFrom(seen)
}

func (c Chain) goesOnFrom(seen Mark) error {
	last := c.Mark()
	switch {
	case seen.Version == 0:
		return nil
	case last.Version < seen.Version:
		return fmt.Errorf("%w: version %d after %d", ErrRollback, last.Version, seen.Version)
	case c.digests[seen.Version-1] != seen.Digest:
		return fmt.Errorf("%w: %d", ErrFork, seen.Version)
	}
	return nil
}

// Append returns the chain with one more policy, or the reason why that may not
// follow. The chain itself does not change.
// Errors: [ErrPolicy], [ErrThreshold], [ErrChain].
func (c Chain) Append(s Signed) (Chain, error) {
	var p Policy
	if err := artifact.DecodeStrict(s.Policy, &p); err != nil {
		return c, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	text, err := p.Encode()
	if err != nil {
		return c, err
	}
	if !bytes.Equal(text, s.Policy) {
		return c, fmt.Errorf("%w: version %d is not in canonical form", ErrPolicy, p.Version)
	}
	digest := artifact.DigestOf(text)
	if p.Version != int64(len(c.policies))+1 {
		return c, fmt.Errorf("%w: version %d after %d", ErrChain, p.Version, len(c.policies))
	}
	if err := p.Root.signed(digest, p.Version, s.Bundles); err != nil {
		return c, err
	}
	if n := len(c.policies); n > 0 {
		before := c.policies[n-1]
		switch {
		case p.Previous != c.digests[n-1]:
			return c, fmt.Errorf("%w: version %d names %s, which is not version %d", ErrChain, p.Version, p.Previous.Short(), n)
		case p.IssuedAt.Before(before.IssuedAt):
			return c, fmt.Errorf("%w: version %d was issued before version %d", ErrChain, p.Version, n)
		}
		// A new root is believed only when the old one names it.
		if err := before.Root.signed(digest, p.Version, s.Bundles); err != nil {
			return c, fmt.Errorf("root of version %d: %w", n, err)
		}
	}
	for _, earlier := range c.policies {
		if err := unrevoked(earlier, p); err != nil {
			return c, err
		}
	}
	return Chain{
		signed:   append(c.signed[:len(c.signed):len(c.signed)], s),
		policies: append(c.policies[:len(c.policies):len(c.policies)], p),
		digests:  append(c.digests[:len(c.digests):len(c.digests)], digest),
	}, nil
}

// unrevoked refuses to take a revocation back, or to let the revoked key sign
// for longer: who was told that a key is stolen must not be told otherwise, not
// even after a version that does not list the key.
func unrevoked(before, after Policy) error {
	now := map[artifact.Digest]Key{}
	for _, k := range after.Keys {
		now[k.ID] = k
	}
	for _, k := range before.Keys {
		next, listed := now[k.ID]
		if k.RevokedAt.IsZero() || !listed {
			continue
		}
		if next.RevokedAt.IsZero() || next.RevokedAt.After(k.RevokedAt) {
			return fmt.Errorf("%w: version %d takes back the revocation of key %s", ErrChain, after.Version, k.ID.Short())
		}
	}
	return nil
}

// signed counts distinct keys of the root, never bundles.
func (r Root) signed(digest artifact.Digest, version int64, bundles []json.RawMessage) error {
	publics := make([]*ecdsa.PublicKey, len(r.Keys))
	for i, k := range r.Keys {
		public, err := k.Public()
		if err != nil {
			return err
		}
		publics[i] = public
	}
	signers := map[artifact.Digest]bool{}
	for _, bundle := range bundles {
		verified, err := artifact.VerifyBundle(publics, bundle, artifact.PredicateTrustPolicy, digest)
		if err != nil {
			continue // of the other root, or nobody's: it adds nothing
		}
		var said Predicate
		if err := artifact.DecodeStrict(verified.Predicate, &said); err == nil && said.Version == version {
			signers[verified.Key] = true
		}
	}
	if len(signers) < r.Threshold {
		return fmt.Errorf("version %d: %w: %d of %d", version, ErrThreshold, len(signers), r.Threshold)
	}
	return nil
}

// Text returns the chain as [Open] reads it.
func (c Chain) Text() ([]byte, error) {
	var out bytes.Buffer
	for _, s := range c.signed {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		out.Write(append(line, '\n'))
	}
	return out.Bytes(), nil
}

// Mark returns the newest version; Version 0 for an empty chain.
func (c Chain) Mark() Mark {
	n := len(c.digests)
	if n == 0 {
		return Mark{}
	}
	return Mark{Version: int64(n), Digest: c.digests[n-1]}
}

// Pin returns the digest of the first version, by which a chain is pinned.
func (c Chain) Pin() artifact.Digest {
	if len(c.digests) == 0 {
		return ""
	}
	return c.digests[0]
}

// Head returns the newest policy and the bundles that sign it.
func (c Chain) Head() (Policy, Signed) {
	if len(c.policies) == 0 {
		return Policy{}, Signed{}
	}
	n := len(c.policies) - 1
	return c.policies[n], c.signed[n]
}

// Judge returns the judge of the newest policy. It is [ErrExpired] that stops
// an expired one, at every question.
func (c Chain) Judge() (*Judge, error) {
	head, _ := c.Head()
	if head.Version == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrPolicy)
	}
	return newJudge(head)
}

// Next returns the policy that may follow the newest one, equal to it but for
// its number, its predecessor and its times.
func (c Chain) Next(now time.Time, lasts time.Duration) Policy {
	p, _ := c.Head()
	mark := c.Mark()
	p.Version, p.Previous = mark.Version+1, mark.Digest
	p.IssuedAt = now.UTC().Truncate(time.Second)
	p.ExpiresAt = p.IssuedAt.Add(lasts)
	return p
}
