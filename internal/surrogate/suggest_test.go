package surrogate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/internal/surrogate"
)

// evaluate runs a study in turn with a function of the point, which says what
// came of it.
func evaluate(t *testing.T, study tuning.Study, at func(tuning.Point) tuning.Trial) []tuning.Trial {
	t.Helper()
	var trials []tuning.Trial
	for len(trials) < study.Trials {
		p, err := surrogate.Suggest(study, trials)
		require.NoError(t, err)
		again, err := surrogate.Suggest(study, trials)
		require.NoError(t, err)
		require.Equal(t, p, again, "a retry suggests the same")
		require.True(t, study.Space.Holds(p), "%v", p)
		require.False(t, tuning.Tried(trials, p), "%v twice", p)
		trial := at(p)
		trial.Number, trial.Point = len(trials)+1, p
		trials = append(trials, trial)
	}
	return trials
}

func value(v float64, limits ...float64) tuning.Trial {
	return tuning.Trial{State: tuning.Succeeded, Values: []float64{v}, Constraints: limits}
}

func mixed() tuning.Space {
	return tuning.Space{
		{Name: "learningRate", Kind: tuning.Double, Low: 1e-4, High: 1, Log: true},
		{Name: "localEpochs", Kind: tuning.Integer, Low: 1, High: 5},
		{Name: "strategy", Kind: tuning.Categorical, Values: []string{"fedavg", "fedadam", "fedprox"}},
	}
}

func TestBraninIsFoundInThirtyTrials(t *testing.T) {
	f := functions()[0]
	require.Less(t, regrets(t, f, 1, []int{30})[0], 0.1, "random search is at 1.05 then")
}

func TestAStudyOfEveryKindOfDimension(t *testing.T) {
	study := tuning.Study{Space: mixed(), Metric: "loss", Goal: tuning.Maximize, Trials: 25, Parallel: 1, Repeats: 1, Seed: 5, Enqueued: []tuning.Point{{0.5, 2, 1}}}
	trials := evaluate(t, study, func(p tuning.Point) tuning.Trial {
		score := -square(p[1]-4) - square(p[0]-0.03)
		if p[2] == 2 {
			score += 3
		}
		return value(score)
	})
	require.Equal(t, tuning.Point{0.5, 2, 1}, trials[0].Point, "what was enqueued comes first")
	best, found := study.Best(trials)
	require.True(t, found)
	require.EqualValues(t, 4, best.Point[1])
	require.EqualValues(t, 2, best.Point[2])
}

// The optimum lies where the constraint is broken; the best that keeps it is at
// its edge.
func TestAConstraintIsKept(t *testing.T) {
	study := tuning.Study{Space: tuning.Space{{Name: "x", Kind: tuning.Double, Low: 0, High: 1}}, Metric: "loss", Goal: tuning.Minimize,
		Constraints: []tuning.Constraint{{Metric: "epsilon", AtMost: 0.6}}, Trials: 25, Parallel: 1, Repeats: 1, Seed: 3}
	trials := evaluate(t, study, func(p tuning.Point) tuning.Trial { return value(square(p[0]-0.9), p[0]) })
	best, found := study.Best(trials)
	require.True(t, found)
	require.LessOrEqual(t, best.Point[0], 0.6)
	require.InDelta(t, 0.6, best.Point[0], 0.03)
}

// Half of the space fails. What is learned of it is where not to look.
func TestWhatFailsIsAvoided(t *testing.T) {
	study := tuning.Study{Space: tuning.Space{{Name: "x", Kind: tuning.Double, Low: 0, High: 1}, {Name: "y", Kind: tuning.Double, Low: 0, High: 1}},
		Metric: "loss", Goal: tuning.Minimize, Trials: 30, Parallel: 1, Repeats: 1, Seed: 4}
	failed := 0
	evaluate(t, study, func(p tuning.Point) tuning.Trial {
		if p[0] > 0.5 {
			failed++
			return tuning.Trial{State: tuning.Infeasible}
		}
		return value(square(p[0]-0.3) + square(p[1]-0.7))
	})
	require.Less(t, failed, 10, "a third; chance alone would be half")
}

// Trials under way are not suggested again, nor their neighbours.
func TestParallelTrialsSpreadOut(t *testing.T) {
	f := functions()[0]
	study := tuning.Study{Space: f.space, Metric: "value", Goal: tuning.Minimize, Trials: 20, Parallel: 4, Repeats: 1, Seed: 6}
	trials := evaluate(t, tuning.Study{Space: f.space, Metric: "value", Goal: tuning.Minimize, Trials: 16, Parallel: 1, Repeats: 1, Seed: 6},
		func(p tuning.Point) tuning.Trial { return value(f.at(p)) })
	var under [][]float64
	for range 4 {
		p, err := surrogate.Suggest(study, trials)
		require.NoError(t, err)
		place := f.space.Encode(p)
		for _, other := range under {
			require.Greater(t, square(place[0]-other[0])+square(place[1]-other[1]), 1e-6)
		}
		under = append(under, place)
		trials = append(trials, tuning.Trial{Number: len(trials) + 1, Point: p, State: tuning.Active})
	}
}

func TestASpaceThatIsUsedUp(t *testing.T) {
	study := tuning.Study{Space: tuning.Space{{Name: "n", Kind: tuning.Integer, Low: 1, High: 3}}, Metric: "loss", Goal: tuning.Minimize, Trials: 3, Parallel: 1, Repeats: 1, Seed: 1}
	trials := evaluate(t, study, func(p tuning.Point) tuning.Trial { return value(p[0]) })
	_, err := surrogate.Suggest(study, trials)
	require.ErrorIs(t, err, surrogate.ErrExhausted)
}

func TestAStudyThatCannotBe(t *testing.T) {
	_, err := surrogate.Suggest(tuning.Study{}, nil)
	require.ErrorIs(t, err, tuning.ErrEmptySpace)
}
