package kernel

// exchange runs a network over rows of 64 keys.
//
//go:noescape
func exchange(keys *int32, pairs *pair, n int)

// keysOf writes n keys, n a multiple of 8.
//
//go:noescape
func keysOf(dst *int32, src *float32, n int)

//go:noescape
func keysOfLE(dst *int32, src *byte, n int)

func (s Set) run32(keys []int32, pairs []pair) {
	if !s.wide || len(pairs) == 0 {
		run(keys, pairs)
		return
	}
	exchange(&keys[0], &pairs[0], len(pairs))
}

// keysF32 and keysLE32 return how many keys they wrote.

func (s Set) keysF32(dst []int32, src []float32) int {
	n := len(src) &^ 7
	if !s.wide || n == 0 {
		return 0
	}
	keysOf(&dst[0], &src[0], n)
	return n
}

func (s Set) keysLE32(dst []int32, src []byte) int {
	n := len(src) / 4 &^ 7
	if !s.wide || n == 0 {
		return 0
	}
	keysOfLE(&dst[0], &src[0], n)
	return n
}
