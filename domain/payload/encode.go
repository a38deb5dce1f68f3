package payload

import (
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
	Metrics     round.Metrics
	RosterSites int     // that the noise is shared by: the roster's, not the cohort's
	Rounding    dp.Seed // secret where there is privacy; else equal for equal runs
	Noise       dp.Seed // secret, and used for nothing else
}

// Encode returns a site's vector before it is masked, and how many coordinates
// were cut to the range. Errors: [ErrShape], [ErrWeight], [ErrRange], those of
// [ring.Encode] and of [dp.Distribute].
func (f Form) Encode(in Input) (v Vector, cut int, err error) {
	if err := f.fits(in.Tensors); err != nil {
		return Vector{}, 0, err
	}
	head, err := f.head(in)
	if err != nil {
		return Vector{}, 0, err
	}
	v = f.NewSum()
	if v.U64 != nil {
		cut, err = encode(f, v.U64, head, in)
	} else {
		cut, err = encode(f, v.U32, head, in)
	}
	return v, cut, err
}

func encode[E ring.Element](f Form, v []E, head []int64, in Input) (cut int, err error) {
	if err := ring.EncodeCounts(f.Layout, v, head); err != nil || f.Layout.Dim == 0 {
		return 0, err
	}
	_, dst, err := ring.Split(f.Layout, v)
	if err != nil {
		return 0, err
	}
	weight := float64(head[countWeight]) / mill
	first := 0
	for _, t := range in.Tensors {
		n, err := ring.Encode(f.Codec, dst[first:first+t.Len()], t.F32, weight, ring.Source{Seed: in.Rounding, First: uint64(first)})
		if err != nil {
			return 0, &artifact.TensorError{Tensor: t.Name, Err: err}
		}
		first, cut = first+t.Len(), cut+n
	}
	if !f.private() || !f.params.Privacy.Distributed() {
		return cut, nil
	}
	noise := make([]int64, len(dst))
	defer clear(noise)
	if err := f.noise(noise, in.RosterSites, in.Noise); err != nil {
		return cut, err
	}
	return cut, ring.AddNoise(dst, noise)
}

// head returns the counts, with the moments of a statistics round behind them.
func (f Form) head(in Input) ([]int64, error) {
	weight, err := f.weight(in.Metrics.Examples)
	if err != nil {
		return nil, err
	}
	head := make([]int64, f.Layout.Counts)
	head[countExamples] = in.Metrics.Examples
	head[countEvaluated] = in.Metrics.Evaluated
	head[countCorrect] = in.Metrics.Correct
	head[countLoss] = min(in.Metrics.LossMicros, ring.MaxCount)
	head[countWeight] = weight
	if f.kind != round.Statistics {
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
