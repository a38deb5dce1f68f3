package secagg

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"
)

// A Graph says how the sites of a group hold each other's shares.
type Graph struct {
	Sites     int `json:"sites"`
	Degree    int `json:"degree"`    // neighbours of a site
	Threshold int `json:"threshold"` // shares that give a secret
	Quorum    int `json:"quorum"`    // signatures over the survivors before anybody unmasks
}

// GraphFor returns the graph of a group of n sites: complete with a threshold
// of more than two thirds up to [CompleteSites], and by [Parameters] against a
// semi-malicious server above. A quorum is so large that any two share an
// honest site, who signs once: more than half of all sites and the corrupt.
// Errors: [ErrTooFew], [ErrSpec], [ErrInfeasible].
func (s Spec) GraphFor(n int) (Graph, error) {
	switch {
	case n < MinSites:
		return Graph{}, fmt.Errorf("%w: %d of %d", ErrTooFew, n, MinSites)
	case n > MaxSites:
		return Graph{}, fmt.Errorf("%w: %d sites, at most %d", ErrSpec, n, MaxSites)
	case s.graph != nil:
		return *s.graph, nil
	case n <= CompleteSites:
		t := 2*n/3 + 1
		return Graph{Sites: n, Degree: n - 1, Threshold: t, Quorum: t}, nil
	case s.CorruptBP < minCorruptBP:
		return Graph{}, fmt.Errorf("%w: more than %d sites need a corrupt rate of %d/10000 or more", ErrSpec, CompleteSites, minCorruptBP)
	}
	k, t, err := Parameters(n, s.CorruptBP, s.DroppedBP, true)
	if err != nil {
		return Graph{}, err
	}
	return Graph{Sites: n, Degree: k, Threshold: t, Quorum: (n+n*s.CorruptBP/10_000)/2 + 1}, nil
}

// complete says whether everybody is everybody's neighbour. Only then does a
// site hold a share of its own secrets.
func (g Graph) complete() bool { return g.Degree >= g.Sites-1 }

// place shuffles the members onto a ring by a public seed that covers
// everybody's keys, so that nobody chooses whom he sits next to. It returns the
// place of each index and the index at each place.
func place(n int, seed sum) (placeOf, indexAt []int, err error) {
	stream, err := keystream(seed[:], 0)
	if err != nil {
		return nil, nil, err
	}
	indexAt = make([]int, n)
	placeOf = make([]int, n+1)
	for i := range indexAt {
		indexAt[i] = i + 1
	}
	for i := n - 1; i > 0; i-- {
		j := below(stream, uint64(i)+1)
		indexAt[i], indexAt[j] = indexAt[j], indexAt[i]
	}
	for p, index := range indexAt {
		placeOf[index] = p
	}
	return placeOf, indexAt, nil
}

// below draws evenly from 0..n-1.
func below(stream cipher.Stream, n uint64) int {
	limit := ^uint64(0) - ^uint64(0)%n // a multiple of n
	for {
		var b [8]byte
		stream.XORKeyStream(b[:], b[:])
		if v := binary.LittleEndian.Uint64(b[:]); v < limit {
			return int(v % n)
		}
	}
}

// neighbours returns who sits up to half the degree away on either side,
// ascending.
func neighbours(g Graph, index int, placeOf, indexAt []int) []int {
	if g.complete() {
		out := make([]int, 0, g.Sites-1)
		for i := 1; i <= g.Sites; i++ {
			if i != index {
				out = append(out, i)
			}
		}
		return out
	}
	out := make([]int, 0, g.Degree)
	for d := 1; d <= g.Degree/2; d++ {
		p := placeOf[index]
		out = append(out, indexAt[(p+d)%g.Sites], indexAt[(p-d+g.Sites)%g.Sites])
	}
	slices.Sort(out)
	return out
}
