package ring

import (
	"fmt"
	"math"
)

// A Layout is how exact counts and a payload share one vector: the counts
// first, each as three limbs of 16 bits, lowest first, in Z32 and as one
// element in Z64, then the payload. Limbs of [MaxSites] sites do not wrap.
type Layout struct {
	Bits   Bits `json:"bits"`
	Counts int  `json:"counts"` // non-negative integers below 2^48
	Dim    int  `json:"dim"`    // coordinates of the payload
}

// MaxCount bounds one site's count.
const MaxCount = 1<<48 - 1

const limbs = 3

// Len is the number of elements of the whole vector.
func (l Layout) Len() int { return l.Head() + l.Dim }

// Head is the number of elements that the counts take.
func (l Layout) Head() int {
	if l.Bits == Z64 {
		return l.Counts
	}
	return limbs * l.Counts
}

// Validate says whether a layout that came over the wire describes a vector.
// Errors: [ErrParameter].
func (l Layout) Validate() error {
	if (l.Bits != Z32 && l.Bits != Z64) || l.Counts < 0 || l.Counts > math.MaxInt32/limbs || l.Dim < 0 || l.Dim > math.MaxInt32-limbs*l.Counts {
		return fmt.Errorf("%w: layout %+v", ErrParameter, l)
	}
	return nil
}

// Split returns the two parts of a vector of that layout; they share its
// memory. Errors: [ErrShape], [ErrParameter].
func Split[E Element](l Layout, v []E) (head, payload []E, err error) {
	if err := l.Validate(); err != nil {
		return nil, nil, err
	}
	if int(l.Bits) != 64-shift[E]() {
		return nil, nil, fmt.Errorf("%w: elements of %d bits in a ring of %d", ErrParameter, 64-shift[E](), l.Bits)
	}
	if len(v) != l.Len() {
		return nil, nil, fmt.Errorf("%w: %d, not %d", ErrShape, len(v), l.Len())
	}
	return v[:l.Head():l.Head()], v[l.Head():], nil
}

// EncodeCounts writes one site's counts to the head of its vector.
// Errors: those of [Split]; [ErrShape]; [*ValueError] with [ErrCount].
func EncodeCounts[E Element](l Layout, v []E, counts []int64) error {
	head, _, err := Split(l, v)
	if err != nil {
		return err
	}
	if len(counts) != l.Counts {
		return fmt.Errorf("%w: %d counts, not %d", ErrShape, len(counts), l.Counts)
	}
	for i, n := range counts {
		if n < 0 || n > MaxCount {
			return &ValueError{Index: i, Err: ErrCount}
		}
		if l.Bits == Z64 {
			head[i] = E(n)
			continue
		}
		for j := range limbs {
			head[limbs*i+j] = E(n >> (16 * j) & 0xffff)
		}
	}
	return nil
}

// DecodeCounts reads the counts of a sum of at most [MaxSites] vectors.
// Errors: those of [Split]; [*ValueError] with [ErrOverflow] where a sum passes
// 2^63-1.
func DecodeCounts[E Element](l Layout, v []E) ([]int64, error) {
	head, _, err := Split(l, v)
	if err != nil {
		return nil, err
	}
	counts := make([]int64, l.Counts)
	for i := range counts {
		var sum uint64
		if l.Bits == Z64 {
			sum = uint64(head[i])
		} else {
			low, middle, high := uint64(head[limbs*i]), uint64(head[limbs*i+1]), uint64(head[limbs*i+2])
			if high >= 1<<31 { // a carry from below is less than 2^17, so the top bit is high's
				return nil, &ValueError{Index: i, Err: ErrOverflow}
			}
			sum = low + middle<<16 + high<<32
		}
		if sum > math.MaxInt64 {
			return nil, &ValueError{Index: i, Err: ErrOverflow}
		}
		counts[i] = int64(sum)
	}
	return counts, nil
}
