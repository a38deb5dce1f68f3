package scorecard_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

func trial(run, status string, correct, evaluated int64) scorecard.Trial {
	return scorecard.Trial{Run: run, Status: status, Metrics: round.Metrics{Evaluated: evaluated, Correct: correct, LossMicros: evaluated * 100_000}}
}

func TestCompute(t *testing.T) {
	const pass, fail, insufficient, none = scorecard.Pass, scorecard.Fail, scorecard.Insufficient, scorecard.NoData
	done := func(correct, evaluated int64) scorecard.Trial { return trial("r", "completed", correct, evaluated) }
	broken := trial("r", "failed", 0, 0)
	tests := []struct {
		name   string
		trials []scorecard.Trial
		status scorecard.Status
		each   [3]scorecard.Status // accuracy, regression, completion
		score  int
	}{
		{"nothing has run", nil, none, [3]scorecard.Status{none, none, none}, 0},
		{"nothing was evaluated", []scorecard.Trial{broken}, none, [3]scorecard.Status{none, none, insufficient}, 0},
		// 110/112: Wilson 0.9372 .. 0.9951, by the formula
		{"good on enough rows", []scorecard.Trial{done(110, 112)}, pass, [3]scorecard.Status{pass, none, insufficient}, 93},
		{"good on too few rows", []scorecard.Trial{done(29, 29)}, insufficient, [3]scorecard.Status{insufficient, none, insufficient}, 88},
		{"the interval holds the target", []scorecard.Trial{done(103, 112)}, insufficient, [3]scorecard.Status{insufficient, none, insufficient}, 85},
		{"wholly below the target", []scorecard.Trial{done(80, 112)}, fail, [3]scorecard.Status{fail, none, insufficient}, 62},
		{"worse than the best before", []scorecard.Trial{done(995, 1000), done(930, 1000)}, fail, [3]scorecard.Status{pass, fail, insufficient}, 91},
		{"as good as the best before", []scorecard.Trial{done(9950, 10000), done(9950, 10000)}, pass, [3]scorecard.Status{pass, pass, insufficient}, 99},
		{"runs that fail too often", append([]scorecard.Trial{broken, broken, broken, broken, broken}, done(110, 112)), fail, [3]scorecard.Status{pass, none, fail}, 93},
		{"the latest evaluated run is judged", []scorecard.Trial{done(110, 112), trial("s", "stopped", 0, 0)}, pass, [3]scorecard.Status{pass, none, insufficient}, 93},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			card := scorecard.Compute(tt.trials)
			require.Equal(t, tt.status, card.Status)
			require.Equal(t, tt.score, card.Score)
			require.Len(t, card.Metrics, 3)
			for i, want := range tt.each {
				require.Equal(t, want, card.Metrics[i].Status, "%+v", card.Metrics[i])
			}
			require.Equal(t, len(tt.trials), card.Runs)
		})
	}
	card := scorecard.Compute([]scorecard.Trial{done(110, 112)})
	require.EqualValues(t, 100_000, card.MeanLossMicros)
	require.Equal(t, "r", card.Run)
}
