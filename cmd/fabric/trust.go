package main

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// keys is the list of one pinned key.
func keys(key *ecdsa.PublicKey) []*ecdsa.PublicKey { return []*ecdsa.PublicKey{key} }

// trustedKey reads the public key that this command pins.
func (a *app) trustedKey() (*ecdsa.PublicKey, error) {
	settings, err := a.config()
	if err != nil {
		return nil, err
	}
	if settings.TrustKey == "" {
		return nil, usage(errors.New("set FABRIC_TRUST_KEY to the public key that signs packages (fabric up keeps it at <state>/keys/fabric.pub)"))
	}
	text, err := os.ReadFile(settings.TrustKey)
	if err != nil {
		return nil, usage(fmt.Errorf("FABRIC_TRUST_KEY: %w", err))
	}
	return parsePublic(text)
}

// namesWeights fails unless the signed predicate names these weights.
func namesWeights(predicate json.RawMessage, weights artifact.Digest) error {
	var p packagePredicate
	if err := json.Unmarshal(predicate, &p); err != nil {
		return fmt.Errorf("%w: the predicate: %w", ErrChain, err)
	}
	if p.Weights != weights {
		return fmt.Errorf("%w: the signature names weights %s, these are %s", ErrChain, p.Weights.Short(), weights.Short())
	}
	return nil
}

func parsePublic(text []byte) (*ecdsa.PublicKey, error) {
	key, err := artifact.ParsePublicKey(text)
	if err != nil {
		return nil, usage(fmt.Errorf("FABRIC_TRUST_KEY: %w", err))
	}
	return key, nil
}
