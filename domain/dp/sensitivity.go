package dp

import "math"

// A Unit is whose presence is hidden. A guarantee for an example says nothing
// about a site that holds many.
type Unit string

// The units of privacy.
const (
	UnitSite    Unit = "site"    // all data of one site: its whole update is clipped
	UnitExample Unit = "example" // one row: each row's gradient is clipped before it is added
)

// A Sensitivity is how far an answer can move, in L2, when what one unit
// contributes is replaced by zero.
type Sensitivity struct {
	Unit Unit
	L2   float64
}

// OfSum returns the sensitivity of a sum of contributions of norm at most clip.
func OfSum(unit Unit, clip float64) Sensitivity { return Sensitivity{unit, clip} }

// OfUniformMean returns the sensitivity clip/n of a mean of n contributions
// that weigh the same. n is public. Errors: [*ParameterError].
func OfUniformMean(unit Unit, clip float64, n int) (Sensitivity, error) {
	if n < 1 {
		return Sensitivity{}, refuse("n", float64(n), false)
	}
	return Sensitivity{unit, clip / float64(n)}, nil
}

// OfWeightedMean returns the sensitivity
//
//	clip · max w / Σ w
//
// of a mean Σ w·x / Σ w, where the weights are public. It equals clip/n only if
// all weigh the same: scaling noise to clip/n under any other weights promises
// more than it keeps. Errors: [*ParameterError].
func OfWeightedMean(unit Unit, clip float64, weights []float64) (Sensitivity, error) {
	var sum, most float64
	for _, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			return Sensitivity{}, refuse("weight", w, false)
		}
		sum += w
		most = max(most, w)
	}
	if sum <= 0 {
		return Sensitivity{}, refuse("sum of weights", sum, false)
	}
	return Sensitivity{unit, clip * most / sum}, nil
}
