// Package ring carries real vectors as integers modulo 2^32 or 2^64, so that
// their sum can be formed under masks and is the same in any order.
//
// Invariant: what is decoded from a sum is exactly the sum of what the sites
// encoded. A codec exists only if no sum of its sites can wrap, and rounding
// depends on the seed and the coordinate alone, not on threads, tensors or the
// CPU.
package ring

import (
	"errors"
	"fmt"
)

// Why a vector cannot be carried.
var (
	ErrShape     = errors.New("length differs")
	ErrNotFinite = errors.New("value is not a finite number")
	ErrOverflow  = errors.New("the sum of all sites does not fit the ring")
	ErrCount     = errors.New("count is not in 0..2^48-1")
	ErrNorm      = errors.New("no rounding met the norm bound")
	ErrParameter = errors.New("parameter is not in its range")
)

// A ValueError says which coordinate is at fault, and why.
type ValueError struct {
	Index int
	Err   error // ErrNotFinite or ErrCount
}

func (e *ValueError) Error() string { return fmt.Sprintf("coordinate %d: %v", e.Index, e.Err) }
func (e *ValueError) Unwrap() error { return e.Err }

// An Element is an integer modulo 2^32 or 2^64; its own overflow is the ring's.
type Element interface{ uint32 | uint64 }

// A Float is what models are made of.
type Float interface{ float32 | float64 }

// Bits is the ring's size: 32 or 64.
type Bits int

// The two rings.
const (
	Z32 Bits = 32
	Z64 Bits = 64
)

// MaxSites is the most sites that one ring sums: limbs of 16 bits in 32.
const MaxSites = 1 << 16

// SizeBytes is what one element takes on the wire.
func (b Bits) SizeBytes() int { return int(b) / 8 }

// Add adds src to dst, element by element, in the ring.
// Errors: [ErrShape].
func Add[E Element](dst, src []E) error {
	if len(dst) != len(src) {
		return fmt.Errorf("%w: %d, not %d", ErrShape, len(src), len(dst))
	}
	for i, v := range src {
		dst[i] += v
	}
	return nil
}

// AddNoise adds signed integers to dst in the ring.
// Errors: [ErrShape].
func AddNoise[E Element](dst []E, noise []int64) error {
	if len(dst) != len(noise) {
		return fmt.Errorf("%w: %d, not %d", ErrShape, len(noise), len(dst))
	}
	for i, v := range noise {
		dst[i] += E(v) // two's complement: negative noise is a large residue
	}
	return nil
}
