package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/internal/durable"
)

// Why an agent cannot be who it is.
var (
	ErrLocked = errors.New("another agent uses this state directory")
	ErrKey    = errors.New("the key file is not one ECDSA P-256 private key that only its owner may read")
)

// Files of the state directory.
const (
	lockFile      = "agent.lock"
	keyFile       = "site.key"
	trustFile     = "trusted_keys.json"
	enrolmentFile = "enrolment.json"
	roundsDir     = "rounds"
)

// An identity is the site's key, the keys that it trusts and its token, all
// kept in the state directory so that a restart is the same site.
type identity struct {
	dir       string
	lock      *os.File
	key       *ecdsa.PrivateKey
	trust     []*ecdsa.PublicKey // pinned; empty before the first enrolment
	enrolment v1.Enrolment
	records   *records
	floors    []consent.Floor // what the tenant's withdrawals have ended
}

// openIdentity takes the state directory for this process and loads or makes
// the key. A second agent on one directory would answer with the same name
// twice, so it gets [ErrLocked].
func openIdentity(o Options) (*identity, error) {
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(o.StateDir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// The lock goes with the process, however it ends.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w: %s", ErrLocked, o.StateDir)
	}
	id := &identity{dir: o.StateDir, lock: lock, trust: o.Trust}
	if err := id.load(); err != nil {
		lock.Close()
		return nil, err
	}
	return id, nil
}

func (id *identity) close() { id.lock.Close() }

func (id *identity) path(name string) string { return filepath.Join(id.dir, name) }

func (id *identity) load() error {
	var err error
	if id.key, err = loadKey(id.path(keyFile)); err != nil {
		return err
	}
	if id.records, err = newRecords(id.path(roundsDir), id.key); err != nil {
		return err
	}
	if len(id.trust) == 0 {
		var texts []string
		if err := readJSON(id.path(trustFile), &texts); err != nil {
			return err
		}
		if id.trust, err = parseKeys(texts); err != nil {
			return fmt.Errorf("%s: %w", id.path(trustFile), err)
		}
	}
	if err := readJSON(id.path(floorsFile), &id.floors); err != nil {
		return err
	}
	// A token that cannot be read is fetched anew.
	if readJSON(id.path(enrolmentFile), &id.enrolment) != nil {
		id.enrolment = v1.Enrolment{}
	}
	return nil
}

// keep remembers an enrolment. Keys are pinned once: later ones are compared
// by the caller and never replace them.
func (id *identity) keep(e v1.Enrolment) error {
	if len(id.trust) == 0 {
		keys, err := parseKeys(e.TrustedKeys)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return fmt.Errorf("the enrolment names no trusted key: %w", artifact.ErrKey)
		}
		// Pinned before the token is used: a crash in between enrols again.
		if err := writeJSON(id.path(trustFile), e.TrustedKeys); err != nil {
			return err
		}
		id.trust = keys
	}
	if err := writeJSON(id.path(enrolmentFile), e); err != nil {
		return err
	}
	id.enrolment = e
	return nil
}

// knows says whether the pinned keys are among those offered.
func (id *identity) knows(offered []string) bool {
	keys, err := parseKeys(offered)
	if err != nil {
		return false
	}
	for _, pinned := range id.trust {
		for _, key := range keys {
			if pinned.Equal(key) {
				return true
			}
		}
	}
	return false
}

func (id *identity) token() string { return id.enrolment.Token }

// forget drops a token that the fabric no longer takes.
func (id *identity) forget() { id.enrolment = v1.Enrolment{} }

// due says whether a new token should be fetched, and usable whether the old
// one may still be presented.
func (id *identity) due(now time.Time) bool {
	return id.enrolment.Token == "" || !now.Before(id.enrolment.RenewAfter)
}
func (id *identity) usable(now time.Time) bool {
	return id.enrolment.Token != "" && now.Before(id.enrolment.ExpiresAt)
}

// public returns the public key in PEM.
func (id *identity) public() (string, error) {
	text, err := artifact.MarshalPublicKey(&id.key.PublicKey)
	return string(text), err
}

// loadKey reads the private key, or makes it once.
func loadKey(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(content)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || artifact.CheckPublicKey(&key.PublicKey) != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrKey)
	}
	return key, nil
}

func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, durable.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func parseKeys(texts []string) ([]*ecdsa.PublicKey, error) {
	var keys []*ecdsa.PublicKey
	for _, text := range texts {
		key, err := artifact.ParsePublicKey([]byte(text))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readJSON leaves v as it is when there is no file.
func readJSON(path string, v any) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.Write(path, content, 0o600)
}
