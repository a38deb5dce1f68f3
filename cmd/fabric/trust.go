package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/anchor"
)

// A referee verifies bundles for a command: by the trust policy where there is
// one, else by the pinned keys.
type referee struct {
	judge       *trust.Judge
	environment string
	now         time.Time
	// accepted returns when a package was accepted, by the audit log, or the zero
	// time. It is asked only about keys whose time is over. It may be nil.
	accepted func(pkg artifact.Digest) (time.Time, error)
}

// A place is a package and where it is kept.
type place struct {
	pkg        artifact.Digest
	repository string
}

// referee reads whose signature counts for this command.
func (a *app) referee() (referee, error) {
	c, err := a.config()
	if err != nil {
		return referee{}, err
	}
	if c.TrustKey == "" && c.TrustPolicy == "" {
		return referee{}, a.noTrust(c.StateDir)
	}
	// A command remembers nothing: it is often run where it may not write.
	c.StateDir = ""
	by, err := anchor.From(c, nil)
	if err != nil {
		return referee{}, usage(err)
	}
	judge, err := by.Judge()
	if err != nil {
		return referee{}, err
	}
	return referee{judge: judge, environment: anchor.Environment(c), now: time.Now()}, nil
}

// referee is the command's, with the audit log at hand for keys that have
// retired since.
func (c *caller) referee(ctx context.Context) (referee, error) {
	w, err := c.app.referee()
	w.accepted = func(pkg artifact.Digest) (time.Time, error) { return c.acceptedAt(ctx, pkg) }
	return w, err
}

// acceptedAt returns when a package became a version, by a leaf that is proven
// to be in the audit log.
func (c *caller) acceptedAt(ctx context.Context, pkg artifact.Digest) (time.Time, error) {
	leaves, err := c.leavesOf(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, l := range leaves {
		if l.leaf.Digest != pkg || l.leaf.Kind != "model.registered" && l.leaf.Kind != "model.uploaded" && l.leaf.Kind != "recovery.taken" {
			continue
		}
		if proof := c.inclusion(ctx, l); strings.HasPrefix(proof, "NOT PROVEN") {
			return time.Time{}, fmt.Errorf("%w: leaf %d, by which package %s was accepted: %s", ErrChain, l.index, pkg.Short(), proof)
		}
		return l.leaf.At, nil
	}
	return time.Time{}, nil
}

// open accepts a bundle that counts now, or that counted when it was accepted.
func (w referee) open(bundle []byte, predicateType string, subject artifact.Digest, of place) (artifact.Verified, error) {
	q := trust.Question{PredicateType: predicateType, Subject: subject, Environment: w.environment, Repository: of.repository, At: w.now, Now: w.now}
	verified, err := w.judge.Verify(bundle, q)
	if !errors.Is(err, trust.ErrRetired) && !errors.Is(err, trust.ErrRevoked) || w.accepted == nil {
		return verified, err
	}
	at, failed := w.accepted(of.pkg)
	if failed != nil {
		return artifact.Verified{}, failed
	}
	if at.IsZero() || at.After(w.now) {
		return verified, err
	}
	q.At = at
	return w.judge.Verify(bundle, q)
}

// public returns the key of that fingerprint, for stock tools.
func (w referee) public(id artifact.Digest) *ecdsa.PublicKey {
	for _, key := range w.judge.Publics() {
		if artifact.KeyID(key) == id {
			return key
		}
	}
	return nil
}

// verifies says whether a root key signed a trust policy.
func verifies(key *ecdsa.PublicKey, bundle []byte, policy artifact.Digest) bool {
	_, err := artifact.VerifyBundle([]*ecdsa.PublicKey{key}, bundle, artifact.PredicateTrustPolicy, policy)
	return err == nil
}

// namesWeights fails unless the signed predicate names these weights.
func namesWeights(predicate json.RawMessage, weights artifact.Digest) error {
	var p provenance.Package
	if err := json.Unmarshal(predicate, &p); err != nil {
		return fmt.Errorf("%w: the predicate: %w", ErrChain, err)
	}
	if p.Weights != weights {
		return fmt.Errorf("%w: the signature names weights %s, these are %s", ErrChain, p.Weights.Short(), weights.Short())
	}
	return nil
}
