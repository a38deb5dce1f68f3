package drift

import (
	"math"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// A Binned is what two sketches of the same bins say about the gap between the
// samples behind them. PSI, JensenShannon and Hellinger are defined on bins and
// exact; the others are bounded by what the bins hide.
type Binned struct {
	PSI           float64 // with [ZeroShare]
	PSINull       float64 // 95 % point of PSI although nothing drifted
	JensenShannon float64
	Hellinger     float64
	KS            float64 // greatest |F-G| at a cut: never above the samples' own
	KSError       float64 // the samples' own is at most KS+KSError
	Wasserstein   float64 // values taken to lie evenly in their bin
	WError        float64 // the samples' own, values beyond Low and High moved to them, differs by at most this
	Spread        float64 // standard deviation of the reference, values in the middle of their bin
	P             float64 // chi-square test of homogeneity over the bins
	N, M          int64   // values in the reference and in the current sample
}

// Normalised is as in [Gap].
func (b Binned) Normalised() float64 { return b.Wasserstein / max(b.Spread, LeastSpread) }

// CompareBinned compares two sketches.
// Errors: [ErrBins], [ErrCount]; [ErrEmpty] when either side has no values.
func CompareBinned(bins Bins, reference, current Sketch) (Binned, error) {
	if err := bins.Check(); err != nil {
		return Binned{}, err
	}
	if len(reference.Counts) != bins.Len() || len(current.Counts) != bins.Len() {
		return Binned{}, ErrBins
	}
	r, c := reference.floats(), current.floats()
	var out Binned
	var err error
	if out.PSI, err = PSI(r, c, ZeroShare); err != nil {
		return Binned{}, err
	}
	if out.JensenShannon, err = JensenShannon(r, c); err != nil {
		return Binned{}, err
	}
	if out.Hellinger, err = Hellinger(r, c); err != nil {
		return Binned{}, err
	}
	out.N, out.M = reference.Total(), current.Total()
	out.PSINull = PSINull(out.N, out.M, bins.Len(), 0.05)
	out.P = 1
	if test, err := statistics.Homogeneity(r, c); err == nil { // all in one bin: nothing speaks for drift
		out.P = test.P
	}
	p, q, _ := shares(r, c) // checked above
	out.gaps(bins, p, q)
	return out, nil
}

// gaps fills what is bounded only.
func (b *Binned) gaps(bins Bins, p, q []float64) {
	var f, mean, square float64
	for i := range p {
		low, high := bins.ends(i)
		width, before := high-low, f
		f += p[i] - q[i]
		b.KS = max(b.KS, math.Abs(f))
		b.KSError = max(b.KSError, max(p[i], q[i]))
		b.Wasserstein += crossing(before, f) * width
		b.WError += (p[i] + q[i]) * width / 2
		mid := low + width/2
		mean += p[i] * mid
		square += p[i] * mid * mid
	}
	b.Spread = math.Sqrt(max(0, square-mean*mean))
}

// ends returns where a bin begins and ends.
func (b Bins) ends(i int) (low, high float64) {
	low, high = b.Low, b.High
	if i > 0 {
		low = b.Cuts[i-1]
	}
	if i < len(b.Cuts) {
		high = b.Cuts[i]
	}
	return low, high
}

// crossing is the mean of |f| over a stretch on which f goes from a to b in a
// straight line.
func crossing(a, b float64) float64 {
	if a*b >= 0 {
		return math.Abs(a+b) / 2
	}
	return (a*a + b*b) / (2 * (math.Abs(a) + math.Abs(b)))
}
