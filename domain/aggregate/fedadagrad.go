package aggregate

import "github.com/atom-fabric/fabric/domain/round"

// fedAdagrad adds up the squares of the changes:
//
//	m' = β1·m + (1-β1)·d
//	v' = v + d²
//	w' = w + η·m' / (√v' + τ)
//
// from m = 0 and v = τ², without a correction for the beginning. β1 = 0, as in
// Adagrad itself, is the default.
// Source: Reddi et al., ICLR 2021, Algorithm 2 (arXiv:2003.00295).
func fedAdagrad(s round.Strategy, d, m, v []float64) {
	for j, x := range d {
		m[j] = float64(s.Beta1*m[j]) + float64((1-s.Beta1)*x)
		v[j] += float64(x * x)
		d[j] = s.ServerRate * m[j] / root(v[j], s.Tau)
	}
}
