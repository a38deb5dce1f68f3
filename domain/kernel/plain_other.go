//go:build !amd64

package kernel

// On other CPUs the compiler's loops are all there is.

func hasAVX2() bool { return false }

func (s Set) four32(a, w []float64, x *[4][]float32) int    { return 0 }
func (s Set) fourLE32(a, w []float64, x *[4][]byte) int     { return 0 }
func (s Set) one32(a []float64, w float64, x []float32) int { return 0 }
func (s Set) oneLE32(a []float64, w float64, x []byte) int  { return 0 }

func (s Set) run32(keys []int32, pairs []pair)       { run(keys, pairs) }
func (s Set) keysF32(dst []int32, src []float32) int { return 0 }
func (s Set) keysLE32(dst []int32, src []byte) int   { return 0 }

func (s Set) tiles(sums, wide []float64, n, rows int)  { tilesPlain(sums, wide, n, rows) }
func (s Set) widen32(dst []float64, src []float32) int { return 0 }
func (s Set) widenLE32(dst []float64, src []byte) int  { return 0 }
