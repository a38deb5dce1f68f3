// Package compress makes updates smaller on their way from a site, by a codec
// that the run names, and says how much less exact each codec is.
//
// Invariant: what a codec sends is a function of the update and the signed
// manifest, and what is read back differs from it by no more than the codec's
// documented bound. Nothing that was read is finite, whole and of the round's
// shapes by accident: whatever is not is an error, never a value.
package compress

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Why an update cannot be sent with a codec, or what arrived is none.
var (
	ErrForm  = errors.New("not an update of this round's codec")
	ErrRange = errors.New("a value is too large for this codec")
)

// Values are the elements of an update, tensor after tensor by ascending name,
// which need not be in memory.
type Values interface {
	// At fills dst with the elements from first on.
	At(dst []float32, first int) error
}

// A Flat is an update in memory.
type Flat []float32

// At implements [Values].
func (f Flat) At(dst []float32, first int) error {
	if first < 0 || first > len(f)-len(dst) {
		return artifact.ErrTruncated
	}
	copy(dst, f[first:])
	return nil
}

// FlatOf copies the elements of F32 tensors, which are by ascending name.
func FlatOf(tensors artifact.Tensors) Flat {
	var f Flat
	for _, t := range tensors {
		f = append(f, t.F32...)
	}
	return f
}

// ReadFlat fills f with what [Wire.WriteRest] wrote.
func ReadFlat(src io.Reader, f Flat) (Flat, error) {
	return f, binary.Read(src, binary.LittleEndian, []float32(f))
}

// Chunk is how many elements of a tensor are worked on at a time. Every codec
// can be cut there, counted from the beginning of the tensor.
const Chunk = 4096

// A Wire is the form of updates in one round.
type Wire struct {
	params round.Params
	number int
	specs  []round.TensorSpec
	dim    int
}

// Of returns the form of updates in a round of the manifest, and false where
// they travel as they are: in rounds that do not train, and without a codec.
func Of(m round.Manifest) (Wire, bool) {
	if m.Kind != round.Train || !m.Params.Compression.On() {
		return Wire{}, false
	}
	w := Wire{params: m.Params, number: m.Number, specs: m.Params.Strategy.Update(m.Params.Model, m.Kind)}
	for _, t := range w.specs {
		w.dim += size(t.Shape)
	}
	return w, true
}

// Sent is how many elements of an update travel, of how many.
func (w Wire) Sent() (sent, all int) { return w.params.Compression.Sent(w.dim), w.dim }

// Encode writes an update. It asks for each element in ascending order, once,
// for [round.CodecTopK] three times. Equal updates are equal bytes.
// Errors: [round.ErrNotFinite], [ErrRange]; those of v; a failure of dst as it
// is. After an error what was written is worth nothing.
func (w Wire) Encode(dst io.Writer, v Values) error {
	switch w.params.Compression.Codec {
	case round.CodecF16:
		return w.encodeHalves(dst, v, artifact.F16, Half)
	case round.CodecBF16:
		return w.encodeHalves(dst, v, artifact.BF16, BFloat)
	case round.CodecInt8:
		return w.encodeBlocks(dst, v)
	case round.CodecTopK:
		return w.encodeTop(dst, v)
	case round.CodecRandK:
		return w.encodeDrawn(dst, v)
	}
	return ErrForm
}

// A decoder reads the elements of one update.
type decoder interface {
	// next fills dst with the next elements: at most [Chunk], of one tensor.
	next(dst []float32) error
	// end is nil if nothing is left that should not be there.
	end() error
}

func (w Wire) decoder(src io.Reader) (decoder, error) {
	switch w.params.Compression.Codec {
	case round.CodecF16:
		return w.decodeHalves(src, artifact.F16)
	case round.CodecBF16:
		return w.decodeHalves(src, artifact.BF16)
	case round.CodecInt8:
		return w.decodeBlocks(src)
	case round.CodecTopK:
		return w.decodeTop(src)
	case round.CodecRandK:
		return w.decodeDrawn(src)
	}
	return nil, ErrForm
}

// each calls f for every chunk of the update, in order.
func (w Wire) each(v Values, f func(values []float32) error) error {
	values := make([]float32, Chunk)
	at := 0
	for _, t := range w.specs {
		for left := size(t.Shape); left > 0; {
			n := min(left, Chunk)
			if err := v.At(values[:n], at); err != nil {
				return err
			}
			for _, x := range values[:n] {
				if !finite(x) {
					return &artifact.TensorError{Tensor: t.Name, Err: round.ErrNotFinite}
				}
			}
			if err := f(values[:n]); err != nil {
				return &artifact.TensorError{Tensor: t.Name, Err: err}
			}
			at, left = at+n, left-n
		}
	}
	return nil
}

func finite(x float32) bool {
	return math.Float32bits(x)&0x7f800000 != 0x7f800000
}

func size(shape []int) int {
	n := 1
	for _, dim := range shape {
		n *= dim
	}
	return n
}
