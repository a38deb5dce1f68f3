package kernel

import (
	"runtime"
	"sync"
)

// Sums of squares are taken over spans of coordinates, by four running sums
// each, and spans are added in their order. The grid is fixed, so it is the
// same for one goroutine or many, and for vectors that come in pieces.
const (
	span   = Span
	stride = span + 8 // of a span's rows: not a power of two, or they share few cache lines
)

// Span is the number of coordinates whose squares are summed together. Vectors
// that come in pieces are cut at multiples of it, or the bits change.
const Span = 256

// AddDistances adds the squared Euclidean distances between vectors:
//
//	sums[i·n+k] += Σ_j (x[i][j]-x[k][j])²
//
// Shapes: n vectors of one length; sums is n by n, and symmetric if it was.
// Order:  as the grid above says. Differences are taken and squared in
// float64, so vectors that are nearly equal lose nothing, which a matrix of
// inner products would.
func (s Set) AddDistances(sums []float64, x []Vector) {
	n := len(x)
	rows := (n + 3) &^ 3 // tiles are 2 by 4; the rows that fill up are zero
	s.spans(x, rows*rows, func(part, wide []float64) { s.tiles(part, wide, n, rows) }, func(part []float64) {
		for i := range n {
			for k, v := range part[i*rows+i+1 : i*rows+n] {
				sums[i*n+i+1+k] += v
			}
		}
	})
	for i := range n {
		for k := range i {
			sums[i*n+k] = sums[k*n+i]
		}
	}
}

// AddNorms adds the squared Euclidean norms of vectors:
//
//	sums[i] += Σ_j x[i][j]²
//
// Shapes: as many sums as vectors, the vectors of one length.
func (s Set) AddNorms(sums []float64, x []Vector) {
	zero := make([]float64, span)
	s.spans(x, len(x), func(part, wide []float64) {
		for i := range part {
			part[i] += apart(wide[i*stride:], zero)
		}
	}, func(part []float64) {
		for i, v := range part {
			sums[i] += v
		}
	})
}

// spans goes over the coordinates. One adds a span of them, widened, to sums
// that are zero; whole takes the sums of every span, in order.
func (s Set) spans(x []Vector, size int, one func(sums, wide []float64), whole func(sums []float64)) {
	length := x[0].Len()
	batch := max(1, min(1<<16/size, 256)) // spans of a goroutine at a time: its sums stay in the cache
	workers := max(1, min(runtime.GOMAXPROCS(0), (length+batch*span-1)/(batch*span)))
	sums, wide := make([][]float64, workers), make([][]float64, workers)
	for w := range workers {
		sums[w] = make([]float64, batch*size)
		wide[w] = make([]float64, (len(x)+3)&^3*stride)
	}
	part := func(w, b int) []float64 { return sums[w][b*size : (b+1)*size] }
	work := func(w, lo int) {
		clear(sums[w])
		for b := 0; b < batch && lo < length; b, lo = b+1, lo+span {
			n := min(span, length-lo)
			for k, v := range x {
				row := wide[w][k*stride : k*stride+span]
				s.widen(row[:n], v, lo)
				clear(row[n:])
			}
			one(part(w, b), wide[w])
		}
	}
	for lo := 0; lo < length; lo += workers * batch * span {
		var wg sync.WaitGroup
		for w := 1; w < workers && lo+w*batch*span < length; w++ {
			wg.Go(func() { work(w, lo+w*batch*span) })
		}
		work(0, lo)
		wg.Wait()
		for i := 0; i < workers*batch && lo+i*span < length; i++ {
			whole(part(i/batch, i%batch))
		}
	}
}

// widen is Widen of the elements from the at-th on.
func (s Set) widen(dst []float64, v Vector, at int) {
	done := 0
	switch v := v.(type) {
	case F32:
		done = s.widen32(dst, v[at:at+len(dst)])
	case LE32:
		done = s.widenLE32(dst, v[4*at:4*(at+len(dst))])
	}
	v.Widen(dst[done:], at+done)
}

// tilesPlain adds the distances between the rows of a block.
func tilesPlain(sums, wide []float64, n, rows int) {
	for i := range n {
		for k := i + 1; k < n; k++ {
			sums[i*rows+k] += apart(wide[i*stride:], wide[k*stride:])
		}
	}
}

// apart returns the sum of squared differences over one block, by four running
// sums, and these in the order in which vector instructions fold them.
func apart(a, b []float64) float64 {
	x, y := (*[span]float64)(a), (*[span]float64)(b)
	var s0, s1, s2, s3 float64
	for j := 0; j < span; j += 4 {
		u, v := (*[4]float64)(x[j:]), (*[4]float64)(y[j:])
		d0, d1, d2, d3 := u[0]-v[0], u[1]-v[1], u[2]-v[2], u[3]-v[3]
		s0 += float64(d0 * d0)
		s1 += float64(d1 * d1)
		s2 += float64(d2 * d2)
		s3 += float64(d3 * d3)
	}
	return (s0 + s2) + (s1 + s3)
}
