package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/hsm"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/transit"
)

var (
	errNoKey   = errors.New("set one of COSIGN_KEY_PATH (a file, made with: fabric keys generate NAME), VAULT_ADDR or BAO_ADDR (transit), FABRIC_PKCS11_URI (a token)")
	errTwoKeys = errors.New("name one signing key, not several: unset all but one")
)

// keySource opens the one key that the settings name.
func (a *app) keySource(ctx context.Context, c config.Config) (cosign.Key, error) {
	sources := c.KeySources()
	switch {
	case len(sources) == 0:
		return nil, usage(errNoKey)
	case len(sources) > 1:
		return nil, usage(fmt.Errorf("%s: %w", strings.Join(sources, " and "), errTwoKeys))
	}
	switch sources[0] {
	case "FABRIC_PKCS11_URI":
		key, err := hsm.Open(c.PKCS11URI, c.PKCS11PIN.Reveal())
		if err != nil {
			return nil, usage(fmt.Errorf("FABRIC_PKCS11_URI: %w", err))
		}
		return key, nil
	case "VAULT_ADDR", "BAO_ADDR":
		key, err := transit.Open(ctx, transitOptions(c))
		if errors.Is(err, transit.ErrServer) {
			return nil, &exitError{exitUnavailable, fmt.Errorf("%s: %w", sources[0], err)}
		}
		if err != nil {
			return nil, usage(fmt.Errorf("%s: %w", sources[0], err))
		}
		return key, nil
	default:
		key, err := cosign.LoadPrivateKey(c.CosignKeyPath, []byte(c.CosignPassword.Reveal()))
		if err != nil {
			return nil, usage(fmt.Errorf("COSIGN_KEY_PATH: %w", err))
		}
		return cosign.LocalKey(key), nil
	}
}

func transitOptions(c config.Config) transit.Options {
	address, token := c.Transit()
	return transit.Options{Address: address, Token: token.Reveal(), CACert: c.VaultCACert, Namespace: c.VaultNamespace, Path: c.TransitPath, Name: c.TransitKey, Version: c.TransitVersion}
}

// signer returns what signs in the fabric's name.
func (a *app) signer(ctx context.Context, c config.Config) (*cosign.Signer, error) {
	key, err := a.keySource(ctx, c)
	if err != nil {
		return nil, err
	}
	return cosign.NewKeySigner(key)
}

// signerTrust is what a process that signs verifies with: the policy or the
// keys that the settings name, or nothing but the key that it signs with. It
// refuses a key whose signatures would be refused everywhere else.
func (a *app) signerTrust(ctx context.Context, c config.Config, signer *cosign.Signer) (trust.Source, error) {
	if c.TrustPolicy == "" && c.TrustKey == "" {
		return trust.Pin(signer.PublicKey())
	}
	by, err := a.trust(ctx, c)
	if err != nil {
		return nil, err
	}
	judge, err := by.Judge()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	err = judge.Allows(artifact.KeyID(signer.PublicKey()), trust.Question{
		PredicateType: artifact.PredicateSnapshot, Environment: anchor.Environment(c), At: now, Now: now,
	})
	if err != nil {
		return nil, usage(fmt.Errorf("the signing key %s: %w; see: fabric keys list", signer.KeyVersion(), err))
	}
	return by, nil
}

// trust is the policy or the keys that this process takes its trust from.
func (a *app) trust(ctx context.Context, c config.Config) (trust.Source, error) {
	log, err := a.logger(ctx, c)
	if err != nil {
		return nil, err
	}
	by, err := anchor.From(c, log)
	if err != nil {
		return nil, usage(err)
	}
	return by, nil
}

// policyVerifier verifies as the policy says, and what was accepted as of then.
func policyVerifier(c config.Config, by trust.Source, db *postgres.DB) *cosign.Verifier {
	return cosign.NewPolicyVerifier(cosign.Options{
		Trust: by, Environment: anchor.Environment(c), Accepted: db.Versions().AcceptedAt, Now: time.Now,
	})
}
