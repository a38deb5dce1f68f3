package cosign

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Key signs digests with one version of one ECDSA P-256 key, wherever that
// is: in a file, in Vault's transit engine, in a hardware token. It is safe for
// concurrent use.
type Key interface {
	// Sign returns the signature over a SHA-256 digest, in DER.
	Sign(ctx context.Context, digest []byte) (der []byte, err error)
	// Public returns the key that verifies what Sign signs; always the same one.
	Public() *ecdsa.PublicKey
	// Version says which key this is where there are several: for people.
	Version() string
}

// A local key is in the memory of this process.
type local struct{ key *ecdsa.PrivateKey }

// LocalKey returns a key that this process holds.
func LocalKey(key *ecdsa.PrivateKey) Key { return local{key} }

func (l local) Public() *ecdsa.PublicKey { return &l.key.PublicKey }
func (l local) Version() string          { return artifact.KeyID(&l.key.PublicKey).Short() }

func (l local) Sign(ctx context.Context, digest []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return ecdsa.SignASN1(rand.Reader, l.key, digest)
}
