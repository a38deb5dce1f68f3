// Package aggregate adds what sites have learnt.
//
// Invariant: a result depends on the set of updates and on nothing else. Terms
// are added in one fixed order, every product is rounded before it is added,
// and accumulators are float64: neither arrival order nor the CPU nor a retry
// changes a bit.
package aggregate

import (
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// Why updates cannot be added.
var (
	ErrNoUpdates = errors.New("there is nothing to add")
	ErrShape     = errors.New("tensors differ from the round's")
	ErrExamples  = errors.New("number of examples is not possible")
	ErrDuplicate = errors.New("it is there twice")
	ErrOrder     = errors.New("it does not come in ascending order")
)

// MaxExamples bounds one site's weight: products of counts below it and sums
// over 10,000 sites stay exact integers in a float64.
const MaxExamples = 1 << 39

// An UpdateError says which site is at fault, and why.
type UpdateError struct {
	Tenant string
	Site   string
	Err    error // ErrShape, ErrExamples, ErrDuplicate or ErrOrder
}

func (e *UpdateError) Error() string {
	return fmt.Sprintf("update of site %s/%s: %v", e.Tenant, e.Site, e.Err)
}
func (e *UpdateError) Unwrap() error { return e.Err }

// An Update is what one site delivers, and how many rows it stands for.
type Update struct {
	Tenant   string
	Site     string
	Examples int64
	Tensors  artifact.Tensors // F32 or F64, by ascending name
}

func (u Update) fail(err error) error { return &UpdateError{Tenant: u.Tenant, Site: u.Site, Err: err} }

// A Sum adds the updates of one region as they are read, so that one update at
// a time is in memory.
type Sum struct {
	want     []round.TensorSpec
	acc      artifact.Tensors
	examples int64
	last     *Update // its identity; its tensors are not kept
	loops    kernel.Set
}

// NewSum returns an empty sum of updates of a round of that kind.
func NewSum(spec round.ModelSpec, kind round.Kind) *Sum {
	return SumOf(spec.Partial(kind))
}

// SumOf returns an empty sum of updates with these tensors, by ascending name.
func SumOf(want []round.TensorSpec) *Sum {
	return &Sum{want: want, acc: zeros(want), loops: kernel.Best()}
}

// Reset empties the sum and keeps its memory: the first touch of fresh memory
// takes longer than the addition. It also empties what [Sum.Partial] returned.
func (s *Sum) Reset() {
	for _, t := range s.acc {
		clear(t.F64)
	}
	s.examples, s.last = 0, nil
}

// Add adds examples times each update. Updates come by strictly ascending
// (tenant, site), over all calls: the order is part of the result, so a caller
// that does not keep it is told. Several at once take less time and give the
// same bits. If one is refused, nothing of this call is added.
// Errors: [*UpdateError].
func (s *Sum) Add(updates ...Update) error {
	last, examples := s.last, s.examples
	for _, u := range updates {
		if u.Examples < 1 || u.Examples > MaxExamples {
			return u.fail(ErrExamples)
		}
		if err := u.after(last); err != nil {
			return err
		}
		if err := matches(s.want, u.Tensors); err != nil {
			return u.fail(err)
		}
		last = &Update{Tenant: u.Tenant, Site: u.Site}
		examples += u.Examples
	}
	weights := make([]float64, len(updates))
	rows := make([]kernel.Vector, len(updates))
	for t := range s.acc {
		for k, u := range updates {
			weights[k], rows[k] = float64(u.Examples), vector(u.Tensors[t])
		}
		s.loops.Sum(s.acc[t].F64, weights, rows)
	}
	s.examples, s.last = examples, last
	return nil
}

// after refuses an update that does not come after the last.
func (u Update) after(last *Update) error {
	if last == nil {
		return nil
	}
	switch order := compare(*last, u); {
	case order == 0:
		return u.fail(ErrDuplicate)
	case order > 0:
		return u.fail(ErrOrder)
	}
	return nil
}

// vector returns a tensor's elements as the loops take them.
func vector(t artifact.Tensor) kernel.Vector {
	if t.DType == artifact.F64 {
		return kernel.F64(t.F64)
	}
	return kernel.F32(t.F32)
}

// zeros returns tensors of these shapes in F64, with a zero everywhere.
func zeros(want []round.TensorSpec) artifact.Tensors {
	out := make(artifact.Tensors, len(want))
	for i, w := range want {
		out[i] = artifact.Tensor{Name: w.Name, DType: artifact.F64, Shape: w.Shape, F64: make([]float64, size(w.Shape))}
	}
	return out
}

// size returns the number of elements of a shape.
func size(shape []int) int {
	n := 1
	for _, dim := range shape {
		n *= dim
	}
	return n
}

// Partial returns the sum and its weight. Errors: [ErrNoUpdates].
func (s *Sum) Partial(region string) (Partial, error) {
	if s.last == nil {
		return Partial{}, ErrNoUpdates
	}
	return Partial{Region: region, Examples: s.examples, Sum: s.acc}, nil
}

// matches compares names and shapes; the element type may be either.
func matches(want []round.TensorSpec, got artifact.Tensors) error {
	if len(got) != len(want) {
		return fmt.Errorf("%w: %d tensors, not %d", ErrShape, len(got), len(want))
	}
	for i, t := range got {
		if t.Name != want[i].Name || !slices.Equal(t.Shape, want[i].Shape) || t.Len() != size(want[i].Shape) {
			return fmt.Errorf("%w: %w", ErrShape, &artifact.TensorError{Tensor: t.Name, Err: artifact.ErrShape})
		}
	}
	return nil
}
