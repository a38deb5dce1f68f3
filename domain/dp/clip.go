package dp

import "math"

// margin is by how much a clipped vector stays under its bound: more than what
// rounding to float32 and adding 2^27 squares in float64 can hide.
const margin = 1 - 0x1p-22

// Norm returns the L2 norm of the parts taken as one vector, added in order.
// Errors: [ErrNotFinite].
func Norm[F float32 | float64](parts ...[]F) (float64, error) {
	sum := 0.0
	for _, part := range parts {
		for _, f := range part {
			sum += float64(float64(f) * float64(f)) // never fused
		}
	}
	if sum > 0x1p-900 && sum < math.Inf(1) {
		return math.Sqrt(sum), nil
	}
	return scaledNorm(parts) // squares left the range of float64, or a value is at fault
}

// Squares adds up the squares of a vector of float32 that is not in memory, in
// order: their squares do not leave the range of float64.
type Squares struct{ sum float64 }

// Add adds the next values.
func (s *Squares) Add(values []float32) {
	for _, f := range values {
		s.sum += float64(float64(f) * float64(f)) // never fused
	}
}

// Norm returns what [Norm] returns for the whole vector. Errors: [ErrNotFinite].
func (s *Squares) Norm() (float64, error) {
	if !(s.sum < math.Inf(1)) {
		return 0, ErrNotFinite
	}
	return math.Sqrt(s.sum), nil
}

// scaledNorm is Norm for magnitudes whose squares overflow or vanish.
func scaledNorm[F float32 | float64](parts [][]F) (float64, error) {
	most := 0.0
	for _, part := range parts {
		for _, f := range part {
			if v := math.Abs(float64(f)); !(v <= math.MaxFloat64) {
				return 0, ErrNotFinite
			} else if v > most {
				most = v
			}
		}
	}
	if most == 0 {
		return 0, nil
	}
	_, exp := math.Frexp(most)
	sum := 0.0
	for _, part := range parts {
		for _, f := range part {
			v := math.Ldexp(float64(f), -exp)
			sum += float64(v * v)
		}
	}
	return math.Ldexp(math.Sqrt(sum), exp), nil
}

// Clip scales the parts, taken as one vector, in place so that their L2 norm is
// at most bound, and returns the norm that they had. A vector within the bound
// is left as it is.
//
//	x ← x · min(1, bound/‖x‖)
//
// The result keeps 2^-22 of the bound free, so that no rounding takes it over
// the bound by which noise is scaled. Up to 2^27 coordinates.
// Source: Abadi et al., CCS 2016, algorithm 1; of whole updates, McMahan et
// al., ICLR 2018 (arXiv:1710.06963).
// Errors: [*ParameterError], [ErrNotFinite]; the parts are then as they were.
func Clip[F float32 | float64](bound float64, parts ...[]F) (float64, error) {
	norm, err := Norm(parts...)
	if err != nil {
		return 0, err
	}
	factor, err := ClipFactor(bound, norm)
	if err != nil || factor == 1 {
		return norm, err
	}
	for _, part := range parts {
		for i, f := range part {
			part[i] = F(float64(f) * factor)
		}
	}
	return norm, nil
}

// ClipFactor returns what [Clip] multiplies a vector of that norm by; 1 for one
// that is within the bound. Errors: [*ParameterError].
func ClipFactor(bound, norm float64) (float64, error) {
	if err := refuse("clipNorm", bound, bound > 0 && !math.IsInf(bound, 0)); err != nil {
		return 0, err
	}
	if norm <= bound*margin {
		return 1, nil
	}
	return bound / norm * margin, nil
}
