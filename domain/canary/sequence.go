package canary

import (
	"errors"
	"math"
)

// Why an effect cannot be estimated.
var (
	ErrEmpty  = errors.New("nothing was measured")
	ErrNumber = errors.New("it is not a number")
	ErrZero   = errors.New("the baseline is zero, so nothing is relative to it")
)

// A Sample is what one side of a comparison measured.
type Sample struct {
	N        int64   `json:"n"`
	Mean     float64 `json:"mean"`
	Variance float64 `json:"variance"` // of one answer
}

// Means returns the sample of n numbers by their sum and sum of squares:
//
//	s² = (Σx² - (Σx)²/n) / (n-1)
//
// Errors: [ErrEmpty] for fewer than two numbers; [ErrNumber].
func Means(n int64, sum, squares float64) (Sample, error) {
	if n < 2 {
		return Sample{N: max(n, 0)}, ErrEmpty
	}
	s := Sample{N: n, Mean: sum / float64(n)}
	s.Variance = max(0, (squares-sum*sum/float64(n))/float64(n-1))
	if math.IsNaN(squares-sum) || math.IsInf(s.Mean, 0) || math.IsInf(s.Variance, 0) || math.IsNaN(s.Variance) {
		return Sample{N: n}, ErrNumber
	}
	return s, nil
}

// Share returns the sample of n answers of which so many are hits.
// Errors: [ErrEmpty]; [ErrNumber] for more hits than answers.
func Share(n, hits int64) (Sample, error) {
	if n < 1 {
		return Sample{N: max(n, 0)}, ErrEmpty
	}
	if hits < 0 || hits > n {
		return Sample{N: n}, ErrNumber
	}
	p := float64(hits) / float64(n)
	return Sample{N: n, Mean: p, Variance: p * (1 - p)}, nil
}

// An Effect is by how much b exceeds a: an estimate, the variance of that
// estimate, and the numbers that it is from.
type Effect struct {
	D float64
	V float64
	N int64
}

// Difference returns the absolute effect:
//
//	d = m_b - m_a      V = s_a²/n_a + s_b²/n_b
//
// Errors: [ErrEmpty], [ErrNumber].
func Difference(a, b Sample) (Effect, error) {
	if a.N < 1 || b.N < 1 {
		return Effect{}, ErrEmpty
	}
	return checked(Effect{
		D: b.Mean - a.Mean,
		V: a.Variance/float64(a.N) + b.Variance/float64(b.N),
		N: a.N + b.N,
	})
}

// Ratio returns the relative effect, its variance by the delta method:
//
//	d = (m_b - m_a)/m_a      V = s_b²/(m_a² n_b) + s_a² m_b²/(m_a⁴ n_a)
//
// Errors: [ErrEmpty], [ErrNumber]; [ErrZero] when m_a is not above zero.
func Ratio(a, b Sample) (Effect, error) {
	if a.N < 1 || b.N < 1 {
		return Effect{}, ErrEmpty
	}
	if a.Mean <= 0 {
		return Effect{}, ErrZero
	}
	m2 := a.Mean * a.Mean
	return checked(Effect{
		D: (b.Mean - a.Mean) / a.Mean,
		V: b.Variance/(m2*float64(b.N)) + a.Variance*b.Mean*b.Mean/(m2*m2*float64(a.N)),
		N: a.N + b.N,
	})
}

func checked(e Effect) (Effect, error) {
	if math.IsNaN(e.D) || math.IsInf(e.D, 0) || math.IsNaN(e.V) || math.IsInf(e.V, 0) || e.V < 0 {
		return Effect{}, ErrNumber
	}
	return e, nil
}

// A Sequence is a test that holds at all sample sizes at once: what it says
// with probability 1-Alpha is right at every look. Alpha is in (0, 0.5),
// Planned at least 1: the sample size at which its intervals are narrowest.
//
// Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central
// limit theory and asymptotic confidence sequences" (arXiv:2103.06476), in the
// form and with the tuning of GrowthBook.
type Sequence struct {
	Alpha   float64
	Planned float64
}

// rho2 returns the tuning for a level.
func (q Sequence) rho2(alpha float64) float64 {
	l := -2 * math.Log(alpha)
	return (l + math.Log(1+l)) / q.Planned
}

// TwoSided returns half the width of the interval around e.D:
//
//	ρ² = (-2 ln α + ln(1 - 2 ln α)) / N*
//	half = √(V N) · √(2 (N ρ² + 1) ln(√(N ρ² + 1)/α)) / (N ρ)
func (q Sequence) TwoSided(e Effect) float64 {
	n, r := float64(e.N), q.rho2(q.Alpha)
	t := n*r + 1
	return math.Sqrt(e.V*n) * math.Sqrt(2*t*math.Log(math.Sqrt(t)/q.Alpha)) / (n * math.Sqrt(r))
}

// OneSided returns how far the true effect may lie to one given side of e.D:
//
//	ρ² as above with 2α
//	half = √(V N) · √(2 (N ρ² + 1) ln(1 + √(N ρ² + 1)/(2α))) / (N ρ)
func (q Sequence) OneSided(e Effect) float64 {
	n, r := float64(e.N), q.rho2(2*q.Alpha)
	t := n*r + 1
	return math.Sqrt(e.V*n) * math.Sqrt(2*t*math.Log(1+math.Sqrt(t)/(2*q.Alpha))) / (n * math.Sqrt(r))
}

// EValue returns the evidence against an effect of zero, in either direction:
// zero is refused when it exceeds 1/α. Its expectation is at most 1 where the
// effect is zero, so min(1, 1/e) is a p-value, at every look.
//
//	L = exp(ρ² N d²/V / (2 (N ρ² + 1))) / √(N ρ² + 1)
//
// The exponent is cut at 700, before a float64 would overflow.
func (q Sequence) EValue(e Effect) float64 {
	n, r := float64(e.N), q.rho2(q.Alpha)
	t := n*r + 1
	exponent := 0.0
	if e.D != 0 {
		exponent = min(700, r*n*e.D*e.D/e.V/(2*t))
	}
	return math.Exp(exponent) / math.Sqrt(t)
}

// PValue returns the p-value of an e-value.
func PValue(e float64) float64 { return min(1, 1/e) }
