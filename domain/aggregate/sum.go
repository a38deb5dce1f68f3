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

	"github.com/atom-fabric/fabric/domain/artifact"
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
}

// NewSum returns an empty sum of updates of a round of that kind.
func NewSum(spec round.ModelSpec, kind round.Kind) *Sum {
	return newSum(spec.Partial(kind))
}

func newSum(want []round.TensorSpec) *Sum {
	s := &Sum{want: want}
	for _, w := range want {
		n := 1
		for _, dim := range w.Shape {
			n *= dim
		}
		s.acc = append(s.acc, artifact.Tensor{Name: w.Name, DType: artifact.F64, Shape: w.Shape, F64: make([]float64, n)})
	}
	return s
}

// Add adds examples times the update. Updates come by strictly ascending
// (tenant, site): the order is part of the result, so a caller that does not
// keep it is told. A refused update leaves the sum as it was.
// Errors: [*UpdateError].
func (s *Sum) Add(u Update) error {
	if u.Examples < 1 || u.Examples > MaxExamples {
		return u.fail(ErrExamples)
	}
	if s.last != nil {
		switch order := compare(*s.last, u); {
		case order == 0:
			return u.fail(ErrDuplicate)
		case order > 0:
			return u.fail(ErrOrder)
		}
	}
	if err := matches(s.want, u.Tensors); err != nil {
		return u.fail(err)
	}
	weight := float64(u.Examples)
	for i, t := range u.Tensors {
		acc := s.acc[i].F64
		if t.DType == artifact.F64 {
			for j, v := range t.F64 {
				acc[j] += float64(weight * v) // the conversion forbids a fused multiply-add
			}
			continue
		}
		for j, v := range t.F32 {
			acc[j] += float64(weight * float64(v))
		}
	}
	s.examples += u.Examples
	s.last = &Update{Tenant: u.Tenant, Site: u.Site}
	return nil
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
		n := 1
		same := t.Name == want[i].Name && len(t.Shape) == len(want[i].Shape)
		for d := range t.Shape {
			same = same && t.Shape[d] == want[i].Shape[d]
			n *= t.Shape[d]
		}
		if !same || t.Len() != n {
			return fmt.Errorf("%w: %w", ErrShape, &artifact.TensorError{Tensor: t.Name, Err: artifact.ErrShape})
		}
	}
	return nil
}
