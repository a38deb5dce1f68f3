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
	}, got)
	again, err := got.Validate()
	require.NoError(t, err)
	require.Equal(t, got, again) // complete is complete

	got, err = round.Params{Model: round.ModelSpec{Trainer: "mlp", Inputs: 30}, Features: []string{"f"}}.Validate()
	require.NoError(t, err)
	require.Equal(t, 16, got.Model.Hidden)
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
