package payload

import (
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A Vector is a vector in the ring of its form, or a piece of one: one of both
// is set.
type Vector struct {
	U32 []uint32
	U64 []uint64
}

// Piece returns so many zeros in the ring of the form.
func (f Form) Piece(n int) Vector {
	if f.Layout.Bits == ring.Z64 {
		return Vector{U64: make([]uint64, n)}
	}
	return Vector{U32: make([]uint32, n)}
}

// NewSum returns the vector of zeros that wire vectors are added to.
func (f Form) NewSum() Vector { return f.Piece(f.Layout.Len()) }

// Len returns the number of elements.
func (v Vector) Len() int { return max(len(v.U32), len(v.U64)) }

// Slice returns elements lo to hi; they share the vector's memory.
func (v Vector) Slice(lo, hi int) Vector {
	if v.U64 != nil {
		return Vector{U64: v.U64[lo:hi:hi]}
	}
	return Vector{U32: v.U32[lo:hi:hi]}
}

// Clear sets every element to zero.
func (v Vector) Clear() {
	clear(v.U32)
	clear(v.U64)
}

// Mask adds masks, or takes them away again: whatever x stands for. The first
// element of the piece is element first of the vector.
func (v Vector) Mask(x *secagg.Expander, first int) error {
	if v.U64 != nil {
		return secagg.Apply(x, v.U64, first)
	}
	return secagg.Apply(x, v.U32, first)
}

// AddAt adds a piece of a vector as it came over the wire, whose first element
// is element at. Errors: [ErrVector] for a piece that leaves the vector,
// [secagg.ErrVector] for half an element.
func (v Vector) AddAt(at int, wire []byte) error {
	if v.U64 != nil {
		n := len(wire) / 8
		if at < 0 || at+n > len(v.U64) {
			return ErrVector
		}
		return secagg.AddVector(v.U64[at:at+n], wire)
	}
	n := len(wire) / 4
	if at < 0 || at+n > len(v.U32) {
		return ErrVector
	}
	return secagg.AddVector(v.U32[at:at+n], wire)
}

// Append appends the elements as they go over the wire.
func (v Vector) Append(wire []byte) []byte {
	if v.U64 != nil {
		return secagg.AppendVector(wire, v.U64)
	}
	return secagg.AppendVector(wire, v.U32)
}

// Bytes returns the vector as it goes over the wire.
func (v Vector) Bytes() []byte {
	return v.Append(make([]byte, 0, 8*len(v.U64)+4*len(v.U32)))
}

// Parse reads a whole vector from the wire. Errors: [ErrVector].
func (f Form) Parse(wire []byte) (Vector, error) {
	if int64(len(wire)) != f.Spec.SizeBytes() {
		return Vector{}, ErrVector
	}
	v := f.NewSum()
	return v, v.AddAt(0, wire)
}
