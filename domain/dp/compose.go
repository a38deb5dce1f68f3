package dp

import (
	"math"
	"math/bits"
)

const (
	maxGrid    = 1 << 21 // points of a composed distribution
	coarsest   = 0x1p-10 // step of the grid where no more is asked for
	missed     = 1e-6    // share of δ that may fall outside the window
	maxWindow  = 600     // largest composed loss: e^-loss is a float64
	finestDown = 0x1p-30
)

// A composed distribution is that of the sum of the losses of all answers.
type composed struct {
	losses, mass []float64 // ascending
	beyond       float64   // mass that counts as infinite, and what the arithmetic may have lost
}

// compose returns the distributions of both sides, or false where the grid
// cannot hold them to a share of delta. All Gaussian answers without sampling
// are one.
func compose(events []Event, delta float64) ([]composed, bool) {
	events = merge(events)
	step := gridStep(events)
	for ; step <= 1; step *= 2 {
		var sides []composed
		for _, s := range []side{remove, add} {
			c, ok := composeSide(events, s, step, delta)
			if !ok {
				break
			}
			sides = append(sides, c)
		}
		if len(sides) == 2 {
			return sides, true
		}
	}
	return nil, false
}

// merge adds up the Gaussian answers without sampling, and equal events.
func merge(events []Event) []Event {
	var out []Event
	square := 0.0
	for _, e := range events {
		if e.Mechanism == Gaussian && e.SampleRate == 1 {
			square += float64(e.Count) / (e.NoiseMultiplier * e.NoiseMultiplier)
			continue
		}
		same := false
		for i := range out {
			other := e
			other.Count = out[i].Count
			if same = other == out[i]; same {
				out[i].Count += e.Count
				break
			}
		}
		if !same {
			out = append(out, e)
		}
	}
	if square > 0 {
		out = append(out, Event{Mechanism: Gaussian, Count: 1, NoiseMultiplier: 1 / math.Sqrt(square), SampleRate: 1})
	}
	return out
}

// gridStep returns a step that is fine beside the spread of all losses: the grid
// adds at most step²/4 to the variance of each answer, which is to be a
// thousandth of all variance.
func gridStep(events []Event) float64 {
	variance, count := 0.0, 0
	for _, e := range events {
		each := e.Epsilon * e.Epsilon
		if e.Mechanism == Gaussian {
			// of the Gaussian itself 1/σ²; sampled about q²·(e^(1/σ²)-1)
			each = 1 / (e.NoiseMultiplier * e.NoiseMultiplier)
			if e.SampleRate < 1 {
				each = min(each, e.SampleRate*e.SampleRate*math.Expm1(min(each, 100)))
			}
		}
		variance += each * float64(e.Count)
		count += e.Count
	}
	wanted := math.Sqrt(variance / float64(count) * 4e-3)
	step := coarsest
	for step > wanted && step > finestDown {
		step /= 2
	}
	return step
}

// composeSide convolves the distributions of one side by the discrete Fourier
// transform on a circle of grid points (Koskela, Jälkö and Honkela, AISTATS
// 2020, arXiv:1906.03049). The circle holds the window in which all but a
// millionth of delta lies. What lies above it would come around at the bottom:
// its bound counts as infinite loss. What lies below it comes around at the
// top, where it counts for more than it is.
func composeSide(events []Event, s side, step, delta float64) (composed, bool) {
	parts := make([]lossDistribution, len(events))
	finite := 1.0
	for i, e := range events {
		switch e.Mechanism {
		case Gaussian:
			d, ok := sampledGaussian(e.SampleRate, e.NoiseMultiplier, s, step)
			if !ok {
				return composed{}, false
			}
			parts[i] = d
		case Approximate:
			parts[i] = approximate(e.Epsilon, e.Delta, step)
		default:
			return composed{}, false
		}
		finite *= math.Pow(1-parts[i].infinite, float64(e.Count))
	}
	low, high := window(events, parts, step, math.Log(missed*delta))
	if high > maxWindow || low < -maxWindow || (high-low)/step > maxGrid-2 {
		return composed{}, false
	}
	first := int(math.Floor(low / step))
	n := 1 << bits.Len(uint(int(math.Ceil(high/step))-first+1))
	product, lost := convolve(events, parts, n)
	c := composed{losses: make([]float64, n), mass: make([]float64, n), beyond: 1 - finite + missed*delta + lost}
	for i := range n {
		c.losses[i] = float64(first+i) * step
		c.mass[i] = max(0, product[(first+i)&(n-1)])
	}
	return c, c.beyond-(1-finite) <= delta/100
}

// convolve returns the mass of the sum of all losses around a circle of n, and
// what rounding may have moved in all: each coefficient is wrong by
// e = 2^-50·log₂ n at most, a product of powers by e times its derivative, and
// the sum over the circle by the root of the sum of squares of those.
func convolve(events []Event, parts []lossDistribution, n int) (mass []float64, lost float64) {
	roots := unitRoots(n)
	product, relative := make([]complex128, n), make([]float64, n)
	x := make([]complex128, n)
	for i, d := range parts {
		clear(x)
		for j, m := range d.mass {
			x[(d.low+j)&(n-1)] += complex(m, 0)
		}
		transform(x, roots)
		for k, z := range x {
			f := power(z, events[i].Count)
			if i == 0 {
				product[k] = f
			} else {
				product[k] *= f
			}
			if size := magnitude(z); size > 0 {
				relative[k] += float64(events[i].Count) / size
			}
		}
	}
	sum := 0.0
	for k, z := range product {
		d := magnitude(z) * (relative[k] + 1)
		sum += d * d
		product[k] = complex(real(z), -imag(z)) // the inverse is the transform of the conjugate
	}
	transform(product, roots)
	mass = make([]float64, n)
	for k, z := range product {
		mass[k] = real(z) / float64(n)
	}
	return mass, math.Sqrt(sum) * float64(bits.Len(uint(n))) * 0x1p-50
}

// window returns between which losses all but e^tail of the sum lies on either
// side, by Chernoff's bound: Pr[L ≥ t] ≤ E[e^{λL}]·e^-λt for every λ > 0.
func window(events []Event, parts []lossDistribution, step, tail float64) (low, high float64) {
	mean, variance := 0.0, 0.0
	for i, d := range parts {
		m, v := d.moments(step)
		mean += m * float64(events[i].Count)
		variance += v * float64(events[i].Count)
	}
	low, high = math.Inf(-1), math.Inf(1)
	guess := math.Sqrt(-2 * tail / max(variance, 1e-30))
	for i := -12; i <= 4; i++ {
		lambda := guess * math.Exp2(float64(i)/4)
		up, down := 0.0, 0.0
		for j, d := range parts {
			up += float64(events[j].Count) * d.logMoment(lambda, step)
			down += float64(events[j].Count) * d.logMoment(-lambda, step)
		}
		high = min(high, (up-tail)/lambda)
		low = max(low, -(down-tail)/lambda)
	}
	return low - step, high + step
}

// moments returns mean and variance of the finite losses.
func (d lossDistribution) moments(step float64) (mean, variance float64) {
	for i, m := range d.mass {
		mean += m * float64(d.low+i) * step
	}
	for i, m := range d.mass {
		away := float64(d.low+i)*step - mean
		variance += m * away * away
	}
	return mean, variance
}

// logMoment returns log Σ mass·e^(λ·loss).
func (d lossDistribution) logMoment(lambda, step float64) float64 {
	top := max(lambda*float64(d.low)*step, lambda*float64(d.low+len(d.mass)-1)*step)
	sum := 0.0
	for i, m := range d.mass {
		if m > 0 {
			sum += m * math.Exp(lambda*float64(d.low+i)*step-top)
		}
	}
	return top + math.Log(sum)
}

// epsilon returns the least ε ≥ 0 at which the distribution gives delta, +Inf
// where none does. For ε between the point below and a loss,
//
//	δ(ε) = above - e^ε·weighted,  weighted = Σ mass·e^-loss
//
// over that loss and all above it.
func (c composed) epsilon(delta float64) float64 {
	above, weighted := c.beyond, 0.0
	if above > delta {
		return math.Inf(1)
	}
	step := c.losses[1] - c.losses[0]
	for i := len(c.mass) - 1; i >= 0; i-- {
		above += c.mass[i]
		weighted += c.mass[i] * math.Exp(-c.losses[i])
		if above-math.Exp(c.losses[i]-step)*weighted > delta {
			return max(0, math.Log((above-delta)/weighted))
		}
	}
	return 0
}

// delta returns δ at epsilon.
func (c composed) delta(epsilon float64) float64 {
	sum := c.beyond
	for i := len(c.mass) - 1; i >= 0 && c.losses[i] > epsilon; i-- {
		sum += c.mass[i] * -math.Expm1(epsilon-c.losses[i])
	}
	return min(1, sum)
}
