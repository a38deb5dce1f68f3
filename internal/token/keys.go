package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/atom-fabric/fabric/internal/durable"
)

// ErrKeySet says that a text is not a usable JSON Web Key Set.
var ErrKeySet = errors.New("not a usable key set")

const (
	maxKeySet = 256 << 10
	// reloadEvery bounds how often an unknown key id may make us read the set
	// again, so that invented ids cost the issuer nothing.
	reloadEvery = 5 * time.Second
	// refreshEvery is how long a key that the issuer withdrew may live on.
	refreshEvery = time.Minute
)

// StaticKeys is a key set that never changes.
type StaticKeys map[string]any

// Key implements [KeySource].
func (s StaticKeys) Key(_ context.Context, id string) (any, error) {
	if key, ok := s[id]; ok {
		return key, nil
	}
	return nil, ErrKey
}

// ParseKeySet reads a JWKS (RFC 7517). Keys without an id, for encryption or
// of a kind that no accepted algorithm uses are left out; a private key makes
// the whole set unusable, because it has been given away.
func ParseKeySet(text []byte) (StaticKeys, error) {
	set, err := jwk.Parse(text)
	if err != nil {
		return nil, ErrKeySet
	}
	keys := StaticKeys{}
	for i := range set.Len() {
		key, _ := set.Key(i)
		if private, err := jwk.IsPrivateKey(key); err == nil && private {
			return nil, fmt.Errorf("it holds a private key: %w", ErrKeySet)
		}
		id, named := key.KeyID()
		if use, set := key.KeyUsage(); !named || id == "" || set && use != "sig" {
			continue
		}
		if _, twice := keys[id]; twice {
			return nil, fmt.Errorf("a key id occurs twice: %w", ErrKeySet)
		}
		var raw any
		if err := jwk.Export(key, &raw); err != nil {
			return nil, ErrKeySet
		}
		switch k := raw.(type) {
		case *ecdsa.PublicKey:
			if k.Curve == elliptic.P256() {
				keys[id] = k
			}
		case *rsa.PublicKey:
			if k.N.BitLen() >= 2048 {
				keys[id] = k
			}
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key for ES256 or RS256: %w", ErrKeySet)
	}
	return keys, nil
}

// A KeyFile is a key set behind a path or URL. It is read when first needed,
// again when it is old, and when a token names a key that is not in it; if that
// fails the last good set stays. Safe for concurrent use; who asks for a key
// that is known waits for no issuer while [KeyFile.Run] does its part.
type KeyFile struct {
	from    string
	backup  string // where the last good set is kept for a start without the issuer; "" for nowhere
	client  *http.Client
	now     func() time.Time
	current atomic.Pointer[keyState]
	running atomic.Bool

	mu    sync.Mutex // of a load
	tried time.Time
}

// A keyState is a set as it was read.
type keyState struct {
	keys       StaticKeys
	got        time.Time
	generation uint64
}

// NewKeyFile returns the key set at a path, an https URL, or an http URL of
// this machine. A set that came by URL is also kept at backup, if not "". A
// client of nil is the default one; a load takes three seconds at most.
func NewKeyFile(from, backup string, client *http.Client, now func() time.Time) (*KeyFile, error) {
	if at, err := url.Parse(from); err == nil && at.Host != "" {
		if at.Scheme != "https" && (at.Scheme != "http" || !loopback(at.Hostname())) {
			return nil, fmt.Errorf("%s://%s: a key set comes by https, or from this machine", at.Scheme, at.Host)
		}
		if at.User != nil {
			return nil, errors.New("the URL of a key set must not hold credentials")
		}
	} else {
		backup = ""
	}
	if client == nil {
		client = http.DefaultClient
	}
	f := &KeyFile{from: from, backup: backup, client: client, now: now}
	f.current.Store(&keyState{})
	return f, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Generation counts the changes of the set.
func (f *KeyFile) Generation() uint64 { return f.current.Load().generation }

// Run reads the set every minute until ctx ends: a key that its issuer withdrew
// is dropped, and a new one is there before a token names it.
func (f *KeyFile) Run(ctx context.Context) {
	f.running.Store(true)
	defer f.running.Store(false)
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		f.mu.Lock()
		_ = f.refresh(ctx) // the last good set stays
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Key implements [KeySource].
func (f *KeyFile) Key(ctx context.Context, id string) (any, error) {
	state := f.current.Load()
	key, known := state.keys[id]
	now := f.now()
	if known && (f.running.Load() || now.Sub(state.got) <= refreshEvery) {
		return key, nil
	}
	if known {
		if !f.mu.TryLock() {
			return key, nil // somebody reads it
		}
	} else {
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if now.Sub(f.tried) >= reloadEvery {
		if err := f.refresh(ctx); err != nil && f.current.Load().keys == nil {
			return nil, errors.Join(ErrKey, err)
		}
	}
	return f.current.Load().keys.Key(ctx, id)
}

// refresh reads the set. Whoever calls it holds mu.
func (f *KeyFile) refresh(ctx context.Context) error {
	f.tried = f.now()
	keys, err := f.load(ctx)
	if err != nil {
		return err
	}
	old := f.current.Load()
	next := &keyState{keys: keys, got: f.tried, generation: old.generation}
	if !maps.EqualFunc(keys, old.keys, sameKey) {
		next.generation++
	}
	f.current.Store(next)
	return nil
}

// load reads the set from where it lives, or, before any was read, from the
// copy of an earlier process.
func (f *KeyFile) load(ctx context.Context) (StaticKeys, error) {
	text, err := f.read(ctx)
	if err == nil {
		keys, err := ParseKeySet(text)
		if err == nil {
			f.keep(text)
		}
		return keys, err
	}
	if f.current.Load().keys == nil && f.backup != "" {
		if text, fileErr := os.ReadFile(f.backup); fileErr == nil {
			return ParseKeySet(text)
		}
	}
	return nil, err
}

func (f *KeyFile) read(ctx context.Context) ([]byte, error) {
	at, err := url.Parse(f.from)
	if err != nil || at.Host == "" {
		file, err := os.Open(f.from)
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		defer file.Close()
		return bounded(file)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.from, nil)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("key set: status %d", resp.StatusCode)
	}
	return bounded(resp.Body)
}

func bounded(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxKeySet+1))
	if err == nil && len(text) > maxKeySet {
		return nil, fmt.Errorf("longer than %d bytes: %w", maxKeySet, ErrKeySet)
	}
	return text, err
}

// keep writes the copy. One that cannot be written costs a restart without the
// issuer only.
func (f *KeyFile) keep(text []byte) {
	if f.backup == "" {
		return
	}
	_ = durable.Write(f.backup, text, 0o600)
}
