package dp

import (
	"io"
	"math"
	"math/big"
)

// A DiscreteGaussian samples integers k with probability proportional to
// exp(-k²/2σ²), exactly: no float is rounded into a probability.
//
// Source: Canonne, Kamath and Steinke, NeurIPS 2020 (arXiv:2004.00010).
type DiscreteGaussian struct{ sampler sampler }

// NewDiscreteGaussian returns the sampler for σ = stddev in [2^-10, 2^40].
// Errors: [*ParameterError].
func NewDiscreteGaussian(stddev float64) (*DiscreteGaussian, error) {
	if err := refuse("stddev", stddev, stddev >= 0x1p-10 && stddev <= 0x1p40); err != nil {
		return nil, err
	}
	scale := math.Floor(stddev) + 1
	// -min over y of y²/2σ² - y/t is σ²/2t²; rounded up, so that e^-x ≤ 1.
	ceiling := math.Nextafter(stddev*stddev/(2*scale*scale), 1)
	s := bell{stddev: stddev, half: 1 / (2 * stddev * stddev)}
	return &DiscreteGaussian{newSampler(s, uint64(scale), ceiling*(1+0x1p-50))}, nil
}

// Fill fills dst from the bits of src. It reads ahead, so that src is not to be
// used for anything else. Errors: those of src.
func (g *DiscreteGaussian) Fill(dst []int64, src io.Reader) error {
	return g.sampler.read(dst, src, false)
}

// FillAt fills dst with the noise of the coordinates from first on; first is a
// multiple of [Block]. A coordinate has the same noise however the vector is cut
// at blocks, on any number of threads. Errors: [*ParameterError].
func (g *DiscreteGaussian) FillAt(dst []int64, seed Seed, first uint64) error {
	return g.sampler.fillAt(dst, seed, first, false)
}

// A bell is the shape of a discrete Gaussian.
type bell struct{ stddev, half float64 }

func (b bell) weight(y uint64, _ bool) float64 { return float64(y) * float64(y) * b.half }

func (b bell) exact(y uint64, _ bool) (*big.Rat, func(uint) *big.Float) {
	ratio := new(big.Rat).SetUint64(y)
	ratio.Quo(ratio, rational(b.stddev))
	ratio.Mul(ratio, ratio)
	return ratio.Mul(ratio, big.NewRat(1, 2)), nil
}
