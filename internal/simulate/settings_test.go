package simulate

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/table"
)

func TestSettingsThatAreRefused(t *testing.T) {
	data, err := Load("tumour", 1)
	require.NoError(t, err)
	tests := []struct {
		name   string
		change func(s *Settings)
		want   error
	}{
		{"no site", func(s *Settings) { s.Sites = 0 }, ErrSites},
		{"more regions than sites", func(s *Settings) { s.Regions = 6 }, ErrSites},
		{"a share above 1", func(s *Settings) { s.Dropout = 1.1 }, ErrShare},
		{"a share that is no number", func(s *Settings) { s.Stragglers = math.NaN() }, ErrShare},
		{"liars without an attack", func(s *Settings) { s.Adversaries = 0.2 }, ErrAttack},
		{"an attack backwards", func(s *Settings) { s.Adversaries, s.Attack, s.Strength = 0.2, SignFlip, -1 }, ErrAttack},
		{"another partition", func(s *Settings) { s.Partition = "dirichlet" }, ErrPartition},
		{"a foreign program", func(s *Settings) { s.Params.Model.Trainer = round.TrainerExec }, ErrExec},
		{"noise that nothing hides", func(s *Settings) {
			s.Params.Privacy = round.Privacy{Mechanism: round.PrivacySkellam, NoiseMultiplier: 1}
		}, round.ErrNotSummed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Settings{Data: data, Sites: 5, Params: round.Params{Rounds: 1, Secure: round.Secure{Mode: round.SecureOff}}}
			_, err := Run(t.Context(), s)
			require.NoError(t, err)
			tt.change(&s)
			_, err = Run(t.Context(), s)
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err = Load("no-such-file.csv", 1)
	require.Error(t, err)
}

// A liar's update is a function of the honest one.
func TestAttacks(t *testing.T) {
	data, err := Load("tumour", 1)
	require.NoError(t, err)
	s := simulation{set: Settings{Data: data}}
	v := &virtual{rows: table.Table{}}
	honest := []float32{1, -2, 0, 4}
	for attack, want := range map[string][]float32{SignFlip: {-3, 6, 0, -12}, Scale: {3, -6, 0, 12}} {
		update := tensorsOf(honest)
		lie(attack, 3, update, s.draw("lie", 1, v))
		require.Equal(t, want, update[0].F32, attack)
	}
	a, b := tensorsOf(honest), tensorsOf(honest)
	lie(Noise, 3, a, s.draw("lie", 1, v))
	lie(Noise, 3, b, s.draw("lie", 2, v))
	require.NotEqual(t, honest, a[0].F32)
	require.NotEqual(t, a[0].F32, b[0].F32)
}
