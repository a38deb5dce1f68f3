package endpoint

// band is how far below the best a total counts as equally good. Within it the
// load is spread; beyond it a worse endpoint would be chosen for no reason.
const band = 0.05

// rounding is more than what a total of 32 bits can be off.
const rounding = 1e-5

// exploration is one in how many asks that takes any candidate that would be as
// good as the best if it were as quick. Without it one that was slow once would
// be judged by that until its memory has faded.
const exploration = 100

// A Work is the memory of a pick, for one at a time. The zero value is ready.
type Work struct {
	open  []ranked // those that can answer, with their totals
	away  []int32  // those that are set aside
	equal []int32  // places in open
	mask  []uint64
}

type ranked struct {
	total float32
	index int32
}

// fit makes room for a pool of n.
func (w *Work) fit(n int) {
	if words := (n + 63) / 64; cap(w.mask) < words || cap(w.open) < n {
		w.mask, w.open, w.away, w.equal = make([]uint64, words), make([]ranked, n), make([]int32, 0, n), make([]int32, 0, n)
	}
	w.mask, w.open, w.away, w.equal = w.mask[:(n+63)/64], w.open[:n], w.away[:0], w.equal[:0]
}

// pick takes one of those that are open, best being the highest total.
func (p *Pool) pick(ask *Ask, s *scorer, w *Work, best ranked) int {
	if len(w.open) == 1 {
		return int(best.index)
	}
	if chance := mix(ask.Random ^ 0x9e3779b97f4a7c15); uint32(chance)%exploration == 0 {
		return p.explore(s, w, best, uint32(chance>>32))
	}
	floor := best.total - band
	equal, count := w.equal[:len(w.open)], 0
	for i := range w.open {
		equal[count] = int32(i)
		if w.open[i].total >= floor {
			count++
		}
	}
	w.equal = equal[:count]
	n := uint32(count)
	if n == 1 {
		return int(best.index)
	}
	// Two different ones; the better of them.
	first := uint32(uint64(uint32(ask.Random)) * uint64(n) >> 32)
	second := first + 1 + uint32(uint64(uint32(ask.Random>>32))*uint64(n-1)>>32)
	if second >= n {
		second -= n
	}
	a, b := w.open[w.equal[first]], w.open[w.equal[second]]
	switch {
	case a.total > b.total:
		return int(a.index)
	case b.total > a.total:
		return int(b.index)
	case mix(p.candidates[a.index].Hash^ask.Random) < mix(p.candidates[b.index].Hash^ask.Random):
		return int(a.index)
	}
	return int(b.index)
}

// explore takes any of those whose total, but for latency and load, is within
// the band of the best's.
func (p *Pool) explore(s *scorer, w *Work, best ranked, chance uint32) int {
	floor := s.fixed(&p.slots[best.index]) - band
	for i, o := range w.open {
		if s.fixed(&p.slots[o.index]) >= floor {
			w.equal = append(w.equal, int32(i))
		}
	}
	return int(w.open[w.equal[uint64(chance)*uint64(len(w.equal))>>32]].index)
}

// Hash returns the 64-bit FNV-1a of a name. Source: draft-eastlake-fnv.
func Hash(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}

// mix scatters the bits. Source: the finaliser of SplitMix64 (Steele et al.,
// OOPSLA 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
