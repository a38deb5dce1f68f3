package secagg

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Directory returns the identity key that is known for a site. What it says
// wins over what a roster says; where it knows nothing, the site is refused.
type Directory func(tenant, site string) (*ecdsa.PublicKey, bool)

// sign signs a hash with an identity key, by RFC 6979: the same hash gives the
// same bytes, so that a restarted site repeats itself.
func sign(key *ecdsa.PrivateKey, hash sum) ([]byte, error) {
	return key.Sign(nil, hash[:], crypto.SHA256)
}

// signed is what a member's signature covers: all of its entry, under the spec.
func (m *Member) signed(spec sum) sum {
	h := newHash("advertisement")
	h.bytes(spec[:])
	h.text(m.Tenant)
	h.text(m.Site)
	h.bytes(m.Identity)
	h.bytes(m.CipherKey)
	h.bytes(m.MaskKey)
	h.bytes(m.Commitment)
	return h.sum()
}

// checkForm refuses what no member can be.
// Errors: [ErrForm], [ErrKey].
func (m *Member) checkForm() error {
	switch {
	case m.Tenant == "" || len(m.Tenant) > maxName || m.Site == "" || len(m.Site) > maxName:
		return fmt.Errorf("%w: tenant and site have 1 to %d bytes", ErrForm, maxName)
	case len(m.Identity) != IdentityBytes:
		return fmt.Errorf("%w: identity of %d bytes", ErrForm, len(m.Identity))
	case len(m.CipherKey) != KeyBytes || len(m.MaskKey) != KeyBytes:
		return fmt.Errorf("%w: of %d and %d bytes", ErrKey, len(m.CipherKey), len(m.MaskKey))
	case bytes.Equal(m.CipherKey, m.MaskKey):
		return fmt.Errorf("%w: one key for two purposes", ErrKey)
	case len(m.Commitment) != CommitmentBytes:
		return fmt.Errorf("%w: commitment of %d bytes", ErrForm, len(m.Commitment))
	case len(m.Signature) == 0 || len(m.Signature) > maxSignature:
		return fmt.Errorf("%w: signature of %d bytes", ErrForm, len(m.Signature))
	}
	return nil
}

// verify checks the entry against the identity that the directory knows.
// Errors: [ErrForm], [ErrKey], [ErrUnknown], [ErrIdentity], [ErrSigned].
func (m *Member) verify(spec sum, known Directory) (*ecdsa.PublicKey, error) {
	if err := m.checkForm(); err != nil {
		return nil, err
	}
	key, ok := known(m.Tenant, m.Site)
	if !ok {
		return nil, ErrUnknown
	}
	point, err := identityBytes(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !bytes.Equal(point, m.Identity) {
		return nil, ErrIdentity
	}
	if hash := m.signed(spec); !ecdsa.VerifyASN1(key, hash[:], m.Signature) {
		return nil, ErrSigned
	}
	return key, nil
}

// identityBytes returns the point of an identity key.
func identityBytes(key *ecdsa.PublicKey) ([]byte, error) {
	if err := artifact.CheckPublicKey(key); err != nil {
		return nil, err
	}
	return key.Bytes()
}

// parseIdentity reads the point of an identity key.
func parseIdentity(point []byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// checkExchangeKeys refuses keys with which nothing secret can be agreed on:
// those of low order give 0 with every key.
// Errors: [ErrKey].
func (m *Member) checkExchangeKeys() error {
	probe, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{1}, KeyBytes))
	if err != nil {
		return err
	}
	for _, key := range [][]byte{m.CipherKey, m.MaskKey} {
		if _, err := agree(probe, key); err != nil {
			return err
		}
	}
	return nil
}

// agree returns the X25519 secret of both keys.
// Errors: [ErrKey].
func agree(own *ecdh.PrivateKey, peer []byte) ([]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(peer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	secret, err := own.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return secret, nil
}
