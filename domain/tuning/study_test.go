package tuning_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/tuning"
)

func space() tuning.Space {
	return tuning.Space{
		{Name: "learningRate", Kind: tuning.Double, Low: 1e-4, High: 1, Log: true},
		{Name: "localEpochs", Kind: tuning.Integer, Low: 1, High: 5},
		{Name: "strategy", Kind: tuning.Categorical, Values: []string{"fedavg", "fedadam", "fedprox"}},
	}
}

func TestWhatNoStudyIsMadeOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*tuning.Study)
		err    error
	}{
		{"an empty space", func(s *tuning.Study) { s.Space = nil }, tuning.ErrEmptySpace},
		{"one value", func(s *tuning.Study) { s.Space[0].Low = 1 }, tuning.ErrEmptySpace},
		{"no integer in the range", func(s *tuning.Study) { s.Space[1].Low, s.Space[1].High = 1.2, 1.8 }, tuning.ErrEmptySpace},
		{"one integer in the range", func(s *tuning.Study) { s.Space[1].Low, s.Space[1].High = 0.5, 1.5 }, tuning.ErrEmptySpace},
		{"an infinite range", func(s *tuning.Study) { s.Space[0].High = math.Inf(1) }, tuning.ErrRange},
		{"not a number", func(s *tuning.Study) { s.Space[0].Low = math.NaN() }, tuning.ErrRange},
		{"a range that is backwards", func(s *tuning.Study) { s.Space[0].Low = 2 }, tuning.ErrRange},
		{"the logarithm of zero", func(s *tuning.Study) { s.Space[0].Low = 0 }, tuning.ErrRange},
		{"one category", func(s *tuning.Study) { s.Space[2].Values = []string{"fedavg"} }, tuning.ErrValues},
		{"a category twice", func(s *tuning.Study) { s.Space[2].Values = []string{"a", "b", "a"} }, tuning.ErrValues},
		{"two of a name", func(s *tuning.Study) { s.Space[1].Name = "learningRate" }, tuning.ErrTwice},
		{"an unknown kind", func(s *tuning.Study) { s.Space[0].Kind = "float" }, tuning.ErrDimension},
		{"no goal", func(s *tuning.Study) { s.Goal = "" }, tuning.ErrGoal},
		{"no trial", func(s *tuning.Study) { s.Trials = 0 }, tuning.ErrTrials},
		{"too many at once", func(s *tuning.Study) { s.Parallel = 17 }, tuning.ErrParallel},
		{"no repeat", func(s *tuning.Study) { s.Repeats = 0 }, tuning.ErrRepeats},
		{"a bound that is none", func(s *tuning.Study) { s.Constraints = []tuning.Constraint{{"epsilon", math.NaN()}} }, tuning.ErrConstraint},
		{"a known point outside", func(s *tuning.Study) { s.Enqueued = []tuning.Point{{0.1, 9, 0}} }, tuning.ErrOutside},
		{"a category that is half one", func(s *tuning.Study) { s.Enqueued = []tuning.Point{{0.1, 3, 0.5}} }, tuning.ErrOutside},
		{"halving by one", func(s *tuning.Study) { s.Halving = &tuning.Halving{First: 1, Factor: 1} }, tuning.ErrHalving},
		{"nothing wrong", func(*tuning.Study) {}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			study := tuning.Study{Space: space(), Metric: "loss", Goal: tuning.Minimize, Trials: 10, Parallel: 2, Repeats: 1}
			tt.change(&study)
			require.ErrorIs(t, study.Validate(), tt.err)
		})
	}
}

func TestPlacesAndPoints(t *testing.T) {
	s := space()
	rapid.Check(t, func(r *rapid.T) {
		unit := rapid.SliceOfN(rapid.Float64Range(-0.5, 1.5), s.Width(), s.Width()).Draw(r, "place")
		p := s.Decode(unit)
		if !s.Holds(p) {
			r.Fatalf("%v is outside", p)
		}
		back := s.Decode(s.Encode(p))
		if math.Abs(back[0]/p[0]-1) > 1e-12 || back[1] != p[1] || back[2] != p[2] {
			r.Fatalf("%v came back as %v", p, back)
		}
	})
	require.InDelta(t, 0.01, s.Decode([]float64{0.5, 0, 0, 1, 0})[0], 1e-12, "the middle of 1e-4 and 1 on a log scale")
	counts := map[float64]int{}
	for i := range 5000 {
		counts[s.Decode([]float64{0, (float64(i) + 0.5) / 5000, 1, 0, 0})[1]]++
	}
	require.Equal(t, map[float64]int{1: 1000, 2: 1000, 3: 1000, 4: 1000, 5: 1000}, counts, "integers have equal shares")
}

func TestTheBestTrial(t *testing.T) {
	study := tuning.Study{Space: space(), Goal: tuning.Maximize, Constraints: []tuning.Constraint{{"epsilon", 2}}}
	trials := []tuning.Trial{
		{Number: 1, State: tuning.Succeeded, Values: []float64{0.8, 0.9}, Constraints: []float64{1}},
		{Number: 2, State: tuning.Succeeded, Values: []float64{0.99}, Constraints: []float64{2.1}},
		{Number: 3, State: tuning.Stopped, Values: []float64{0.98}, Constraints: []float64{1}},
		{Number: 4, State: tuning.Succeeded, Values: []float64{0.97}, Constraints: []float64{math.NaN()}},
		{Number: 5, State: tuning.Succeeded, Values: []float64{0.86}, Constraints: []float64{2}},
		{Number: 6, State: tuning.Active},
	}
	best, found := study.Best(trials)
	require.True(t, found)
	require.Equal(t, 5, best.Number, "the mean of the repeats decides, and what breaks a bound or was stopped does not count")
	_, found = study.Best(trials[1:4])
	require.False(t, found)
}

// Rungs 1, 3, 9, 27, as in the example of Li et al., table 1.
func TestHalving(t *testing.T) {
	h := tuning.Halving{First: 1, Factor: 3}
	for rounds, want := range map[int]int{1: 0, 3: 1, 9: 2, 27: 3} {
		rung, is := h.Rung(rounds)
		require.True(t, is, rounds)
		require.Equal(t, want, rung)
	}
	for _, rounds := range []int{0, 2, 4, 10, math.MaxInt} {
		_, is := h.Rung(rounds)
		require.False(t, is, rounds)
	}
	require.False(t, h.Stops(900, []int64{100}), "two of three are too few to judge")
	require.True(t, h.Stops(900, []int64{100, 800}))
	require.False(t, h.Stops(50, []int64{100, 800}), "the best third goes on")
	require.False(t, h.Stops(100, []int64{100, 800, 700, 600, 500}), "two of six, equal ones among them")
	require.True(t, h.Stops(600, []int64{100, 200, 700, 600, 500}))
}
