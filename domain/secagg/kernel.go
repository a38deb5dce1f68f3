package secagg

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"
)

// littleEndian says whether an element in memory has the bytes of the wire.
func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}

// turn brings elements that were read in wire order into the machine's.
func turn[E Element](list []E) {
	for i, e := range list {
		if unsafe.Sizeof(e) == 4 {
			list[i] = E(bits.ReverseBytes32(uint32(e)))
		} else {
			list[i] = E(bits.ReverseBytes64(uint64(e)))
		}
	}
}

// add adds src, whose elements are in wire order, to dst. Both have one length.
func add[E Element](dst, src []E) {
	if !littleEndian() {
		turn(src)
	}
	done := 0
	switch d := any(dst).(type) {
	case []uint32:
		done = add32(d, any(src).([]uint32))
	case []uint64:
		done = add64(d, any(src).([]uint64))
	}
	addPlain(dst[done:], src[done:])
}

// subtract takes src, whose elements are in wire order, from dst.
func subtract[E Element](dst, src []E) {
	if !littleEndian() {
		turn(src)
	}
	done := 0
	switch d := any(dst).(type) {
	case []uint32:
		done = subtract32(d, any(src).([]uint32))
	case []uint64:
		done = subtract64(d, any(src).([]uint64))
	}
	subtractPlain(dst[done:], src[done:])
}

func addPlain[E Element](dst, src []E) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] += src[i]
	}
}

func subtractPlain[E Element](dst, src []E) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] -= src[i]
	}
}

// AddVector adds a masked vector, or a piece of one, as it came off the wire.
// Errors: [ErrVector] unless there is exactly one element for each of sum.
func AddVector[E Element](sum []E, wire []byte) error {
	if len(wire) != len(sum)*int(unsafe.Sizeof(E(0))) {
		return fmt.Errorf("%w: %d bytes for %d elements", ErrVector, len(wire), len(sum))
	}
	if len(sum) == 0 {
		return nil
	}
	if start := unsafe.Pointer(&wire[0]); littleEndian() && uintptr(start)%unsafe.Sizeof(E(0)) == 0 {
		add(sum, unsafe.Slice((*E)(start), len(sum)))
		return nil
	}
	addBytes(sum, wire)
	return nil
}

// addBytes is AddVector for bytes that the machine cannot read as elements.
func addBytes[E Element](sum []E, wire []byte) {
	if unsafe.Sizeof(E(0)) == 4 {
		for i := range sum {
			sum[i] += E(binary.LittleEndian.Uint32(wire[4*i:]))
		}
		return
	}
	for i := range sum {
		sum[i] += E(binary.LittleEndian.Uint64(wire[8*i:]))
	}
}

// AppendVector appends the elements as they go over the wire.
func AppendVector[E Element](wire []byte, list []E) []byte {
	if unsafe.Sizeof(E(0)) == 4 {
		for _, e := range list {
			wire = binary.LittleEndian.AppendUint32(wire, uint32(e))
		}
		return wire
	}
	for _, e := range list {
		wire = binary.LittleEndian.AppendUint64(wire, uint64(e))
	}
	return wire
}
