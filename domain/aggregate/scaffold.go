package aggregate

// scaffold moves the server's control variate c by the mean change d of those
// of the sites that answered; the weights move as [fedAvg] has it:
//
//	w' = w + η·mean_S Δy
//	c' = c + |S|/N · mean_S Δc
//
// With sites of equal weight, c stays the mean of all N sites' variates. With
// means weighted by examples, the share is of examples too, and c stays their
// weighted mean.
// Source: Karimireddy et al., ICML 2020, Algorithm 1, lines 16 and 17
// (arXiv:1910.06378).
func scaffold(share float64, d, c []float64) {
	for j := range c {
		c[j] += float64(share * d[j])
	}
}

// answered returns the share of those that answered.
func answered(sites, all int64) (float64, error) {
	if sites < 1 || sites > all {
		return 0, ErrShare
	}
	return float64(sites) / float64(all), nil
}

// Corrected is the gradient that a site of SCAFFOLD descends, from its own
// variate and the server's:
//
//	g[j] += c[j] - c_i[j]
//
// Shapes: all of one length. Source: the same, line 10.
func Corrected(gradient, server, own []float64) {
	for j := range gradient {
		gradient[j] += server[j] - own[j]
	}
}

// NextControl returns a site's next variate, by option II, after steps local
// steps at a rate have led from start to weights:
//
//	c_i'[j] = c_i[j] - c[j] + (start[j] - weights[j]) / (steps·rate)
//
// The site sends c_i' - c_i beside weights - start, and keeps c_i'.
// Shapes: all of one length; steps >= 1, rate > 0. Source: the same, line 12.
func NextControl(own, server, start, weights []float64, steps int, rate float64) []float64 {
	next := make([]float64, len(own))
	for j := range next {
		next[j] = own[j] - server[j] + (start[j]-weights[j])/(float64(steps)*rate)
	}
	return next
}
