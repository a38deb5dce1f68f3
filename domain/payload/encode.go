package payload

import (
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// An Input is what one site contributes.
type Input struct {
	Tensors     artifact.Tensors // of the round, by ascending name; none in one that evaluates
	Values      Values           // the coordinates of a train round that are not in memory, in the place of Tensors
	Metrics     round.Metrics
	Counts      []int64 // of a round that evaluates, as long as the run's measurement
	Within      bool    // the update was no longer than the norm that it is clipped to; of a round whose norm adapts
	Staleness   int     // of a buffered round: steps that the server took since the weights that the update started from
	RosterSites int     // that the noise is shared by: the roster's, not the cohort's
	Rounding    dp.Seed // secret where there is privacy; else equal for equal runs
	Noise       dp.Seed // secret, and used for nothing else
}

// Values are the coordinates of an update that need not be in memory.
type Values interface {
	// At fills dst with the coordinates from first on, one tensor after the
	// other by ascending name.
	At(dst []float32, first int) error
}

// PieceLen is in how many elements at a time a vector is worked on: enough for
// threads to be worth their start, and of both rings little memory.
const PieceLen = 1 << 18

// An Encoder makes a site's vector, before it is masked, in pieces of any
// length, in any order. A piece has the same elements however often it is made.
type Encoder struct {
	form     Form
	head     Vector // the counts, as elements
	values   Values
	weight   float64
	rounding dp.Seed
	noise    func(dst []int64, first uint64) error // nil where the site adds none
	x        []float32
	drawn    []int64
}

// Encoder returns what makes a site's vector. Errors: [ErrShape], [ErrWeight],
// [ErrRange], those of [dp.Distribute].
func (f Form) Encoder(in Input) (*Encoder, error) {
	e := &Encoder{form: f, values: in.Values, rounding: in.Rounding}
	if in.Values == nil || f.Layout.Dim == 0 {
		if err := f.fits(in.Tensors); err != nil {
			return nil, err
		}
		e.values = inMemory(in.Tensors)
	}
	if f.Layout.Dim > 0 {
		var err error
		if e.values, err = f.chosen(e.values, in.Within); err != nil {
			return nil, err
		}
	}
	head, err := f.head(in)
	if err != nil {
		return nil, err
	}
	e.weight = float64(head[countWeight]) / mill
	only := ring.Layout{Bits: f.Layout.Bits, Counts: f.Layout.Counts}
	e.head = f.Piece(only.Len())
	if e.head.U64 != nil {
		err = ring.EncodeCounts(only, e.head.U64, head)
	} else {
		err = ring.EncodeCounts(only, e.head.U32, head)
	}
	if err == nil && f.private() && f.params.Privacy.Distributed() {
		e.noise, err = f.noise(in.RosterSites, in.Noise)
	}
	return e, err
}

// Erase overwrites what the encoder has drawn and read. It may be called on no
// encoder at all, where there could be none.
func (e *Encoder) Erase() {
	if e == nil {
		return
	}
	clear(e.drawn)
	clear(e.x)
}

// At fills dst with the elements of the vector from first on, and returns how
// many coordinates were cut to the range. Errors: [ErrVector] for a piece that
// leaves the vector, those of [ring.Encode] and of the values.
func (e *Encoder) At(dst Vector, first int) (cut int, err error) {
	if first < 0 || first > e.form.Layout.Len()-dst.Len() {
		return 0, ErrVector
	}
	if dst.U64 != nil {
		return encodeAt(e, dst.U64, e.head.U64, first)
	}
	return encodeAt(e, dst.U32, e.head.U32, first)
}

func encodeAt[E ring.Element](e *Encoder, dst, head []E, first int) (cut int, err error) {
	n := copy(dst, head[min(first, len(head)):])
	dst, first = dst[n:], first+n-len(head)
	most := e.form.chunk() / e.form.Codec.PerElement()
	for len(dst) > 0 {
		piece := dst[:min(len(dst), most)]
		n, err := encodePiece(e, piece, first)
		if err != nil {
			return 0, err
		}
		dst, first, cut = dst[len(piece):], first+len(piece), cut+n
	}
	return cut, nil
}

// encodePiece encodes the coordinates of the elements from first on. Where
// several share an element, those behind the last one are zero.
func encodePiece[E ring.Element](e *Encoder, elements []E, first int) (cut int, err error) {
	dst := elements
	if p := e.form.Codec.PerElement(); p > 1 {
		dst, first = make([]E, p*len(elements)), p*first
		defer func() {
			if err == nil {
				err = ring.Pack(e.form.Codec, elements, dst)
			}
		}()
	}
	e.x = slices.Grow(e.x[:0], len(dst))[:len(dst)]
	if err := e.values.At(e.x, first); err != nil {
		return 0, err
	}
	cut, err = ring.Encode(e.form.Codec, dst, e.x, e.weight, ring.Source{Seed: e.rounding, First: uint64(first)})
	if err != nil {
		return 0, e.form.located(err, first)
	}
	if e.noise == nil {
		return cut, nil
	}
	// Noise is drawn by whole blocks: what is before the piece is passed over.
	skip := first % dp.Block
	e.drawn = slices.Grow(e.drawn[:0], skip+len(dst))[:skip+len(dst)]
	if err := e.noise(e.drawn, uint64(first-skip)); err != nil {
		return 0, err
	}
	return cut, ring.AddNoise(dst, e.drawn[skip:])
}

// located names the tensor of a coordinate at fault.
func (f Form) located(err error, first int) error {
	var at *ring.ValueError
	if !errors.As(err, &at) {
		return err
	}
	index := first + at.Index
	for _, t := range f.tensors {
		n := size(t.Shape)
		if index < n {
			return &artifact.TensorError{Tensor: t.Name, Err: &ring.ValueError{Index: index, Err: at.Err}}
		}
		index -= n
	}
	return err
}

// Encode returns a site's vector before it is masked, and how many coordinates
// were cut to the range. Errors: those of [Form.Encoder] and of [Encoder.At].
func (f Form) Encode(in Input) (v Vector, cut int, err error) {
	e, err := f.Encoder(in)
	if err != nil {
		return Vector{}, 0, err
	}
	defer e.Erase()
	v = f.NewSum()
	if cut, err = e.At(v, 0); err != nil {
		return Vector{}, 0, err
	}
	return v, cut, nil
}

// inMemory are the coordinates of tensors.
type inMemory artifact.Tensors

// At implements [Values].
func (m inMemory) At(dst []float32, first int) error {
	for _, t := range m {
		if len(dst) == 0 {
			return nil
		}
		if first < len(t.F32) {
			n := copy(dst, t.F32[first:])
			dst, first = dst[n:], first+n
		}
		first -= len(t.F32)
	}
	if len(dst) > 0 {
		return ErrShape
	}
	return nil
}

// head returns the counts, with the moments of a statistics round behind them.
func (f Form) head(in Input) ([]int64, error) {
	weight, err := f.weight(in.Metrics.Examples, in.Staleness)
	if err != nil {
		return nil, err
	}
	head := make([]int64, f.Layout.Counts)
	head[countExamples] = in.Metrics.Examples
	head[countEvaluated] = in.Metrics.Evaluated
	head[countCorrect] = in.Metrics.Correct
	head[countLoss] = min(in.Metrics.LossMicros, ring.MaxCount)
	head[countWeight] = weight
	switch {
	case f.kind == round.Evaluate:
		if len(in.Counts) != f.Layout.Counts-counts {
			return nil, fmt.Errorf("%w: %d counts, not %d", ErrShape, len(in.Counts), f.Layout.Counts-counts)
		}
		copy(head[counts:], in.Counts)
		return head, nil
	case f.kind != round.Statistics:
		return head, nil
	}
	at := counts
	for _, t := range in.Tensors {
		for j := range t.Len() {
			if err := putWide(head[at:at+wideCounts], t.At(j), weight/mill); err != nil {
				return nil, &artifact.TensorError{Tensor: t.Name, Err: err}
			}
			at += wideCounts
		}
	}
	return head, nil
}

func (f Form) fits(tensors artifact.Tensors) error {
	if len(tensors) != len(f.tensors) {
		return fmt.Errorf("%w: %d, not %d", ErrShape, len(tensors), len(f.tensors))
	}
	for i, want := range f.tensors {
		if t := tensors[i]; t.Name != want.Name || t.DType != want.DType || !slices.Equal(t.Shape, want.Shape) {
			return &artifact.TensorError{Tensor: t.Name, Err: ErrShape}
		}
	}
	return nil
}
