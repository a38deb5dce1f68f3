package round

import (
	"errors"
	"fmt"
)

// Why adaptive clipping is refused.
var (
	ErrUnadapted    = errors.New("is set without a quantile, and would adapt nothing")
	ErrAdaptiveUnit = errors.New("adapts the norm of whole updates: the unit is site")
	ErrCountNoise   = errors.New("the count alone would cost more than the noise multiplier allows: 0.6 times that at least")
)

// Limits of a clipping norm.
const (
	leastClip = 1e-6
	mostClip  = 1e6
)

// Adaptive moves the clipping norm to a quantile of the norms of the sites'
// updates, by a noised count of those within it. The zero value leaves the norm
// as it is.
// Source: Andrew, Thakkar, McMahan and Ramaswamy, NeurIPS 2021 (arXiv:1905.03871).
type Adaptive struct {
	Quantile   float64 `json:"quantile"`             // of the norms, above 0 and below 1
	Rate       float64 `json:"rate,omitempty"`       // of the geometric step; 0.2
	CountNoise float64 `json:"countNoise,omitempty"` // standard deviation of the noise on a group's count, in sites; 0 is a twentieth of the group, and the noise multiplier at least
}

// On says whether the norm moves.
func (a Adaptive) On() bool { return a.Quantile != 0 }

// CountStddev returns the standard deviation of the noise on the count of a
// group of so many sites.
func (p Privacy) CountStddev(sites int) float64 {
	if p.Adaptive.CountNoise != 0 {
		return p.Adaptive.CountNoise
	}
	return max(float64(sites)/20, p.NoiseMultiplier)
}

// Bounded returns the norm inside the limits of a norm.
func Bounded(clip float64) float64 { return min(mostClip, max(leastClip, clip)) }

func (p Privacy) adaptive() (Adaptive, error) {
	a := p.Adaptive
	if !a.On() {
		if a != (Adaptive{}) {
			return a, &ParamError{"privacy.adaptive", ErrUnadapted}
		}
		return a, nil
	}
	if a.Rate == 0 {
		a.Rate = 0.2
	}
	switch {
	case !(a.Quantile > 0 && a.Quantile < 1):
		return a, &ParamError{"privacy.adaptive.quantile", fmt.Errorf("%w: above 0, below 1", ErrOutOfRange)}
	case !(a.Rate >= 0.001 && a.Rate <= 2):
		return a, &ParamError{"privacy.adaptive.rate", fmt.Errorf("%w: 0.001 to 2", ErrOutOfRange)}
	case !(a.CountNoise >= 0 && a.CountNoise <= 1e6):
		return a, &ParamError{"privacy.adaptive.countNoise", fmt.Errorf("%w: 0 to 1e6", ErrOutOfRange)}
	case a.CountNoise != 0 && a.CountNoise < 0.6*p.NoiseMultiplier:
		return a, &ParamError{"privacy.adaptive.countNoise", ErrCountNoise}
	case p.Unit != UnitSite:
		return a, &ParamError{"privacy.adaptive", ErrAdaptiveUnit}
	}
	return a, nil
}
