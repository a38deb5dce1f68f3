package round

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Strategies: how the server moves the weights by the mean of the updates.
const (
	FedAvg     = "fedavg"
	FedProx    = "fedprox"    // fedavg; the sites add a proximal term
	FedAvgM    = "fedavgm"    // server momentum
	FedAdagrad = "fedadagrad" // adaptive server rates
	FedAdam    = "fedadam"
	FedYogi    = "fedyogi"
	Scaffold   = "scaffold" // control variates at the server and the sites
	FedBuff    = "fedbuff"  // buffered, with weights by staleness
)

// Rules: what is made of the updates before the strategy moves the weights.
// All but the mean hold out against sites that lie, and count every vector
// once: a number of examples is a claim too.
const (
	RuleMean            = "mean"             // weighted by examples
	RuleMedian          = "median"           // of each coordinate
	RuleTrimmedMean     = "trimmed_mean"     // of each coordinate, without the Trim share at both ends
	RuleKrum            = "krum"             // the one vector that is nearest to the others
	RuleMultiKrum       = "multi_krum"       // the mean of the Keep nearest
	RuleBulyan          = "bulyan"           // a trimmed mean of those that Krum selects
	RuleGeometricMedian = "geometric_median" // the point of least summed distance
	RuleNormBound       = "norm_bound"       // the mean of updates no longer than MaxNorm
)

// Beginnings of the names of tensors that belong to one of the model: the
// control variate in an update of [Scaffold] and in the state, and the moments
// in the state of the others.
const (
	TensorControl = "control/"
	TensorFirst   = "optimiser.m/"
	TensorSecond  = "optimiser.v/"
)

// MinBucket is the least number of sites in a bucket under secure aggregation:
// with two, each knows the other's update.
const MinBucket = 3

// Why a strategy is refused.
var (
	ErrStrategy    = errors.New("there is no such strategy")
	ErrRule        = errors.New("there is no such rule")
	ErrForeign     = errors.New("is not a parameter of this strategy or rule")
	ErrCombination = errors.New("strategy and rule do not go together")
	ErrInfeasible  = errors.New("there are too few vectors for so many liars")
)

// A Strategy is how a run's server combines updates. The zero value is plain
// federated averaging. What a strategy does not use is refused rather than
// ignored, so that nobody believes in a protection that is not there.
type Strategy struct {
	Name         string  `json:"name"`
	Rule         string  `json:"rule"`
	ServerRate   float64 `json:"serverRate"`             // eta of the server; 1, and 0.1 for the adaptive ones
	Momentum     float64 `json:"momentum,omitempty"`     // fedavgm; 0.9
	Beta1        float64 `json:"beta1,omitempty"`        // adaptive; 0.9, for fedadagrad 0
	Beta2        float64 `json:"beta2,omitempty"`        // fedadam, fedyogi; 0.99
	Tau          float64 `json:"tau,omitempty"`          // adaptive: degree of adaptivity; 1e-3
	ProximalMu   float64 `json:"proximalMu,omitempty"`   // fedprox; 0.01
	Byzantine    int     `json:"byzantine,omitempty"`    // f: how many vectors may be lies
	Trim         float64 `json:"trim,omitempty"`         // trimmed_mean: share cut at each end; 0.1
	Keep         int     `json:"keep,omitempty"`         // multi_krum: vectors averaged; 0 is n-f-2
	MaxNorm      float64 `json:"maxNorm,omitempty"`      // norm_bound, in parameter units; 1
	BucketSites  int     `json:"bucketSites,omitempty"`  // sites a secure bucket, at least 3; 0 is no buckets
	Buffer       int     `json:"buffer,omitempty"`       // fedbuff: sites that are ready before a step is taken; 10
	MaxStaleness int     `json:"maxStaleness,omitempty"` // fedbuff: steps after which an update is refused; 20
}

// Adaptive says whether the server keeps second moments.
func (s Strategy) Adaptive() bool {
	return s.Name == FedAdagrad || s.Name == FedAdam || s.Name == FedYogi
}

// Robust says whether the rule needs single vectors, of sites or of buckets,
// and not one sum.
func (s Strategy) Robust() bool { return s.Rule != "" && s.Rule != RuleMean }

// Stateful says whether the strategy carries tensors from round to round.
func (s Strategy) Stateful() bool {
	return s.Adaptive() || s.Name == FedAvgM || s.Name == Scaffold
}

// Validate returns the strategy with what was left at zero filled in.
//
// Errors: [*ParamError] with [ErrStrategy], [ErrRule], [ErrCombination],
// [ErrForeign] or [ErrOutOfRange].
func (s Strategy) Validate() (Strategy, error) {
	fail := func(param string, err error) (Strategy, error) {
		return Strategy{}, &ParamError{"strategy." + param, err}
	}
	if s.Name == "" {
		s.Name = FedAvg
	}
	if s.Rule == "" {
		s.Rule = RuleMean
	}
	switch s.Name {
	case FedAvg, FedProx, FedAvgM, FedAdagrad, FedAdam, FedYogi, Scaffold, FedBuff:
	default:
		return fail("name", ErrStrategy)
	}
	switch s.Rule {
	case RuleMean, RuleMedian, RuleTrimmedMean, RuleKrum, RuleMultiKrum, RuleBulyan, RuleGeometricMedian, RuleNormBound:
	default:
		return fail("rule", ErrRule)
	}
	// A control variate is averaged with its update, and a buffer is a weighted
	// sum; neither has a robust form that a paper stands for.
	if s.Robust() && (s.Name == Scaffold || s.Name == FedBuff) {
		return fail("rule", ErrCombination)
	}
	for _, p := range s.params() {
		switch {
		case *p.v == 0:
			*p.v = p.with
		case !p.used:
			return fail(p.name, ErrForeign)
		}
		if p.used && (math.IsNaN(*p.v) || *p.v < p.lo || *p.v > p.hi) {
			return fail(p.name, fmt.Errorf("%w: %v to %v", ErrOutOfRange, p.lo, p.hi))
		}
	}
	for _, p := range s.counts() {
		switch {
		case *p.v == 0:
			*p.v = p.with
		case !p.used:
			return fail(p.name, ErrForeign)
		}
		if p.used && (*p.v < p.lo || *p.v > p.hi) {
			return fail(p.name, fmt.Errorf("%w: %d to %d", ErrOutOfRange, p.lo, p.hi))
		}
	}
	if s.BucketSites != 0 && s.BucketSites < MinBucket {
		return fail("bucketSites", fmt.Errorf("%w: %d or more", ErrOutOfRange, MinBucket))
	}
	return s, nil
}

// A param is one parameter of a strategy: whether this one uses it, what it is
// if nothing is said, and its range.
type param[T int | float64] struct {
	name         string
	v            *T
	used         bool
	with, lo, hi T
}

func (s *Strategy) params() []param[float64] {
	rate, beta1, below := 1.0, 0.9, 1-1e-9
	if s.Adaptive() {
		rate = 0.1
	}
	if s.Name == FedAdagrad {
		beta1 = 0
	}
	if s.Name != FedAdam && s.Name != FedYogi && s.Name != FedAdagrad {
		beta1 = 0
	}
	with := func(used bool, v float64) float64 {
		if used {
			return v
		}
		return 0
	}
	moments := s.Name == FedAdam || s.Name == FedYogi
	trimmed, bound := s.Rule == RuleTrimmedMean, s.Rule == RuleNormBound
	return []param[float64]{
		{"serverRate", &s.ServerRate, true, rate, 1e-8, 1e3},
		{"momentum", &s.Momentum, s.Name == FedAvgM, with(s.Name == FedAvgM, 0.9), 0, below},
		{"beta1", &s.Beta1, s.Adaptive(), beta1, 0, below},
		{"beta2", &s.Beta2, moments, with(moments, 0.99), 0, below},
		{"tau", &s.Tau, s.Adaptive(), with(s.Adaptive(), 1e-3), 1e-9, 1},
		{"proximalMu", &s.ProximalMu, s.Name == FedProx, with(s.Name == FedProx, 0.01), 1e-9, 1e3},
		{"trim", &s.Trim, trimmed, with(trimmed, 0.1), 1e-6, 0.5 - 1e-6},
		{"maxNorm", &s.MaxNorm, bound, with(bound, 1), 1e-12, 1e12},
	}
}

func (s *Strategy) counts() []param[int] {
	liars := s.Rule == RuleKrum || s.Rule == RuleMultiKrum || s.Rule == RuleBulyan || s.Rule == RuleTrimmedMean
	buffered, buffer, stale := s.Name == FedBuff, 0, 0
	if buffered {
		buffer, stale = 10, 20
	}
	return []param[int]{
		{"byzantine", &s.Byzantine, liars, 0, 0, 10_000},
		{"keep", &s.Keep, s.Rule == RuleMultiKrum, 0, 0, 10_000},
		{"bucketSites", &s.BucketSites, s.Robust(), 0, 0, 10_000},
		{"buffer", &s.Buffer, buffered, buffer, 1, 10_000},
		{"maxStaleness", &s.MaxStaleness, buffered, stale, 1, 200}, // a manifest lists so many starts
	}
}

// Cut returns how many of n values a trimmed mean cuts at each end: the whole
// part of Trim times n. The last bits of the product do not decide.
func (s Strategy) Cut(n int) int { return int(math.Floor(float64(s.Trim*float64(n)) + 1e-9)) }

// Selects returns how many of n vectors [RuleMultiKrum] averages.
func (s Strategy) Selects(n int) int {
	if s.Keep == 0 {
		return n - s.Byzantine - 2
	}
	return s.Keep
}

// Feasible says whether n vectors are enough for the rule to hold out against
// f = Byzantine liars:
//
//	krum         n >= 2f+3                 Blanchard et al., NeurIPS 2017 (arXiv:1703.02757)
//	multi_krum   n >= 2f+3, keep <= n-f-2  the same
//	bulyan       n >= 4f+3                 El Mhamdi et al., ICML 2018 (arXiv:1802.07927)
//	trimmed_mean trim >= f/n               Yin et al., ICML 2018 (arXiv:1803.01498)
//
// Errors: [ErrInfeasible], with both numbers.
func (s Strategy) Feasible(n int) error {
	f, least := s.Byzantine, 1
	switch s.Rule {
	case RuleKrum, RuleMultiKrum:
		least = 2*f + 3
	case RuleBulyan:
		least = 4*f + 3
	case RuleTrimmedMean:
		if cut := s.Cut(n); cut < f || 2*cut >= n {
			return fmt.Errorf("%w: %d of %d values cut at each end, for %d", ErrInfeasible, cut, n, f)
		}
	}
	if n < least {
		return fmt.Errorf("%w: %d vectors, %d needed for %d", ErrInfeasible, n, least, f)
	}
	if s.Rule == RuleMultiKrum && s.Selects(n) > n-f-2 {
		return fmt.Errorf("%w: %d kept, at most %d of %d with %d", ErrInfeasible, s.Selects(n), n-f-2, n, f)
	}
	return nil
}

// Update returns the tensors of a site's answer, as [ModelSpec.Update], and
// for [Scaffold] in a train round the changes of the control variate as well.
func (s Strategy) Update(m ModelSpec, kind Kind) []TensorSpec {
	specs := m.Update(kind)
	if s.Name != Scaffold || kind != Train {
		return specs
	}
	var control []TensorSpec // "control/" sorts before every layer's name
	for _, t := range specs {
		control = append(control, TensorSpec{TensorControl + t.Name, t.DType, t.Shape})
	}
	return append(control, specs...)
}

// State returns the tensors that the server carries from round to round, in
// F64 and by ascending name; none for a strategy that carries nothing.
func (s Strategy) State(m ModelSpec) []TensorSpec {
	var prefixes []string
	switch {
	case s.Name == Scaffold:
		prefixes = []string{TensorControl}
	case s.Name == FedAvgM:
		prefixes = []string{TensorFirst}
	case s.Adaptive():
		prefixes = []string{TensorFirst, TensorSecond}
	}
	var specs []TensorSpec
	for _, p := range prefixes {
		for _, t := range m.Trainable() {
			specs = append(specs, TensorSpec{p + t.Name, artifact.F64, t.Shape})
		}
	}
	return specs
}

// CheckState reads a stored state to its end, as [CheckUpdate] does an update.
func (s Strategy) CheckState(m ModelSpec, src io.Reader) error {
	_, err := check(s.State(m), src)
	return err
}

// CheckUpdate is the [CheckUpdate] of a run with this strategy.
func (s Strategy) CheckUpdate(m ModelSpec, kind Kind, src io.Reader) error {
	_, err := check(s.Update(m, kind), src)
	return err
}

// NormOfUpdate does the same, and returns the Euclidean norm of the update over
// all of its tensors; an infinity when it is too large for a number.
func (s Strategy) NormOfUpdate(m ModelSpec, kind Kind, src io.Reader) (float64, error) {
	squares, err := check(s.Update(m, kind), src)
	return math.Sqrt(squares), err
}
