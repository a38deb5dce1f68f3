package round_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/round"
)

func measured(evaluated, correct, loss int64) round.Metrics {
	return round.Metrics{Evaluated: evaluated, Correct: correct, LossMicros: loss}
}

// The comparison of means is that of exact fractions, also where a float64 of
// either would be the same and a product of int64 would overflow.
func TestBetterComparesExactFractions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, math.MaxInt64))
		a := measured(number.Draw(t, "rows"), 0, number.Draw(t, "loss"))
		b := measured(number.Draw(t, "other rows"), 0, number.Draw(t, "other loss"))
		want := big.NewRat(a.LossMicros, a.Evaluated).Cmp(big.NewRat(b.LossMicros, b.Evaluated)) < 0
		require.Equal(t, want, a.Better(b))
	})
	close, closer := measured(1<<53-1, 0, 1<<62), measured(1<<53, 0, 1<<62)
	require.Equal(t, float64(1<<62)/float64(1<<53), float64(closer.LossMicros)/float64(closer.Evaluated))
	require.True(t, closer.Better(close))
	require.False(t, close.Better(closer))
	require.True(t, close.Better(round.Metrics{}), "anything is better than nothing")
	require.False(t, round.Metrics{}.Better(close))
	require.False(t, round.Metrics{}.Better(round.Metrics{}))
}

func TestEarlyStop(t *testing.T) {
	const target = "the accuracy has reached 9500 basis points"
	tests := []struct {
		name   string
		target int
		idle   int
		rounds []round.Metrics
		want   []string // after each round
	}{
		{"nobody asked for one", 0, 0, []round.Metrics{measured(100, 100, 0), measured(100, 100, 9), measured(100, 100, 9)}, []string{"", "", ""}},
		{"the accuracy is there", 9500, 0, []round.Metrics{measured(100, 94, 9), measured(1000, 949, 9), measured(20, 19, 9)}, []string{"", "", target}},
		{"one row is missing of very many", 9500, 0, []round.Metrics{measured(1<<53, 8556839292003942, 9), measured(1<<53, 8556839292003943, 9)}, []string{"", target}}, // 0.95·2^53 = 8556839292003942.4
		{"nothing was measured", 9500, 1, []round.Metrics{{}, {}}, []string{"", ""}},
		{"the loss falls as slowly as it likes", 0, 1, []round.Metrics{measured(3, 0, 100), measured(3, 0, 99), measured(6, 0, 197)}, []string{"", "", ""}},
		{"the loss stays", 0, 2, []round.Metrics{measured(3, 0, 100), measured(6, 0, 200), measured(3, 0, 100)},
			[]string{"", "", "the loss has not fallen for 2 rounds"}},
		{"the loss rises, falls, but not below its best", 0, 3, []round.Metrics{measured(1, 0, 10), measured(1, 0, 30), measured(1, 0, 20), measured(1, 0, 11)},
			[]string{"", "", "", "the loss has not fallen for 3 rounds"}},
		{"patience begins anew", 0, 2, []round.Metrics{measured(1, 0, 10), measured(1, 0, 30), measured(1, 0, 9), measured(1, 0, 9), {}, measured(1, 0, 10)},
			[]string{"", "", "", "", "", "the loss has not fallen for 2 rounds"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := round.Params{TargetBP: tt.target, Patience: tt.idle}
			var sofar round.Progress
			for i, m := range tt.rounds {
				sofar = sofar.After(m)
				require.Equal(t, tt.want[i], p.Converged(m, sofar), "after round %d", i+1)
			}
		})
	}
}
