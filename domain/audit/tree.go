package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/bits"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrHash says that a text is not the base64, or the digest, of 32 bytes.
var ErrHash = errors.New("not a hash")

// A Hash is a node of the tree.
type Hash [sha256.Size]byte

// String returns the hash in the base64 that checkpoints use.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// MarshalText is [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads [Hash.String], exactly.
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(h) {
		return ErrHash
	}
	*h = Hash(raw)
	return nil
}

// HashOf returns the hash that a digest names. Errors: [ErrHash].
func HashOf(d artifact.Digest) (Hash, error) {
	if _, err := artifact.ParseDigest(string(d)); err != nil {
		return Hash{}, ErrHash
	}
	raw, err := hex.DecodeString(d.Hex())
	if err != nil {
		return Hash{}, ErrHash
	}
	return Hash(raw), nil
}

// Digest names the hash as a digest.
func (h Hash) Digest() artifact.Digest {
	return artifact.Digest("sha256:" + hex.EncodeToString(h[:]))
}

// LeafHash returns SHA-256(0x00 || body): RFC 6962 section 2.1. The prefix
// keeps a leaf from passing for a node.
func LeafHash(body []byte) Hash {
	buf := make([]byte, 1, 1+len(body))
	return sha256.Sum256(append(buf, body...))
}

// NodeHash returns SHA-256(0x01 || left || right).
func NodeHash(left, right Hash) Hash {
	var buf [1 + 2*sha256.Size]byte
	buf[0] = 1
	copy(buf[1:], left[:])
	copy(buf[1+sha256.Size:], right[:])
	return sha256.Sum256(buf[:])
}

// EmptyRoot returns the root of the tree without leaves: SHA-256 of nothing.
func EmptyRoot() Hash { return sha256.Sum256(nil) }

// A Place is where a complete subtree stands: it has 2^Level leaves, and
// Index*2^Level of the log's leaves are to its left.
type Place struct {
	Level int
	Index int64
}

// A Node is a complete subtree's hash at its place.
type Node struct {
	Place
	Hash Hash
}

// A Tree is all that an append must know: how many leaves there are, and the
// hashes of the maximal complete subtrees, largest first, one for each bit that
// is set in Size. It is 64 hashes at most, whatever the number of leaves.
type Tree struct {
	Size     int64
	Frontier []Hash
}

// Whole reports whether the frontier has as many hashes as the size asks for.
func (t Tree) Whole() bool {
	return t.Size >= 0 && len(t.Frontier) == bits.OnesCount64(uint64(t.Size))
}

// Append returns the tree with one leaf more, and the nodes that the leaf
// completed, lowest first, its own at level 0. t must be [Tree.Whole]; it is
// not changed.
func (t Tree) Append(leaf Hash) (Tree, []Node) {
	frontier := append(make([]Hash, 0, len(t.Frontier)+1), t.Frontier...)
	at := Node{Place{0, t.Size}, leaf}
	done := []Node{at}
	for at.Index&1 == 1 { // a left sibling waits at the end of the frontier
		last := len(frontier) - 1
		at = Node{Place{at.Level + 1, at.Index >> 1}, NodeHash(frontier[last], at.Hash)}
		frontier = frontier[:last]
		done = append(done, at)
	}
	return Tree{t.Size + 1, append(frontier, at.Hash)}, done
}

// Root returns the tree head: the frontier folded from its smallest subtree.
func (t Tree) Root() Hash {
	if len(t.Frontier) == 0 {
		return EmptyRoot()
	}
	return fold(t.Frontier)
}

// fold hashes subtrees that stand side by side, largest first, into one.
func fold(hashes []Hash) Hash {
	root := hashes[len(hashes)-1]
	for i := len(hashes) - 2; i >= 0; i-- {
		root = NodeHash(hashes[i], root)
	}
	return root
}

// FrontierPlaces returns where the frontier of a tree of size leaves stands.
func FrontierPlaces(size int64) []Place { return span{0, size}.places() }
