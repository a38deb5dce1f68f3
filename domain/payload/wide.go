package payload

import (
	"fmt"
	"math"
	"math/big"
)

// A wide number is a fixed-point integer of 144 bits in two's complement, 64 of
// them behind the point, in three counts: moments of columns differ by many
// orders of magnitude and have no common scale. A site's stays below 2^63, so
// that the sum of 65,536 sites cannot wrap.
const (
	wideCounts = 3
	wideBits   = 48 * wideCounts
	wideFrac   = 64
	limbMask   = 1<<48 - 1
)

// putWide writes weight·x. Errors: [ErrRange], also for NaN and infinities.
func putWide(dst []int64, x float64, weight int64) error {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return ErrRange
	}
	exact := new(big.Float).SetPrec(256).SetFloat64(x)
	exact.Mul(exact, new(big.Float).SetInt64(weight))
	if exact.MantExp(nil) > 63 {
		return fmt.Errorf("%w: 2^63 at most", ErrRange)
	}
	exact.SetMantExp(exact, wideFrac)
	v, _ := exact.Int(nil)
	if v.Sign() < 0 {
		v.Add(v, new(big.Int).Lsh(big.NewInt(1), wideBits))
	}
	mask := big.NewInt(limbMask)
	for i := range wideCounts {
		dst[i] = new(big.Int).And(v, mask).Int64()
		v.Rsh(v, 48)
	}
	return nil
}

// getWide reads a sum.
func getWide(src []int64) float64 {
	v := new(big.Int)
	for i := wideCounts - 1; i >= 0; i-- {
		v.Lsh(v, 48).Add(v, big.NewInt(src[i]))
	}
	whole := new(big.Int).Lsh(big.NewInt(1), wideBits)
	v.Mod(v, whole)
	if v.Bit(wideBits-1) == 1 {
		v.Sub(v, whole)
	}
	f := new(big.Float).SetPrec(256).SetInt(v)
	out, _ := f.SetMantExp(f, -wideFrac).Float64()
	return out
}
