package kernel

// add4 and add1 do n elements, n a multiple of 16, by AVX2.

//go:noescape
func add4(a *float64, w *float64, x *[4][]float32, n int)

//go:noescape
func add4LE(a *float64, w *float64, x *[4][]byte, n int)

//go:noescape
func add1(a *float64, w float64, x *float32, n int)

//go:noescape
func add1LE(a *float64, w float64, x *byte, n int)

// four32 and the others add what the vector instructions can and return how
// many elements that is; the caller does the rest.

func (s Set) four32(a, w []float64, x *[4][]float32) int {
	n := len(a) &^ 15
	if !s.wide || n == 0 {
		return 0
	}
	add4(&a[0], &w[0], x, n)
	return n
}

func (s Set) fourLE32(a, w []float64, x *[4][]byte) int {
	n := len(a) &^ 15
	if !s.wide || n == 0 {
		return 0
	}
	add4LE(&a[0], &w[0], x, n)
	return n
}

func (s Set) one32(a []float64, w float64, x []float32) int {
	n := len(a) &^ 15
	if !s.wide || n == 0 {
		return 0
	}
	add1(&a[0], w, &x[0], n)
	return n
}

func (s Set) oneLE32(a []float64, w float64, x []byte) int {
	n := len(a) &^ 15
	if !s.wide || n == 0 {
		return 0
	}
	add1LE(&a[0], w, &x[0], n)
	return n
}
