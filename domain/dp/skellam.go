package dp

import (
	"io"
	"math"
	"math/big"
)

// A SkellamSampler samples the difference of two independent Poisson variables
// of mean variance/2, exactly. Sums of such noise have the same form, whoever
// adds which part.
//
// Method: each Poisson variable is drawn by rejection as [DiscreteGaussian] is,
// about the mode m = ⌊λ⌋, with the ratio of masses
//
//	r(m+j) = λ^j · m!/(m+j)!
//
// in float64 by Stirling's series and log1p (as in Loader, "Fast and accurate
// computation of binomial probabilities", 2000), and as the exact product of |j|
// factors where float64 cannot decide. There is no normal approximation.
type SkellamSampler struct{ sampler sampler }

// NewSkellam returns the sampler of Skellam noise of a variance in [2^-10, 2^40].
// Errors: [*ParameterError].
func NewSkellam(variance float64) (*SkellamSampler, error) {
	if err := refuse("variance", variance, variance >= 0x1p-10 && variance <= 0x1p40); err != nil {
		return nil, err
	}
	p := newPoisson(variance / 2)
	scale := math.Floor(math.Sqrt(p.mean)) + 1
	return &SkellamSampler{newSampler(p, uint64(scale), p.ceiling(scale))}, nil
}

// Fill is as [DiscreteGaussian.Fill].
func (s *SkellamSampler) Fill(dst []int64, src io.Reader) error {
	return s.sampler.read(dst, src, true)
}

// FillAt is as [DiscreteGaussian.FillAt].
func (s *SkellamSampler) FillAt(dst []int64, seed Seed, first uint64) error {
	return s.sampler.fillAt(dst, seed, first, true)
}

// A poisson is the shape of a Poisson variable about its mode.
type poisson struct {
	mean, mode     float64
	logMean, gamma float64 // log λ and log m!, for the direct formula
	shift, tail    float64 // log λ/m and Stirling's tail at m, for the other
}

func newPoisson(mean float64) poisson {
	mode := math.Floor(mean)
	p := poisson{mean: mean, mode: mode, logMean: math.Log(mean)}
	p.gamma, _ = math.Lgamma(mode + 1)
	if mode > 0 {
		p.shift, p.tail = math.Log1p((mean-mode)/mode), stirling(mode)
	}
	return p
}

// stirling is log n! less (n+1/2)·log n - n + log(2π)/2, for n above 300 to 1e-20.
func stirling(n float64) float64 {
	return (1 - (1-2/(7*n*n))/(30*n*n)) / (12 * n)
}

func (p poisson) weight(y uint64, negative bool) float64 {
	j := float64(y)
	if negative {
		j = -j
	}
	k := p.mode + j
	if k < 0 {
		return math.Inf(1)
	}
	x := j / p.mode
	if p.mode < 1000 || math.Abs(x) > 0.3 {
		g, _ := math.Lgamma(k + 1)
		return g - p.gamma - j*p.logMean
	}
	// (k+1/2)·log(k/m) - j - j·log(λ/m) + tail(k) - tail(m), where log1p(x) is
	// x + h, k·x - j is j·x, and h = -x·a + 2(a³/3 + a⁵/5 + ...), a = x/(2+x).
	a := x / (2 + x)
	square, power, h := a*a, a*a*a, -x*a
	for n := 3.0; ; n += 2 {
		term := 2 * power / n
		h += term
		if math.Abs(term) <= 0x1p-60*math.Abs(h) {
			break
		}
		power *= square
	}
	return j*x + k*h + (x+h)/2 - j*p.shift + stirling(k) - p.tail
}

// ceiling returns a bound of y/scale - weight(±y): the mass is log-concave, so
// the largest is where the ratio of neighbours passes e^(1/scale).
func (p poisson) ceiling(scale float64) float64 {
	right := p.mean*math.Exp(1/scale) - p.mode
	left := p.mode - p.mean*math.Exp(-1/scale)
	most := 0.0
	for d := -4.0; d <= 4; d++ {
		if y := math.Floor(right) + d; y >= 0 {
			most = max(most, y/scale-p.weight(uint64(y), false))
		}
		if y := math.Floor(left) + d; y >= 0 {
			most = max(most, y/scale-p.weight(uint64(y), true))
		}
	}
	return most + 0x1p-20 // more than all rounding above
}

func (p poisson) exact(y uint64, negative bool) (*big.Rat, func(uint) *big.Float) {
	if negative && float64(y) > p.mode {
		return nil, nil
	}
	return new(big.Rat), func(prec uint) *big.Float {
		work := prec + 64 // y factors of relative error 2^-work each, y < 2^40
		product := new(big.Float).SetPrec(work).SetInt64(1)
		mean := new(big.Float).SetPrec(work).SetFloat64(p.mean)
		for i := range y {
			factor := new(big.Float).SetPrec(work)
			if negative { // (m-i)/λ
				factor.Quo(factor.SetFloat64(p.mode-float64(i)), mean)
			} else { // λ/(m+1+i)
				factor.Quo(mean, factor.SetFloat64(p.mode+1+float64(i)))
			}
			product.Mul(product, factor)
		}
		return product
	}
}
