package dp

import "math"

// Central is Gaussian noise that one party adds to a sum, on a grid: the sum is
// rounded to a power of two 2^-30 times as large as the noise, and the noise is
// a discrete Gaussian of that grid. Adding a float64 drawn from a continuous
// Gaussian instead leaks through the low bits of the result (Mironov, CCS 2012).
type Central struct {
	Stddev float64 // of the noise, in the sum's units
	Grid   float64 // a power of two
	noise  *DiscreteGaussian
}

// NewCentral returns the mechanism for noise of that standard deviation.
// Errors: [*ParameterError].
func NewCentral(stddev float64) (Central, error) {
	if err := refuse("stddev", stddev, stddev >= 0x1p-900 && stddev <= 0x1p900); err != nil {
		return Central{}, err
	}
	_, exp := math.Frexp(stddev)
	grid := math.Ldexp(1, exp-31)
	noise, err := NewDiscreteGaussian(stddev / grid)
	return Central{Stddev: stddev, Grid: grid, noise: noise}, err
}

// Effective returns the noise multiplier for the accountant of a sum of dim
// coordinates and sensitivity l2, after rounding to the grid:
//
//	stddev / (l2 + grid·√dim)
func (c Central) Effective(l2 float64, dim int) float64 {
	return c.Stddev / (l2 + c.Grid*math.Sqrt(float64(dim)))
}

// chunk is how many coordinates of noise are held at a time.
const chunk = 64 * Block

// AddAt adds noise in place to the coordinates of the sum from first on, which
// is a multiple of [Block]. The seed must not have been used before.
// Errors: [*ParameterError]; [ErrNotFinite]; [ErrRange] where a value is 2^52
// grid steps or more, that is 2^22 standard deviations: the sum is then partly
// noised and not to be used.
func (c Central) AddAt(sum []float64, seed Seed, first uint64) error {
	noise := make([]int64, min(len(sum), chunk))
	for from := 0; from < len(sum); from += chunk {
		part := sum[from:min(from+chunk, len(sum))]
		noise := noise[:len(part)]
		if err := c.noise.FillAt(noise, seed, first+uint64(from)); err != nil {
			return err
		}
		for i, v := range part {
			steps := math.RoundToEven(v / c.Grid)
			if !(math.Abs(steps) < 0x1p52) {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return ErrNotFinite
				}
				return ErrRange
			}
			part[i] = float64(int64(steps)+noise[i]) * c.Grid
		}
	}
	return nil
}
