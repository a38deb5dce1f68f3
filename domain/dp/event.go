package dp

import (
	"errors"
	"fmt"
	"math"
)

// A Mechanism is a way of making an answer private.
type Mechanism string

// The mechanisms that are accounted for. Gaussian is noise added once, by one
// party, continuous or discrete: both have the same bound. The next two are
// added in shares by the sites, on the integer grid of the ring. Approximate is
// any other mechanism of which only an (ε, δ) is known.
const (
	Gaussian            Mechanism = "gaussian"
	DistributedGaussian Mechanism = "distributed-gaussian"
	Skellam             Mechanism = "skellam"
	Approximate         Mechanism = "approximate"
)

// An Event is Count answers of one mechanism about the same data. It is a
// value for a ledger: composing the same events again gives the same charge.
type Event struct {
	Mechanism Mechanism `json:"mechanism"`
	Count     int       `json:"count"` // answers, 1 or more

	// NoiseMultiplier is the standard deviation of all noise in the answer over
	// the L2 sensitivity of the answer, both in the same unit.
	NoiseMultiplier float64 `json:"noiseMultiplier,omitempty"`

	// SampleRate is the probability in (0, 1] with which each unit takes part,
	// independently (Poisson). Below 1 it is of the Gaussian mechanism only, and
	// true only towards those who do not learn who took part.
	SampleRate float64 `json:"sampleRate,omitempty"`

	// Of distributed noise: the grid on which it was added.
	Dim         int     `json:"dim,omitempty"`         // coordinates
	Sites       int     `json:"sites,omitempty"`       // that may add a share; the bound holds for fewer
	LocalStddev float64 `json:"localStddev,omitempty"` // of a site's share, in steps of the grid
	Sensitivity float64 `json:"sensitivity,omitempty"` // L2, in steps of the grid

	// Of an approximate mechanism.
	Epsilon float64 `json:"epsilon,omitempty"`
	Delta   float64 `json:"delta,omitempty"`
}

// Validate says whether the event can be accounted for.
// Errors: [*ParameterError].
func (e Event) Validate() error {
	if err := refuse("count", float64(e.Count), e.Count >= 1 && e.Count <= 1<<30); err != nil {
		return err
	}
	if e.Mechanism == Approximate {
		return errors.Join(
			refuse("epsilon", e.Epsilon, e.Epsilon >= 0 && e.Epsilon <= 700),
			refuse("delta", e.Delta, e.Delta >= 0 && e.Delta < 1))
	}
	err := errors.Join(
		refuse("noiseMultiplier", e.NoiseMultiplier, e.NoiseMultiplier >= 1e-3 && e.NoiseMultiplier <= 1e9),
		refuse("sampleRate", e.SampleRate, e.SampleRate > 0 && e.SampleRate <= 1))
	switch e.Mechanism {
	case Gaussian:
		return err
	case DistributedGaussian, Skellam:
		least := 0.0
		if e.Mechanism == DistributedGaussian {
			least = 0.5 // below it proposition 14 does not hold
		}
		return errors.Join(err,
			refuse("sampleRate", e.SampleRate, e.SampleRate == 1),
			refuse("dim", float64(e.Dim), e.Dim >= 1),
			refuse("sites", float64(e.Sites), e.Sites >= 1),
			refuse("localStddev", e.LocalStddev, e.LocalStddev > 0 && e.LocalStddev >= least && !math.IsInf(e.LocalStddev, 0)),
			refuse("sensitivity", e.Sensitivity, e.Sensitivity > 0 && !math.IsInf(e.Sensitivity, 0)))
	}
	return fmt.Errorf("mechanism %q: %w", e.Mechanism, ErrParameter)
}
