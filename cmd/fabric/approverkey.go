package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"io"
	"strings"

	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/hsm"
)

// keyHelp is what every flag says that names a person's key.
const keyHelp = "your private key: a `FILE` of fabric keys generate or cosign generate-key-pair, or pkcs11:token=T;object=K?module-path=/path/module.so"

// A tokenKey signs in a token of the person's, as a [crypto.Signer].
type tokenKey struct {
	public *ecdsa.PublicKey
	sign   func(digest []byte) ([]byte, error)
}

func (k tokenKey) Public() crypto.PublicKey { return k.public }

func (k tokenKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sign(digest)
}

// approverKey opens a person's key: a file with the password from
// COSIGN_PASSWORD, or one in a token with the PIN from COSIGN_PKCS11_PIN or
// from the URI's pin-source. done lets go of it.
func (a *app) approverKey(ctx context.Context, name string) (key crypto.Signer, done func(), err error) {
	settings, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	if strings.HasPrefix(name, "pkcs11:") {
		held, err := hsm.Open(name, settings.PKCS11PIN.Reveal())
		if err != nil {
			return nil, nil, usage(fmt.Errorf("--key: %w; the PIN is read from COSIGN_PKCS11_PIN, or pin-source=file:/path in the URI", err))
		}
		sign := func(digest []byte) ([]byte, error) { return held.Sign(ctx, digest) }
		return tokenKey{held.Public(), sign}, func() { _ = held.Close() }, nil // what was signed is signed
	}
	private, err := cosign.LoadPrivateKey(name, []byte(settings.CosignPassword.Reveal()))
	if err != nil {
		return nil, nil, usage(fmt.Errorf("--key: %w\n  make one with: fabric keys generate NAME; the password is read from COSIGN_PASSWORD or COSIGN_PASSWORD_FILE", err))
	}
	return private, func() {}, nil
}
