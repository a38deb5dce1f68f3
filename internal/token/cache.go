package token

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/atom-fabric/fabric/domain/routing"
)

const (
	goodSets = 2048 // of ways entries: 8,192 tokens are remembered
	badSets  = 512
	ways     = 4
)

type cacheKey = [sha256.Size]byte

// An entry is what became of a token. It is never changed once it is in a cache.
type entry struct {
	id      cacheKey
	claims  Claims
	err     error // of a token that was refused
	until   int64 // nanoseconds since 1970
	kid     string
	key     any
	keys    uint64           // generation of the key set that it was checked with
	set     *routing.Revoked // that it was looked for in
	revoked bool
}

// A cache maps hashes of tokens to entries, of which it holds ways in each set
// and no more. Nothing is locked: a reader sees an entry whole or another one,
// and of two writers for one place the later wins. Who floods it with tokens that
// verify pushes out others of the same set, each for the price of a signature.
type cache struct{ sets [][ways]atomic.Pointer[entry] }

func newCache(sets int) *cache { return &cache{make([][ways]atomic.Pointer[entry], sets)} }

func (c *cache) set(id *cacheKey) *[ways]atomic.Pointer[entry] {
	return &c.sets[binary.LittleEndian.Uint64(id[:])%uint64(len(c.sets))]
}

func (c *cache) get(id cacheKey) *entry {
	set := c.set(&id)
	for i := range set {
		if e := set[i].Load(); e != nil && e.id == id {
			return e
		}
	}
	return nil
}

// put takes the place of the same token, else one that is free or over, else
// one that the hash chooses.
func (c *cache) put(e *entry, now int64) {
	set := c.set(&e.id)
	place := int(e.id[8]) % ways
	for i := range set {
		old := set[i].Load()
		if old != nil && old.id == e.id {
			place = i
			break
		}
		if old == nil || old.until <= now {
			place = i
		}
	}
	set[place].Store(e)
}

// A front finds the entries of the tokens that come most often without SHA-256,
// which would be most of what such a call costs. It compares the whole token;
// where it looks is a secret of the process, so nobody learns by timing how much of
// somebody's token was right. Long tokens are not in it: its size is bounded.
type front struct {
	seed  maphash.Seed
	slots [512]atomic.Pointer[recent]
}

type recent struct {
	raw string
	id  cacheKey
}

const longestRecent = 1 << 10

func newFront() *front { return &front{seed: maphash.MakeSeed()} }

// id returns the hash of a token.
func (f *front) id(raw string) cacheKey {
	if len(raw) > longestRecent {
		return sha256.Sum256([]byte(raw))
	}
	slot := &f.slots[maphash.String(f.seed, raw)%uint64(len(f.slots))]
	if r := slot.Load(); r != nil && r.raw == raw {
		return r.id
	}
	var text [longestRecent]byte
	return sha256.Sum256(text[:copy(text[:], raw)])
}

// keep notes a token that verified.
func (f *front) keep(raw string, id cacheKey) {
	if len(raw) <= longestRecent {
		f.slots[maphash.String(f.seed, raw)%uint64(len(f.slots))].Store(&recent{strings.Clone(raw), id})
	}
}

// generations is a key source that says when its keys have changed.
type generations interface{ Generation() uint64 }

// generation is 0 for a source that does not say.
func generation(keys KeySource) uint64 {
	if g, ok := keys.(generations); ok {
		return g.Generation()
	}
	return 0
}

func sameKey(a, b any) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
