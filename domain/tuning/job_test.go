package tuning_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

func study(change func(*tuning.Study)) tuning.Study {
	s := tuning.Study{Space: space(), Metric: tuning.MetricLoss, Goal: tuning.Minimize, Trials: 10, Parallel: 2, Repeats: 2}
	if change != nil {
		change(&s)
	}
	return s
}

func TestWhatBecomesOfATrial(t *testing.T) {
	figures := func(loss, epsilon float64) tuning.Figures { return tuning.Figures{Loss: loss, Epsilon: epsilon} }
	limited := study(func(s *tuning.Study) {
		s.Constraints = []tuning.Constraint{{Metric: tuning.MetricEpsilon, AtMost: 2}}
	})
	for _, tt := range []struct {
		name  string
		study tuning.Study
		ends  []tuning.Outcome
		want  tuning.Job
	}{
		{"goes on to its last repeat", limited, []tuning.Outcome{{Status: "completed", Measured: true, Figures: figures(0.5, 1), Rounds: 3}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Active, Values: []float64{0.5}, Constraints: []float64{1}}, Ended: 1, Rounds: 3}},
		{"succeeds with it, and the worst repeat counts for a constraint", limited, []tuning.Outcome{
			{Status: "completed", Measured: true, Figures: figures(0.5, 3), Rounds: 3}, {Status: "completed", Measured: true, Figures: figures(0.7, 1), Rounds: 2}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Succeeded, Values: []float64{0.5, 0.7}, Constraints: []float64{3}}, Ended: 2, Rounds: 5}},
		{"is infeasible when a run fails, whatever was measured before", limited, []tuning.Outcome{
			{Status: "completed", Measured: true, Figures: figures(0.5, 1), Rounds: 3}, {Status: "failed", Cause: "too few", Rounds: 1}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Infeasible}, Cause: "too few", Ended: 2, Rounds: 4}},
		{"is infeasible when nothing was evaluated", limited, []tuning.Outcome{{Status: "completed", Rounds: 3}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Infeasible}, Cause: "no held-out row was evaluated", Ended: 1, Rounds: 3}},
		{"is infeasible when the loss is not a number", limited, []tuning.Outcome{{Status: "completed", Measured: true, Figures: figures(math.NaN(), 1), Rounds: 3}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Infeasible}, Cause: tuning.ErrMeasurement.Error(), Ended: 1, Rounds: 3}},
		{"is stopped with what it came to", limited, []tuning.Outcome{{Status: "stopped", Cause: "others did better", Measured: true, Figures: figures(0.9, 1), Rounds: 1}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Stopped, Values: []float64{0.9}, Constraints: []float64{1}}, Cause: "others did better", Ended: 1, Rounds: 1}},
		{"says nothing of its point when a budget ended it", limited, []tuning.Outcome{{Status: "failed", Cause: "exhausted", Measured: true, Figures: figures(0.9, 1), Rounds: 1, Blocked: true}},
			tuning.Job{Trial: tuning.Trial{State: tuning.Stopped}, Cause: "exhausted", Ended: 1, Rounds: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			job := tuning.Job{Trial: tuning.Trial{State: tuning.Active}}
			for _, o := range tt.ends {
				job = tt.study.After(job, o)
			}
			if len(job.Values) == 0 {
				job.Values, job.Constraints = nil, nil
			}
			require.Equal(t, tt.want, job)
		})
	}
}

// Whatever jobs are under way, those that were afforded never use more than the
// budget, and a study waits only for something that is held.
func TestTheComputeBudgetIsKept(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := study(func(s *tuning.Study) { s.Repeats = rapid.IntRange(1, 4).Draw(r, "repeats") })
		rounds := rapid.IntRange(1, 20).Draw(r, "rounds")
		limit := rapid.IntRange(s.Repeats*rounds, 400).Draw(r, "limit")
		require.NoError(r, s.CheckRounds(rounds, limit))
		var jobs []tuning.Job
		for range 60 {
			wait, err := s.Affords(jobs, rounds, limit)
			_, held := s.Committed(jobs, rounds)
			switch {
			case err != nil:
				var refused *tuning.Refusal
				require.ErrorAs(r, err, &refused)
				require.Equal(r, tuning.StudyExhausted, refused.Status)
				require.Zero(r, held)
				return
			case wait:
				require.Positive(r, held)
			default:
				jobs = append(jobs, tuning.Job{Trial: tuning.Trial{Number: len(jobs) + 1, State: tuning.Active}})
			}
			for i := range jobs {
				if jobs[i].State == tuning.Active && rapid.Bool().Draw(r, "ends") {
					jobs[i] = s.After(jobs[i], tuning.Outcome{Status: "completed", Measured: true, Rounds: rapid.IntRange(0, rounds).Draw(r, "ran")})
				}
			}
			used, held := s.Committed(jobs, rounds)
			require.LessOrEqual(r, used+held, limit)
		}
	})
}

func TestAComputeBudgetThatCoversNothing(t *testing.T) {
	s := study(nil)
	require.NoError(t, s.CheckRounds(5, 0))
	require.NoError(t, s.CheckRounds(5, 10))
	require.ErrorIs(t, s.CheckRounds(5, 9), tuning.ErrRounds, "two repeats of five rounds")
	require.ErrorIs(t, s.CheckRounds(5, tuning.MaxRounds+1), tuning.ErrRounds)
}

func TestFailing(t *testing.T) {
	failed := func(why string) tuning.Job {
		return tuning.Job{Trial: tuning.Trial{State: tuning.Infeasible}, Cause: why, Ended: 1}
	}
	refused := tuning.Job{Trial: tuning.Trial{State: tuning.Infeasible}, Cause: "not a point"}
	fine := tuning.Job{Trial: tuning.Trial{State: tuning.Succeeded}, Ended: 1}
	under := tuning.Job{Trial: tuning.Trial{State: tuning.Active}}
	for _, tt := range []struct {
		name string
		jobs []tuning.Job
		want string
	}{
		{"nothing", nil, ""},
		{"two in a row", []tuning.Job{failed("a"), failed("b")}, ""},
		{"three in a row", []tuning.Job{fine, failed("a"), failed("b"), failed("c")}, "c"},
		{"three with one under way between", []tuning.Job{failed("a"), under, failed("b"), failed("c")}, "c"},
		{"three with a refused point between", []tuning.Job{failed("a"), failed("b"), refused, failed("c")}, "c"},
		{"points that were refused", []tuning.Job{refused, refused, refused, refused}, ""},
		{"one that succeeded since", []tuning.Job{failed("a"), failed("b"), failed("c"), fine}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cause, hopeless := tuning.Failing(tt.jobs)
			require.Equal(t, tt.want, cause)
			require.Equal(t, tt.want != "", hopeless)
		})
	}
}

func TestJudge(t *testing.T) {
	s := study(func(s *tuning.Study) { s.Halving = &tuning.Halving{First: 2, Factor: 2} })
	at := func(loss int64) round.Metrics { return round.Metrics{Evaluated: 10, LossMicros: 10 * loss} }
	others := []tuning.Trial{{Rungs: []int64{500}}, {Rungs: []int64{900, 400}}}

	trial, stop := s.Judge(tuning.Trial{}, others, 2, at(400))
	require.False(t, stop, "the better half goes on")
	require.Equal(t, []int64{400}, trial.Rungs)
	again, stop := s.Judge(trial, others, 2, at(400))
	require.False(t, stop)
	require.Equal(t, trial, again, "the same rung is noted once")
	trial, stop = s.Judge(trial, others, 4, at(450))
	require.True(t, stop)
	require.Equal(t, []int64{400, 450}, trial.Rungs)

	for name, m := range map[int]round.Metrics{3: at(1), 2: {}} {
		trial, stop = s.Judge(tuning.Trial{}, others, name, m)
		require.False(t, stop)
		require.Empty(t, trial.Rungs, "between rungs, or where nothing was measured")
	}
	_, stop = study(nil).Judge(tuning.Trial{}, others, 2, at(10_000))
	require.False(t, stop, "nobody asked for it")
}

func asked() round.Params {
	return round.Params{
		Model: round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 4, Classes: 3}, Rounds: 5, Quorum: 2, LearningRate: 0.3, Features: []string{"f"},
	}
}

func TestPointsAreParametersAndBack(t *testing.T) {
	s := study(nil)
	require.NoError(t, s.OfRuns())
	rapid.Check(t, func(r *rapid.T) {
		unit := rapid.SliceOfN(rapid.Float64Range(0, 1), s.Space.Width(), s.Space.Width()).Draw(r, "place")
		point := s.Space.Tidy(s.Space.Decode(unit))
		require.True(r, s.Space.Holds(point))
		p, err := s.Space.Apply(asked(), point)
		require.NoError(r, err)
		back, ok := s.Space.Of(p)
		require.True(r, ok)
		require.Equal(r, point, back)
		parsed, err := s.Space.Parse(s.Space.Settings(point))
		require.NoError(r, err)
		require.Equal(r, point, parsed)
	})
	for _, bad := range [][]tuning.Setting{
		nil,
		{{"learningRate", "0.1"}, {"localEpochs", "2"}},
		{{"learningRate", "0.1"}, {"localEpochs", "2"}, {"strategy", "krum"}},
		{{"learningRate", "0.1"}, {"localEpochs", "2.5"}, {"strategy", "fedavg"}},
		{{"learningRate", "0.1"}, {"localEpochs", "9"}, {"strategy", "fedavg"}},
		{{"learningRate", "x"}, {"localEpochs", "2"}, {"strategy", "fedavg"}},
		{{"learningRate", "0.1"}, {"learningRate", "0.2"}, {"strategy", "fedavg"}},
		{{"learningRate", "NaN"}, {"localEpochs", "2"}, {"strategy", "fedavg"}},
	} {
		_, err := s.Space.Parse(bad)
		require.ErrorIs(t, err, tuning.ErrPoint, "%v", bad)
	}
}

func TestWhatRunsCannotBeTuned(t *testing.T) {
	s := study(func(s *tuning.Study) { s.Space[1].Name = "quorum" })
	require.ErrorIs(t, s.OfRuns(), tuning.ErrParameter)
	require.ErrorIs(t, study(func(s *tuning.Study) { s.Metric = "f1" }).OfRuns(), tuning.ErrMetric)
	require.ErrorIs(t, study(func(s *tuning.Study) { s.Constraints = []tuning.Constraint{{Metric: "ms"}} }).OfRuns(), tuning.ErrMetric)
}

// A study learns from what differs from its own runs in nothing but the point
// and the seed.
func TestWarmStart(t *testing.T) {
	s := study(nil)
	run := func(change func(*round.Params)) round.Params {
		p := asked()
		p.LocalEpochs, p.Strategy.Name, p.Seed = 2, "fedadam", 99
		if change != nil {
			change(&p)
		}
		complete, err := p.Validate()
		require.NoError(t, err)
		return complete
	}
	trial, ok := s.Prior(asked(), run(nil), tuning.Figures{Loss: 0.4})
	require.True(t, ok)
	require.Equal(t, tuning.Trial{Point: tuning.Point{0.3, 2, 1}, State: tuning.Succeeded, Values: []float64{0.4}, Constraints: []float64{}}, trial)
	for name, change := range map[string]func(*round.Params){
		"more rounds":                func(p *round.Params) { p.Rounds = 6 },
		"another model":              func(p *round.Params) { p.Model.Classes = 2 },
		"a server rate":              func(p *round.Params) { p.Strategy.ServerRate = 0.5 },
		"a rate outside the space":   func(p *round.Params) { p.LearningRate = 2 },
		"a strategy that it has not": func(p *round.Params) { p.Strategy.Name = "fedyogi" },
	} {
		_, ok := s.Prior(asked(), run(change), tuning.Figures{Loss: 0.4})
		require.False(t, ok, name)
	}
	_, ok = s.Prior(asked(), run(nil), tuning.Figures{Loss: math.Inf(1)})
	require.False(t, ok, "nothing finite was measured")

	earlier := study(func(s *tuning.Study) {
		s.Space = tuning.Space{{Name: "learningRate", Kind: tuning.Double, Low: 0.1, High: 3}}
	})
	base := asked()
	base.Strategy.Name, base.LocalEpochs = "fedavg", 3
	jobs := []tuning.Job{
		{Trial: tuning.Trial{Point: tuning.Point{0.5}, State: tuning.Succeeded, Values: []float64{0.2, 0.4}}},
		{Trial: tuning.Trial{Point: tuning.Point{0.6}, State: tuning.Infeasible}},
		{Trial: tuning.Trial{Point: tuning.Point{0.7}, State: tuning.Active}},
		{Trial: tuning.Trial{Point: tuning.Point{0.8}, State: tuning.Stopped, Values: []float64{0.9}}},
		{Trial: tuning.Trial{Point: tuning.Point{2}, State: tuning.Succeeded, Values: []float64{0.1}}},
	}
	require.Equal(t, []tuning.Trial{
		{Point: tuning.Point{0.5, 3, 0}, State: tuning.Succeeded, Values: []float64{0.2, 0.4}},
		{Point: tuning.Point{0.6, 3, 0}, State: tuning.Infeasible},
	}, s.Inherit(asked(), earlier, base, jobs), "what came to its end, and lies in the space")
	require.True(t, s.Compares(earlier))
	require.False(t, s.Compares(study(func(s *tuning.Study) { s.Metric = tuning.MetricAccuracy })))
}

func TestChanges(t *testing.T) {
	s := study(nil)
	base := asked()
	base.LocalEpochs, base.Strategy.Name = 2, "fedavg"
	require.Equal(t, &promotion.Tuning{Parameter: "learningRate", From: "0.3", To: "0.02", Also: []promotion.Change{{What: "strategy", From: "fedavg", To: "fedprox"}}},
		s.Changes(base, tuning.Point{0.02, 2, 2}))
	require.Nil(t, s.Changes(base, tuning.Point{0.3, 2, 0}))
	require.Equal(t, &promotion.Tuning{Parameter: "strategy", From: "fedavg", To: "fedadam", Also: []promotion.Change{}}, s.Changes(asked(), tuning.Point{0.3, 1, 1}), "what was left out is the default")
}
