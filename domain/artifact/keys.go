package artifact

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// ErrKey says that something is not one ECDSA P-256 public key.
var ErrKey = errors.New("not an ECDSA P-256 public key")

// pemPublicKey is the only PEM block that is read.
const pemPublicKey = "PUBLIC KEY"

// ParsePublicKey reads one ECDSA P-256 key in PEM (SPKI), as cosign writes it.
// A second key, a certificate, headers or other text around it are refused:
// two readers must not see two keys.
// Errors: [ErrKey].
func ParsePublicKey(text []byte) (*ecdsa.PublicKey, error) {
	trimmed := bytes.TrimSpace(text)
	block, rest := pem.Decode(trimmed)
	if block == nil || len(rest) > 0 || !bytes.HasPrefix(trimmed, []byte("-----BEGIN "+pemPublicKey+"-----")) {
		return nil, fmt.Errorf("%w: not exactly one PEM block %q", ErrKey, pemPublicKey)
	}
	if len(block.Headers) > 0 {
		return nil, fmt.Errorf("%w: PEM headers", ErrKey)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return p256(parsed)
}

// MarshalPublicKey returns the key in PEM (SPKI).
// Errors: [ErrKey].
func MarshalPublicKey(key *ecdsa.PublicKey) ([]byte, error) {
	if err := CheckPublicKey(key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: der}), nil
}

// KeyID returns the digest of the key's DER SPKI. It is what a key is known
// by; what a bundle calls its key is not. For what is not a P-256 key it is
// the absent digest.
func KeyID(key *ecdsa.PublicKey) Digest {
	if CheckPublicKey(key) != nil {
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	return DigestOf(der)
}

// KeyHint is what a bundle with a statement of this type calls its key.
// Nobody here trusts it, but the tools of OpenSSF Model Signing refuse a wrong
// one, and they hash another form of the key than cosign does.
// Errors: [ErrKey].
func KeyHint(key *ecdsa.PublicKey, predicateType string) (string, error) {
	if predicateType == PredicateOMS {
		text, err := MarshalPublicKey(key)
		return DigestOf(text).Hex(), err
	}
	if err := CheckPublicKey(key); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(KeyID(key).raw()), nil
}

// CheckPublicKey refuses what is not on P-256. Stock cosign hashes with SHA-256
// whatever the curve, so other curves would verify here and not there.
// Errors: [ErrKey].
func CheckPublicKey(key *ecdsa.PublicKey) error {
	if key == nil || key.Curve != elliptic.P256() {
		return ErrKey
	}
	if _, err := key.ECDH(); err != nil { // not a point of the curve
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	return nil
}

func p256(key crypto.PublicKey) (*ecdsa.PublicKey, error) {
	ec, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: it is a %T", ErrKey, key)
	}
	return ec, CheckPublicKey(ec)
}
