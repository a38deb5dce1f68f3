package endpoint

import (
	"math/bits"
	"sync/atomic"
)

// A Candidate is an endpoint that may answer, with the scores that do not
// change between two snapshots.
type Candidate struct {
	Name       string
	Region     string
	Kind       string
	CostMicros int64
	Cost       float64 // score, see [CostScore]
	Fabric     float64 // score, 0..100 as [0,1]
	Thin       float64 // share of the asks, drawn by region, that pass it over while another can answer
	Hash       uint64  // of the name; breaks ties
	Live       *Live
	Unloaded   *atomic.Bool // its readiness check of the model says no; nil: not asked
}

// A Pool is a list of candidates, compiled: what an ask filters by is in bit
// sets, and what scores it lies side by side. It is never changed.
type Pool struct {
	candidates []Candidate
	slots      []slot
	regions    []named
	kinds      []named
	all        Set
}

// A slot is what the pick reads of a candidate.
type slot struct {
	live     *Live
	unloaded *atomic.Bool
	micros   int64
	cost     float32
	fabric   float32
	region   int32
	thin     bool
}

type named struct {
	name string
	set  Set
}

// NewPool compiles candidates. It keeps the slice.
func NewPool(candidates []Candidate) *Pool {
	p := &Pool{candidates: candidates, slots: make([]slot, len(candidates)), all: NewSet(len(candidates))}
	add := func(list *[]named, name string, i int) int32 {
		for at := range *list {
			if (*list)[at].name == name {
				(*list)[at].set.Add(i)
				return int32(at)
			}
		}
		*list = append(*list, named{name, NewSet(len(candidates))})
		(*list)[len(*list)-1].set.Add(i)
		return int32(len(*list) - 1)
	}
	for i, c := range candidates {
		p.all.Add(i)
		add(&p.kinds, c.Kind, i)
		p.slots[i] = slot{live: c.Live, unloaded: c.Unloaded, micros: c.CostMicros, cost: float32(c.Cost), fabric: float32(c.Fabric),
			region: add(&p.regions, c.Region, i), thin: c.Thin > 0}
	}
	return p
}

// find returns the index of a name, or -1.
func find(list []named, name string) int32 {
	for i := range list {
		if list[i].name == name {
			return int32(i)
		}
	}
	return -1
}

// A Set is a set of indices into the candidates of a pool.
type Set struct {
	words []uint64
	size  int
}

// NewSet returns an empty set for a pool of n.
func NewSet(n int) Set { return Set{words: make([]uint64, (n+63)/64)} }

// Add puts i in.
func (s *Set) Add(i int) {
	if !s.Has(i) {
		s.words[i/64] |= 1 << (i % 64)
		s.size++
	}
}

// Has says whether i is in it.
func (s *Set) Has(i int) bool { return s.words[i/64]>>(i%64)&1 != 0 }

// Len returns how many are in it.
func (s *Set) Len() int { return s.size }

// And returns what is in both.
func (s *Set) And(other *Set) Set {
	out := Set{words: make([]uint64, len(s.words))}
	for i := range s.words {
		out.words[i] = s.words[i] & other.words[i]
		out.size += bits.OnesCount64(out.words[i])
	}
	return out
}
