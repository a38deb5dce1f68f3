package aggregate

import "github.com/atom-fabric/fabric/domain/round"

// fedAvg is gradient descent by the server along the mean change d:
//
//	w' = w + η·d
//
// With η = 1, which is federated averaging, no bit of d changes.
// Source: McMahan et al., AISTATS 2017, Algorithm 1 (arXiv:1602.05629); the
// server's rate from Reddi et al., ICLR 2021, Algorithm 1 (arXiv:2003.00295).
func fedAvg(s round.Strategy, d, _, _ []float64) {
	for j := range d {
		d[j] *= s.ServerRate
	}
}
