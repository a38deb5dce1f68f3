package aggregate

import "github.com/atom-fabric/fabric/domain/round"

// fedAdam averages the squares of the changes:
//
//	m' = β1·m + (1-β1)·d
//	v' = β2·v + (1-β2)·d²
//	w' = w + η·m' / (√v' + τ)
//
// from m = 0 and v = τ², without a correction for the beginning.
// Source: Reddi et al., ICLR 2021, Algorithm 2 (arXiv:2003.00295).
func fedAdam(s round.Strategy, d, m, v []float64) {
	for j, x := range d {
		m[j] = float64(s.Beta1*m[j]) + float64((1-s.Beta1)*x)
		v[j] = float64(s.Beta2*v[j]) + float64((1-s.Beta2)*float64(x*x))
		d[j] = s.ServerRate * m[j] / root(v[j], s.Tau)
	}
}
