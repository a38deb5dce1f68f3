package cosign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
)

// ErrCosign says that cosign refuses what our own verifier accepts.
var ErrCosign = errors.New("refused by cosign")

// ErrNoKeys says that a verifier was asked to trust nobody.
var ErrNoKeys = errors.New("no trusted key")

// Options are what a verifier of a trust policy is given.
type Options struct {
	Trust       trust.Source
	Environment string // trust.Simulation or trust.Production
	// Accepted returns when exactly this bundle was first accepted, by the
	// index that the audit log covers, and the zero time for one that was not.
	// Without it, every bundle is judged as one that comes in now.
	Accepted func(ctx context.Context, bundle artifact.Digest) (time.Time, error)
	Now      func() time.Time
}

// A Verifier verifies bundles with the keys that a trust policy allows, or with
// pinned ones: no certificate, log or key server is asked or believed. It is
// safe for concurrent use.
type Verifier struct{ opts Options }

// NewVerifier returns a verifier that trusts these keys for everything, and
// nobody else.
// Errors: [ErrNoKeys], [artifact.ErrKey].
func NewVerifier(keys ...*ecdsa.PublicKey) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, ErrNoKeys
	}
	pinned, err := trust.Pin(keys...)
	if err != nil {
		return nil, err
	}
	return NewPolicyVerifier(Options{Trust: pinned, Now: time.Now}), nil
}

// NewPolicyVerifier returns a verifier that asks its source at every bundle, so
// that a key which is revoked is refused without a restart.
func NewPolicyVerifier(o Options) *Verifier { return &Verifier{opts: o} }

// Verify returns the predicate of a bundle that [Verifier.Open] accepts.
func (v *Verifier) Verify(ctx context.Context, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	return v.VerifyIn(ctx, "", bundle, predicateType, subject)
}

// VerifyIn returns the predicate of a bundle that [Verifier.Open] accepts for a
// subject in a repository.
func (v *Verifier) VerifyIn(ctx context.Context, repository string, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	opened, err := v.Open(ctx, repository, bundle, predicateType, subject)
	return opened.Predicate, err
}

// Open accepts a bundle only if both [trust.Judge.Verify] and cosign accept it,
// for the same key. Neither alone would do: cosign takes a statement of any
// predicate type, a signed rejection included, and signatures that are not DER;
// ours has one author.
// Errors: [*artifact.VerifyError], with [ErrCosign] when only cosign refuses;
// what the source and the index say.
func (v *Verifier) Open(ctx context.Context, repository string, bundle []byte, predicateType string, subject artifact.Digest) (artifact.Verified, error) {
	judge, err := v.opts.Trust.Judge()
	if err != nil {
		return artifact.Verified{}, fmt.Errorf("trust policy: %w", err)
	}
	now := v.opts.Now()
	at, err := v.accepted(ctx, subject, bundle, now)
	if err != nil {
		return artifact.Verified{}, err
	}
	verified, err := judge.Verify(bundle, trust.Question{
		PredicateType: predicateType, Subject: subject, Environment: v.opts.Environment, Repository: repository, At: at, Now: now,
	})
	if err != nil {
		return artifact.Verified{}, err
	}
	statement, err := judgedByCosign(ctx, judge, verified.Key, bundle, subject)
	if err == nil && statement != verified.Statement {
		err = errors.New("it reads another statement")
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrCosign, err)
		return artifact.Verified{}, &artifact.VerifyError{PredicateType: predicateType, Subject: subject, Err: err}
	}
	return verified, nil
}

// accepted asks for exactly these bytes: another bundle about the same subject
// is a new one, and a retired key may not make it.
func (v *Verifier) accepted(ctx context.Context, subject artifact.Digest, bundle []byte, now time.Time) (time.Time, error) {
	if v.opts.Accepted == nil || len(bundle) > artifact.MaxBundle {
		return now, nil
	}
	at, err := v.opts.Accepted(ctx, artifact.DigestOf(bundle))
	if err != nil {
		return now, fmt.Errorf("when %s was accepted: %w", subject.Short(), err)
	}
	if at.IsZero() || at.After(now) {
		return now, nil
	}
	return at, nil
}

// judgedByCosign asks cosign with the key that our verifier found.
func judgedByCosign(ctx context.Context, judge *trust.Judge, id artifact.Digest, bundle []byte, subject artifact.Digest) (artifact.Digest, error) {
	for _, public := range judge.Publics() {
		if artifact.KeyID(public) != id {
			continue
		}
		key, err := signature.LoadVerifier(public, crypto.SHA256)
		if err != nil {
			return "", err
		}
		return verifyWithCosign(ctx, key, bundle, subject)
	}
	return "", ErrNoKeys
}

// verifyWithCosign asks cosign alone, with no pins of ours, and returns the
// identity of the statement that it read.
func verifyWithCosign(ctx context.Context, key signature.Verifier, raw []byte, subject artifact.Digest) (artifact.Digest, error) {
	digest, err := hex.DecodeString(subject.Hex())
	if err != nil {
		return "", artifact.ErrDigest
	}
	var entity bundle.Bundle
	if err := entity.UnmarshalJSON(raw); err != nil {
		return "", err
	}
	opts := &cosign.CheckOpts{
		SigVerifier:     key,
		IgnoreTlog:      true, // a private consortium logs to its own audit log
		NewBundleFormat: true,
		TrustedMaterial: &root.BaseTrustedMaterial{}, // no authority; nil would be an error
	}
	if _, err := cosign.VerifyNewBundle(ctx, opts, verify.WithArtifactDigest("sha256", digest), &entity); err != nil {
		return "", err
	}
	envelope := entity.GetDsseEnvelope()
	return artifact.StatementID(envelope.GetPayloadType(), envelope.GetPayload()), nil
}
