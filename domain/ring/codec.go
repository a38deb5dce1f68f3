package ring

import (
	"fmt"
	"math"
	"math/bits"
)

// maxLevels bounds a site's magnitude in each ring: what rounds a value needs
// room for its fraction in 63 bits.
const (
	maxLevels32 = 1 << 30
	maxLevels64 = 1 << 46
)

// A Codec maps reals of magnitude up to Range to signed steps, so that the sum
// over Sites sites, with Headroom steps of noise in it, stays inside the ring.
type Codec struct {
	Bits     Bits    `json:"bits"`
	Range    float64 `json:"range"`           // magnitude that is carried without saturation
	Sites    int     `json:"sites"`           // the most that are summed
	Headroom int64   `json:"headroom"`        // steps kept free at either end of the sum, for noise
	StepExp  int     `json:"stepExp"`         // one step is 2^StepExp
	Field    int     `json:"field,omitempty"` // bits of a coordinate, several in an element; 0 gives each an element, see [Pack]
}

// NewCodec returns the finest codec whose sum of sites cannot wrap:
//
//	sites · ⌈limit/step⌉ + headroom ≤ 2^(bits-1) - 1
//
// The step is a power of two, so that scaling is exact; it is not finer than
// limit/2^30 in Z32 and limit/2^46 in Z64. The headroom is for all noise in the
// sum together. Noise has no bound: choose it so that more is as unlikely as
// the round can bear, see [Headroom].
// Errors: [ErrParameter]; [ErrOverflow] where not even one level a site fits.
func NewCodec(size Bits, limit float64, sites int, headroom int64) (Codec, error) {
	return NewPacked(size, 0, limit, sites, headroom)
}

// NewPacked is [NewCodec] with coordinates of so many bits in the place of the
// ring's: coarser steps, and fewer bytes. 0 takes the whole element.
func NewPacked(size Bits, field int, limit float64, sites int, headroom int64) (Codec, error) {
	c := Codec{Bits: size, Field: field, Range: limit, Sites: sites, Headroom: headroom}
	if err := c.parameters(); err != nil {
		return Codec{}, err
	}
	most := c.mostLevels()
	if most < 1 {
		return Codec{}, fmt.Errorf("%w: %d sites and %d steps of noise", ErrOverflow, sites, headroom)
	}
	// 2^(e-1) ≤ limit/most < 2^e by Frexp, so e is right or one too coarse.
	_, c.StepExp = math.Frexp(limit / float64(most))
	for c.StepExp--; c.Levels() > most; {
		c.StepExp++
	}
	return c, nil
}

// Headroom returns k standard deviations of noise in steps, rounded up. Noise
// beyond it still decodes unless the signal is at its limit as well.
func Headroom(stddev, k float64) int64 { return int64(math.Ceil(stddev * k)) }

func (c Codec) parameters() error {
	switch {
	case c.Bits != Z32 && c.Bits != Z64:
		return fmt.Errorf("%w: ring of %d bits", ErrParameter, c.Bits)
	case c.Field != 0 && (c.Field < minField || c.Field > int(c.Bits)/2):
		return fmt.Errorf("%w: coordinates of %d bits", ErrParameter, c.Field)
	case !(c.Range >= 0x1p-500 && c.Range <= 0x1p500):
		return fmt.Errorf("%w: range %v", ErrParameter, c.Range)
	case c.Sites < 1 || c.Sites > MaxSites:
		return fmt.Errorf("%w: %d sites", ErrParameter, c.Sites)
	case c.Headroom < 0:
		return fmt.Errorf("%w: headroom %d", ErrParameter, c.Headroom)
	}
	return nil
}

// mostLevels is the largest magnitude that each site may have.
func (c Codec) mostLevels() int64 {
	half, most := int64(math.MaxInt32), int64(maxLevels32)
	if c.Bits == Z64 {
		half, most = math.MaxInt64, maxLevels64
	}
	if c.Field != 0 {
		half = 1<<(c.Field-1) - 1
	}
	return min(most, (half-min(c.Headroom, half))/int64(c.Sites))
}

// Validate says whether a codec that came over the wire keeps the invariant.
// Errors: [ErrParameter], [ErrOverflow].
func (c Codec) Validate() error {
	if err := c.parameters(); err != nil {
		return err
	}
	if levels := math.Ceil(math.Ldexp(c.Range, -c.StepExp)); levels < 1 || levels > float64(c.mostLevels()) {
		return fmt.Errorf("%w: %v levels, at most %d", ErrOverflow, levels, c.mostLevels())
	}
	return nil
}

// Step is the value of one step.
func (c Codec) Step() float64 { return math.Ldexp(1, c.StepExp) }

// Scale is the number of steps in one unit.
func (c Codec) Scale() float64 { return math.Ldexp(1, -c.StepExp) }

// Levels is the largest magnitude of one site's element, in steps.
func (c Codec) Levels() int64 { return int64(math.Ceil(math.Ldexp(c.Range, -c.StepExp))) }

// fraction is how many bits below one step take part in rounding: 32, or what
// is left of 62 beside the levels.
func (c Codec) fraction() int { return min(32, 62-bits.Len64(uint64(c.Levels()))) }

// Decode writes sum·step/divisor to dst, where the sum is read as a signed
// number of steps. The divisor is the number of sites that are in the sum, or
// the sum of their weights.
// Errors: [ErrShape], [ErrParameter], or those of [Codec.Validate].
func Decode[E Element](c Codec, dst []float64, sum []E, divisor float64) error {
	if err := check[E](c, len(dst), len(sum)); err != nil {
		return err
	}
	if !(divisor > 0) || math.IsInf(divisor, 0) {
		return fmt.Errorf("%w: divisor %v", ErrParameter, divisor)
	}
	step, up := c.Step(), shift[E]()
	for i, v := range sum {
		dst[i] = float64(int64(uint64(v)<<up)>>up) * step / divisor
	}
	return nil
}

// Norm2 returns the squared L2 norm of encoded values, in steps.
func Norm2[E Element](x []E) float64 {
	up, sum := shift[E](), 0.0
	for _, v := range x {
		q := float64(int64(uint64(v)<<up) >> up)
		sum += float64(q * q) // the conversion forbids a fused multiply-add
	}
	return sum
}

// shift is by how much an element is moved up and back to be read as signed.
func shift[E Element]() int { return 64 - bits.Len64(uint64(^E(0))) }

// check says whether codec, element type and lengths belong together.
func check[E Element](c Codec, dst, src int) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if int(c.Bits) != 64-shift[E]() {
		return fmt.Errorf("%w: elements of %d bits in a ring of %d", ErrParameter, 64-shift[E](), c.Bits)
	}
	if dst != src {
		return fmt.Errorf("%w: %d, not %d", ErrShape, dst, src)
	}
	return nil
}
