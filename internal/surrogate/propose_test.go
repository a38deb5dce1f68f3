package surrogate_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/internal/surrogate"
)

// Runs that always take the rate that is proposed come near the best one,
// wherever they began, and no rate is proposed twice.
func TestRunsThatFollowProposalsFindTheRate(t *testing.T) {
	loss := func(rate float64) float64 { return 0.1 + math.Pow(math.Log(rate/0.15), 2)/10 }
	for _, first := range []float64{0.001, 0.02, 0.1, 3} {
		var runs []scorecard.Trial
		rate, nearest := first, math.Inf(1)
		seen := map[float64]bool{}
		for range 15 {
			require.False(t, seen[rate], "from %g: %g again", first, rate)
			seen[rate] = true
			nearest = min(nearest, math.Abs(math.Log(rate/0.15)))
			runs = append(runs, scorecard.Trial{Status: "completed", Params: round.Params{Rounds: 3, LearningRate: rate},
				Metrics: round.Metrics{Evaluated: 1000, LossMicros: int64(loss(rate) * 1e9)}})
			proposed, reason, ok, err := tuning.Propose(runs, surrogate.Suggest)
			require.NoError(t, err)
			if !ok {
				require.Contains(t, reason, "was tried")
				break
			}
			rate, err = strconv.ParseFloat(proposed.To, 64)
			require.NoError(t, err)
		}
		require.Less(t, nearest, math.Log(1.1), "from %g the nearest of %d rates is a factor of %.2f away", first, len(runs), math.Exp(nearest))
	}
}
