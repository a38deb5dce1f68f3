package dp

import "math"

// Orders returns the Rényi orders at which charges are sought.
func Orders() []float64 {
	var orders []float64
	for i := 11; i < 110; i++ {
		orders = append(orders, float64(i)/10)
	}
	for i := 11; i <= 64; i++ {
		orders = append(orders, float64(i))
	}
	for i := 72.0; i <= 8192; i = math.Ceil(i * 1.1) {
		orders = append(orders, i)
	}
	return orders
}

// RDP returns the Rényi divergence of all events together at each order above
// 1: divergences of one order add up. It is +Inf for an approximate event with
// δ above zero, which has none.
//
// Sources: Mironov, CSF 2017 (arXiv:1702.07476); with sampling, Mironov, Talwar
// and Zhang 2019 (arXiv:1908.10530); of distributed noise, see [Distribute].
// Errors: [*ParameterError].
func RDP(events []Event, orders []float64) ([]float64, error) {
	sums := make([]float64, len(orders))
	for _, e := range events {
		if err := e.Validate(); err != nil {
			return nil, err
		}
		for i, order := range orders {
			if err := refuse("order", order, order > 1 && order <= 1e6); err != nil {
				return nil, err
			}
			sums[i] += float64(float64(e.Count) * e.rdp(order))
		}
	}
	return sums, nil
}

func (e Event) rdp(order float64) float64 {
	switch e.Mechanism {
	case Gaussian:
		return sampledRDP(e.SampleRate, e.NoiseMultiplier, order)
	case Approximate:
		if e.Delta > 0 {
			return math.Inf(1)
		}
		return min(e.Epsilon, order*e.Epsilon*e.Epsilon/2) // Bun and Steinke, TCC 2016 (arXiv:1605.02065)
	default:
		return e.distributedRDP(order)
	}
}

// sampledRDP is the divergence of the Poisson-sampled Gaussian mechanism with
// noise σ and sampling rate q:
//
//	1/(α-1) · log A,  A = E_{x~N(0,σ²)} [ (1 - q + q·exp((2x-1)/2σ²))^α ]
//
// exact at integer orders, and an upper bound within 1e-12 at others.
func sampledRDP(q, sigma, order float64) float64 {
	if q == 1 {
		return order / (2 * sigma * sigma)
	}
	if order == math.Floor(order) {
		return integerMoment(q, sigma, int(order)) / (order - 1)
	}
	return fractionalMoment(q, sigma, order) / (order - 1)
}

// integerMoment returns log A by the binomial sum. The terms of k = 0 and 1 and
// of the binomial of 1 are taken out, so that a small divergence keeps its
// digits:
//
//	A - 1 = Σ_{k=2}^{α} C(α,k)·(1-q)^(α-k)·q^k·(exp((k²-k)/2σ²) - 1)
func integerMoment(q, sigma float64, order int) float64 {
	logs := make([]float64, 0, order)
	most := math.Inf(-1)
	for k := 2; k <= order; k++ {
		n, x := float64(k), float64(k)*float64(k-1)/(2*sigma*sigma)
		grown := x
		if x < 36 {
			grown = math.Log(math.Expm1(x))
		}
		term := logBinomial(float64(order), n) + float64(order-k)*math.Log1p(-q) + n*math.Log(q) + grown
		logs = append(logs, term)
		most = max(most, term)
	}
	sum := 0.0
	for _, term := range logs {
		sum += math.Exp(term - most)
	}
	if total := most + math.Log(sum); total > 36 {
		return total
	}
	return math.Log1p(math.Exp(most) * sum)
}

// logBinomial returns log |C(α,k)| for real α.
func logBinomial(order, k float64) float64 {
	a, _ := math.Lgamma(order + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(order - k + 1)
	return a - b - c
}

// fractionalMoment returns log A by the two series of Mironov, Talwar and Zhang,
// section 3.3, that meet where both parts of the mixture weigh the same:
//
//	Σ_k C(α,k)·(1-q)^(α-k)·q^k·exp((k²-k)/2σ²)·½erfc((k-z)/√2σ)
//	Σ_k C(α,k)·(1-q)^k·q^(α-k)·exp((j²-j)/2σ²)·½erfc((z-j)/√2σ),  j = α-k
//
// with z = σ²·log(1/q-1) + ½. From k > α on, the terms of each change their sign
// and shrink, so that what is left out is at most the next term, which is added.
func fractionalMoment(q, sigma, order float64) float64 {
	z := sigma*sigma*math.Log(1/q-1) + 0.5
	logQ, logP, width := math.Log(q), math.Log1p(-q), math.Sqrt2*sigma
	term := func(k float64) (near, far float64) {
		j := order - k
		b := logBinomial(order, k)
		near = b + j*logP + k*logQ + (k*k-k)/(2*sigma*sigma) + logErfc((k-z)/width) - math.Ln2
		far = b + k*logP + j*logQ + (j*j-j)/(2*sigma*sigma) + logErfc((z-j)/width) - math.Ln2
		return near, far
	}
	var logs, signs []float64
	most := math.Inf(-1)
	const enough = 1 << 16
	for k := 0.0; ; k++ {
		near, far := term(k)
		most = max(most, near, far)
		last := k > order && max(near, far) < most-40 || k == enough
		sign := 1.0
		if k > order && !last {
			// C(α,k) has k-1-⌊α⌋ negative factors.
			if int(k-1-math.Floor(order))%2 == 1 {
				sign = -1
			}
		}
		logs, signs = append(logs, near, far), append(signs, sign, sign)
		if last {
			break
		}
	}
	sum := 0.0
	for i, l := range logs {
		sum += signs[i] * math.Exp(l-most)
	}
	return max(0, most+math.Log(sum)) + 1e-13
}

// logErfc returns log erfc(x), also where erfc underflows.
func logErfc(x float64) float64 {
	if x < 20 {
		return math.Log(math.Erfc(x))
	}
	s := 1 / (x * x)
	return -x*x - math.Log(x*math.SqrtPi) + math.Log1p(s*(-0.5+s*(0.75+s*(-1.875+s*6.5625))))
}

// EpsilonOfRDP converts divergences at their orders to the least ε at δ:
//
//	ε = min_α [ RDP(α) + log(1-1/α) - log(δ·α)/(α-1) ]
//
// and says at which order. It is at least zero.
// Source: Canonne, Kamath and Steinke, NeurIPS 2020 (arXiv:2004.00010),
// proposition 12; Balle et al., AISTATS 2020.
func EpsilonOfRDP(orders, rdp []float64, delta float64) (epsilon, order float64) {
	epsilon = math.Inf(1)
	for i, a := range orders {
		e := rdp[i] + math.Log1p(-1/a) - (math.Log(delta)+math.Log(a))/(a-1)
		if e < epsilon {
			epsilon, order = e, a
		}
	}
	return max(0, epsilon), order
}

// deltaOfRDP is the same for the least δ at ε.
func deltaOfRDP(orders, rdp []float64, epsilon float64) float64 {
	least := 0.0 // log of 1
	for i, a := range orders {
		least = min(least, (a-1)*(rdp[i]-epsilon+math.Log1p(-1/a))-math.Log(a))
	}
	return math.Exp(least)
}
