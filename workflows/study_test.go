package workflows_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// rounds are the rounds of the runs of a study, in the place of real ones: a run
// is as good as its learning rate is small, and better from round to round. It
// remembers the most that were open at once.
type rounds struct {
	mu         sync.Mutex
	open, most int
	fail       map[int]error // by hundredths of the learning rate, in round 1
}

func (r *rounds) run(ctx workflow.Context, in contract.RoundInput) (contract.RoundResult, error) {
	r.mu.Lock()
	r.open++
	r.most = max(r.most, r.open)
	r.mu.Unlock()
	err := workflow.Sleep(ctx, time.Minute)
	r.mu.Lock()
	r.open--
	r.mu.Unlock()
	if err != nil {
		return contract.RoundResult{}, err
	}
	hundredths := int(in.Params.LearningRate*100 + 0.5)
	if failed := r.fail[hundredths]; failed != nil && in.Number == 1 {
		return contract.RoundResult{}, failed
	}
	loss := int64(hundredths)*10_000 - int64(in.Number)*100 - int64(in.Params.Seed)
	return contract.RoundResult{
		Number: in.Number, Weights: script.Blob(fmt.Sprintf("weights after %d", in.Number)),
		Metrics: round.Metrics{Examples: 100, Evaluated: 100, Correct: 90, LossMicros: 100 * loss},
	}, nil
}

// studied runs the study of a book over such rounds.
func studied(t *testing.T, b *script.Book, r *rounds, prepare func(*testsuite.TestWorkflowEnvironment, *script.World)) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	w := &script.World{Cohort: script.FiveSites(), Book: b, Errors: map[string]error{}, Passing: map[string]int{}}
	env := environment(t, w)
	env.OnWorkflow(contract.FederatedRound.Name, mock.Anything, mock.Anything).Return(r.run).Maybe()
	if prepare != nil {
		prepare(env, w)
	}
	env.ExecuteWorkflow(contract.Study.Name, b.Study())
	return env
}

func states(b *script.Book) []string {
	var all []string
	for _, j := range b.Jobs() {
		all = append(all, j.State)
	}
	return all
}

// However many trials are under way, every repeat is one run, every point is one
// trial's, and the best is the one with the smallest loss.
func TestStudyTriesEveryPointOnce(t *testing.T) {
	for _, parallel := range []int{1, 3, 16} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			b, r := script.NewBook(9, parallel, 2), &rounds{}
			got := result[contract.StudyResult](t, studied(t, b, r, nil))
			require.Equal(t, contract.StudyResult{Study: "study-1", Status: "completed", Trials: 9, Best: 1, Suggestion: "tune-1"}, got)
			begun := b.Begun()
			slices.Sort(begun)
			require.Len(t, begun, 18)
			require.Len(t, slices.Compact(begun), 18, "a run for each repeat, once")
			require.LessOrEqual(t, r.most, parallel)
			if parallel > 1 {
				require.Greater(t, r.most, 1, "trials run beside each other")
			}
			for i, j := range b.Jobs() {
				require.Equal(t, i+1, j.Number)
				require.Equal(t, tuning.Succeeded, j.State)
				require.Len(t, j.Values, 2)
				require.Equal(t, 4, j.Rounds, "two runs of two train rounds")
				require.NotEqual(t, j.Values[0], j.Values[1], "each repeat has a seed of its own")
			}
			_, tune := b.Closed()
			require.Equal(t, "study-1", tune.Study)
			require.Equal(t, "dev", tune.Environment)
			require.False(t, tune.Apply)
		})
	}
}

// A run of a trial publishes nothing, and its evaluation is what counts.
func TestTrialsPublishNothing(t *testing.T) {
	b := script.NewBook(1, 1, 1)
	var published []bool
	w := &script.World{Cohort: script.FiveSites(), Book: b}
	env := environment(t, w)
	env.OnWorkflow(contract.FederatedRound.Name, mock.Anything, mock.Anything).Return(func(ctx workflow.Context, in contract.RoundInput) (contract.RoundResult, error) {
		published = append(published, in.Publish)
		return (&rounds{}).run(ctx, in)
	})
	env.ExecuteWorkflow(contract.Study.Name, b.Study())
	result[contract.StudyResult](t, env)
	require.Equal(t, []bool{false, false, false, false}, published, "statistics, two of training, evaluation")
}

// Runs that others did better than end at a rung, by their own stop: no round is
// begun any more.
func TestStudyStopsBadTrialsEarly(t *testing.T) {
	b := script.NewBook(4, 1, 2)
	b.Base.Params.Rounds = 8
	b.Spec.Halving = &tuning.Halving{First: 2, Factor: 2}
	studied(t, b, &rounds{}, nil)
	require.Equal(t, []string{tuning.Succeeded, tuning.Stopped, tuning.Stopped, tuning.Stopped}, states(b), "the first is the best, and learns so")
	jobs := b.Jobs()
	require.Equal(t, 16, jobs[0].Rounds)
	require.Len(t, jobs[0].Rungs, 2, "2 and 4 of 8 rounds, of the first repeat")
	for _, j := range jobs[1:] {
		require.Equal(t, 2, j.Rounds, "stopped at the first rung, and not repeated")
		require.Equal(t, "others did better after 2 rounds", j.Cause)
		require.Len(t, j.Rungs, 1)
	}
}

func TestStudyEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		book    func() *script.Book
		rounds  *rounds
		prepare func(*script.World)
		status  string
		cause   string
		states  []string
	}{
		{"at a point that admission refuses: the others go on", func() *script.Book {
			b := script.NewBook(3, 1, 1)
			b.Refuse[2] = &tuning.Refusal{Reason: "too loud"}
			return b
		}, &rounds{}, nil, "completed", "", []string{tuning.Succeeded, tuning.Infeasible, tuning.Succeeded}},
		{"when admission refuses for the privacy budget", func() *script.Book {
			b := script.NewBook(5, 1, 1)
			b.Refuse[3] = &tuning.Refusal{Reason: "the privacy budget is exhausted", Status: tuning.StudyExhausted}
			return b
		}, &rounds{}, nil, "exhausted", "the privacy budget is exhausted", []string{tuning.Succeeded, tuning.Succeeded, tuning.Stopped}},
		{"when a round is refused for the privacy budget", func() *script.Book { return script.NewBook(5, 1, 1) },
			&rounds{fail: map[int]error{2: script.Final(contract.NoBudget, "the privacy budget is exhausted")}},
			nil, "exhausted", "round 1: the privacy budget is exhausted", []string{tuning.Succeeded, tuning.Stopped}},
		{"when consent is withdrawn", func() *script.Book { return script.NewBook(5, 1, 1) },
			&rounds{fail: map[int]error{1: script.Final(contract.NoConsent, "feature wdbc of h2 is not consented")}},
			nil, "failed", "round 1: feature wdbc of h2 is not consented", []string{tuning.Stopped}},
		{"when three runs fail one after the other", func() *script.Book { return script.NewBook(9, 1, 1) },
			&rounds{fail: map[int]error{2: script.Final(contract.NoQuorum, "too few"), 3: script.Final(contract.NoQuorum, "too few"), 4: script.Final(contract.NoQuorum, "too few")}},
			nil, "failed", "3 runs failed one after the other, the last one: round 1: too few",
			[]string{tuning.Succeeded, tuning.Infeasible, tuning.Infeasible, tuning.Infeasible}},
		{"when the compute budget is used", func() *script.Book {
			b := script.NewBook(9, 4, 1)
			b.Rounds = 6
			return b
		}, &rounds{}, nil, "exhausted", "the compute budget does not cover one more trial: 6 of 6 train rounds are used, and a trial needs up to 2",
			[]string{tuning.Succeeded, tuning.Succeeded, tuning.Succeeded}},
		{"when there is nothing left to try", func() *script.Book {
			b := script.NewBook(9, 2, 1)
			b.Points = 2
			return b
		}, &rounds{}, nil, "completed", tuning.ErrExhausted.Error(), []string{tuning.Succeeded, tuning.Succeeded}},
		{"when its rows are gone", func() *script.Book { return script.NewBook(2, 1, 1) }, &rounds{},
			func(w *script.World) {
				w.Errors["SuggestTrial/2"] = script.Final(contract.BadPlan, "study study-1, trial 2: not found")
			}, "failed", "study study-1, trial 2: not found", []string{tuning.Succeeded}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.book()
			env := studied(t, b, tt.rounds, func(_ *testsuite.TestWorkflowEnvironment, w *script.World) {
				if tt.prepare != nil {
					tt.prepare(w)
				}
			})
			got := result[contract.StudyResult](t, env)
			require.Equal(t, tt.status, got.Status)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.states, states(b))
			closed, _ := b.Closed()
			require.Len(t, closed, 1)
		})
	}
}

// Whatever answer is lost after its effect, the study ends with the same rows.
func TestStudySurvivesLostAnswers(t *testing.T) {
	run := func(lost string) ([]tuning.Job, []string) {
		b := script.NewBook(4, 1, 2)
		b.Base.Params.Rounds = 4
		b.Spec.Halving = &tuning.Halving{First: 2, Factor: 2}
		if lost != "" {
			b.Lost[lost] = 3
		}
		got := result[contract.StudyResult](t, studied(t, b, &rounds{}, nil))
		require.Equal(t, "completed", got.Status)
		return b.Jobs(), b.Begun()
	}
	jobs, begun := run("")
	for _, lost := range []string{"AddTrial", "AddRun", "SaveTrial", "CloseStudy"} {
		t.Run(lost, func(t *testing.T) {
			again, runs := run(lost)
			require.Equal(t, jobs, again)
			require.Equal(t, begun, runs)
		})
	}
}

func TestStudyStops(t *testing.T) {
	b, r := script.NewBook(9, 2, 1), &rounds{}
	b.Base.Params.Rounds = 9
	env := studied(t, b, r, func(env *testsuite.TestWorkflowEnvironment, _ *script.World) {
		env.RegisterDelayedCallback(func() {
			env.SignalWorkflow(contract.StopStudy.Name, contract.StopRequest{Actor: "ann", Reason: "enough"})
			env.SignalWorkflow(contract.StopStudy.Name, contract.StopRequest{Actor: "bob", Reason: "twice is once"})
		}, 150*time.Second) // in the middle of the third round
	})
	got := result[contract.StudyResult](t, env)
	require.Equal(t, "stopped", got.Status)
	require.Equal(t, "enough", got.Cause)
	require.Equal(t, []string{tuning.Stopped, tuning.Stopped}, states(b), "both runs ended after their open round, and nothing was begun")
	for _, j := range b.Jobs() {
		require.Equal(t, 2, j.Rounds)
	}
	require.Zero(t, r.open)
}

func TestStudyIsCanceled(t *testing.T) {
	b, r := script.NewBook(9, 2, 1), &rounds{}
	env := studied(t, b, r, func(env *testsuite.TestWorkflowEnvironment, _ *script.World) {
		env.RegisterDelayedCallback(env.CancelWorkflow, 90*time.Second)
	})
	require.True(t, env.IsWorkflowCompleted())
	require.Error(t, env.GetWorkflowError())
	closed, _ := b.Closed()
	require.Len(t, closed, 1)
	require.Equal(t, "stopped", closed[0].Status)
	require.Zero(t, r.open, "its runs have ended before it")
}

// A study of many trials continues as new with nothing under way, and goes on
// with the trial that comes next.
func TestStudyContinuesAsNew(t *testing.T) {
	b := script.NewBook(60, 8, 1)
	env := studied(t, b, &rounds{}, nil)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &next)
	var in contract.StudyInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	require.Equal(t, 51, in.Next)
	closed, _ := b.Closed()
	require.Empty(t, closed)
	require.NotContains(t, states(b), tuning.Active)

	w := &script.World{Cohort: script.FiveSites(), Book: b}
	env = environment(t, w)
	env.OnWorkflow(contract.FederatedRound.Name, mock.Anything, mock.Anything).Return((&rounds{}).run)
	env.ExecuteWorkflow(contract.Study.Name, in)
	require.Equal(t, "completed", result[contract.StudyResult](t, env).Status)
	require.Len(t, b.Jobs(), 60)
}

// The rungs that a run asks at are those of the domain.
func TestARunAsksAtTheRungsOfTheDomain(t *testing.T) {
	for first := 1; first <= 7; first++ {
		for factor := 2; factor <= 5; factor++ {
			for n := 1; n <= 400; n++ {
				_, is := tuning.Halving{First: first, Factor: factor}.Rung(n)
				require.Equal(t, is, contract.StudyRun{First: first, Factor: factor}.Asks(n), "first %d, factor %d, round %d", first, factor, n)
			}
		}
	}
	require.False(t, contract.StudyRun{}.Asks(1))
}
