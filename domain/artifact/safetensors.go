package artifact

import (
	"errors"
	"fmt"
	"sort"
)

// Why a byte string is not a model in our profile of safetensors. The profile
// is narrower than the format, so that one model is one byte string and a
// digest of it means something: tensors sorted by name and laid end to end,
// fields in the order dtype, shape, data_offsets, no white space but the
// padding, no metadata, names that need no escape.
var (
	ErrHeaderLength = errors.New("header length is not possible")
	ErrHeader       = errors.New("header is not canonical")
	ErrTensorName   = errors.New("tensor name is not allowed")
	ErrTensorOrder  = errors.New("tensors are not in strictly ascending order of name")
	ErrDType        = errors.New("dtype is not allowed")
	ErrShape        = errors.New("shape is not allowed")
	ErrLayout       = errors.New("data offsets do not follow from the shapes")
	ErrTruncated    = errors.New("data ends too early")
	ErrTail         = errors.New("data goes on after the last tensor")
	ErrTooLarge     = errors.New("larger than allowed")
)

// Limits of the profile. The header limit is below the reference
// implementation's 100 MB: 100,000 tensors need about 7 MiB.
const (
	MaxHeaderBytes = 16 << 20
	MaxTensors     = 100_000
	MaxDims        = 8
	MaxNameBytes   = 512
	maxDataBytes   = 1 << 40 // keeps every product of a shape inside int64
)

// A TensorError says which tensor is at fault, and why.
type TensorError struct {
	Tensor string
	Err    error
}

func (e *TensorError) Error() string { return fmt.Sprintf("tensor %q: %v", clip(e.Tensor), e.Err) }
func (e *TensorError) Unwrap() error { return e.Err }

// A DType is the element type of a tensor, as safetensors spells it.
type DType string

// The element types of the profile. F16 and BF16 are read by [TensorReader]
// only; whatever the fabric computes is F32 or F64.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// Size returns the bytes of one element, 0 for a type outside the profile.
func (d DType) Size() int64 {
	switch d {
	case F64:
		return 8
	case F32:
		return 4
	case F16, BF16:
		return 2
	}
	return 0
}

// A TensorInfo is what the header says about one tensor. Begin and End count
// bytes from the end of the header.
type TensorInfo struct {
	Name       string
	DType      DType
	Shape      []int
	Begin, End int64
}

// Elements returns the number of elements.
func (t TensorInfo) Elements() int { return int((t.End - t.Begin) / t.DType.Size()) }

// A Tensor is a tensor in memory, row-major. Of F32 and F64 the slice that
// DType names is set.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	F32   []float32
	F64   []float64
}

// Len returns the number of elements held.
func (t Tensor) Len() int {
	if t.DType == F64 {
		return len(t.F64)
	}
	return len(t.F32)
}

// At returns element i as a float64, exactly.
func (t Tensor) At(i int) float64 {
	if t.DType == F64 {
		return t.F64[i]
	}
	return float64(t.F32[i])
}

// Tensors are the tensors of a model or of an update, in any order; [Tensors.Encode]
// sorts them, and what was read is sorted.
type Tensors []Tensor

// Get returns the tensor of that name.
func (t Tensors) Get(name string) (Tensor, bool) {
	for _, tensor := range t {
		if tensor.Name == name {
			return tensor, true
		}
	}
	return Tensor{}, false
}

// sorted returns the tensors by name without moving the caller's.
func (t Tensors) sorted() Tensors {
	out := append(Tensors(nil), t...)
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// elements returns the product of shape, or [ErrShape] when it has too many
// dimensions, an empty one, or more bytes than any model. An empty shape is a
// scalar.
func elements(shape []int, size int64) (int64, error) {
	if len(shape) > MaxDims {
		return 0, ErrShape
	}
	n := int64(1)
	for _, dim := range shape {
		if dim < 1 || int64(dim) > maxDataBytes/size/n {
			return 0, ErrShape
		}
		n *= int64(dim)
	}
	return n, nil
}

// checkName admits printable ASCII without the two characters that JSON
// escapes, so that a name has one spelling and no look-alike.
func checkName(name string) error {
	if name == "" || len(name) > MaxNameBytes || name == "__metadata__" {
		return ErrTensorName
	}
	for i := range len(name) {
		if c := name[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return ErrTensorName
		}
	}
	return nil
}
