package simulation

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/simulate"
)

// slowDigits has one site in five 10 to 40 times slower than it would be, drawn
// anew for every update.
func slowDigits(t testing.TB, seed uint64, secure string) simulate.Settings {
	s := digitsOf(t, seed)
	s.Stragglers, s.Params.SampleBP, s.Params.Secure.Mode, s.Params.DeadlineSeconds, s.Params.Quorum = 0.2, 0, secure, 60, 10
	s.Params.Rounds, s.Params.TargetBP = 60, 9300
	return s
}

// until returns the virtual time at which the accuracy was first reached.
func until(t testing.TB, r simulate.Result, target float64) float64 {
	n := r.Reached(target)
	require.Positive(t, n, "seed %d never reached %g, best %g", r.Settings.Params.Seed, target, r.Best)
	for _, at := range r.Rounds {
		if at.Number == n {
			return at.Clock
		}
	}
	return 0
}

// A buffered run reaches the accuracy of one that waits for everybody in at
// most half of its time, in the open and behind masks: notes and paper have 2
// to 3.8 times, at 10 % slow sites.
func TestABufferDoesNotWaitForSlowSites(t *testing.T) {
	for _, tt := range []struct {
		mode  string
		seeds uint64
	}{{round.SecureOff, 5}, {round.SecureOn, 1}} {
		t.Run("secure "+tt.mode, func(t *testing.T) {
			var faster []float64
			for seed := range tt.seeds {
				waits := run(t, slowDigits(t, seed+1, tt.mode))
				s := slowDigits(t, seed+1, tt.mode)
				s.Params.Strategy = round.Strategy{Name: round.FedBuff, Buffer: 10, MaxStaleness: 20}
				buffers := run(t, s)
				late := 0
				for _, r := range buffers.Rounds {
					late += r.Late
					require.LessOrEqual(t, r.Answered, 10, "round %d of seed %d", r.Number, seed+1)
				}
				require.Positive(t, late, "seed %d: nobody was late", seed+1)
				ratio := until(t, waits, 0.93) / until(t, buffers, 0.93)
				faster = append(faster, ratio)
				t.Logf("seed %d: %.0f s waiting (round %d), %.0f s buffered (round %d, %d late): %.1f times", seed+1,
					until(t, waits, 0.93), waits.Reached(0.93), until(t, buffers, 0.93), buffers.Reached(0.93), late, ratio)
			}
			require.GreaterOrEqual(t, median(faster), 2.0, fmt.Sprint(faster))
		})
	}
}

// The same settings give the same bytes, with sites that are busy over several
// rounds.
func TestABufferedSimulationRepeats(t *testing.T) {
	for _, mode := range []string{round.SecureOff, round.SecureOn} {
		s := slowDigits(t, 3, mode)
		s.Params.Rounds, s.Dropout = 6, 0.1
		s.Params.Quorum, s.Params.Strategy = 3, round.Strategy{Name: round.FedBuff, Buffer: 8, MaxStaleness: 2}
		first := run(t, s)
		second := run(t, s)
		require.Equal(t, first.Weights, second.Weights, mode)
		require.Equal(t, first.Rounds, second.Rounds, mode)
	}
}
