package round

import (
	"errors"
	"fmt"
)

// Codecs: how a site's update travels in a train round. Their errors are in
// docs/protocol/weights.md.
const (
	CodecNone  = ""      // F32; behind masks, elements of the whole ring
	CodecF16   = "fp16"  // half precision
	CodecBF16  = "bf16"  // the upper half of an F32
	CodecInt8  = "int8"  // blocks of 256 values with one scale each
	CodecTopK  = "topk"  // the largest values; the site carries over what it left out
	CodecRandK = "randk" // the same drawn coordinates at every site
)

// Why a compression is refused.
var (
	ErrCodec        = errors.New("a codec is fp16, bf16, int8, topk or randk")
	ErrBits         = errors.New("a coordinate has 8, 10 or 16 bits, and none is said for a whole element")
	ErrUncompressed = errors.New("is not a parameter of this codec")
	ErrNotSummable  = errors.New("does not go with secure aggregation: set secure.mode to off, or take randk or bits")
	ErrOnlyMasked   = errors.New("bits are of the ring, and secure aggregation is off")
	ErrLossyControl = errors.New("a control variate moves by what was sent whole: scaffold goes without a codec")
	ErrMostlyZeros  = errors.New("what top-k leaves out would be a vote for zero: a robust rule goes without it")
)

// A Compression says how updates get smaller on their way, and less exact. The
// zero value leaves them as they are.
type Compression struct {
	Codec   string `json:"codec"`
	ShareBP int    `json:"shareBP,omitempty"` // topk, randk: coordinates that are sent, in basis points; 1000
	Bits    int    `json:"bits,omitempty"`    // of a coordinate behind masks: 8, 10 or 16
}

// On says whether a site's update is anything but F32 of every coordinate.
func (c Compression) On() bool { return c.Codec != CodecNone }

// Sparse says whether only a share of the coordinates is sent.
func (c Compression) Sparse() bool { return c.Codec == CodecTopK || c.Codec == CodecRandK }

// Sent returns how many of dim coordinates are sent, 1 at least.
func (c Compression) Sent(dim int) int {
	if !c.Sparse() {
		return dim
	}
	whole, part := dim/10_000, dim%10_000 // no product of both can pass an int
	return min(dim, max(1, whole*c.ShareBP+(part*c.ShareBP+9_999)/10_000))
}

// compression checks what a run says about compression against the rest of it.
func (p Params) compression() (Compression, error) {
	c := p.Compression
	fail := func(param string, err error) (Compression, error) {
		return c, &ParamError{"compression." + param, err}
	}
	switch c.Codec {
	case CodecNone, CodecF16, CodecBF16, CodecInt8, CodecTopK, CodecRandK:
	default:
		return fail("codec", ErrCodec)
	}
	if c.Sparse() && c.ShareBP == 0 {
		c.ShareBP = 1000
	}
	switch {
	case !c.Sparse() && c.ShareBP != 0:
		return fail("shareBP", ErrUncompressed)
	case c.ShareBP < 0 || c.ShareBP > 10_000:
		return fail("shareBP", fmt.Errorf("%w: 1 to 10000", ErrOutOfRange))
	case c.Bits != 0 && c.Bits != 8 && c.Bits != 10 && c.Bits != 16:
		return fail("bits", ErrBits)
	case c.On() && p.Strategy.Name == Scaffold:
		return fail("codec", ErrLossyControl)
	case c.Codec == CodecTopK && p.Strategy.Robust():
		return fail("codec", ErrMostlyZeros)
	case c.Bits != 0 && p.Secure.Mode == SecureOff:
		return fail("bits", ErrOnlyMasked)
	}
	if p.Secure.Mode == SecureOff {
		return c, nil
	}
	// Behind masks vectors are added as they were sent, unseen: integers of one
	// scale at the same coordinates.
	switch c.Codec {
	case CodecTopK:
		return fail("codec", fmt.Errorf("each site sends coordinates of its own choice, which do not add up under masks, and the choice would tell of its rows; topk %w", ErrNotSummable))
	case CodecInt8:
		return fail("codec", fmt.Errorf("each site has scales of its own, by which its integers do not add up under masks, and which would tell how far its update goes; int8 %w", ErrNotSummable))
	case CodecF16, CodecBF16:
		return fail("codec", fmt.Errorf("the ring adds integers and no floats; %s %w", c.Codec, ErrNotSummable))
	}
	return c, nil
}
