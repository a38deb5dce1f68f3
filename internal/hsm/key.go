//go:build cgo

package hsm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/ThalesIgnite/crypto11"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Key is one key pair of a token.
type Key struct {
	context *crypto11.Context
	signer  crypto11.Signer
	public  *ecdsa.PublicKey
	name    string
}

// Open loads the module that the URI names, logs in, and finds the key pair.
// The URI is that of RFC 7512: "pkcs11:token=T;object=K?module-path=/lib.so",
// with pin-source=file:/path when no PIN is given.
// Errors: [ErrURI], [ErrPIN], [ErrToken], [ErrMissing], [artifact.ErrKey].
func Open(uri, pin string) (*Key, error) {
	l, session, err := login(uri, pin)
	if err != nil {
		return nil, err
	}
	key, err := find(l, session)
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return key, nil
}

// Generate makes a P-256 key pair in the token, under the URI's object and id,
// and opens it. The private half cannot leave the token.
// Errors: those of [Open]; [ErrToken] also when there is such a key already.
func Generate(uri, pin string) (*Key, error) {
	l, session, err := login(uri, pin)
	if err != nil {
		return nil, err
	}
	key, err := generate(l, session)
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return key, nil
}

func generate(l location, session *crypto11.Context) (*Key, error) {
	if there, err := session.FindKeyPair(l.id, label(l)); err != nil || there != nil {
		return nil, fmt.Errorf("%w: %s: it is there already, or cannot be looked for", ErrToken, l)
	}
	id := l.id
	if id == nil {
		id = make([]byte, 16)
		if _, err := rand.Read(id); err != nil {
			return nil, err
		}
	}
	var err error
	if l.object == "" {
		_, err = session.GenerateECDSAKeyPair(id, elliptic.P256())
	} else {
		_, err = session.GenerateECDSAKeyPairWithLabel(id, label(l), elliptic.P256())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: generate %s: %w", ErrToken, l, err)
	}
	return find(l, session)
}

func login(uri, given string) (location, *crypto11.Context, error) {
	l, err := parseURI(uri)
	if err != nil {
		return l, nil, err
	}
	pin, err := l.readPIN(given)
	if err != nil {
		return l, nil, err
	}
	session, err := crypto11.Configure(&crypto11.Config{
		Path: l.module, TokenLabel: l.token, Pin: pin, MaxSessions: 8, PoolWaitTimeout: 10 * time.Second,
	})
	if err != nil {
		return l, nil, fmt.Errorf("%w: %s: %w", ErrToken, l, err)
	}
	return l, session, nil
}

func find(l location, session *crypto11.Context) (*Key, error) {
	pairs, err := session.FindKeyPairs(l.id, label(l))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrToken, l, err)
	case len(pairs) == 0:
		return nil, fmt.Errorf("%w: %s", ErrMissing, l)
	case len(pairs) > 1:
		return nil, fmt.Errorf("%w: the token has %d key pairs %s", ErrURI, len(pairs), l)
	}
	public, ok := pairs[0].Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: %w: it is a %T", l, artifact.ErrKey, pairs[0].Public())
	}
	if err := artifact.CheckPublicKey(public); err != nil {
		return nil, fmt.Errorf("%s: %w", l, err)
	}
	return &Key{context: session, signer: pairs[0], public: public, name: l.String()}, nil
}

func label(l location) []byte {
	if l.object == "" {
		return nil
	}
	return []byte(l.object)
}

// Public returns the public key.
func (k *Key) Public() *ecdsa.PublicKey { return k.public }

// Version returns the names of the token and the key.
func (k *Key) Version() string { return k.name }

// Sign has the token sign a SHA-256 digest.
// Errors: [ErrToken], [ErrSignature].
func (k *Key) Sign(ctx context.Context, digest []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	der, err := k.signer.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrToken, k.name, err)
	}
	if !ecdsa.VerifyASN1(k.public, digest, der) {
		return nil, fmt.Errorf("%w: %s", ErrSignature, k.name)
	}
	return der, nil
}

// Close logs out.
func (k *Key) Close() error { return k.context.Close() }
