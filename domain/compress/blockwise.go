package compress

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/round"
)

// Block is how many elements share one scale: the last block of a tensor has
// what is left. [Chunk] is a multiple of it.
const Block = 256

const (
	magicInt8 = "FABRIC8\n"
	most8     = 127
)

// encodeBlocks writes each block as its scale in F32 and an integer in
// -127..127 for each element, rounded to the nearest and to even:
//
//	scale = max|x| / 127,  x ≈ q · scale
//
// Bound, m being the largest magnitude of the block:
//
//	|x - y| ≤ m/254 · (1 + 2^-14) + 2^-142
//
// The terms beside m/254 are what rounding the scale and the product to F32 can
// add, and what a scale below the smallest F32 loses.
// Source of absmax blocks: Dettmers et al., ICLR 2022 (arXiv:2110.02861), here
// with linear steps.
func (w Wire) encodeBlocks(dst io.Writer, v Values) error {
	if err := putHeader(dst, magicInt8, w.dim); err != nil {
		return err
	}
	raw := make([]byte, 0, Chunk+4*Chunk/Block)
	return w.each(v, func(values []float32) error {
		raw = raw[:0]
		for at := 0; at < len(values); at += Block {
			raw = appendBlock(raw, values[at:min(at+Block, len(values))])
		}
		_, err := dst.Write(raw)
		return err
	})
}

func appendBlock(raw []byte, values []float32) []byte {
	most := float32(0)
	for _, x := range values {
		most = max(most, max(x, -x))
	}
	scale := float32(float64(most) / most8)
	raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(scale))
	for _, x := range values {
		q := 0.0
		if scale > 0 {
			// A scale among the smallest F32 may be too small for most.
			q = min(most8, max(-most8, math.RoundToEven(float64(x)/float64(scale))))
		}
		raw = append(raw, byte(int8(q)))
	}
	return raw
}

type blocks struct {
	src io.Reader
	raw [4 + Block]byte
}

func (w Wire) decodeBlocks(src io.Reader) (decoder, error) {
	return &blocks{src: src}, checkHeader(src, magicInt8, w.dim)
}

func (b *blocks) next(dst []float32) error {
	for len(dst) > 0 {
		n := min(Block, len(dst))
		raw := b.raw[:4+n]
		if err := full(b.src, raw); err != nil {
			return err
		}
		scale := math.Float32frombits(binary.LittleEndian.Uint32(raw))
		if !finite(scale) {
			return round.ErrNotFinite
		}
		if math.Signbit(float64(scale)) {
			return ErrForm
		}
		for i, q := range raw[4:] {
			if int8(q) < -most8 {
				return ErrForm // no encoder says so
			}
			x := float64(int8(q)) * float64(scale)
			dst[i] = float32(min(math.MaxFloat32, max(-math.MaxFloat32, x)))
		}
		dst = dst[n:]
	}
	return nil
}

func (b *blocks) end() error { return ended(b.src) }
