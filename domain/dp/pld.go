package dp

import "math"

// A side is which of two neighbours has the unit: losses are of remove
// (present against absent) or of add (absent against present). Both are
// charged for.
type side int

const (
	remove side = iota
	add
)

// A lossDistribution is the distribution of the privacy loss log(P/Q) under P on
// a grid: mass[i] at (low+i)·step, and infinite above all. It dominates the
// distribution that it stands for.
type lossDistribution struct {
	low      int
	mass     []float64
	infinite float64
}

// bucket spreads the mass that P and Q have between two grid points over both
// points, so that the mass of either is kept:
//
//	a + b = p,  a·e^-l + b·e^-(l+step) = q
//
// This is the tightest pair on the grid that dominates ("connect the dots",
// Doroshenko, Ghazi, Kamath, Kumar and Manurangsi, PoPETs 2022,
// arXiv:2207.04380). What float64 may have lost is put on the upper point. l is
// the lower point; b is returned, a is p - b.
func bucket(p, q, l, step, lost float64) float64 {
	b := (p - math.Exp(l)*q + lost) / -math.Expm1(-step)
	return min(p, max(0, b))
}

// reach is at how many standard deviations the noise is cut: Φ(-13) is 6e-39.
const reach = 13

// largestLoss is the largest loss of one answer that the grid is asked to hold.
const largestLoss = 300

// sampledLoss is the loss of present against absent at x:
//
//	log(1 - q + q·exp((2x-1)/2σ²))
func sampledLoss(q, sigma, x float64) float64 {
	l := (2*x - 1) / (2 * sigma * sigma)
	if q == 1 {
		return l
	}
	if l > 1 {
		return l + math.Log(q+(1-q)*math.Exp(-l))
	}
	return math.Log1p(q * math.Expm1(l))
}

// sampledPoint is its inverse; -Inf at and below the least loss log(1-q).
func sampledPoint(q, sigma, loss float64) float64 {
	if q == 1 {
		return sigma*sigma*loss + 0.5
	}
	excess := math.Expm1(loss) / q // exp(l) - 1
	if excess <= -1 {
		return math.Inf(-1)
	}
	return sigma*sigma*math.Log1p(excess) + 0.5
}

// normalMass returns what N(mean, σ²) has between a < b, and how much of it
// float64 may have lost.
func normalMass(a, b, mean, sigma float64) (mass, lost float64) {
	a, b = (a-mean)/(sigma*math.Sqrt2), (b-mean)/(sigma*math.Sqrt2)
	if a < 0 && b > 0 {
		return 0.5 * (math.Erf(b) - math.Erf(a)), 0x1p-50
	}
	if b <= 0 {
		a, b = -b, -a
	}
	tail := math.Erfc(a)
	steep := 1.0
	if !math.IsInf(a, 0) {
		steep += a * a
	}
	return 0.5 * (tail - math.Erfc(b)), 0x1p-51 * tail * steep
}

// sampledGaussian returns the distribution for the Poisson-sampled Gaussian
// mechanism, or false if a loss is too large for the grid.
func sampledGaussian(q, sigma float64, s side, step float64) (lossDistribution, bool) {
	bottom, top := sampledLoss(q, sigma, -reach*sigma), sampledLoss(q, sigma, 1+reach*sigma)
	if top > largestLoss || bottom < -largestLoss || (top-bottom)/step > maxGrid {
		return lossDistribution{}, false
	}
	// Grid points from first to last hold all losses of remove in reach.
	first, last := int(math.Floor(bottom/step)), int(math.Ceil(top/step))
	if s == add {
		first, last = int(math.Floor(-top/step)), int(math.Ceil(-bottom/step))
	}
	d := lossDistribution{low: first, mass: make([]float64, last-first+1)}
	// point is where a loss of this side is reached; ascending for remove,
	// descending for add.
	point := func(i int) float64 {
		if s == add {
			return sampledPoint(q, sigma, -float64(i)*step)
		}
		return sampledPoint(q, sigma, float64(i)*step)
	}
	previous := point(first)
	for i := first + 1; i <= last; i++ {
		next := point(i)
		a, b := min(previous, next), max(previous, next)
		absent, lostAbsent := normalMass(a, b, 0, sigma)
		with, lostWith := normalMass(a, b, 1, sigma)
		present := float64((1-q)*absent) + float64(q*with)
		p, pq, l := present, absent, float64(i-1)*step
		if s == add {
			p, pq = absent, present
		}
		lost := (lostAbsent + q*lostWith) * (1 + math.Exp(l))
		upper := bucket(p, pq, l, step, lost)
		d.mass[i-1-first] += p - upper
		d.mass[i-first] += upper
		previous = next
	}
	// What P has beyond the grid: below it on the lowest point, above it at
	// infinity.
	lowest, highest := point(first), point(last)
	beyond := func(x, direction float64) float64 {
		a := 0.5 * math.Erfc(direction*x/(sigma*math.Sqrt2))
		if s == add {
			return a
		}
		return float64((1-q)*a) + float64(q*0.5*math.Erfc(direction*(x-1)/(sigma*math.Sqrt2)))
	}
	if s == add {
		d.mass[0] += beyond(lowest, 1)
		d.infinite = beyond(highest, -1)
	} else {
		d.mass[0] += beyond(lowest, -1)
		d.infinite = beyond(highest, 1)
	}
	return d, true
}

// approximate returns the distribution for a mechanism of which (ε, δ) is known:
// δ at infinity, and randomised response for the rest. Kairouz, Oh and
// Viswanath, ICML 2015 (arXiv:1311.0776). It is the same for both sides.
func approximate(epsilon, delta, step float64) lossDistribution {
	last := int(math.Ceil(epsilon / step))
	d := lossDistribution{low: -last, mass: make([]float64, 2*last+1), infinite: delta}
	for _, at := range []float64{epsilon, -epsilon} {
		p := (1 - delta) / (1 + math.Exp(-at))
		i := int(math.Ceil(at / step))
		l := float64(i-1) * step
		if float64(i)*step == at || i == -last {
			d.mass[i+last] += p
			continue
		}
		upper := bucket(p, p*math.Exp(-at), l, step, p*0x1p-50)
		d.mass[i+last] += upper
		d.mass[i-1+last] += p - upper
	}
	return d
}
