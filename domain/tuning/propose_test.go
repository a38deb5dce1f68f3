package tuning_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

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

// bowl is a loss with its minimum at a rate: 0.1 + ln(rate/best)²/10.
func bowl(best float64, rates ...float64) []scorecard.Trial {
	var trials []scorecard.Trial
	for _, r := range rates {
		trials = append(trials, at(r, 0.1+math.Pow(math.Log(r/best), 2)/10))
	}
	return trials
}

func TestPropose(t *testing.T) {
	failed := at(0.1, 0.2)
	failed.Status = "failed"
	other := at(0.5, 0.01)
	other.Params.Rounds = 99
	tests := []struct {
		name   string
		trials []scorecard.Trial
		from   string
		to     string // empty: nothing
		reason string
	}{
		{"nothing has run", nil, "", "", "no completed run has been evaluated yet"},
		{"nothing completed", []scorecard.Trial{failed}, "", "", "no completed run has been evaluated yet"},
		{"one rate: a step up", []scorecard.Trial{at(0.1, 0.2)}, "0.1", "0.162", "one learning rate was tried, 0.1: one step up"},
		{"two rates, the higher better: a step up", []scorecard.Trial{at(0.1, 0.3), at(0.2, 0.2)}, "0.2", "0.324", "the highest of 2 learning rates was best: one step up"},
		{"two rates, the lower better: a step down", []scorecard.Trial{at(0.1, 0.2), at(0.2, 0.3)}, "0.2", "0.0618", "the lowest of 2 learning rates was best: one step down"},
		{"three rates around the best: its lowest point", bowl(0.15, 0.05, 0.1, 0.4), "0.4", "0.15", "lowest point of a parabola through the losses of 3 learning rates"},
		{"five rates: the same point", bowl(0.15, 0.02, 0.05, 0.1, 0.4, 0.9), "0.9", "0.15", "lowest point of a parabola through the losses of 5 learning rates"},
		{"a lowest point far away: a step only", bowl(50, 0.05, 0.1, 0.2), "0.2", "0.324", "the highest of 3 learning rates was best: one step up"},
		{"no lowest point: a step", []scorecard.Trial{at(0.1, 0.2), at(0.2, 0.3), at(0.4, 0.2)}, "0.4", "0.0618", "the lowest of 3 learning rates was best: one step down"},
		{"the lowest point was tried", bowl(0.1, 0.05, 0.1, 0.2), "0.2", "", "lowest point of a parabola through the losses of 3 learning rates: 0.1 has been tried, and 0.1 is the best of 3 rates"},
		{"runs that cannot be compared are left out", []scorecard.Trial{other, at(0.1, 0.2)}, "0.1", "0.162", "one learning rate was tried, 0.1: one step up"},
		{"a rate tried twice counts once", []scorecard.Trial{at(0.1, 0.1), at(0.1, 0.5), at(0.2, 0.2)}, "0.2", "0.324", "the highest of 2 learning rates was best: one step up"},
		{"no rate above 10", []scorecard.Trial{at(9.9, 0.2), at(5, 0.3)}, "5", "", "the highest of 2 learning rates was best: one step up: 9.9 has been tried, and 9.9 is the best of 2 rates"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, reason, ok := tuning.Propose(tt.trials)
			require.Equal(t, tt.reason, reason)
			require.Equal(t, tt.to != "", ok)
			if ok {
				require.Equal(t, promotion.Tuning{Parameter: "learningRate", From: tt.from, To: tt.to}, got)
			}
		})
	}
}

// A proposal is new, positive, within a step of what was tried, and does not
// depend on the order of runs before the latest.
func TestProposeIsNewAndNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var trials []scorecard.Trial
		low, high := math.Inf(1), 0.0
		for range rapid.IntRange(1, 8).Draw(t, "runs") {
			rate := math.Exp(rapid.Float64Range(math.Log(1e-4), math.Log(5)).Draw(t, "rate"))
			low, high = min(low, rate), max(high, rate)
			trials = append(trials, at(rate, rapid.Float64Range(0.01, 3).Draw(t, "loss")))
		}
		got, reason, ok := tuning.Propose(trials)
		if reason == "" {
			t.Fatal("no reason")
		}
		if !ok {
			return
		}
		rate, err := strconv.ParseFloat(got.To, 64)
		if err != nil || rate < low/tuning.Step*0.99 || rate > high*tuning.Step*1.01 {
			t.Fatalf("%v is not within a step of %v..%v: %v", got.To, low, high, err)
		}
		for _, tr := range trials {
			if math.Abs(math.Log(rate/tr.Params.LearningRate)) < 0.05 {
				t.Fatalf("%v was tried as %v", rate, tr.Params.LearningRate)
			}
		}
	})
}
