package round

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/consent"
)

// Why a parameter is refused.
var (
	ErrOutOfRange = errors.New("out of range")
	ErrTrainer    = errors.New("a trainer is logistic, mlp or exec")
	ErrHidden     = errors.New("hidden units are not for softmax regression")
	ErrModelSize  = errors.New("the model is too large")
	ErrFeatures   = errors.New("at least one feature, none twice")
	ErrRegions    = errors.New("more regions than sites must answer")
	ErrOver       = errors.New("more than a sample is asked only where there is a sample")
)

// A ParamError says which parameter is at fault.
type ParamError struct {
	Param string // as in the JSON of [Params]
	Err   error
}

func (e *ParamError) Error() string { return fmt.Sprintf("parameter %s: %v", e.Param, e.Err) }
func (e *ParamError) Unwrap() error { return e.Err }

// Limits of parameters that are lists.
const maxFeatures = 1000

// Validate returns the parameters with what was left at zero filled in: one
// train round of one local epoch by softmax regression into 2 classes, batches
// of 32 rows, learning rate 0.05, a quorum of one site in one region and a
// deadline of 60 s; 16 hidden units for the mlp; plain federated averaging,
// and secure aggregation as its zero value and production have it. Seed,
// Extensions, Production and what samples or ends a run early are meant when
// they are zero.
//
// Errors: [*ParamError] for the first parameter at fault, in the order of
// [Params].
func (p Params) Validate() (Params, error) {
	p = p.filled()
	switch p.Model.Trainer {
	case TrainerLogistic, TrainerMLP, TrainerExec:
	default:
		return Params{}, &ParamError{"model.trainer", ErrTrainer}
	}
	if p.Model.Hidden != 0 && p.Model.Trainer == TrainerLogistic {
		return Params{}, &ParamError{"model.hidden", ErrHidden}
	}
	ranges := []struct {
		name      string
		v, lo, hi int
	}{
		{"model.inputs", p.Model.Inputs, 1, 100_000},
		{"model.hidden", p.Model.Hidden, 0, maxHidden(p.Model.Trainer)},
		{"model.classes", p.Model.Classes, 2, 1000},
		{"rounds", p.Rounds, 1, 10_000},
		{"quorum", p.Quorum, 1, 100_000},
		{"quorumRegions", p.QuorumRegions, 1, 64},
		{"deadlineSeconds", p.DeadlineSeconds, 1, 86_400},
		{"extensions", p.Extensions, 0, 100},
		{"localEpochs", p.LocalEpochs, 1, 1000},
		{"batchSize", p.BatchSize, 1, 65_536},
	}
	for _, r := range ranges {
		if r.v < r.lo || r.v > r.hi {
			return Params{}, &ParamError{r.name, fmt.Errorf("%w: %d to %d", ErrOutOfRange, r.lo, r.hi)}
		}
	}
	if err := p.Model.bounded(); err != nil {
		return Params{}, err
	}
	if p.QuorumRegions > p.Quorum {
		return Params{}, &ParamError{"quorumRegions", ErrRegions}
	}
	if math.IsNaN(p.LearningRate) || p.LearningRate < 1e-8 || p.LearningRate > 10 {
		return Params{}, &ParamError{"learningRate", fmt.Errorf("%w: 1e-8 to 10", ErrOutOfRange)}
	}
	if p.Seed > 1<<53 { // other languages read it as a float64
		return Params{}, &ParamError{"seed", fmt.Errorf("%w: 0 to 2^53", ErrOutOfRange)}
	}
	if err := checkFeatures(p.Features); err != nil {
		return Params{}, err
	}
	var err error
	if p.Strategy, err = p.Strategy.Validate(); err != nil {
		return Params{}, err
	}
	if p.Secure, err = p.Secure.validate(p.Production); err != nil {
		return Params{}, err
	}
	if err := p.Measurement.validate(p.Model); err != nil {
		return Params{}, err
	}
	if err := checkBounds(p.Bounds, p.Model.Inputs); err != nil {
		return Params{}, err
	}
	if p.Privacy, err = p.privacy(); err != nil {
		return Params{}, err
	}
	if p.Privacy.On() {
		p.Secure.Mode = SecureOn // noise on a sum hides a unit only where nobody sees the terms
	}
	if p.Compression, err = p.compression(); err != nil {
		return Params{}, err
	}
	for _, r := range []struct {
		name string
		v    int
	}{{"sampleBP", p.SampleBP}, {"overBP", p.OverBP}, {"targetBP", p.TargetBP}, {"patience", p.Patience}} {
		if r.v < 0 || r.v > 10_000 {
			return Params{}, &ParamError{r.name, fmt.Errorf("%w: 0 to 10000", ErrOutOfRange)}
		}
	}
	if p.OverBP > 0 && p.SampleBP == 0 {
		return Params{}, &ParamError{"overBP", ErrOver}
	}
	if err := p.buffered(); err != nil {
		return Params{}, err
	}
	if p.Purpose != "" && !consent.ValidPurpose(p.Purpose) {
		return Params{}, &ParamError{"purpose", consent.ErrPurpose}
	}
	if len(p.Meets) > consent.MaxPurposes || slices.ContainsFunc(p.Meets, func(m string) bool { return !slices.Contains(consent.Declarable(), m) }) {
		return Params{}, &ParamError{"meets", consent.ErrPurpose}
	}
	return p, nil
}

// maxHidden is how many units a hidden layer may have.
func maxHidden(trainer string) int {
	if trainer == TrainerExec {
		return 131_072
	}
	return 4096
}

// bounded refuses a model that nobody could train or sum.
func (m ModelSpec) bounded() error {
	switch n := m.Parameters(); {
	case n > maxParameters:
		return &ParamError{"model", fmt.Errorf("%w: %d parameters, at most %d", ErrModelSize, n, maxParameters)}
	case m.Trainer != TrainerExec && m.SizeBytes() > MaxBuiltInBytes:
		return &ParamError{"model", fmt.Errorf("%w: %d bytes of weights, at most %d for a built-in trainer, which holds them in memory", ErrModelSize, m.SizeBytes(), MaxBuiltInBytes)}
	}
	return nil
}

// filled returns the parameters with defaults in the place of zeros.
func (p Params) filled() Params {
	fill := func(v *int, with int) {
		if *v == 0 {
			*v = with
		}
	}
	if p.Model.Trainer == "" {
		p.Model.Trainer = TrainerLogistic
	}
	if p.Model.Trainer == TrainerMLP {
		fill(&p.Model.Hidden, 16)
	}
	fill(&p.Model.Classes, 2)
	fill(&p.Rounds, 1)
	fill(&p.Quorum, 1)
	fill(&p.QuorumRegions, 1)
	fill(&p.DeadlineSeconds, 60)
	fill(&p.LocalEpochs, 1)
	fill(&p.BatchSize, 32)
	if p.LearningRate == 0 {
		p.LearningRate = 0.05
	}
	return p
}

func checkFeatures(features []string) error {
	seen := make(map[string]bool, len(features))
	for _, f := range features {
		if f == "" || seen[f] {
			return &ParamError{"features", ErrFeatures}
		}
		seen[f] = true
	}
	if len(features) == 0 || len(features) > maxFeatures {
		return &ParamError{"features", ErrFeatures}
	}
	return nil
}
