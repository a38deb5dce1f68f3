package payload

import (
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A Vector is a whole vector in the ring of its form: one of both is set.
type Vector struct {
	U32 []uint32
	U64 []uint64
}

// NewSum returns the vector of zeros that wire vectors are added to.
func (f Form) NewSum() Vector {
	if f.Layout.Bits == ring.Z64 {
		return Vector{U64: make([]uint64, f.Layout.Len())}
	}
	return Vector{U32: make([]uint32, f.Layout.Len())}
}

// Mask adds masks, or takes them away again: whatever x stands for.
func (v Vector) Mask(x *secagg.Expander) error {
	if v.U64 != nil {
		return secagg.Apply(x, v.U64, 0)
	}
	return secagg.Apply(x, v.U32, 0)
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

// Bytes returns the vector as it goes over the wire.
func (v Vector) Bytes() []byte {
	if v.U64 != nil {
		return secagg.AppendVector(make([]byte, 0, 8*len(v.U64)), v.U64)
	}
	return secagg.AppendVector(make([]byte, 0, 4*len(v.U32)), v.U32)
}

// Parse reads a whole vector from the wire. Errors: [ErrVector].
func (f Form) Parse(wire []byte) (Vector, error) {
	if int64(len(wire)) != f.Spec.SizeBytes() {
		return Vector{}, ErrVector
	}
	v := f.NewSum()
	return v, v.AddAt(0, wire)
}
