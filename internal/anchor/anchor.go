// Package anchor is where a process takes its trust from: a file with the
// chain of signed trust policies, or public keys that were pinned by hand.
//
// Invariant: a policy is in force only if it follows, version by version, from
// the one that the settings pin, and is not older than one that this process
// has seen, before a restart either. A file that cannot be used changes
// nothing; the policy that is in force still ends when it expires.
package anchor

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/durable"
)

// ErrUnpinned says that a policy was named without the digest that pins it.
var ErrUnpinned = errors.New("a trust policy needs FABRIC_TRUST_ROOT, the digest of its first version")

// seenFile is where a process remembers the newest policy that it has seen.
const seenFile = "trust-seen.json"

// maxFile bounds what is read; the chain has its own bound below that.
const maxFile = 32 << 20

// From returns the source of trust that the settings name: the policy where
// there is one, else the pinned keys.
// Errors: [config.ErrSetting] around [ErrUnpinned], those of [Open], and what
// is wrong with a public key.
func From(c config.Config, log *slog.Logger) (trust.Source, error) {
	if c.TrustPolicy == "" {
		keys, err := Pinned(c)
		if err != nil {
			return nil, err
		}
		return trust.Pin(keys...)
	}
	pin, err := artifact.ParseDigest(c.TrustRoot)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", config.ErrSetting, ErrUnpinned)
	}
	store, err := Open(Options{Path: c.TrustPolicy, Pin: pin, Dir: c.StateDir, Log: log})
	if err != nil {
		return nil, fmt.Errorf("%w: FABRIC_TRUST_POLICY: %w", config.ErrSetting, err)
	}
	return store, nil
}

// Environment is the one that a process's rules of trust are those of. What has
// no database is in production when it says so: FABRIC_ENV=prod, or
// SIMULATION_MODE=false.
func Environment(c config.Config) string {
	if c.Simulation() && (c.Env != "prod" || c.SimulationMode == "true") {
		return trust.Simulation
	}
	return trust.Production
}

// Pinned reads the public keys that FABRIC_TRUST_KEY names, or the one beside
// the signing key; more than one, separated by commas, while one replaces
// another.
// Errors: [config.ErrSetting].
func Pinned(c config.Config) ([]*ecdsa.PublicKey, error) {
	paths := c.TrustKey
	if paths == "" && c.CosignKeyPath != "" {
		paths = strings.TrimSuffix(c.CosignKeyPath, ".key") + ".pub"
	}
	var keys []*ecdsa.PublicKey
	for _, path := range config.List(paths) {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w: FABRIC_TRUST_KEY: %w", config.ErrSetting, err)
		}
		key, err := artifact.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("%w: FABRIC_TRUST_KEY: %w", config.ErrSetting, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: set FABRIC_TRUST_POLICY, or FABRIC_TRUST_KEY to the public key that signs snapshots and packages", config.ErrSetting)
	}
	return keys, nil
}

// Options say where a policy is and what pins it.
type Options struct {
	Path string
	Pin  artifact.Digest
	Dir  string // where the newest version that was seen is remembered; empty: nowhere
	Log  *slog.Logger
}

// A Store is a policy file. It is safe for concurrent use.
type Store struct {
	opts Options

	mu    sync.Mutex
	file  fs.FileInfo // as it was when it was last read, usable or not
	chain trust.Chain
	judge *trust.Judge
}

// Open reads the policy.
// Errors: those of [trust.Open]; what the system says of the file.
func Open(o Options) (*Store, error) {
	s := &Store{opts: o}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// Judge returns the judge of the newest policy. It looks at the file first, so
// that a revocation counts from the next question on.
func (s *Store) Judge() (*trust.Judge, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if info, err := os.Stat(s.opts.Path); err != nil || !same(info, s.file) {
		if err := s.read(); err != nil && s.opts.Log != nil {
			s.opts.Log.Warn("the trust policy's file cannot be used; the version before stays in force", "file", s.opts.Path, "version", s.chain.Mark().Version, "err", err)
		}
	}
	return s.judge, nil
}

// Chain returns every version that is known.
func (s *Store) Chain() trust.Chain {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chain
}

func same(a, b fs.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read takes the file into force, or nothing.
func (s *Store) read() error {
	info, err := os.Stat(s.opts.Path)
	if err != nil {
		return err
	}
	s.file = info // before it is read: what changes meanwhile is read again
	if info.Size() > maxFile {
		return artifact.ErrTooLarge
	}
	text, err := os.ReadFile(s.opts.Path)
	if err != nil {
		return err
	}
	seen, err := s.seen()
	if err != nil {
		return err
	}
	chain, err := trust.Open(text, s.opts.Pin, seen)
	if err != nil {
		return err
	}
	judge, err := chain.Judge()
	if err != nil {
		return err
	}
	// Remembered before it is used: a crash in between cannot let an older one in.
	if err := s.remember(seen, chain.Mark()); err != nil {
		return err
	}
	s.chain, s.judge = chain, judge
	return nil
}

// seen is the newer one of what this process holds and what is on disk.
func (s *Store) seen() (trust.Mark, error) {
	mark := s.chain.Mark()
	if s.opts.Dir == "" {
		return mark, nil
	}
	text, err := os.ReadFile(filepath.Join(s.opts.Dir, seenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return mark, nil
	}
	if err != nil {
		return mark, err
	}
	var kept struct {
		Pin artifact.Digest `json:"pin"`
		trust.Mark
	}
	if err := json.Unmarshal(text, &kept); err != nil {
		return mark, fmt.Errorf("%s: %w", seenFile, err)
	}
	if kept.Pin == s.opts.Pin && kept.Version > mark.Version {
		return kept.Mark, nil
	}
	return mark, nil
}

// remember writes the mark where it has grown.
func (s *Store) remember(seen, now trust.Mark) error {
	if s.opts.Dir == "" || now == seen && s.chain.Mark() == seen {
		return nil
	}
	text, err := json.Marshal(struct {
		Pin artifact.Digest `json:"pin"`
		trust.Mark
	}{s.opts.Pin, now})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return err
	}
	return durable.Write(filepath.Join(s.opts.Dir, seenFile), text, 0o600)
}
