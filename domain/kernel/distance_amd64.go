package kernel

// tile adds to out, rows of 8·outStride bytes, the sums of squared differences
// of 2 rows at a and 4 rows at b over a block.
//
//go:noescape
func tile(out *float64, outStride int, a, b *float64)

// widened writes n elements as float64, n a multiple of 4.
//
//go:noescape
func widened(dst *float64, src *float32, n int)

//go:noescape
func widenedLE(dst *float64, src *byte, n int)

func (s Set) tiles(sums, wide []float64, n, rows int) {
	if !s.wide {
		tilesPlain(sums, wide, n, rows)
		return
	}
	for i := 0; i < n; i += 2 {
		for k := i &^ 3; k < n; k += 4 {
			tile(&sums[i*rows+k], rows, &wide[i*stride], &wide[k*stride])
		}
	}
}

// widen32 and widenLE32 return how many elements they wrote.

func (s Set) widen32(dst []float64, src []float32) int {
	n := len(dst) &^ 3
	if !s.wide || n == 0 {
		return 0
	}
	widened(&dst[0], &src[0], n)
	return n
}

func (s Set) widenLE32(dst []float64, src []byte) int {
	n := len(dst) &^ 3
	if !s.wide || n == 0 {
		return 0
	}
	widenedLE(&dst[0], &src[0], n)
	return n
}
