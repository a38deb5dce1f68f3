package surrogate

import (
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
)

// Normal priors of the logarithms of the hyperparameters: mean and standard
// deviation. Places are in the unit cube and values are standardised, so they
// fit every study.
const (
	lengthMean, lengthDev = -0.6931471805599453, 1.0 // ln 0.5
	signalMean, signalDev = 0.0, 1.0
	noiseMean, noiseDev   = -6.907755278982137, 2.0 // ln 1e-3
)

const (
	jitter      = 1e-9 // of the diagonal, so that places that nearly coincide can be factored
	evaluations = 60   // of the posterior for each hyperparameter, while fitting
)

// A process is a Gaussian process with a Matérn-5/2 kernel that has a length
// for each coordinate, fitted to values at places of the unit cube.
//
//	k(a, b) = σ² (1 + √5 r + 5r²/3) exp(-√5 r),   r² = Σ ((a_i - b_i)/ℓ_i)²
//
// Source: Rasmussen and Williams, Gaussian Processes for Machine Learning
// (2006), equations 2.25, 2.26, 4.17 and 5.8.
type process struct {
	places  [][]float64
	inverse []float64 // 1/ℓ
	signal  float64   // σ²
	noise   float64   // variance of a value beside the function's
	chol    mat.Cholesky
	values  *mat.VecDense // y, standardised
	alpha   *mat.VecDense // K⁻¹ y
}

// fit returns the process whose hyperparameters are most probable given
// standardised values, or false if no covariance of them could be factored.
func fit(places [][]float64, values []float64) (*process, bool) {
	width := len(places[0])
	p := &process{places: places, inverse: make([]float64, width)}
	p.values = mat.NewVecDense(len(values), values)
	y := p.values
	start := make([]float64, width+2)
	for i := range width {
		start[i] = lengthMean
	}
	start[width], start[width+1] = signalMean, noiseMean
	work := mat.NewSymDense(len(places), nil)
	problem := optimize.Problem{Func: func(theta []float64) float64 { return p.surprise(theta, y, work) }}
	best := start
	result, err := optimize.Minimize(problem, start, &optimize.Settings{
		FuncEvaluations: evaluations * len(start),
		Converger:       &optimize.FunctionConverge{Absolute: 1e-4, Iterations: 20 * len(start)},
	}, &optimize.NelderMead{SimplexSize: 0.7})
	if result != nil && (err == nil || result.Status == optimize.FunctionEvaluationLimit) {
		best = result.X
	}
	return p, !math.IsInf(p.surprise(best, y, work), 1)
}

// surprise returns the negative logarithm of the posterior of hyperparameters,
// up to a constant, and leaves the process with them. It is +Inf where the
// covariance cannot be factored.
func (p *process) surprise(theta []float64, y *mat.VecDense, work *mat.SymDense) float64 {
	width := len(p.inverse)
	cost := 0.0
	for i := range width {
		p.inverse[i] = math.Exp(-theta[i])
		cost += square((theta[i] - lengthMean) / lengthDev)
	}
	p.signal, p.noise = math.Exp(theta[width]), math.Exp(theta[width+1])
	cost += square((theta[width]-signalMean)/signalDev) + square((theta[width+1]-noiseMean)/noiseDev)
	if !p.condition(y, work) {
		return math.Inf(1)
	}
	return 0.5 * (mat.Dot(y, p.alpha) + p.chol.LogDet() + cost)
}

// condition works out the process for its hyperparameters and the values.
func (p *process) condition(y *mat.VecDense, work *mat.SymDense) bool {
	for i, a := range p.places {
		work.SetSym(i, i, p.signal+p.noise+jitter)
		for j := range i {
			work.SetSym(i, j, p.kernel(a, p.places[j]))
		}
	}
	if !p.chol.Factorize(work) {
		return false
	}
	p.alpha = mat.NewVecDense(y.Len(), nil)
	return p.chol.SolveVecTo(p.alpha, y) == nil
}

func (p *process) kernel(a, b []float64) float64 {
	r2 := 0.0
	for i, inverse := range p.inverse {
		r2 += square((a[i] - b[i]) * inverse)
	}
	r := math.Sqrt(5 * r2)
	return p.signal * (1 + r + r*r/3) * math.Exp(-r)
}

// at returns the mean and the standard deviation of the function at a place.
func (p *process) at(place []float64) (mean, dev float64) {
	k := mat.NewVecDense(len(p.places), nil)
	for i, other := range p.places {
		k.SetVec(i, p.kernel(place, other))
	}
	var v mat.VecDense
	if err := p.chol.SolveVecTo(&v, k); err != nil {
		return 0, math.Sqrt(p.signal)
	}
	variance := p.signal - mat.Dot(k, &v)
	return mat.Dot(k, p.alpha), math.Sqrt(max(variance, 1e-18))
}

func square(x float64) float64 { return x * x }
