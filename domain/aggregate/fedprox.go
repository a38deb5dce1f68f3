package aggregate

// Proximal adds to a site's gradient what holds its weights near those that
// the round started from:
//
//	g[j] += μ·(w[j] - start[j])
//
// which is the gradient of μ/2·‖w-start‖². The site adds it in each of its
// local steps; the server of FedProx then does what FedAvg does.
// Shapes: all of one length.
// Source: Li et al., MLSys 2020, Algorithm 2 (arXiv:1812.06127).
func Proximal(gradient, weights, start []float64, mu float64) {
	for j := range gradient {
		gradient[j] += float64(mu * (weights[j] - start[j]))
	}
}
