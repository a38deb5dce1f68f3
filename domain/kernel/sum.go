package kernel

import (
	"encoding/binary"
	"math"
)

// block is how many elements are summed over all vectors before the next: its
// accumulators stay in the first cache.
const block = 2048

// Sum adds weighted vectors to an accumulator:
//
//	acc[j] += Σ_k w[k]·x[k][j]
//
// Shapes: as many weights as vectors, each as long as acc.
// Order:  by ascending k, every product rounded before it is added. Disjoint
// ranges of j are done at the same time.
func (s Set) Sum(acc []float64, w []float64, x []Vector) {
	Split(len(acc), block, func(lo, hi int) { s.sum(acc, w, x, lo, hi) })
}

func (s Set) sum(acc []float64, w []float64, x []Vector, lo, hi int) {
	for ; lo < hi; lo += block {
		end := min(lo+block, hi)
		a := acc[lo:end]
		for k := 0; k < len(x); {
			k += s.fused(a, w[k:], x[k:], lo, end)
		}
	}
}

// fused adds as many of the first vectors as have one form, at most four, and
// returns how many. A pass over the accumulators serves them all.
func (s Set) fused(a []float64, w []float64, x []Vector, lo, hi int) int {
	switch v := x[0].(type) {
	case F32:
		if len(x) > 3 {
			v1, ok1 := x[1].(F32)
			v2, ok2 := x[2].(F32)
			v3, ok3 := x[3].(F32)
			if ok1 && ok2 && ok3 {
				rows := [4][]float32{v[lo:hi], v1[lo:hi], v2[lo:hi], v3[lo:hi]}
				done := s.four32(a, w, &rows)
				sum4(a[done:], w, rows[0][done:], rows[1][done:], rows[2][done:], rows[3][done:])
				return 4
			}
		}
		done := s.one32(a, w[0], v[lo:hi])
		sum1(a[done:], w[0], v[lo+done:hi])
	case LE32:
		if len(x) > 3 {
			v1, ok1 := x[1].(LE32)
			v2, ok2 := x[2].(LE32)
			v3, ok3 := x[3].(LE32)
			if ok1 && ok2 && ok3 {
				rows := [4][]byte{v[4*lo : 4*hi], v1[4*lo : 4*hi], v2[4*lo : 4*hi], v3[4*lo : 4*hi]}
				done := s.fourLE32(a, w, &rows)
				for i, r := range rows {
					sumLE32(a[done:], w[i], r[4*done:])
				}
				return 4
			}
		}
		done := s.oneLE32(a, w[0], v[4*lo:4*hi])
		sumLE32(a[done:], w[0], v[4*(lo+done):4*hi])
	case F64:
		sum1(a, w[0], v[lo:hi])
	case LE64:
		sumLE64(a, w[0], v[8*lo:8*hi])
	}
	return 1
}

// The conversions of the products forbid a fused multiply-add.

func sum1[T float32 | float64](a []float64, w float64, x []T) {
	x = x[:len(a)]
	for j := range a {
		a[j] += float64(w * float64(x[j]))
	}
}

func sum4(a []float64, w []float64, x0, x1, x2, x3 []float32) {
	w0, w1, w2, w3 := w[0], w[1], w[2], w[3]
	x0, x1, x2, x3 = x0[:len(a)], x1[:len(a)], x2[:len(a)], x3[:len(a)]
	for j, v := range a {
		v += float64(w0 * float64(x0[j]))
		v += float64(w1 * float64(x1[j]))
		v += float64(w2 * float64(x2[j]))
		v += float64(w3 * float64(x3[j]))
		a[j] = v
	}
}

func sumLE32(a []float64, w float64, x LE32) {
	for j := range a {
		a[j] += float64(w * float64(math.Float32frombits(binary.LittleEndian.Uint32(x[4*j:4*j+4]))))
	}
}

func sumLE64(a []float64, w float64, x LE64) {
	for j := range a {
		a[j] += float64(w * math.Float64frombits(binary.LittleEndian.Uint64(x[8*j:8*j+8])))
	}
}
