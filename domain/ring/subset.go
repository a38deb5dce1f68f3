package ring

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/atom-fabric/fabric/domain/dp"
)

// Subset returns k of dim coordinates, ascending, every set as likely as any
// other. The seed is public and the same for all sites of a round, so that
// their vectors are of the same coordinates and add up under masks: this is the
// compression that goes with secure aggregation. It hides nothing.
//
// Source: selection sampling, Knuth, TAOCP 2, 3.4.2, algorithm S; integers
// below a bound by Lemire, TOMACS 29 (2019), 3.
// Errors: [ErrParameter].
func Subset(seed dp.Seed, dim, k int) ([]uint32, error) {
	c, err := NewChooser(seed, dim, k)
	if err != nil {
		return nil, err
	}
	chosen := make([]uint32, 0, k)
	for i := 0; len(chosen) < k; i++ {
		if c.Next() {
			chosen = append(chosen, uint32(i))
		}
	}
	return chosen, nil
}

// A Chooser draws the same coordinates as [Subset] one after the other, in the
// memory of none of them.
type Chooser struct {
	random  words
	dim, at int
	left    int
}

// NewChooser returns a chooser before the first coordinate.
// Errors: [ErrParameter].
func NewChooser(seed dp.Seed, dim, k int) (*Chooser, error) {
	if dim < 1 || uint64(dim) > math.MaxUint32 || k < 1 || k > dim {
		return nil, fmt.Errorf("%w: %d of %d coordinates", ErrParameter, k, dim)
	}
	return &Chooser{random: words{stream: dp.NewStreamAt(seed, 0, 0)}, dim: dim, left: k}, nil
}

// Next says whether the next coordinate is chosen; none is after the last.
func (c *Chooser) Next() bool {
	if c.left == 0 {
		return false
	}
	yes := c.random.below(uint32(c.dim-c.at)) < uint32(c.left)
	c.at++
	if yes {
		c.left--
	}
	return yes
}

// words reads 32 bits at a time.
type words struct {
	stream *dp.Stream
	buf    [4096]byte
	left   int
}

func (w *words) next() uint32 {
	if w.left == 0 {
		w.stream.Next(w.buf[:])
		w.left = len(w.buf)
	}
	v := binary.LittleEndian.Uint32(w.buf[len(w.buf)-w.left:])
	w.left -= 4
	return v
}

// below returns an integer below n ≥ 1, all alike.
func (w *words) below(n uint32) uint32 {
	hi, lo := bits.Mul32(w.next(), n)
	if lo < n {
		for least := -n % n; lo < least; {
			hi, lo = bits.Mul32(w.next(), n)
		}
	}
	return hi
}

// Gather copies the chosen coordinates of x to dst.
// Errors: [ErrShape].
func Gather[T any](dst, x []T, chosen []uint32) error {
	if err := fits(len(dst), len(x), chosen); err != nil {
		return err
	}
	for i, c := range chosen {
		dst[i] = x[c]
	}
	return nil
}

// Scatter writes dim/k times each value to its chosen coordinate and zero
// elsewhere: over the choice of the seed the mean is the whole vector. The
// factor is applied after the sum, so that clipping and noise are of what the
// sites sent.
// Errors: [ErrShape].
func Scatter(dst, x []float64, chosen []uint32) error {
	if err := fits(len(x), len(dst), chosen); err != nil {
		return err
	}
	clear(dst)
	factor := float64(len(dst)) / float64(len(x))
	for i, c := range chosen {
		dst[c] = x[i] * factor
	}
	return nil
}

func fits(k, dim int, chosen []uint32) error {
	if k != len(chosen) || k == 0 {
		return fmt.Errorf("%w: %d values for %d coordinates", ErrShape, k, len(chosen))
	}
	if last := chosen[k-1]; uint64(last) >= uint64(dim) { // ascending
		return fmt.Errorf("%w: coordinate %d of %d", ErrShape, last, dim)
	}
	return nil
}
