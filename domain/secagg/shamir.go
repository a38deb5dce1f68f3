package secagg

import (
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// A polynomial of degree below the threshold for each limb; its value at 0 is
// the secret, its value at a holder's index is the holder's share.
type polynomial []scalar

// newPolynomial hides a secret. The coefficients come from the stream, 16
// bytes each, which leaves a bias below 2^-66.
func newPolynomial(secret *[32]byte, threshold int, random cipher.Stream) polynomial {
	p := make(polynomial, threshold)
	p[0] = toScalar(secret)
	var draw [16]byte
	for i := 1; i < threshold; i++ {
		for j := range limbs {
			clear(draw[:])
			random.XORKeyStream(draw[:], draw[:])
			p[i][j] = wide(binary.LittleEndian.Uint64(draw[8:]), binary.LittleEndian.Uint64(draw[:8]))
		}
	}
	clear(draw[:])
	return p
}

// wide maps a number of 128 bits into the field.
func wide(hi, lo uint64) element {
	// 2^64 = 8 modulo the prime.
	top, rest := bits.Mul64(hi, 8)
	a := element(rest & prime).add(reduce(rest>>61 | top<<3))
	return a.add(reduce(lo & prime)).add(reduce(lo >> 61))
}

// at returns the share of the holder with this index, from 1.
func (p polynomial) at(index int) scalar {
	x := element(index)
	var s scalar
	for i := len(p) - 1; i >= 0; i-- {
		for j := range limbs {
			s[j] = s[j].mul(x).add(p[i][j])
		}
	}
	return s
}

func (p polynomial) erase() { clear(p) }

// basis returns the weights by which the shares of these distinct holders add
// up to the value at x, which is the secret for 0:
// w[i] = Π (h[j]-x)/(h[j]-h[i]) over j != i.
func basis(holders []int, x element) []element {
	weights := make([]element, len(holders))
	below := make([]element, len(holders))
	for i, hi := range holders {
		top, bottom := element(1), element(1)
		for j, hj := range holders {
			if i != j {
				top = top.mul(element(hj).sub(x))
				bottom = bottom.mul(element(hj).sub(element(hi)))
			}
		}
		weights[i], below[i] = top, bottom
	}
	inverses(below)
	for i := range weights {
		weights[i] = weights[i].mul(below[i])
	}
	return weights
}

// combine returns the secret of as many shares as there are weights.
func combine(weights []element, shares []scalar) (s scalar) {
	for i, w := range weights {
		for j := range limbs {
			s[j] = s[j].add(w.mul(shares[i][j]))
		}
	}
	return s
}
