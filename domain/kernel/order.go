package kernel

import "math"

// lanes is how many coordinates go through a network at a time.
const lanes = 64

// Median writes the median of each coordinate over the vectors to dst; of an
// even number of vectors, the mean of the two in the middle.
func (s Set) Median(dst []float64, x []Vector) { s.TrimmedMean(dst, x, (len(x)-1)/2) }

// TrimmedMean sorts each coordinate over the vectors and writes the mean of
// what is left without the cut least and the cut greatest:
//
//	dst[j] = Σ_{i=cut}^{n-cut-1} x(i)[j] / (n-2cut), x(0)[j] <= x(1)[j] <= ...
//
// Shapes: n > 2cut vectors, each as long as dst.
// Order:  ascending by value, where -0 comes before +0, so the order of the
// vectors does not change a bit of the result.
func (s Set) TrimmedMean(dst []float64, x []Vector, cut int) {
	from, to := cut, len(x)-cut
	s.order(dst, x, from, to, func(dst []float64, rows []float64) {
		copy(dst, rows[:lanes])
		for i := 1; i < to-from; i++ {
			for l, v := range rows[i*lanes : (i+1)*lanes][:len(dst)] {
				dst[l] += v
			}
		}
		if n := float64(to - from); n > 1 {
			for l := range dst {
				dst[l] /= n
			}
		}
	})
}

// NearMedian writes the mean of the keep values of each coordinate that are
// nearest to its median. Of two as near, the lesser is taken.
//
// Shapes: 1 <= keep <= n vectors, each as long as dst.
// Order:  ascending by value.
func (s Set) NearMedian(dst []float64, x []Vector, keep int) {
	n := len(x)
	s.order(dst, x, 0, n, func(dst []float64, rows []float64) {
		for l := range dst {
			at := func(i int) float64 { return rows[i*lanes+l] }
			median := at(n / 2)
			if n%2 == 0 {
				median = (at(n/2-1) + at(n/2)) / 2
			}
			lo, hi := 0, n // the nearest are side by side
			for hi-lo > keep {
				if median-at(lo) > at(hi-1)-median {
					lo++
				} else {
					hi--
				}
			}
			var sum float64
			for i := lo; i < hi; i++ {
				sum += at(i)
			}
			dst[l] = sum / float64(keep)
		}
	})
}

// order sorts each coordinate as far as the places from to to-1 need it, and
// gives them to reduce, a block of coordinates at a time: place i of
// coordinate l is rows[(i-from)*lanes+l].
func (s Set) order(dst []float64, x []Vector, from, to int, reduce func(dst, rows []float64)) {
	pairs := network(len(x), from, to)
	narrow := true // binary32 throughout: keys of 32 bits
	for _, v := range x {
		switch v.(type) {
		case F32, LE32:
		default:
			narrow = false
		}
	}
	Split(len(dst), lanes, func(lo, hi int) {
		rows := make([]float64, (to-from)*lanes)
		var keys []int32
		var wide []int64
		if narrow {
			keys = make([]int32, len(x)*lanes)
		} else {
			wide = make([]int64, len(x)*lanes)
		}
		for ; lo < hi; lo += lanes {
			end := min(lo+lanes, hi)
			if narrow {
				for k, v := range x {
					s.keys32(keys[k*lanes:(k+1)*lanes], v, lo, end)
				}
				s.run32(keys, pairs)
				for i, k := range keys[from*lanes : to*lanes] {
					rows[i] = float64(math.Float32frombits(uint32(flip32(k))))
				}
			} else {
				for k, v := range x {
					keys64(wide[k*lanes:(k+1)*lanes], rows, v, lo, end)
				}
				run(wide, pairs)
				for i, k := range wide[from*lanes : to*lanes] {
					rows[i] = math.Float64frombits(uint64(flip64(k)))
				}
			}
			reduce(dst[lo:end], rows)
		}
	})
}

// flip32 maps the bits of a float to an integer of the same order, and back:
// of negative numbers all bits but the sign are turned.
func flip32(bits int32) int32 { return bits ^ int32(uint32(bits>>31)>>1) }
func flip64(bits int64) int64 { return bits ^ int64(uint64(bits>>63)>>1) }

// keys32 writes the keys of the elements lo to hi; what is left of a block at
// the end keeps what it had, which harms nobody.
func (s Set) keys32(dst []int32, v Vector, lo, hi int) {
	if v, ok := v.(F32); ok {
		done := s.keysF32(dst, v[lo:hi])
		for i, f := range v[lo+done : hi] {
			dst[done+i] = flip32(int32(math.Float32bits(f)))
		}
		return
	}
	raw := v.cut(lo, hi).(LE32)
	for i := s.keysLE32(dst, raw); i < hi-lo; i++ {
		b := raw[4*i : 4*i+4]
		dst[i] = flip32(int32(b[0]) | int32(b[1])<<8 | int32(b[2])<<16 | int32(b[3])<<24)
	}
}

// keys64 does it for a vector of any form, by way of spare.
func keys64(dst []int64, spare []float64, v Vector, lo, hi int) {
	spare = spare[:hi-lo]
	v.Widen(spare, lo)
	for i, f := range spare {
		dst[i] = flip64(int64(math.Float64bits(f)))
	}
}

// run puts all lanes of each pair of rows in order.
func run[T int32 | int64](keys []T, pairs []pair) {
	for _, p := range pairs {
		lo := (*[lanes]T)(keys[int(p.lo)*lanes:])
		hi := (*[lanes]T)(keys[int(p.hi)*lanes:])
		for l := 0; l < lanes; l += 4 {
			a, b := (*[4]T)(lo[l:]), (*[4]T)(hi[l:])
			x, y := a[0], b[0]
			a[0], b[0] = min(x, y), max(x, y)
			x, y = a[1], b[1]
			a[1], b[1] = min(x, y), max(x, y)
			x, y = a[2], b[2]
			a[2], b[2] = min(x, y), max(x, y)
			x, y = a[3], b[3]
			a[3], b[3] = min(x, y), max(x, y)
		}
	}
}
