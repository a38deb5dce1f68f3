package aggregate

import "github.com/atom-fabric/fabric/domain/round"

// fedAvgM is federated averaging with momentum β at the server:
//
//	m' = β·m + d
//	w' = w + η·m'
//
// Source: Hsu et al., 2019, section 4.3 (arXiv:1909.06335), with d = -Δw.
func fedAvgM(s round.Strategy, d, m, _ []float64) {
	for j, v := range d {
		m[j] = float64(s.Momentum*m[j]) + v
		d[j] = s.ServerRate * m[j]
	}
}
