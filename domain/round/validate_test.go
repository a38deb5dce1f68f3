package round_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

func TestWhatIsLeftOutIsFilledIn(t *testing.T) {
	got, err := round.Params{Model: round.ModelSpec{Inputs: 30}, Features: []string{"f"}}.Validate()
	require.NoError(t, err)
	require.Equal(t, round.Params{
		Model:  round.ModelSpec{Trainer: "logistic", Inputs: 30, Classes: 2},
		Rounds: 1, Quorum: 1, QuorumRegions: 1, DeadlineSeconds: 60, LocalEpochs: 1, BatchSize: 32, LearningRate: 0.05, Features: []string{"f"},
		Strategy: round.Strategy{Name: "fedavg", Rule: "mean", ServerRate: 1},
		Secure:   round.Secure{Mode: "auto", Ring: 32, Range: 8, MaxExamples: 65536, StageSeconds: 30, CorruptBP: 1000, DroppedBP: 1000},
	}, got)
	again, err := got.Validate()
	require.NoError(t, err)
	require.Equal(t, got, again) // complete is complete

	got, err = round.Params{Model: round.ModelSpec{Trainer: "mlp", Inputs: 30}, Features: []string{"f"}}.Validate()
	require.NoError(t, err)
	require.Equal(t, 16, got.Model.Hidden)

	got, err = round.Params{Model: round.ModelSpec{Inputs: 30}, Features: []string{"f"}, Production: true}.Validate()
	require.NoError(t, err)
	require.Equal(t, "on", got.Secure.Mode, "production hides every update")

	private := round.Params{
		Model: round.ModelSpec{Inputs: 1}, Features: []string{"f"}, Bounds: [][2]float64{{0, 1}},
		Privacy: round.Privacy{Mechanism: "skellam", NoiseMultiplier: 2},
	}
	got, err = private.Validate()
	require.NoError(t, err)
	require.Equal(t, round.Privacy{Mechanism: "skellam", Unit: "example", NoiseMultiplier: 2, ClipNorm: 1, Delta: 1e-5}, got.Privacy)
	again, err = got.Validate()
	require.NoError(t, err)
	require.Equal(t, got, again)
}

// private asks for noise, with all that noise needs.
func private(p *round.Params) {
	p.Model.Inputs, p.Bounds = 1, [][2]float64{{0, 1}}
	p.Privacy = round.Privacy{Mechanism: round.PrivacySkellam, NoiseMultiplier: 1}
}

func TestParametersThatAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*round.Params)
		param  string
		why    error
	}{
		{"no columns", func(p *round.Params) { p.Model.Inputs = 0 }, "model.inputs", round.ErrOutOfRange},
		{"too many columns", func(p *round.Params) { p.Model.Inputs = 100_001 }, "model.inputs", round.ErrOutOfRange},
		{"one class", func(p *round.Params) { p.Model.Classes = 1 }, "model.classes", round.ErrOutOfRange},
		{"an unknown trainer", func(p *round.Params) { p.Model.Trainer = "forest" }, "model.trainer", round.ErrTrainer},
		{"hidden units of a regression", func(p *round.Params) { p.Model.Hidden = 1 }, "model.hidden", round.ErrHidden},
		{"negative rounds", func(p *round.Params) { p.Rounds = -1 }, "rounds", round.ErrOutOfRange},
		{"too many rounds", func(p *round.Params) { p.Rounds = 10_001 }, "rounds", round.ErrOutOfRange},
		{"a negative quorum", func(p *round.Params) { p.Quorum = -1 }, "quorum", round.ErrOutOfRange},
		{"more regions than sites", func(p *round.Params) { p.Quorum, p.QuorumRegions = 2, 3 }, "quorumRegions", round.ErrRegions},
		{"more than a day", func(p *round.Params) { p.DeadlineSeconds = 86_401 }, "deadlineSeconds", round.ErrOutOfRange},
		{"extensions without end", func(p *round.Params) { p.Extensions = 101 }, "extensions", round.ErrOutOfRange},
		{"a negative rate", func(p *round.Params) { p.LearningRate = -1 }, "learningRate", round.ErrOutOfRange},
		{"no rate", func(p *round.Params) { p.LearningRate = math.NaN() }, "learningRate", round.ErrOutOfRange},
		{"an infinite rate", func(p *round.Params) { p.LearningRate = math.Inf(1) }, "learningRate", round.ErrOutOfRange},
		{"a seed that JavaScript rounds", func(p *round.Params) { p.Seed = 1<<53 + 1 }, "seed", round.ErrOutOfRange},
		{"no feature", func(p *round.Params) { p.Features = nil }, "features", round.ErrFeatures},
		{"a feature twice", func(p *round.Params) { p.Features = []string{"f", "f"} }, "features", round.ErrFeatures},
		{"an empty feature", func(p *round.Params) { p.Features = []string{""} }, "features", round.ErrFeatures},
		{"too many features", func(p *round.Params) {
			p.Features = nil
			for i := range 1001 {
				p.Features = append(p.Features, strings.Repeat("f", i+1))
			}
		}, "features", round.ErrFeatures},
		{"a strategy that nobody wrote", func(p *round.Params) { p.Strategy.Name = "fedmagic" }, "strategy.name", round.ErrStrategy},
		{"a rule that nobody wrote", func(p *round.Params) { p.Strategy.Rule = "oracle" }, "strategy.rule", round.ErrRule},
		{"a parameter of another strategy", func(p *round.Params) { p.Strategy.Momentum = .5 }, "strategy.momentum", round.ErrForeign},
		{"buckets of two", func(p *round.Params) { p.Strategy.Rule, p.Strategy.BucketSites = round.RuleMedian, 2 }, "strategy.bucketSites", round.ErrOutOfRange},
		{"control variates under a median", func(p *round.Params) { p.Strategy.Name, p.Strategy.Rule = round.Scaffold, round.RuleMedian }, "strategy.rule", round.ErrCombination},
		{"a mode that is none", func(p *round.Params) { p.Secure.Mode = "maybe" }, "secure.mode", round.ErrSecureMode},
		{"production in the open", func(p *round.Params) { p.Production, p.Secure.Mode = true, round.SecureOff }, "secure.mode", round.ErrExposed},
		{"production by chance", func(p *round.Params) { p.Production, p.Secure.Mode = true, round.SecureAuto }, "secure.mode", round.ErrExposed},
		{"a ring of 16 bits", func(p *round.Params) { p.Secure.Ring = 16 }, "secure.ring", round.ErrRing},
		{"a range that is no number", func(p *round.Params) { p.Secure.Range = math.NaN() }, "secure.range", round.ErrOutOfRange},
		{"a negative range", func(p *round.Params) { p.Secure.Range = -1 }, "secure.range", round.ErrOutOfRange},
		{"a site of too many rows", func(p *round.Params) { p.Secure.MaxExamples = 1<<30 + 1 }, "secure.maxExamples", round.ErrOutOfRange},
		{"a stage that takes a day", func(p *round.Params) { p.Secure.StageSeconds = 86_400 }, "secure.stageSeconds", round.ErrOutOfRange},
		{"more liars than the graph can bear", func(p *round.Params) { p.Secure.CorruptBP = 5000 }, "secure.corruptBP", round.ErrOutOfRange},
		{"more dropouts than the graph can bear", func(p *round.Params) { p.Secure.DroppedBP = 5000 }, "secure.droppedBP", round.ErrOutOfRange},
		{"a clipping norm without noise", func(p *round.Params) { p.Privacy.ClipNorm = 1 }, "privacy.mechanism", round.ErrUnnoised},
		{"noise of a kind that is none", func(p *round.Params) { private(p); p.Privacy.Mechanism = "laplace" }, "privacy.mechanism", round.ErrMechanism},
		{"privacy of a unit that is none", func(p *round.Params) { private(p); p.Privacy.Unit = "word" }, "privacy.unit", round.ErrUnit},
		{"noise without a size", func(p *round.Params) { private(p); p.Privacy.NoiseMultiplier = 0 }, "privacy.noiseMultiplier", round.ErrOutOfRange},
		{"noise that is no number", func(p *round.Params) { private(p); p.Privacy.NoiseMultiplier = math.NaN() }, "privacy.noiseMultiplier", round.ErrOutOfRange},
		{"an infinite clipping norm", func(p *round.Params) { private(p); p.Privacy.ClipNorm = math.Inf(1) }, "privacy.clipNorm", round.ErrOutOfRange},
		{"a delta that protects nobody", func(p *round.Params) { private(p); p.Privacy.Delta = .5 }, "privacy.delta", round.ErrOutOfRange},
		{"a negative epsilon", func(p *round.Params) { private(p); p.Privacy.MaxEpsilon = -1 }, "privacy.maxEpsilon", round.ErrOutOfRange},
		{"private weights over statistics that are not", func(p *round.Params) { private(p); p.Bounds = nil }, "bounds", round.ErrBounds},
		{"privacy of examples over two epochs", func(p *round.Params) { private(p); p.LocalEpochs = 2 }, "privacy.unit", round.ErrOneStep},
		{"privacy of examples with control variates", func(p *round.Params) { private(p); p.Strategy.Name = round.Scaffold }, "privacy.unit", round.ErrOneStep},
		{"noise at sites that send in the open", func(p *round.Params) { private(p); p.Secure.Mode = round.SecureOff }, "privacy.mechanism", round.ErrNotSummed},
		{"noise under a median", func(p *round.Params) { private(p); p.Strategy.Rule = round.RuleMedian }, "privacy.mechanism", round.ErrNotSummed},
		{"bounds for one column of thirty", func(p *round.Params) { p.Bounds = [][2]float64{{0, 1}} }, "bounds", round.ErrBounds},
		{"bounds the wrong way round", func(p *round.Params) { p.Model.Inputs, p.Bounds = 1, [][2]float64{{1, 0}} }, "bounds", round.ErrBounds},
		{"bounds without room", func(p *round.Params) { p.Model.Inputs, p.Bounds = 1, [][2]float64{{1, 1}} }, "bounds", round.ErrBounds},
		{"bounds without end", func(p *round.Params) { p.Model.Inputs, p.Bounds = 1, [][2]float64{{0, math.Inf(1)}} }, "bounds", round.ErrBounds},
		{"a bound that is no number", func(p *round.Params) { p.Model.Inputs, p.Bounds = 1, [][2]float64{{math.NaN(), 1}} }, "bounds", round.ErrBounds},
		{"bounds that no weight holds", func(p *round.Params) { p.Model.Inputs, p.Bounds = 1, [][2]float64{{-1e300, 1e300}} }, "bounds", round.ErrBounds},
		{"bounds that are one weight", func(p *round.Params) { p.Model.Inputs, p.Bounds = 1, [][2]float64{{0, 1e-60}} }, "bounds", round.ErrBounds},
		{"more than all sites", func(p *round.Params) { p.SampleBP = 10_001 }, "sampleBP", round.ErrOutOfRange},
		{"less than no site", func(p *round.Params) { p.SampleBP = -1 }, "sampleBP", round.ErrOutOfRange},
		{"more than twice the sample", func(p *round.Params) { p.SampleBP, p.OverBP = 5000, 10_001 }, "overBP", round.ErrOutOfRange},
		{"more than a sample that is none", func(p *round.Params) { p.OverBP = 1000 }, "overBP", round.ErrOver},
		{"better than right", func(p *round.Params) { p.TargetBP = 10_001 }, "targetBP", round.ErrOutOfRange},
		{"negative patience", func(p *round.Params) { p.Patience = -1 }, "patience", round.ErrOutOfRange},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := round.Params{Model: round.ModelSpec{Inputs: 30}, Features: []string{"f"}}
			tt.change(&p)
			_, err := p.Validate()
			require.ErrorIs(t, err, tt.why)
			var param *round.ParamError
			require.ErrorAs(t, err, &param)
			require.Equal(t, tt.param, param.Param)
		})
	}
}

// Noise on a sum hides a unit only where nobody sees the terms.
func TestPrivacyIsNeverInTheOpen(t *testing.T) {
	p := round.Params{Model: round.ModelSpec{Inputs: 1}, Features: []string{"f"}, Bounds: [][2]float64{{0, 1}},
		Privacy: round.Privacy{Mechanism: round.PrivacyCentral, NoiseMultiplier: 1}}
	got, err := p.Validate()
	require.NoError(t, err)
	require.Equal(t, round.SecureOn, got.Secure.Mode)
	p.Secure.Mode = round.SecureOff
	_, err = p.Validate()
	require.ErrorIs(t, err, round.ErrNotSummed)
}
