package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// vectors of other implementations; each file names its source.
func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile("../../tests/vectors/rfc6962/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

type treeVectors struct {
	Leaves    []string
	Nodes     [][]string
	Roots     []string
	Inclusion []struct {
		Index, Size int64
		Proof       []string
	}
	Consistency []struct {
		OldSize, Size int64
		Proof         []string
	}
}

func unhex(t *testing.T, texts []string) []Hash {
	t.Helper()
	var out []Hash
	for _, text := range texts {
		raw, err := hex.DecodeString(text)
		require.NoError(t, err)
		out = append(out, Hash(raw))
	}
	return out
}

// grow appends the vectors' leaves, and returns every tree and a reader of nodes.
func grow(t *testing.T, v treeVectors) ([]Tree, Nodes) {
	t.Helper()
	trees := []Tree{{}}
	stored := map[Place]Hash{}
	for _, leaf := range v.Leaves {
		body, err := hex.DecodeString(leaf)
		require.NoError(t, err)
		next, done := trees[len(trees)-1].Append(LeafHash(body))
		trees = append(trees, next)
		for _, n := range done {
			stored[n.Place] = n.Hash
		}
	}
	return trees, reader(stored)
}

var errNoNode = errors.New("no such node")

func reader(stored map[Place]Hash) Nodes {
	return func(places []Place) ([]Hash, error) {
		var out []Hash
		for _, p := range places {
			h, ok := stored[p]
			if !ok {
				return nil, errNoNode
			}
			out = append(out, h)
		}
		return out, nil
	}
}

func TestTreeAgainstCertificateTransparency(t *testing.T) {
	var v treeVectors
	readVectors(t, "tree.json", &v)
	trees, nodes := grow(t, v)
	for size, want := range unhex(t, v.Roots) {
		require.True(t, trees[size].Whole())
		require.Equal(t, want, trees[size].Root(), "root of %d leaves", size)
	}
	for level, row := range v.Nodes {
		for i, want := range unhex(t, row) {
			got, err := nodes([]Place{{level, int64(i)}})
			require.NoError(t, err)
			require.Equal(t, want, got[0], "node %d at level %d", i, level)
		}
	}
	for _, c := range v.Inclusion {
		got, err := ProveInclusion(c.Index, c.Size, nodes)
		require.NoError(t, err)
		require.Equal(t, unhex(t, c.Proof), got, "leaf %d of %d", c.Index, c.Size)
	}
	for _, c := range v.Consistency {
		got, err := ProveConsistency(c.OldSize, c.Size, nodes)
		require.NoError(t, err)
		require.Equal(t, unhex(t, c.Proof), got, "from %d to %d", c.OldSize, c.Size)
	}
}

// A log of the world, with millions of leaves, that other people verify.
func TestProofsOfArgon2020(t *testing.T) {
	var v struct {
		Size, Index, OldSize int64
		Root, Leaf, OldRoot  []byte
		Inclusion            [][]byte
		Consistency          [][]byte
	}
	readVectors(t, "argon2020.json", &v)
	hashes := func(raw [][]byte) (out []Hash) {
		for _, h := range raw {
			out = append(out, Hash(h))
		}
		return out
	}
	require.NoError(t, VerifyInclusion(v.Index, v.Size, LeafHash(v.Leaf), hashes(v.Inclusion), Hash(v.Root)))
	require.NoError(t, VerifyConsistency(v.OldSize, v.Size, Hash(v.OldRoot), Hash(v.Root), hashes(v.Consistency)))
	require.ErrorIs(t, VerifyInclusion(v.Index+1, v.Size, LeafHash(v.Leaf), hashes(v.Inclusion), Hash(v.Root)), ErrProof)
	require.ErrorIs(t, VerifyConsistency(v.OldSize+1, v.Size, Hash(v.OldRoot), Hash(v.Root), hashes(v.Consistency)), ErrProof)
}

// reference is RFC 6962 section 2.1 as it is written there.
func reference(leaves [][]byte) Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return LeafHash(leaves[0])
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		return NodeHash(reference(leaves[:k]), reference(leaves[k:]))
	}
}

// Every proof of every tree up to 70 leaves verifies; no proof that was altered
// in any one place does.
func TestEveryProofOfSmallTrees(t *testing.T) {
	const most = 70
	var leaves [][]byte
	trees, stored := []Tree{{}}, map[Place]Hash{}
	for i := range most {
		leaves = append(leaves, []byte(fmt.Sprint("leaf ", i)))
		next, done := trees[i].Append(LeafHash(leaves[i]))
		trees = append(trees, next)
		for _, n := range done {
			stored[n.Place] = n.Hash
		}
		require.Equal(t, reference(leaves), next.Root(), "%d leaves", i+1)
	}
	nodes := reader(stored)
	for size := int64(1); size <= most; size++ {
		root := trees[size].Root()
		frontier, err := nodes(FrontierPlaces(size))
		require.NoError(t, err)
		require.Equal(t, trees[size].Frontier, frontier)
		for index := range size {
			proof, err := ProveInclusion(index, size, nodes)
			require.NoError(t, err)
			leaf := LeafHash(leaves[index])
			require.NoError(t, VerifyInclusion(index, size, leaf, proof, root))
			for i, bad := range altered(proof) {
				require.ErrorIs(t, VerifyInclusion(index, size, leaf, bad, root), ErrProof, "leaf %d of %d, alteration %d", index, size, i)
			}
			require.ErrorIs(t, VerifyInclusion(index, size, LeafHash([]byte("other")), proof, root), ErrProof)
		}
		for old := range size + 1 {
			proof, err := ProveConsistency(old, size, nodes)
			require.NoError(t, err)
			oldRoot := trees[old].Root()
			require.NoError(t, VerifyConsistency(old, size, oldRoot, root, proof))
			for i, bad := range altered(proof) {
				require.ErrorIs(t, VerifyConsistency(old, size, oldRoot, root, bad), ErrProof, "from %d to %d, alteration %d", old, size, i)
			}
			require.ErrorIs(t, VerifyConsistency(old, size, LeafHash([]byte("other")), root, proof), ErrProof)
			if old > 0 { // the empty log is a prefix of any
				require.ErrorIs(t, VerifyConsistency(old, size, oldRoot, LeafHash([]byte("other")), proof), ErrProof)
			}
		}
	}
}

// altered returns the proof with one bit changed, one hash less, one more.
func altered(proof []Hash) [][]Hash {
	var out [][]Hash
	for i := range proof {
		bad := append([]Hash(nil), proof...)
		bad[i][31] ^= 1
		out = append(out, bad, append(append([]Hash(nil), proof[:i]...), proof[i+1:]...))
	}
	return append(out, append(append([]Hash(nil), proof...), Hash{}))
}

func TestProofsRefuse(t *testing.T) {
	none := func([]Place) ([]Hash, error) { return nil, nil }
	tests := []struct {
		name string
		call func() error
		want error
	}{
		{"a leaf below the log", func() error { _, err := ProveInclusion(-1, 4, none); return err }, ErrRange},
		{"a leaf above the log", func() error { _, err := ProveInclusion(4, 4, none); return err }, ErrRange},
		{"a log that shrinks", func() error { _, err := ProveConsistency(5, 4, none); return err }, ErrRange},
		{"nodes that are not there", func() error { _, err := ProveInclusion(1, 4, none); return err }, ErrProof},
		{"a failing store", func() error { _, err := ProveInclusion(1, 4, reader(nil)); return err }, errNoNode},
		{"verifying a leaf above the log", func() error { return VerifyInclusion(4, 4, Hash{}, nil, Hash{}) }, ErrRange},
		{"verifying a log that shrinks", func() error { return VerifyConsistency(5, 4, Hash{}, Hash{}, nil) }, ErrRange},
		{"an empty proof between sizes", func() error { return VerifyConsistency(3, 4, Hash{}, Hash{}, nil) }, ErrProof},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.ErrorIs(t, tt.call(), tt.want) })
	}
}

func TestHashText(t *testing.T) {
	// sha256("") in base64, as RFC 6962's empty tree is published.
	require.Equal(t, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", EmptyRoot().String())
	raw, err := base64.StdEncoding.DecodeString(EmptyRoot().String())
	require.NoError(t, err)
	require.Len(t, raw, sha256.Size)
}

// A hash travels as the digest of the OCI form too, and in no other form.
func TestHashOf(t *testing.T) {
	h := LeafHash([]byte("x"))
	back, err := HashOf(h.Digest())
	require.NoError(t, err)
	require.Equal(t, h, back)
	text := h.Digest()
	require.Equal(t, artifact.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), EmptyRoot().Digest())
	for _, bad := range []artifact.Digest{"", text[7:], text[:70], text + "0", artifact.Digest(strings.ToUpper(string(text))), "md5:" + text[7:]} {
		_, err := HashOf(bad)
		require.ErrorIs(t, err, ErrHash, "%q", bad)
	}
}
