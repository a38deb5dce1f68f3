//go:build !cgo

package hsm

import (
	"context"
	"crypto/ecdsa"
)

// A Key is what a build without cgo cannot open.
type Key struct{}

// Open checks the URI, and refuses.
// Errors: [ErrURI], [ErrPIN], [ErrNoCgo].
func Open(uri, pin string) (*Key, error) {
	l, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	if _, err := l.readPIN(pin); err != nil {
		return nil, err
	}
	return nil, ErrNoCgo
}

// Generate refuses as [Open] does.
func Generate(uri, pin string) (*Key, error) { return Open(uri, pin) }

// Public returns no key.
func (k *Key) Public() *ecdsa.PublicKey { return nil }

// Version returns no name.
func (k *Key) Version() string { return "" }

// Sign refuses.
func (k *Key) Sign(context.Context, []byte) ([]byte, error) { return nil, ErrNoCgo }

// Close does nothing.
func (k *Key) Close() error { return nil }
