// Package logkey keeps the key that signs the audit log's checkpoints: an
// Ed25519 key in the form of Go's checksum database, golang.org/x/mod/sumdb/note.
//
// Invariant: the key signs checkpoints of the log that it is named for and
// nothing else, and is read only from a file that its owner alone can read.
package logkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/atom-fabric/fabric/domain/audit"
)

// Why a key cannot be used.
var (
	ErrMode   = errors.New("key file may be read by others than its owner: chmod 600")
	ErrKey    = errors.New("not the key of a log: want PRIVATE+KEY+name+id+base64 on one line")
	ErrOrigin = errors.New("the key is of another log")
	ErrExists = errors.New("key file exists already")
)

// A Key signs one log. It prints as its verifier.
type Key struct {
	signer   note.Signer
	verifier audit.Verifier
}

// Load reads a key file. A verifier key beside it must be its own.
func Load(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("log key %s: %w", path, ErrMode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	line := strings.TrimSuffix(string(text), "\n")
	signer, err := note.NewSigner(line)
	if err != nil {
		return nil, fmt.Errorf("log key %s: %w", path, ErrKey) // err would not quote the key today; nothing says so
	}
	// NewSigner has read the same five fields; it does not tell the public key.
	fields := strings.SplitN(line, "+", 5)
	seed, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, fmt.Errorf("log key %s: %w", path, ErrKey)
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	verifier, err := audit.ParseVerifier(audit.VerifierKey(signer.Name(), public))
	if err != nil {
		return nil, fmt.Errorf("log key %s: %w", path, err)
	}
	if beside, err := LoadVerifier(PublicPath(path)); err == nil && beside.String() != verifier.String() {
		return nil, fmt.Errorf("log key %s is not that of %s: %w", path, PublicPath(path), ErrKey)
	}
	return &Key{signer, verifier}, nil
}

// PublicPath is where the verifier key of a key file is.
func PublicPath(path string) string { return strings.TrimSuffix(path, ".key") + ".pub" }

// LoadVerifier reads a file with one verifier key.
func LoadVerifier(path string) (audit.Verifier, error) {
	file, err := os.Open(path)
	if err != nil {
		return audit.Verifier{}, fmt.Errorf("log's verifier key: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return audit.Verifier{}, fmt.Errorf("log's verifier key: %w", err)
	}
	v, err := audit.ParseVerifier(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return audit.Verifier{}, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// Generate makes the key of a log that has none, and its verifier key beside
// it. Of two processes that come together one makes it; the other is told
// [ErrExists] and may load it.
func Generate(path, origin string) (*Key, error) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("origin %q: %w", origin, err)
	}
	if _, err := audit.ParseVerifier(public); err != nil {
		return nil, fmt.Errorf("origin %q: %w", origin, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := place(path, private, 0o600, os.Link); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s: %w", path, ErrExists)
		}
		return nil, err
	}
	if err := place(PublicPath(path), public, 0o644, os.Rename); err != nil {
		return nil, err
	}
	return Load(path)
}

// place makes a file that is complete or absent whenever the machine stops.
func place(path, text string, mode fs.FileMode, name func(from, to string) error) error {
	draft, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name()) // gone already when it was renamed
	_, err = draft.WriteString(text + "\n")
	if err := errors.Join(err, draft.Chmod(mode), draft.Sync(), draft.Close()); err != nil {
		return err
	}
	return name(draft.Name(), path)
}

// Origin is the name of the log.
func (k *Key) Origin() string { return k.verifier.Origin }

// Verifier is what auditors pin.
func (k *Key) Verifier() audit.Verifier { return k.verifier }

// String is the verifier key, never the private one.
func (k *Key) String() string { return k.verifier.String() }

// GoString is [Key.String].
func (k *Key) GoString() string { return k.String() }

// Sign returns the checkpoint as a signed note.
func (k *Key) Sign(point audit.Checkpoint) (string, error) {
	if point.Origin != k.verifier.Origin {
		return "", fmt.Errorf("checkpoint of %q: %w", point.Origin, ErrOrigin)
	}
	signed, err := note.Sign(&note.Note{Text: point.Text()}, k.signer)
	return string(signed), err
}

// Open returns the checkpoint of a note that this key signed.
func (k *Key) Open(signed string) (audit.Checkpoint, error) { return k.verifier.Open(signed) }
