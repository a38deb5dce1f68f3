package tuning_test

import (
	"errors"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// at is a completed trial with a mean loss in nats over 1000 rows.
func at(rate, loss float64) scorecard.Trial {
	return scorecard.Trial{
		Status:  "completed",
		Params:  round.Params{Rounds: 10, BatchSize: 16, LocalEpochs: 1, LearningRate: rate},
		Metrics: round.Metrics{Evaluated: 1000, LossMicros: int64(math.Round(loss * 1e9))},
	}
}

func TestProposeAsksTheStudyOfTheComparableRuns(t *testing.T) {
	failed := at(0.1, 0.2)
	failed.Status = "failed"
	other := at(0.5, 0.01)
	other.Params.Rounds = 99
	tests := []struct {
		name   string
		trials []scorecard.Trial
		says   float64 // what the engine suggests
		low    float64 // of the space that it is asked about
		high   float64
		rates  []float64 // of the trials that it is told
		losses []float64
		to     string // empty: nothing
		reason string
	}{
		{name: "nothing has run", reason: "no completed run has been evaluated yet"},
		{name: "nothing completed", trials: []scorecard.Trial{failed}, reason: "no completed run has been evaluated yet"},
		{"one rate", []scorecard.Trial{at(0.1, 0.2)}, 0.31415, 0.01, 1, []float64{0.1}, []float64{0.2}, "0.314",
			"the next trial of a study of learning rates from 0.01 to 1, after 1 of which 0.1 was best"},
		{"several, by rate", []scorecard.Trial{at(0.4, 0.3), at(0.1, 0.5), at(0.2, 0.2)}, 0.3, 0.01, 4, []float64{0.1, 0.2, 0.4}, []float64{0.5, 0.2, 0.3}, "0.3",
			"the next trial of a study of learning rates from 0.01 to 4, after 3 of which 0.2 was best"},
		{"runs that cannot be compared are left out", []scorecard.Trial{other, failed, at(0.1, 0.2)}, 0.5, 0.01, 1, []float64{0.1}, []float64{0.2}, "0.5",
			"the next trial of a study of learning rates from 0.01 to 1, after 1 of which 0.1 was best"},
		{"a rate tried twice counts once", []scorecard.Trial{at(0.1, 0.1), at(0.1, 0.5), at(0.2, 0.2)}, 0.5, 0.01, 2, []float64{0.1, 0.2}, []float64{0.3, 0.2}, "0.5",
			"the next trial of a study of learning rates from 0.01 to 2, after 2 of which 0.2 was best"},
		{"what was tried but for its fourth digit", []scorecard.Trial{at(0.1, 0.2)}, 0.10004, 0.01, 1, []float64{0.1}, []float64{0.2}, "",
			"the next trial of a study of learning rates from 0.01 to 1, after 1 of which 0.1 was best: 0.1 is what it would try, and that was tried"},
		{"no rate above 10", []scorecard.Trial{at(9, 0.2)}, 3, 0.9, 10, []float64{9}, []float64{0.2}, "3",
			"the next trial of a study of learning rates from 0.9 to 10, after 1 of which 9 was best"},
		{"but those that people tried", []scorecard.Trial{at(50, 0.2)}, 8, 5, 50, []float64{50}, []float64{0.2}, "8",
			"the next trial of a study of learning rates from 5 to 50, after 1 of which 50 was best"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := false
			got, reason, ok, err := tuning.Propose(tt.trials, func(s tuning.Study, known []tuning.Trial) (tuning.Point, error) {
				asked = true
				require.NoError(t, s.Validate())
				require.Len(t, s.Space, 1)
				require.True(t, s.Space[0].Log)
				require.InDelta(t, tt.low, s.Space[0].Low, 1e-12)
				require.InDelta(t, tt.high, s.Space[0].High, 1e-12)
				var rates, losses []float64
				for _, k := range known {
					if k.State == tuning.Active { // what it said before, and was as good as tried
						require.Equal(t, tuning.Point{tt.says}, k.Point)
						continue
					}
					rates, losses = append(rates, k.Point[0]), append(losses, k.Values[0])
				}
				require.Equal(t, tt.rates, rates)
				require.InDeltaSlice(t, tt.losses, losses, 1e-9)
				return tuning.Point{tt.says}, nil
			})
			require.NoError(t, err)
			require.Equal(t, tt.says > 0, asked)
			require.Equal(t, tt.reason, reason)
			require.Equal(t, tt.to != "", ok)
			if ok {
				latest := tt.trials[len(tt.trials)-1].Params.LearningRate
				require.Equal(t, promotion.Tuning{Parameter: "learningRate", From: strconv.FormatFloat(latest, 'g', -1, 64), To: tt.to}, got)
			}
		})
	}
	broken := errors.New("broken")
	_, _, ok, err := tuning.Propose([]scorecard.Trial{at(0.1, 0.2)}, func(tuning.Study, []tuning.Trial) (tuning.Point, error) { return nil, broken })
	require.ErrorIs(t, err, broken)
	require.False(t, ok)
}
