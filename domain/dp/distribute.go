package dp

import (
	"errors"
	"fmt"
	"math"
)

// Distributed says how the sites add noise to a sum on an integer grid, so that
// no one sees the sum without it.
type Distributed struct {
	Mechanism       Mechanism `json:"mechanism"`       // DistributedGaussian or Skellam
	ClipNorm        float64   `json:"clipNorm"`        // L2 bound of what a site encodes, with its weight, in its own units
	Scale           float64   `json:"scale"`           // grid steps per unit: the codec's Scale
	Dim             int       `json:"dim"`             // coordinates of the payload
	Sites           int       `json:"sites"`           // that may take part
	Survivors       int       `json:"survivors"`       // honest sites whose noise is in the sum, at the least
	NoiseMultiplier float64   `json:"noiseMultiplier"` // of Survivors shares, over the rounded sensitivity
	Beta            float64   `json:"beta"`            // chance at most that a rounding is refused, 0..0.7; 0 refuses none
}

// PaperBeta is the chance e^-1/2 of a refused rounding that the paper uses.
const PaperBeta = 0.6065306597126334

// A Share is what each site adds, and what all of it is worth.
type Share struct {
	LocalStddev float64 // of one site's noise, in steps of the grid
	LocalVar    float64 // its square: the argument of NewSkellam
	Bound       float64 // L2 norm that a rounded vector must not exceed, in steps; it is rounded anew if it does
	Effective   float64 // multiplier of a single Gaussian that is at least as private
	Event       Event   // one round, for the accountant
}

// Distribute splits the noise over the sites: each adds noise of variance
//
//	σ² = (z·Δ)²/t
//
// so that any t of them have the noise that z asks for, and more have more. Δ
// bounds the norm of a clipped vector after stochastic rounding:
//
//	Δ² = min( L² + d/4 + √(2·ln 1/β)·(L + √d/2),  (L + √d)² ),  L = clip·scale
//
// the first only if roundings above it are refused, which happens with
// probability β at most. t counts honest sites: whoever works with the reader
// of the sum can subtract its own share.
//
// Source: Kairouz, Liu and Steinke, ICML 2021 (arXiv:2102.06387), theorem 1 and
// proposition 22.
// Errors: [*ParameterError].
func Distribute(d Distributed) (Share, error) {
	finite := func(x float64) bool { return x > 0 && x <= 0x1p100 }
	err := errors.Join(
		refuse("clipNorm", d.ClipNorm, finite(d.ClipNorm)), refuse("scale", d.Scale, finite(d.Scale)),
		refuse("dim", float64(d.Dim), d.Dim >= 1), refuse("sites", float64(d.Sites), d.Sites >= 1 && d.Sites <= 1<<16),
		refuse("survivors", float64(d.Survivors), d.Survivors >= 1 && d.Survivors <= d.Sites),
		refuse("beta", d.Beta, d.Beta >= 0 && d.Beta <= 0.7))
	if d.Mechanism != DistributedGaussian && d.Mechanism != Skellam {
		err = errors.Join(err, fmt.Errorf("mechanism %q: %w", d.Mechanism, ErrParameter))
	}
	if err != nil {
		return Share{}, err
	}
	bound := roundedNorm(d.ClipNorm*d.Scale, d.Beta, d.Dim)
	sensitivity := bound * (1 + 0x1p-24) // Norm2 adds in float64
	stddev := d.NoiseMultiplier * sensitivity / math.Sqrt(float64(d.Survivors))
	share := Share{LocalStddev: stddev, LocalVar: stddev * stddev, Bound: bound, Event: Event{
		Mechanism: d.Mechanism, Count: 1, NoiseMultiplier: d.NoiseMultiplier, SampleRate: 1,
		Dim: d.Dim, Sites: d.Sites, LocalStddev: stddev, Sensitivity: sensitivity,
	}}
	if err := share.Event.Validate(); err != nil {
		return Share{}, err
	}
	share.Effective = share.Event.effective()
	return share, nil
}

// roundedNorm bounds the L2 norm of a vector of norm l after each coordinate is
// rounded at random to a neighbouring integer.
func roundedNorm(l, beta float64, dim int) float64 {
	root := math.Sqrt(float64(dim))
	always := l + root
	if beta == 0 {
		return always
	}
	likely := l*l + float64(dim)/4 + math.Sqrt(2*math.Log(1/beta))*(l+root/2)
	return min(always, math.Sqrt(likely))
}

// norms returns the L2 and L1 sensitivity over the standard deviation of all
// noise. The values are integers, so the L1 norm is at most the L2 norm squared.
func (e Event) norms() (l2, l1 float64) {
	l2 = 1 / e.NoiseMultiplier
	return l2, l2 * min(math.Sqrt(float64(e.Dim)), e.Sensitivity)
}

// tau bounds by how much a sum of discrete Gaussians differs, in max divergence
// a coordinate, from the one discrete Gaussian of the same variance:
//
//	τ = 10·Σ_{k=1}^{n-1} exp(-2π²σ²·k/(k+1))
//
// It grows with n, so that it covers fewer survivors.
// Source: Kairouz et al., theorem 1.
func (e Event) tau() float64 {
	sum, exponent := 0.0, -2*math.Pi*math.Pi*e.LocalStddev*e.LocalStddev
	for k := 1; k < e.Sites; k++ {
		sum += math.Exp(exponent * float64(k) / float64(k+1))
	}
	return 10 * sum
}

// distributedRDP returns the Rényi divergence of one round at an order.
//
// Of discrete Gaussians, with Δ over the standard deviation of the sum:
//
//	min( α/2·Δ2² + τ·d,  α/2·(Δ2² + 2·Δ1·τ + τ²·d),  α/2·(Δ2 + √d·τ)² )
//
// Source: Kairouz et al., proposition 14. Of Skellam noise of variance μ, at an
// integer order, and at the next one for others:
//
//	α·Δ2²/2μ + min( ((2α-1)·Δ2² + 6·Δ1)/4μ²,  3·Δ1/2μ )
//
// Source: Agarwal, Kairouz and Liu, NeurIPS 2021 (arXiv:2110.04995), the bound for
// vectors.
func (e Event) distributedRDP(order float64) float64 {
	l2, l1 := e.norms()
	if e.Mechanism == Skellam {
		order = math.Ceil(order)
		variance := math.Pow(e.NoiseMultiplier*e.Sensitivity, 2)
		first := ((2*order-1)*l2*l2 + 6*l1/math.Sqrt(variance)) / (4 * variance)
		second := 3 * l1 / (2 * math.Sqrt(variance))
		return order*l2*l2/2 + min(first, second)
	}
	tau, dim := e.tau(), float64(e.Dim)
	return min(order/2*l2*l2+tau*dim, order/2*(l2*l2+2*l1*tau+tau*tau*dim), order/2*math.Pow(l2+math.Sqrt(dim)*tau, 2))
}

// effective is the multiplier z of a Gaussian with α/2z² ≥ the divergence at
// every order from 2 on.
func (e Event) effective() float64 {
	l2, l1 := e.norms()
	if e.Mechanism == Skellam {
		deviation := e.NoiseMultiplier * e.Sensitivity
		return 1 / math.Sqrt(l2*l2+min((2*l2*l2+3*l1/deviation)/(2*deviation*deviation), 3*l1/(2*deviation)))
	}
	tau, dim := e.tau(), float64(e.Dim)
	return 1 / math.Sqrt(min(l2*l2+tau*dim, l2*l2+2*l1*tau+tau*tau*dim, math.Pow(l2+math.Sqrt(dim)*tau, 2)))
}
