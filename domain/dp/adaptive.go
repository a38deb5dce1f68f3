package dp

import (
	"errors"
	"math"
)

// An Adaptive is the clipping norm of one round and the rule for the next. It
// is a value: the round that clipped with a norm adds noise with the same one,
// and the next norm is another value.
//
// Source: Andrew, Thakkar, McMahan and Ramaswamy, NeurIPS 2021
// (arXiv:1905.03871), algorithm 1.
type Adaptive struct {
	ClipNorm    float64 `json:"clipNorm"`    // C, of this round
	Quantile    float64 `json:"quantile"`    // γ, of the norms: C follows it
	Rate        float64 `json:"rate"`        // η, of the geometric step
	CountStddev float64 `json:"countStddev"` // σ_b, of the noise on the count of unclipped updates
}

// NewAdaptive returns the rule with the published constants for rounds of m
// contributors: C = 0.1, γ = 0.5, η = 0.2, σ_b = m/20.
// Errors: [*ParameterError].
func NewAdaptive(m int) (Adaptive, error) {
	if err := refuse("contributors", float64(m), m >= 1); err != nil {
		return Adaptive{}, err
	}
	return Adaptive{ClipNorm: 0.1, Quantile: 0.5, Rate: 0.2, CountStddev: float64(m) / 20}, nil
}

// Validate says whether the rule can be followed. Errors: [*ParameterError].
func (a Adaptive) Validate() error {
	return errors.Join(
		refuse("clipNorm", a.ClipNorm, a.ClipNorm > 0 && !math.IsInf(a.ClipNorm, 0)),
		refuse("quantile", a.Quantile, a.Quantile >= 0 && a.Quantile <= 1),
		refuse("rate", a.Rate, a.Rate > 0 && a.Rate <= 10),
		refuse("countStddev", a.CountStddev, a.CountStddev > 0 && !math.IsInf(a.CountStddev, 0)))
}

// UpdateMultiplier returns the noise multiplier of the updates that makes
// updates and count together as private as one answer of multiplier z:
//
//	z_Δ = (z^-2 - (2·σ_b)^-2)^-1/2
//
// The count moves by 1/2, see [Adaptive.Indicator].
// Errors: [*ParameterError] where the count alone spends more than z allows.
func (a Adaptive) UpdateMultiplier(z float64) (float64, error) {
	if err := errors.Join(a.Validate(), refuse("noiseMultiplier", z, z > 0 && z < 2*a.CountStddev)); err != nil {
		return 0, err
	}
	return 1 / math.Sqrt(1/(z*z)-1/(4*a.CountStddev*a.CountStddev)), nil
}

// UpdateStddev returns z_Δ·C, the standard deviation of the noise on the sum of
// the updates of this round: with the norm that clipped them, not with the next.
func (a Adaptive) UpdateStddev(z float64) (float64, error) {
	m, err := a.UpdateMultiplier(z)
	return m * a.ClipNorm, err
}

// Indicator returns what a contributor whose update had that norm adds to the
// count: 1/2 if it was within C, else -1/2. Taken about zero it moves the count
// by 1/2 only.
func (a Adaptive) Indicator(norm float64) float64 {
	if norm <= a.ClipNorm {
		return 0.5
	}
	return -0.5
}

// Next returns the rule of the next round:
//
//	C ← C · exp(-η·(b̃ - γ)),  b̃ = noised/m + 1/2
//
// where noised is the sum of m indicators with noise of σ_b in it. b̃ is taken
// into 0..1, so that one unlucky draw does not throw C away.
// Errors: [*ParameterError].
func (a Adaptive) Next(noised float64, m int) (Adaptive, error) {
	err := errors.Join(a.Validate(), refuse("contributors", float64(m), m >= 1),
		refuse("count", noised, !math.IsNaN(noised)))
	if err != nil {
		return Adaptive{}, err
	}
	fraction := min(1, max(0, noised/float64(m)+0.5))
	a.ClipNorm *= math.Exp(-a.Rate * (fraction - a.Quantile))
	a.ClipNorm = min(0x1p100, max(0x1p-100, a.ClipNorm))
	return a, nil
}
