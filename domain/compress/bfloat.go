package compress

import "math"

// BFloat rounds to the upper 16 bits of an F32, to the nearest and to even. ok
// is false where the result would be an infinity, and for NaN.
//
// Bound: |x - y| ≤ 2^-8·|x| from 2^-126 on, and ≤ 2^-134 below.
func BFloat(x float32) (b uint16, ok bool) {
	bits := math.Float32bits(x)
	if bits&0x7fffffff >= 0x7f7f8000 { // halfway between the largest and 2^128
		return 0, false
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16), true
}
