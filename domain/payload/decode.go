package payload

import (
	"bytes"
	"io"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// A Sum is what the sites of a group said together.
type Sum struct {
	Tensors artifact.Tensors // F64: sum of weight times update
	Metrics round.Metrics
	Counts  []int64 // what a round that evaluates counted for the run's measurement
	Weight  int64   // sum of the weights, in thousandths
	Within  float64 // what [Form.Within] says
}

// Pieces are a sum that was unmasked and need not be in memory: it fills v with
// the elements from first on. [Form.Head], [Form.WriteTensors] and [Form.Within],
// one after the other, ask for each element once, in ascending order.
type Pieces func(v Vector, first int) error

// Head reads what is before the coordinates of a sum that had so many
// survivors. Tensors are those of a round of statistics, none in the others.
// Errors: [ErrVector] for a sum that no honest survivors can have; those of sum.
func (f Form) Head(sum Pieces, survivors int) (Sum, error) {
	only := ring.Layout{Bits: f.Layout.Bits, Counts: f.Layout.Counts}
	v := f.Piece(only.Len())
	if err := sum(v, 0); err != nil {
		return Sum{}, err
	}
	var head []int64
	var err error
	if v.U64 != nil {
		head, err = ring.DecodeCounts(only, v.U64)
	} else {
		head, err = ring.DecodeCounts(only, v.U32)
	}
	if err != nil {
		return Sum{}, ErrVector
	}
	s := Sum{
		Metrics: round.Metrics{Examples: head[countExamples], Evaluated: head[countEvaluated], Correct: head[countCorrect], LossMicros: head[countLoss]},
		Weight:  head[countWeight],
	}
	least, most := f.weights()
	if n := int64(survivors); n < 1 || !s.Metrics.Possible() || s.Weight < n*least || s.Weight > n*most {
		return Sum{}, ErrVector
	}
	if f.kind == round.Evaluate && f.params.Measurement.On() {
		s.Counts = slices.Clone(head[counts:])
		if !measure.Possible(f.params.Measurement, s.Counts, s.Metrics.Evaluated) {
			return Sum{}, ErrVector
		}
	}
	if f.kind != round.Statistics {
		return s, nil
	}
	at := counts
	for _, t := range f.tensors {
		values := make([]float64, size(t.Shape))
		for j := range values {
			values[j] = getWide(head[at:][:wideCounts])
			at += wideCounts
		}
		if slices.ContainsFunc(values, unreal) {
			return Sum{}, ErrVector
		}
		s.Tensors = append(s.Tensors, artifact.Tensor{Name: t.Name, DType: artifact.F64, Shape: slices.Clone(t.Shape), F64: values})
	}
	return s, nil
}

// WriteTensors writes the coordinates behind the head as safetensors in F64,
// with the central noise that the seed gives where the round has it: the seed
// must be secret and of this round and group alone. Of coordinates that were
// drawn, those that were not are zero, and the others stand for them too.
// Memory is for a few pieces.
// Errors: [ErrVector]; those of sum, of [ring.Decode] and of
// [dp.Central.AddAt]; a failure of dst as it is. After an error what was
// written is worth nothing.
func (f Form) WriteTensors(dst io.Writer, sum Pieces, seed dp.Seed) error {
	noise, err := f.centralNoise(seed)
	if err != nil {
		return err
	}
	return f.write(dst, &coordinates{form: f, sum: sum, noise: noise})
}

func (f Form) write(dst io.Writer, from *coordinates) error {
	infos := make([]artifact.TensorInfo, len(f.tensors))
	for i, t := range f.tensors {
		infos[i] = artifact.TensorInfo{Name: t.Name, DType: artifact.F64, Shape: t.Shape}
	}
	out, err := artifact.NewTensorWriter(dst, infos)
	if err != nil {
		return err
	}
	fill, err := f.spread(from.read)
	if err != nil {
		return err
	}
	values := make([]float64, min(f.elements(), PieceLen))
	raw := make([]byte, 8*len(values))
	for _, t := range f.tensors {
		for left := size(t.Shape); left > 0; {
			n := min(left, len(values))
			if err := fill(values[:n]); err != nil {
				return err
			}
			if !kernel.PutLE64(raw, values[:n]) {
				return ErrVector
			}
			if _, err := out.Write(raw[:8*n]); err != nil {
				return err
			}
			left -= n
		}
	}
	return out.Close()
}

// coordinates reads a sum from its first coordinate on.
type coordinates struct {
	form    Form
	sum     Pieces
	noise   func(values []float64, first int) error // central; nil where there is none
	at      int                                     // coordinates that were fetched
	fetched []float64                               // and are not read yet
	piece   Vector
	parts   Vector
	values  []float64
}

func (c *coordinates) read(dst []float64) error {
	for len(dst) > 0 {
		if len(c.fetched) == 0 {
			if err := c.fetch(); err != nil {
				return err
			}
		}
		n := copy(dst, c.fetched)
		dst, c.fetched = dst[n:], c.fetched[n:]
	}
	return nil
}

// fetch decodes the next coordinates: whole elements, and whole blocks of noise.
func (c *coordinates) fetch() error {
	f := c.form
	n := min(f.chunk(), f.sent()-c.at)
	if n <= 0 {
		return ErrVector
	}
	if c.values == nil {
		c.values, c.piece, c.parts = make([]float64, n), f.Piece(f.Codec.Elements(n)), f.Piece(n)
	}
	values, piece, parts := c.values[:n], c.piece.Slice(0, f.Codec.Elements(n)), c.parts.Slice(0, n)
	if err := c.sum(piece, f.Layout.Head()+c.at/f.Codec.PerElement()); err != nil {
		return err
	}
	if err := f.decode(values, parts, piece); err != nil {
		return err
	}
	if c.noise != nil {
		if err := c.noise(values, c.at); err != nil {
			return err
		}
	}
	c.fetched, c.at = values, c.at+n
	return nil
}

// decode reads the coordinates of elements; parts are for what it unpacks.
func (f Form) decode(dst []float64, parts, v Vector) error {
	if v.U64 != nil {
		return decodeParts(f.Codec, dst, parts.U64, v.U64)
	}
	return decodeParts(f.Codec, dst, parts.U32, v.U32)
}

func decodeParts[E ring.Element](c ring.Codec, dst []float64, parts, v []E) error {
	if err := ring.Unpack(c, parts, v); err != nil {
		return err
	}
	return ring.Decode(c, dst, parts, 1)
}

func unreal(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

// Decode reads a sum that is in memory, without noise: see [Form.Head] and
// [Form.WriteTensors].
func (f Form) Decode(v Vector, survivors int) (Sum, error) { return f.decodeAll(v, survivors, nil) }

// Open is Decode with the central noise of a round that has it, as
// [Form.WriteTensors] adds it.
func (f Form) Open(v Vector, survivors int, seed dp.Seed) (Sum, error) {
	noise, err := f.centralNoise(seed)
	if err != nil {
		return Sum{}, err
	}
	s, err := f.decodeAll(v, survivors, noise)
	if err == nil {
		s.Within, err = f.Within(v.read, seed)
	}
	return s, err
}

func (f Form) decodeAll(v Vector, survivors int, noise func(values []float64, first int) error) (Sum, error) {
	if v.Len() != f.Layout.Len() {
		return Sum{}, ErrVector
	}
	s, err := f.Head(v.read, survivors)
	if err != nil || f.Layout.Dim == 0 {
		return s, err
	}
	var content bytes.Buffer
	if err := f.write(&content, &coordinates{form: f, sum: v.read, noise: noise}); err != nil {
		return Sum{}, err
	}
	s.Tensors, err = artifact.ReadTensors(&content, int64(content.Len()))
	return s, err
}

// read gives pieces of a vector that is in memory.
func (v Vector) read(dst Vector, first int) error {
	copy(dst.U32, v.U32[min(first, len(v.U32)):])
	copy(dst.U64, v.U64[min(first, len(v.U64)):])
	return nil
}

// size returns the number of elements of a shape.
func size(shape []int) int {
	n := 1
	for _, dim := range shape {
		n *= dim
	}
	return n
}
