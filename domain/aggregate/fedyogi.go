package aggregate

import "github.com/atom-fabric/fabric/domain/round"

// fedYogi moves the second moment towards the square of the change by a step
// that does not depend on how far away it is:
//
//	m' = β1·m + (1-β1)·d
//	v' = v - (1-β2)·d²·sign(v-d²)
//	w' = w + η·m' / (√v' + τ)
//
// from m = 0 and v = τ², without a correction for the beginning.
// Source: Reddi et al., ICLR 2021, Algorithm 2 (arXiv:2003.00295).
func fedYogi(s round.Strategy, d, m, v []float64) {
	for j, x := range d {
		m[j] = float64(s.Beta1*m[j]) + float64((1-s.Beta1)*x)
		square := float64(x * x)
		switch step := float64((1 - s.Beta2) * square); {
		case v[j] > square:
			v[j] -= step
		case v[j] < square:
			v[j] += step
		}
		d[j] = s.ServerRate * m[j] / root(v[j], s.Tau)
	}
}
