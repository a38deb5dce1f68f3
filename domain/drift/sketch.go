package drift

import (
	"math"
	"slices"
	"sort"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// Limits of bins.
const (
	MaxBins   = 256
	MaxValues = 1 << 53 // counts above are not exact as floats
)

// Bins cut the numbers into len(Cuts)+1 right-closed bins:
//
//	(-∞, Cuts[0]], (Cuts[0], Cuts[1]], ..., (Cuts[last], +∞)
//
// Low and High are where the two open bins are taken to end when a distance in
// units of the values is estimated. Bins are fixed before anybody counts, and
// are public: with a feature's registration, from a range that is known of it
// and not from somebody's rows.
type Bins struct {
	Low  float64   `json:"low"`
	High float64   `json:"high"`
	Cuts []float64 `json:"cuts"`
}

// Len is the number of bins.
func (b Bins) Len() int { return len(b.Cuts) + 1 }

// Check refuses bins that cut nothing.
// Errors: [ErrBins].
func (b Bins) Check() error {
	if b.Len() > MaxBins || !finite(b.Low) || !finite(b.High) || b.Low > b.High {
		return ErrBins
	}
	for i, c := range b.Cuts {
		if !finite(c) || c < b.Low || c > b.High || (i > 0 && c <= b.Cuts[i-1]) {
			return ErrBins
		}
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Equal says whether both cut alike.
func (b Bins) Equal(o Bins) bool {
	return b.Low == o.Low && b.High == o.High && slices.Equal(b.Cuts, o.Cuts)
}

// EqualWidth returns n bins of equal width between low and high.
// Errors: [ErrBins].
func EqualWidth(low, high float64, n int) (Bins, error) {
	if n < 1 || n > MaxBins || !(high > low) || !finite(high-low) {
		return Bins{}, ErrBins
	}
	b := Bins{Low: low, High: high}
	for i := 1; i < n; i++ {
		b.Cuts = append(b.Cuts, low+(high-low)*float64(i)/float64(n))
	}
	return b, b.Check()
}

// EqualMass returns at most n bins with the reference's quantiles as cuts;
// quantiles that fall together make fewer bins. Reference values are sorted.
// Errors: those of [statistics.CheckSorted]; [ErrBins].
func EqualMass(reference []float64, n int) (Bins, error) {
	if n < 1 || n > MaxBins {
		return Bins{}, ErrBins
	}
	if err := statistics.CheckSorted(reference); err != nil {
		return Bins{}, err
	}
	b := Bins{Low: reference[0], High: reference[len(reference)-1]}
	for i := 1; i < n; i++ {
		at := float64(i) / float64(n) * float64(len(reference)-1)
		k := int(at)
		c := reference[k]
		if k+1 < len(reference) {
			c += (at - float64(k)) * (reference[k+1] - reference[k])
		}
		if c < b.High && (len(b.Cuts) == 0 || c > b.Cuts[len(b.Cuts)-1]) {
			b.Cuts = append(b.Cuts, c)
		}
	}
	return b, b.Check()
}

// Index returns the bin of a finite value.
func (b Bins) Index(v float64) int { return sort.SearchFloat64s(b.Cuts, v) }

// A Sketch is how many values fell into each bin, and how many were no finite
// number. Sketches of the same bins add up.
type Sketch struct {
	Counts  []int64 `json:"counts"`
	Missing int64   `json:"missing,omitempty"`
}

// Total is how many values were counted, missing ones not among them.
func (s Sketch) Total() int64 {
	var n int64
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// Merge adds another sketch of the same bins.
// Errors: [ErrBins].
func (s *Sketch) Merge(o Sketch) error {
	if len(s.Counts) == 0 {
		s.Counts = make([]int64, len(o.Counts))
	}
	if len(s.Counts) != len(o.Counts) {
		return ErrBins
	}
	for i, c := range o.Counts {
		s.Counts[i] += c
	}
	s.Missing += o.Missing
	return nil
}

// Count sorts values into bins. Missing are values that are no finite number.
//
// It is a loop without branches over the cuts, four values at a time, because a
// table has many more values than a search has to be clever about.
func Count[F float32 | float64](b Bins, values []F) Sketch {
	s := Sketch{Counts: make([]int64, b.Len())}
	tree, depth := b.tree()
	counts := make([]int64, len(tree)+1)
	for _, f := range values {
		v := float64(f)
		if v-v != 0 { // NaN or infinite
			s.Missing++
			continue
		}
		at := 0
		for range depth {
			step := 1
			if v > tree[at] {
				step = 2
			}
			at = 2*at + step
		}
		counts[at-len(tree)]++
	}
	copy(s.Counts, counts[:b.Len()])
	return s
}

// tree lays the cuts out as a complete binary search tree, filled up with
// infinities, so that every search takes the same steps.
func (b Bins) tree() (tree []float64, depth int) {
	for 1<<depth < b.Len() {
		depth++
	}
	tree = make([]float64, 1<<depth-1)
	var fill func(at, low, high int)
	fill = func(at, low, high int) {
		if at >= len(tree) {
			return
		}
		mid := (low + high) / 2
		tree[at] = math.Inf(1)
		if mid < len(b.Cuts) {
			tree[at] = b.Cuts[mid]
		}
		fill(2*at+1, low, mid)
		fill(2*at+2, mid+1, high)
	}
	fill(0, 0, len(tree))
	return tree, depth
}

// floats returns the counts as the distances take them.
func (s Sketch) floats() []float64 {
	out := make([]float64, len(s.Counts))
	for i, c := range s.Counts {
		out[i] = float64(c)
	}
	return out
}
