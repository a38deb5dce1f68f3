package cosign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Signer signs statements with one key. It is safe for concurrent use.
type Signer struct {
	key    Key
	public []byte // PEM
}

// NewSigner returns a signer with an ECDSA P-256 key of this process.
// Errors: [artifact.ErrKey].
func NewSigner(key *ecdsa.PrivateKey) (*Signer, error) { return NewKeySigner(LocalKey(key)) }

// NewKeySigner returns a signer with a key that may be elsewhere.
// Errors: [artifact.ErrKey].
func NewKeySigner(key Key) (*Signer, error) {
	public, err := artifact.MarshalPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, public: public}, nil
}

// LoadSigner returns a signer with the key in a cosign key file, the one that
// COSIGN_KEY_PATH names. Errors: those of [LoadPrivateKey].
func LoadSigner(path string, password PasswordFunc) (*Signer, error) {
	key, err := loadKey(path, password)
	if err != nil {
		return nil, err
	}
	return NewSigner(key)
}

// PublicKey returns the key that verifies what the signer signs.
func (s *Signer) PublicKey() *ecdsa.PublicKey { return s.key.Public() }

// KeyVersion says which version of the key signs, for people.
func (s *Signer) KeyVersion() string { return s.key.Version() }

// Sign signs an encoded in-toto statement and returns the bundle, which it has
// verified: a fault in memory while signing can give the key away, and must
// not leave here; nor must what a key server signed with another version.
// Errors: [artifact.ErrStatement] for what is no statement.
func (s *Signer) Sign(ctx context.Context, statement []byte) ([]byte, error) {
	parsed, err := artifact.ParseStatement(statement)
	if err != nil {
		return nil, err
	}
	data := &sign.DSSEData{Data: statement, PayloadType: artifact.PayloadType}
	hint, err := artifact.KeyHint(s.PublicKey(), parsed.PredicateType)
	if err != nil {
		return nil, err
	}
	signed, err := sign.Bundle(data, keypair{s, hint}, sign.BundleOptions{Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("sign statement about %s: %w", parsed.Subject.Short(), err)
	}
	loose, err := protojson.Marshal(signed)
	if err != nil {
		return nil, fmt.Errorf("sign statement about %s: %w", parsed.Subject.Short(), err)
	}
	var bundle bytes.Buffer
	if err := json.Compact(&bundle, loose); err != nil { // protojson varies its white space on purpose
		return nil, fmt.Errorf("sign statement about %s: %w", parsed.Subject.Short(), err)
	}
	if _, err := artifact.VerifyBundle([]*ecdsa.PublicKey{s.PublicKey()}, bundle.Bytes(), parsed.PredicateType, parsed.Subject); err != nil {
		return nil, fmt.Errorf("verify after signing: %w", err)
	}
	return bundle.Bytes(), nil
}

// A keypair is a signer as sigstore-go wants it. The adapter that cosign has
// for this is internal to it.
type keypair struct {
	*Signer
	hint string
}

var _ sign.Keypair = keypair{}

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}
func (k keypair) GetHint() []byte                  { return []byte(k.hint) }
func (k keypair) GetKeyAlgorithm() string          { return "ECDSA" }
func (k keypair) GetPublicKey() crypto.PublicKey   { return k.PublicKey() }
func (k keypair) GetPublicKeyPem() (string, error) { return string(k.public), nil }

// SignData returns the signature over data and the digest that it covers.
func (k keypair) SignData(ctx context.Context, data []byte) ([]byte, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(data)
	der, err := k.key.Sign(ctx, digest[:])
	return der, digest[:], err
}
