package simulate_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/internal/simulate"
)

// inTurn suggests the rates of a list, so that what a trial comes to is the
// simulation's doing alone.
func inTurn(rates ...float64) tuning.Suggester {
	return func(_ tuning.Study, done []tuning.Trial) (tuning.Point, error) {
		return tuning.Point{rates[len(done)]}, nil
	}
}

func rateStudy(trials int) tuning.Study {
	return tuning.Study{Space: tuning.Space{{Name: "learningRate", Kind: tuning.Double, Low: 1e-4, High: 10, Log: true}},
		Metric: tuning.MetricLoss, Goal: tuning.Minimize, Trials: trials, Parallel: 1, Repeats: 1}
}

func smallSettings(t *testing.T) simulate.Settings {
	data, err := simulate.Load("digits", 1)
	require.NoError(t, err)
	return simulate.Settings{Data: data, Sites: 5, Regions: 1, Partition: simulate.IID, Params: round.Params{
		Model: round.ModelSpec{Trainer: round.TrainerLogistic}, Rounds: 3, Quorum: 1, QuorumRegions: 1, DeadlineSeconds: 60,
		LocalEpochs: 1, BatchSize: 10, LearningRate: 0.1, Seed: 1, Strategy: round.Strategy{Name: round.FedAvg, Rule: round.RuleMean}, Secure: round.Secure{Mode: round.SecureOff}}}
}

var errCut = errors.New("cut off")

func TestAStudyGoesOnWhereItWasCutOff(t *testing.T) {
	study, set := rateStudy(3), smallSettings(t)
	study.Repeats = 2
	suggest := inTurn(0.001, 0.1, 1)
	whole, err := simulate.Tune(t.Context(), set, study, nil, suggest, func(tuning.Trial) error { return nil })
	require.NoError(t, err)
	require.Len(t, whole, 3)
	require.Len(t, whole[0].Values, 2)
	require.NotEqual(t, whole[0].Values[0], whole[0].Values[1], "a repeat has a seed of its own")
	best, found := study.Best(whole)
	require.True(t, found)
	require.NotEqual(t, 1, best.Number, "a rate of 0.001 learns next to nothing in three rounds")

	var kept []tuning.Trial
	_, err = simulate.Tune(t.Context(), set, study, nil, suggest, func(trial tuning.Trial) error {
		kept = append(kept, trial)
		return errCut
	})
	require.ErrorIs(t, err, errCut)
	resumed, err := simulate.Tune(t.Context(), set, study, kept, suggest, func(tuning.Trial) error { return nil })
	require.NoError(t, err)
	require.Equal(t, whole, resumed)
}

func TestABadTrialIsEndedEarly(t *testing.T) {
	study := rateStudy(3)
	study.Halving = &tuning.Halving{First: 1, Factor: 3}
	trials, err := simulate.Tune(t.Context(), smallSettings(t), study, nil, inTurn(0.5, 0.2, 0.0001), func(tuning.Trial) error { return nil })
	require.NoError(t, err)
	require.Equal(t, tuning.Succeeded, trials[0].State)
	require.Len(t, trials[0].Rungs, 2, "rounds 1 and 3")
	require.Equal(t, tuning.Stopped, trials[2].State)
	require.Len(t, trials[2].Rungs, 1)
}

func TestWhatCannotBeTuned(t *testing.T) {
	study := rateStudy(1)
	study.Space[0].Name = "rounds"
	_, err := simulate.Tune(t.Context(), smallSettings(t), study, nil, nil, nil)
	require.ErrorIs(t, err, tuning.ErrParameter)
	study = rateStudy(1)
	study.Metric = "f1"
	_, err = simulate.Tune(t.Context(), smallSettings(t), study, nil, nil, nil)
	require.ErrorIs(t, err, tuning.ErrMetric)

	study = rateStudy(1) // what the parameters refuse is a point that cannot be, not an end of the study
	study.Space[0] = tuning.Dimension{Name: "batchSize", Kind: tuning.Integer, Low: -5, High: -1}
	trials, err := simulate.Tune(t.Context(), smallSettings(t), study, nil, inTurn(-3), func(tuning.Trial) error { return nil })
	require.NoError(t, err)
	require.Equal(t, tuning.Infeasible, trials[0].State)
}
