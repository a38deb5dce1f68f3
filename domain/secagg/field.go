package secagg

import (
	"encoding/binary"
	"math/bits"
)

// prime is 2^61-1. Sums of two elements and products by bits.Mul64 need no
// more than one fold, none of the operations branches on a value, and a
// 32-byte secret is five elements.
const prime = 1<<61 - 1

// An element of the field is below prime.
type element uint64

// reduce maps x < 2^62 into the field.
func reduce(x uint64) element {
	t := x - prime
	return element(t + prime&uint64(int64(t)>>63))
}

func (a element) add(b element) element { return reduce(uint64(a) + uint64(b)) }

func (a element) sub(b element) element { return reduce(uint64(a) + prime - uint64(b)) }

func (a element) mul(b element) element {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return reduce(lo&prime + (lo>>61 | hi<<3))
}

// inverse returns a^(prime-2); that of 0 is 0.
func (a element) inverse() element {
	result, power := element(1), a
	for e := uint64(prime - 2); e > 0; e >>= 1 {
		if e&1 == 1 { // the exponent is public
			result = result.mul(power)
		}
		power = power.mul(power)
	}
	return result
}

// inverses replaces each element, none of them 0, by its inverse, with one
// inversion in all.
func inverses(list []element) {
	prefix := make([]element, len(list))
	product := element(1)
	for i, a := range list {
		prefix[i] = product
		product = product.mul(a)
	}
	rest := product.inverse()
	for i := len(list) - 1; i >= 0; i-- {
		list[i], rest = rest.mul(prefix[i]), rest.mul(list[i])
	}
}

// limbs of a secret: 52 bits each, the last 48.
const (
	limbs    = 5
	limbBits = 52
	limbMask = 1<<limbBits - 1
	lastBits = 256 - 4*limbBits
)

// A scalar is a 32-byte secret, or a share of one, limb by limb.
type scalar [limbs]element

// toScalar cuts a secret, read as a little-endian number, into limbs.
func toScalar(secret *[32]byte) (s scalar) {
	var w [limbs]uint64
	for i := range 4 {
		w[i] = binary.LittleEndian.Uint64(secret[8*i:])
	}
	for i := range limbs {
		at := i * limbBits
		low := w[at/64] >> (at % 64)
		high := w[min(at/64+1, limbs-1)] << (64 - at%64) // a shift by 64 gives 0
		s[i] = element((low | high) & limbMask)
	}
	return s
}

// secret joins the limbs again. It is false for what no secret gives.
func (s scalar) secret() (secret [32]byte, ok bool) {
	var w [limbs]uint64
	for i, e := range s {
		if e > limbMask || (i == limbs-1 && e>>lastBits != 0) {
			return [32]byte{}, false
		}
		at := i * limbBits
		w[at/64] |= uint64(e) << (at % 64)
		w[min(at/64+1, limbs-1)] |= uint64(e) >> (64 - at%64)
	}
	for i := range 4 {
		binary.LittleEndian.PutUint64(secret[8*i:], w[i])
	}
	return secret, true
}

// append writes a share as [ShareBytes] bytes.
func (s scalar) append(b []byte) []byte {
	for _, e := range s {
		b = binary.LittleEndian.AppendUint64(b, uint64(e))
	}
	return b
}

// parseShare reads a share in its only form.
// Errors: [ErrShare].
func parseShare(b []byte) (s scalar, err error) {
	if len(b) != ShareBytes {
		return scalar{}, ErrShare
	}
	for i := range s {
		e := binary.LittleEndian.Uint64(b[8*i:])
		if e >= prime {
			return scalar{}, ErrShare
		}
		s[i] = element(e)
	}
	return s, nil
}
