// Package cosign signs with cosign key pairs and verifies what they signed,
// through the cosign and sigstore libraries. Nothing else imports them.
//
// Invariant: a [Signer] returns no bundle that does not verify, and a
// [Verifier] accepts a subset of what [artifact.VerifyBundle] accepts, so that
// sites and routers never refuse what the control plane has let in.
package cosign

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a key file is refused.
var (
	ErrExposed  = errors.New("readable by others than its owner; want mode 0600")
	ErrKeyFile  = errors.New("not an encrypted cosign private key")
	ErrPassword = errors.New("wrong password, or the file was altered")
)

// maxKeyFile is many times the size of a key file.
const maxKeyFile = 64 << 10

// A KeyError says which file was refused, and why.
type KeyError struct {
	Path string
	Err  error
}

func (e *KeyError) Error() string { return fmt.Sprintf("key %s: %v", e.Path, e.Err) }
func (e *KeyError) Unwrap() error { return e.Err }

// A PasswordFunc returns the password of a key file. It is asked only when the
// file is one.
type PasswordFunc func() ([]byte, error)

// LoadPrivateKey reads an ECDSA P-256 key from a file that cosign
// generate-key-pair or [GenerateKeyPair] wrote.
// Errors: [*KeyError] with [ErrExposed], [ErrKeyFile], [ErrPassword],
// [artifact.ErrKey] or what the system says of the file.
func LoadPrivateKey(path string, password []byte) (*ecdsa.PrivateKey, error) {
	return loadKey(path, func() ([]byte, error) { return password, nil })
}

func loadKey(path string, password PasswordFunc) (*ecdsa.PrivateKey, error) {
	key, err := decryptKey(path, password)
	if err != nil {
		return nil, &KeyError{Path: path, Err: err}
	}
	return key, nil
}

func decryptKey(path string, password PasswordFunc) (*ecdsa.PrivateKey, error) {
	content, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(content)
	if block == nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: not exactly one PEM block", ErrKeyFile)
	}
	if block.Type != cosign.SigstorePrivateKeyPemType && block.Type != cosign.CosignPrivateKeyPemType {
		return nil, fmt.Errorf("%w: PEM block %q", ErrKeyFile, block.Type)
	}
	pass, err := password()
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	der, err := encrypted.Decrypt(block.Bytes, pass)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassword, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not PKCS#8", ErrKeyFile)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: it is a %T", artifact.ErrKey, parsed)
	}
	return key, artifact.CheckPublicKey(&key.PublicKey)
}

// readPrivate reads a file that only its owner can read. The mode is that of
// the opened file, so that it cannot be exchanged in between.
func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrKeyFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("mode %04o: %w", info.Mode().Perm(), ErrExposed)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrKeyFile, maxKeyFile)
	}
	return content, nil
}

// GenerateKeyPair writes <dir>/<name>.key, encrypted with the password and
// readable by its owner only, and <dir>/<name>.pub, as cosign
// generate-key-pair does; the stock command line reads both. It never replaces
// a private key ([os.ErrExist]). After a crash there is either no private key
// or a whole one, perhaps without the public file beside it.
func GenerateKeyPair(dir, name string, password []byte) error {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return fmt.Errorf("generate key pair %s: %w", name, err)
	}
	if err := create(filepath.Join(dir, name+".key"), pair.PrivateBytes, 0o600, os.Link); err != nil {
		return err
	}
	return create(filepath.Join(dir, name+".pub"), pair.PublicBytes, 0o644, os.Rename)
}

// create writes a file under another name, makes it durable, and gives it its
// name by place: [os.Link] refuses an existing file, [os.Rename] replaces it.
func create(path string, content []byte, mode os.FileMode, place func(from, to string) error) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // after a rename there is nothing to remove
	defer temp.Close()
	if err := temp.Chmod(mode); err != nil {
		return err
	}
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := place(temp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
