package modelpack

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A TensorDiff says how a tensor of one model differs from that of the same
// name in another. Change is "added", "removed", "reshaped" (its shape or type
// differs), "changed" or "same".
type TensorDiff struct {
	Name   string  `json:"name"`
	Change string  `json:"change"`
	Before string  `json:"before,omitempty"` // type and shape
	After  string  `json:"after,omitempty"`
	Norm   float64 `json:"norm"`   // L2 of the difference; of a tensor that both have in one shape
	Base   float64 `json:"base"`   // L2 of the tensor before
	MaxAbs float64 `json:"maxAbs"` // greatest difference of an element
	Count  int64   `json:"count"`  // elements that differ
	// Unbounded is how many of them are NaN or infinite on one side: they are in
	// no norm.
	Unbounded int64 `json:"unbounded,omitempty"`
}

// A Difference is what a model differs by from another. Norm is the L2 norm
// over all tensors that both have in one shape. Elements that are NaN in both
// are equal.
type Difference struct {
	Tensors []TensorDiff `json:"tensors"` // by ascending name
	Norm    float64      `json:"norm"`
	Base    float64      `json:"base"`
	Same    bool         `json:"same"`
}

// Diff compares two models tensor by tensor, in memory for one chunk of each.
//
//	norm = sqrt(Σ_j (b[j] − a[j])²)
//
// Order: elements as they are stored, tensors by ascending name.
// Errors: those of [artifact.TensorReader].
func Diff(a, b *artifact.TensorReader) (Difference, error) {
	out := Difference{Tensors: []TensorDiff{}, Same: true}
	var square, base float64
	left, errA := a.Next()
	right, errB := b.Next()
	for {
		endA, endB := errors.Is(errA, io.EOF), errors.Is(errB, io.EOF)
		if errA != nil && !endA || errB != nil && !endB {
			return out, errors.Join(errA, errB)
		}
		var d TensorDiff
		switch {
		case endA && endB:
			out.Norm, out.Base = math.Sqrt(square), math.Sqrt(base)
			return out, nil
		case endB || !endA && left.Name < right.Name:
			d = TensorDiff{Name: left.Name, Change: "removed", Before: form(left)}
			left, errA = a.Next()
		case endA || right.Name < left.Name:
			d = TensorDiff{Name: right.Name, Change: "added", After: form(right)}
			right, errB = b.Next()
		case left.DType != right.DType || !slices.Equal(left.Shape, right.Shape):
			d = TensorDiff{Name: left.Name, Change: "reshaped", Before: form(left), After: form(right)}
			left, errA = a.Next()
			right, errB = b.Next()
		default:
			var err error
			if d, err = values(a, b, left); err != nil {
				return out, err
			}
			square, base = square+d.Norm*d.Norm, base+d.Base*d.Base
			left, errA = a.Next()
			right, errB = b.Next()
		}
		out.Same = out.Same && d.Change == "same"
		out.Tensors = append(out.Tensors, d)
	}
}

func form(t artifact.TensorInfo) string { return fmt.Sprintf("%s%v", t.DType, t.Shape) }

// values compares the elements of a tensor that both have.
func values(a, b *artifact.TensorReader, info artifact.TensorInfo) (TensorDiff, error) {
	d := TensorDiff{Name: info.Name, Change: "same", Before: form(info), After: form(info)}
	var one, two [4096]float64
	var square, base float64
	for left := info.Elements(); left > 0; {
		n := min(left, len(one))
		if err := errors.Join(full(a, one[:n]), full(b, two[:n])); err != nil {
			return d, err
		}
		for i := range n {
			x, y := one[i], two[i]
			if !unbounded(x) {
				base += x * x
			}
			switch {
			case x == y, math.IsNaN(x) && math.IsNaN(y):
				continue
			case unbounded(y - x):
				d.Unbounded++
			default:
				square += (y - x) * (y - x)
				d.MaxAbs = max(d.MaxAbs, math.Abs(y-x))
			}
			d.Count++
		}
		left -= n
	}
	d.Norm, d.Base = math.Sqrt(square), math.Sqrt(base)
	if d.Count > 0 {
		d.Change = "changed"
	}
	return d, nil
}

func unbounded(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

// full reads exactly the elements of dst.
func full(r *artifact.TensorReader, dst []float64) error {
	for len(dst) > 0 {
		n, err := r.Read(dst)
		if err != nil {
			return err
		}
		dst = dst[n:]
	}
	return nil
}
