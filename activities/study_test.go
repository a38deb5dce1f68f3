package activities_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// inquiry keeps one study in memory. steal takes a point before the next trial is written.
type inquiry struct {
	activities.Studies
	study  activities.Study
	runs   map[contract.TrialRef]string
	params map[string]round.Params
	facts  activities.RunFacts
	steal  tuning.Point
	closed *contract.TuneInput
	best   int
}

func (q *inquiry) Study(_ context.Context, tenant, id string) (activities.Study, error) {
	if tenant != q.study.Base.Tenant || id != q.study.ID {
		return activities.Study{}, activities.ErrNotFound
	}
	s := q.study
	s.Jobs = slices.Clone(s.Jobs)
	return s, nil
}

func (q *inquiry) AddTrial(_ context.Context, ref contract.TrialRef, point tuning.Point) error {
	if q.steal != nil {
		q.study.Jobs = append(q.study.Jobs, tuning.Job{Trial: tuning.Trial{Number: 99, Point: q.steal, State: tuning.Active}})
		q.steal = nil
	}
	for _, j := range q.study.Jobs {
		if slices.Equal(j.Point, point) {
			return activities.ErrStale
		}
	}
	q.study.Jobs = append(q.study.Jobs, tuning.Job{Trial: tuning.Trial{Number: ref.Number, Point: point, State: tuning.Active}})
	return nil
}

func (q *inquiry) BegunRun(_ context.Context, ref contract.TrialRef) (string, round.Params, bool, error) {
	run, ok := q.runs[ref]
	return run, q.params[run], ok, nil
}

func (q *inquiry) AddRun(_ context.Context, ref contract.TrialRef, run string, params round.Params) (string, error) {
	q.runs[ref], q.params[run] = run, params
	return run, nil
}

func (q *inquiry) SaveTrial(_ context.Context, ref contract.TrialRef, before int, after tuning.Job) error {
	for i, j := range q.study.Jobs {
		if j.Number == ref.Number {
			if j.Ended != before {
				return activities.ErrStale
			}
			q.study.Jobs[i] = after
		}
	}
	return nil
}

func (q *inquiry) Facts(context.Context, string, string) (activities.RunFacts, error) {
	return q.facts, nil
}

func (q *inquiry) CloseStudy(_ context.Context, in contract.CloseStudyInput, best int, tune *contract.TuneInput) (contract.StudyResult, error) {
	q.best, q.closed = best, tune
	return contract.StudyResult{Study: in.Study, Status: in.Status}, nil
}

// admits completes parameters, or refuses.
type admits struct{ refusal error }

func (a admits) Admit(_ context.Context, in contract.RunInput, _ bool) (round.Params, error) {
	if a.refusal != nil {
		return in.Params, a.refusal
	}
	return in.Params.Validate()
}

func inquire(t *testing.T) (*inquiry, *activities.Search) {
	t.Helper()
	p := params()
	p.Rounds, p.Seed = 4, 7
	q := &inquiry{
		runs: map[contract.TrialRef]string{}, params: map[string]round.Params{},
		study: activities.Study{
			ID: "study-1", Environment: "staging", Requester: "ann",
			Base: contract.RunInput{Subject: subject(), Tenants: []string{"h1"}, Params: p},
			Spec: tuning.Study{
				Space:  tuning.Space{{Name: "learningRate", Kind: tuning.Double, Low: 0.001, High: 1}},
				Metric: tuning.MetricLoss, Goal: tuning.Minimize, Trials: 9, Parallel: 2, Repeats: 2,
				Constraints: []tuning.Constraint{{Metric: tuning.MetricEpsilon, AtMost: 3}}, Halving: &tuning.Halving{First: 2, Factor: 2},
			},
		},
	}
	n := 0
	return q, &activities.Search{Studies: q, Admission: admits{}, NewID: func() string { n++; return string(rune('a' + n)) },
		Engine: func(_ tuning.Study, trials []tuning.Trial) (tuning.Point, error) {
			return tuning.Point{0.1234567 * float64(len(trials)+1)}, nil
		}}
}

func trialOf(number, repeat int) contract.TrialRef {
	return contract.TrialRef{Subject: subject(), Study: "study-1", Number: number, Repeat: repeat}
}

func TestAPointIsChosenOnceAndNeverTwice(t *testing.T) {
	q, search := inquire(t)
	for range 2 {
		out, err := act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(1, 0))
		require.NoError(t, err)
		require.Equal(t, contract.SuggestedTrial{}, out)
	}
	require.Len(t, q.study.Jobs, 1)
	require.Equal(t, tuning.Point{0.1235}, q.study.Jobs[0].Point, "as people write it")

	q.steal = tuning.Point{0.2469}
	_, err := act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(2, 0))
	require.Error(t, err)
	require.Empty(t, kind(err), "it is asked again, over what is written by then")
	_, err = act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(2, 0))
	require.NoError(t, err)
	require.Equal(t, tuning.Point{0.3704}, q.study.Jobs[2].Point)

	stranger := trialOf(1, 0)
	stranger.Tenant = "other"
	_, err = act(t, contract.SuggestTrial, search.SuggestTrial, stranger)
	require.Equal(t, contract.BadPlan, kind(err))

	search.Engine = func(tuning.Study, []tuning.Trial) (tuning.Point, error) { return nil, errors.New("not a study") }
	_, err = act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(4, 0))
	require.Equal(t, contract.BadPlan, kind(err), "a function of the rows would fail again")
}

// A run that was begun is the run of its repeat, whatever admission says since.
func TestARunOfATrialIsBegunOnce(t *testing.T) {
	q, search := inquire(t)
	_, err := act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(1, 0))
	require.NoError(t, err)
	first, err := act(t, contract.BeginTrial, search.BeginTrial, trialOf(1, 1))
	require.NoError(t, err)
	require.Equal(t, 0.1235, first.Run.Params.LearningRate)
	require.EqualValues(t, 7, first.Run.Params.Seed)
	require.Equal(t, &contract.StudyRun{Study: "study-1", Number: 1, Repeat: 1, First: 2, Factor: 2}, first.Run.Trial)
	second, err := act(t, contract.BeginTrial, search.BeginTrial, trialOf(1, 2))
	require.NoError(t, err)
	require.EqualValues(t, 8, second.Run.Params.Seed, "each repeat draws anew")
	require.Zero(t, second.Run.Trial.First, "what the first repeat was not stopped for, no other is")

	search.Admission = admits{&tuning.Refusal{Reason: "no budget", Status: tuning.StudyExhausted}}
	again, err := act(t, contract.BeginTrial, search.BeginTrial, trialOf(1, 1))
	require.NoError(t, err)
	require.Equal(t, first, again)

	_, err = act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(2, 0))
	require.NoError(t, err)
	refused, err := act(t, contract.BeginTrial, search.BeginTrial, trialOf(2, 1))
	require.NoError(t, err)
	require.Equal(t, contract.BegunTrial{Over: true, End: &contract.StudyEnd{Status: tuning.StudyExhausted, Cause: "no budget"}}, refused)
	require.Equal(t, tuning.Stopped, q.study.Jobs[1].State)

	search.Admission = admits{errors.New("the rules engine is away")}
	_, err = act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(3, 0))
	require.NoError(t, err)
	_, err = act(t, contract.BeginTrial, search.BeginTrial, trialOf(3, 1))
	require.Error(t, err)
	require.Empty(t, kind(err), "what is away comes back")
}

// What a run cost is part of what it came to: a constraint on epsilon is held
// against the feature that pays most.
func TestARunCountsOnceWithWhatItCost(t *testing.T) {
	q, search := inquire(t)
	_, err := act(t, contract.SuggestTrial, search.SuggestTrial, trialOf(1, 0))
	require.NoError(t, err)
	charge := func(noise float64) privacy.Ledger {
		return privacy.Ledger{Budget: privacy.Budget{EpsilonLimit: 10, Delta: 1e-5}, Entries: []privacy.Entry{{State: privacy.Committed, Rounds: 4,
			Events: []dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: noise, SampleRate: 1}}}}}
	}
	q.facts = activities.RunFacts{Status: "completed", Rounds: 4, Metrics: round.Metrics{Evaluated: 10, LossMicros: 5_000_000}, Charges: []privacy.Ledger{charge(9), charge(4)}}
	end := contract.TrialEnd{TrialRef: trialOf(1, 1), Run: "run-b"}
	for range 2 {
		out, err := act(t, contract.EndTrial, search.EndTrial, end)
		require.NoError(t, err)
		require.Equal(t, contract.EndedTrial{More: true}, out)
	}
	want, err := dp.Epsilon([]dp.Event{{Mechanism: dp.Gaussian, Count: 4, NoiseMultiplier: 4, SampleRate: 1}}, 1e-5)
	require.NoError(t, err)
	job := q.study.Jobs[0]
	require.Equal(t, []float64{0.5}, job.Values)
	require.InDelta(t, want.Epsilon, job.Constraints[0], 1e-9)
	require.Equal(t, 4, job.Rounds)

	q.facts = activities.RunFacts{Status: "running"}
	end.Repeat = 2
	out, err := act(t, contract.EndTrial, search.EndTrial, end)
	require.NoError(t, err)
	require.False(t, out.More)
	require.Equal(t, tuning.Infeasible, q.study.Jobs[0].State)
	require.Equal(t, "the run was terminated by an operator", q.study.Jobs[0].Cause)
}

// The best trial of a study is carried on by a tuning, whose plan has every
// parameter that it changes.
func TestTheBestOfAStudyIsSuggested(t *testing.T) {
	w := world(t)
	bootstrap(t, w)
	q, search := inquire(t)
	q.study.Spec.Space = append(q.study.Spec.Space, tuning.Dimension{Name: "localEpochs", Kind: tuning.Integer, Low: 1, High: 9})
	q.study.Spec.Constraints = nil
	q.study.Jobs = []tuning.Job{
		{Trial: tuning.Trial{Number: 1, Point: tuning.Point{0.5, 3}, State: tuning.Succeeded, Values: []float64{0.4}}},
		{Trial: tuning.Trial{Number: 2, Point: tuning.Point{0.25, 6}, State: tuning.Succeeded, Values: []float64{0.2}}},
	}
	_, err := act(t, contract.CloseStudy, search.CloseStudy, contract.CloseStudyInput{Subject: subject(), Study: "study-1", StudyEnd: contract.StudyEnd{Status: "completed"}})
	require.NoError(t, err)
	require.Equal(t, 2, q.best)
	require.Equal(t, &contract.TuneInput{Subject: subject(), Action: "tune-1", Requester: "ann", Environment: "staging", Study: "study-1"}, q.closed)

	tunings := &activities.Tuning{Blobs: w, Actions: w, Snapshots: w, Grants: trusting(w), Studies: q}
	card, err := act(t, contract.ComputeScorecard, tunings.ComputeScorecard, *q.closed)
	require.NoError(t, err)
	suggestion, err := act(t, contract.Suggest, tunings.Suggest, card)
	require.NoError(t, err)
	require.Equal(t, "trial 2 of study study-1, the best of 2", suggestion.Reason)
	var plan promotion.Plan
	require.NoError(t, artifact.DecodeStrict(w.Content[suggestion.Plan.Digest], &plan))
	require.Equal(t, &promotion.Tuning{Parameter: "learningRate", From: "0.1", To: "0.25", Also: []promotion.Change{{What: "localEpochs", From: plan.Tuning.Also[0].From, To: "6"}}}, plan.Tuning)
	require.Len(t, plan.Diff, 2)

	q.study.Jobs = nil
	suggestion, err = act(t, contract.Suggest, tunings.Suggest, card)
	require.NoError(t, err)
	require.Empty(t, suggestion.Plan.Digest)
	require.Equal(t, "study study-1 has no trial that succeeded and keeps its constraints", suggestion.Reason)
	_, err = act(t, contract.CloseStudy, search.CloseStudy, contract.CloseStudyInput{Subject: subject(), Study: "study-1"})
	require.NoError(t, err)
	require.Nil(t, q.closed, "nothing is carried on")
}
