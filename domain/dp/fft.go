package dp

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// transform computes the discrete Fourier transform of x in place, whose length
// is a power of two. roots are those of [unitRoots]. Its error is at most
// 2^-50·log₂(n) times the norm of the result (Higham, Accuracy and Stability of
// Numerical Algorithms, theorem 24.2, with room).
func transform(x, roots []complex128) {
	n := len(x)
	up := bits.LeadingZeros(uint(n)) + 1
	for i := range x {
		if j := int(bits.Reverse(uint(i)) >> up); n > 1 && i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size *= 2 {
		half, stride := size/2, n/size
		for from := 0; from < n; from += size {
			low, high := x[from:from+half], x[from+half:from+size]
			for k := range low {
				t := roots[k*stride] * high[k]
				low[k], high[k] = low[k]+t, low[k]-t
			}
		}
	}
}

// unitRoots returns exp(-2πi·k/n) for k < n/2.
func unitRoots(n int) []complex128 {
	roots := make([]complex128, max(1, n/2))
	for k := range roots {
		sin, cos := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
		roots[k] = complex(cos, sin)
	}
	return roots
}

// power returns z^n for n ≥ 1.
func power(z complex128, n int) complex128 {
	r := complex(1, 0)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			r *= z
		}
		z *= z
	}
	return r
}

// magnitude is |z|.
func magnitude(z complex128) float64 { return cmplx.Abs(z) }
