package round_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

// A model is as large as whoever trains it can hold: a built-in trainer 64 MiB
// of weights, a program what can be summed.
func TestHowLargeAModelMayBe(t *testing.T) {
	tests := []struct {
		name  string
		model round.ModelSpec
		param string
		want  error
	}{
		{"what a built-in trainer holds", round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 4090, Hidden: 4090, Classes: 2}, "", nil},
		{"more than that", round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 4096, Hidden: 4096, Classes: 2}, "model", round.ErrModelSize},
		{"a regression with more", round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 100_000, Classes: 200}, "model", round.ErrModelSize},
		{"the same for a program", round.ModelSpec{Trainer: round.TrainerExec, Inputs: 100_000, Classes: 200}, "", nil},
		{"2 GB for a program", round.ModelSpec{Trainer: round.TrainerExec, Inputs: 3815, Hidden: 131_072, Classes: 2}, "", nil},
		{"more than can be summed", round.ModelSpec{Trainer: round.TrainerExec, Inputs: 17_000, Hidden: 131_072, Classes: 2}, "model", round.ErrModelSize},
		{"a layer too wide for a built-in trainer", round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 2, Hidden: 4097, Classes: 2}, "model.hidden", round.ErrOutOfRange},
		{"a layer too wide for a program", round.ModelSpec{Trainer: round.TrainerExec, Inputs: 2, Hidden: 131_073, Classes: 2}, "model.hidden", round.ErrOutOfRange},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := round.Params{Model: tt.model, Features: []string{"f"}}.Validate()
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			var at *round.ParamError
			require.True(t, errors.As(err, &at), "%v", err)
			require.Equal(t, tt.param, at.Param)
			require.ErrorIs(t, err, tt.want)
		})
	}
	// 3815·131,072 + 131,072 + 2·131,072 + 2 + 2·3815, worked out by hand.
	require.EqualValues(t, 500_440_528, round.ModelSpec{Trainer: round.TrainerExec, Inputs: 3815, Hidden: 131_072, Classes: 2}.Parameters())
}
