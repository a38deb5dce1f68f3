package audit

import (
	"errors"
	"fmt"
	"math/bits"
)

// What a proof can be refused for.
var (
	ErrRange = errors.New("no such leaf or size in the log")
	ErrProof = errors.New("proof does not lead to the root")
)

// Nodes returns the hashes of complete subtrees, in the order asked.
type Nodes func(places []Place) ([]Hash, error)

// ProveInclusion returns PATH(index, D[size]) of RFC 6962 section 2.1.1: the
// hashes that lead from the leaf to the root of the tree of size leaves,
// lowest first. It asks for nodes once.
func ProveInclusion(index, size int64, nodes Nodes) ([]Hash, error) {
	if index < 0 || index >= size {
		return nil, fmt.Errorf("leaf %d of %d: %w", index, size, ErrRange)
	}
	var spans []span
	lo, hi := int64(0), size
	for hi-lo > 1 {
		mid := lo + split(hi-lo)
		if index < mid {
			spans, hi = append(spans, span{mid, hi}), mid
		} else {
			spans, lo = append(spans, span{lo, mid}), mid
		}
	}
	return prove(spans, nodes)
}

// ProveConsistency returns PROOF(old, D[size]) of RFC 6962 section 2.1.2: the
// hashes that show that the log of size leaves only added to the log of old.
func ProveConsistency(old, size int64, nodes Nodes) ([]Hash, error) {
	if old < 0 || old > size {
		return nil, fmt.Errorf("from %d to %d: %w", old, size, ErrRange)
	}
	if old == 0 || old == size {
		return nil, nil // every log extends the empty one, and itself
	}
	var spans []span
	lo, hi, known := int64(0), size, true // known: the subtree [lo, old) is the old root itself
	for hi != old {
		mid := lo + split(hi-lo)
		if old <= mid {
			spans, hi = append(spans, span{mid, hi}), mid
		} else {
			spans, lo, known = append(spans, span{lo, mid}), mid, false
		}
	}
	if !known {
		spans = append(spans, span{lo, hi})
	}
	return prove(spans, nodes)
}

// VerifyInclusion checks that leaf is the index-th leaf of the tree of size
// leaves under root: RFC 9162 section 2.1.3.2, the same proof as RFC 6962's.
func VerifyInclusion(index, size int64, leaf Hash, proof []Hash, root Hash) error {
	if index < 0 || index >= size {
		return fmt.Errorf("leaf %d of %d: %w", index, size, ErrRange)
	}
	fn, sn, r := index, size-1, leaf
	for _, p := range proof {
		if sn == 0 {
			return ErrProof
		}
		if fn&1 == 1 || fn == sn {
			r = NodeHash(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = NodeHash(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || r != root {
		return ErrProof
	}
	return nil
}

// VerifyConsistency checks that the tree of size leaves under root begins with
// the tree of old leaves under oldRoot: RFC 9162 section 2.1.4.2.
func VerifyConsistency(old, size int64, oldRoot, root Hash, proof []Hash) error {
	switch {
	case old < 0 || old > size:
		return fmt.Errorf("from %d to %d: %w", old, size, ErrRange)
	case old == size:
		if len(proof) != 0 || oldRoot != root {
			return ErrProof
		}
		return nil
	case old == 0:
		if len(proof) != 0 || oldRoot != EmptyRoot() {
			return ErrProof
		}
		return nil
	}
	if old&(old-1) == 0 { // a complete tree is a node of the new one; the proof leaves it out
		proof = append([]Hash{oldRoot}, proof...)
	}
	if len(proof) == 0 {
		return ErrProof
	}
	fn, sn := old-1, size-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := proof[0], proof[0]
	for _, p := range proof[1:] {
		if sn == 0 {
			return ErrProof
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = NodeHash(p, fr), NodeHash(p, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = NodeHash(sr, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || fr != oldRoot || sr != root {
		return ErrProof
	}
	return nil
}

// A span is the leaves [lo, hi); its hash is the tree head over just them.
type span struct{ lo, hi int64 }

// places returns the maximal complete subtrees of the span, left to right.
func (s span) places() []Place {
	var out []Place
	for lo := s.lo; lo < s.hi; {
		level := bits.Len64(uint64(s.hi-lo)) - 1
		out = append(out, Place{level, lo >> level})
		lo += int64(1) << level
	}
	return out
}

// prove reads the nodes of all spans at once and returns each span's hash,
// last span first: spans were found from the root downwards.
func prove(spans []span, nodes Nodes) ([]Hash, error) {
	var want []Place
	for i := len(spans) - 1; i >= 0; i-- {
		want = append(want, spans[i].places()...)
	}
	if len(want) == 0 {
		return nil, nil
	}
	got, err := nodes(want)
	if err != nil {
		return nil, err
	}
	if len(got) != len(want) {
		return nil, fmt.Errorf("%d of %d nodes: %w", len(got), len(want), ErrProof)
	}
	proof := make([]Hash, 0, len(spans))
	for i := len(spans) - 1; i >= 0; i-- {
		n := len(spans[i].places())
		proof, got = append(proof, fold(got[:n])), got[n:]
	}
	return proof, nil
}

// split returns the largest power of two below n, which is 2 or more.
func split(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }
