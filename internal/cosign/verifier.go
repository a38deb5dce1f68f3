package cosign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrCosign says that cosign refuses what our own verifier accepts.
var ErrCosign = errors.New("refused by cosign")

// ErrNoKeys says that a verifier was asked to trust nobody.
var ErrNoKeys = errors.New("no trusted key")

// A Verifier verifies bundles with pinned public keys: no certificate, log or
// key server is asked or believed. It is safe for concurrent use.
type Verifier struct {
	keys []*ecdsa.PublicKey
	byID map[artifact.Digest]signature.Verifier // the same keys, as cosign wants them
}

// NewVerifier returns a verifier that trusts these keys, and nobody else.
// Errors: [ErrNoKeys], [artifact.ErrKey].
func NewVerifier(keys ...*ecdsa.PublicKey) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, ErrNoKeys
	}
	v := &Verifier{keys: keys, byID: map[artifact.Digest]signature.Verifier{}}
	for _, key := range keys {
		if err := artifact.CheckPublicKey(key); err != nil {
			return nil, err
		}
		loaded, err := signature.LoadVerifier(key, crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", artifact.ErrKey, err)
		}
		v.byID[artifact.KeyID(key)] = loaded
	}
	return v, nil
}

// Verify returns the predicate of a bundle that [Verifier.Open] accepts.
func (v *Verifier) Verify(ctx context.Context, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	opened, err := v.Open(ctx, bundle, predicateType, subject)
	return opened.Predicate, err
}

// Open accepts a bundle only if both [artifact.VerifyBundle] and cosign accept
// it, for the same trusted key. Neither alone would do: cosign takes a statement
// of any predicate type, a signed rejection included, and signatures that are
// not DER; ours has one author.
// Errors: [*artifact.VerifyError], with [ErrCosign] when only cosign refuses.
func (v *Verifier) Open(ctx context.Context, bundle []byte, predicateType string, subject artifact.Digest) (artifact.Verified, error) {
	verified, err := artifact.VerifyBundle(v.keys, bundle, predicateType, subject)
	if err != nil {
		return artifact.Verified{}, err
	}
	statement, err := verifyWithCosign(ctx, v.byID[verified.Key], bundle, subject)
	if err == nil && statement != verified.Statement {
		err = errors.New("it reads another statement")
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrCosign, err)
		return artifact.Verified{}, &artifact.VerifyError{PredicateType: predicateType, Subject: subject, Err: err}
	}
	return verified, nil
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
