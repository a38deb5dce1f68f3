package script

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// errLost is what a call says whose effect is done.
var errLost = errors.New("the answer was lost")

// A Book is the rows of one study, in memory, under the real activities. Points
// are chosen in turn: learning rates 0.01, 0.02, 0.03, ...
type Book struct {
	Spec   tuning.Study
	Base   contract.RunInput
	Rounds int                     // compute budget
	Refuse map[int]*tuning.Refusal // what admission says, by hundredths of the learning rate
	Lost   map[string]int          // answers that are lost after their effect, by method
	Points int                     // after so many the space is exhausted; 0 is never

	mu     sync.Mutex
	jobs   []tuning.Job
	runs   []string // as "number/repeat"
	closed []contract.CloseStudyInput
	tune   *contract.TuneInput
	world  *World
}

// NewBook returns the rows of a study of n trials of runs of two rounds.
func NewBook(n, parallel, repeats int) *Book {
	return &Book{
		Spec: tuning.Study{
			Space:  tuning.Space{{Name: "learningRate", Kind: tuning.Double, Low: 0.01, High: 10}},
			Metric: tuning.MetricLoss, Goal: tuning.Minimize, Trials: n, Parallel: parallel, Repeats: repeats, Seed: 1,
		},
		Base:   Run("", 2),
		Refuse: map[int]*tuning.Refusal{},
		Lost:   map[string]int{},
	}
}

// Study starts the study of the book.
func (b *Book) Study() contract.StudyInput {
	return contract.StudyInput{Subject: Subject(), Study: "study-1", Trials: b.Spec.Trials, Parallel: b.Spec.Parallel, Next: 1}
}

// Try writes a trial that is under way, with a loss at the first rung if there
// is one, in millionths.
func (b *Book) Try(number int, loss int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	job := tuning.Job{Trial: tuning.Trial{Number: number, Point: tuning.Point{float64(number) / 100}, State: tuning.Active}, Begun: 1}
	if loss > 0 {
		job.Rungs = []int64{loss}
	}
	b.jobs = append(b.jobs, job)
}

// Jobs returns the trials.
func (b *Book) Jobs() []tuning.Job {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.jobs)
}

// Begun returns the runs that were written, as "number/repeat".
func (b *Book) Begun() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.runs)
}

// Closed returns the recorded ends, and the tuning that was started with them.
func (b *Book) Closed() ([]contract.CloseStudyInput, *contract.TuneInput) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.closed), b.tune
}

// done loses the answer of a call, if it is to be lost.
func (b *Book) done(method string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Lost[method] > 0 {
		b.Lost[method]--
		return errLost
	}
	return nil
}

func (b *Book) at(number int) *tuning.Job {
	for i := range b.jobs {
		if b.jobs[i].Number == number {
			return &b.jobs[i]
		}
	}
	return nil
}

// Study implements [activities.Studies].
func (b *bookRows) Study(context.Context, string, string) (activities.Study, error) {
	return activities.Study{ID: "study-1", Environment: "dev", Requester: "ann", Spec: b.Spec, Base: b.Base, Rounds: b.Rounds, Jobs: b.Jobs()}, nil
}

// bookRows is the book as a port: some of the port's names are the book's.
type bookRows struct{ *Book }

func (b *bookRows) AddTrial(_ context.Context, ref contract.TrialRef, point tuning.Point) error {
	b.mu.Lock()
	if b.at(ref.Number) == nil {
		for _, j := range b.jobs {
			if slices.Equal(j.Point, point) {
				b.mu.Unlock()
				return activities.ErrStale
			}
		}
		b.jobs = append(b.jobs, tuning.Job{Trial: tuning.Trial{Number: ref.Number, Point: point, State: tuning.Active}})
	}
	b.mu.Unlock()
	return b.done("AddTrial")
}

func name(ref contract.TrialRef) string { return fmt.Sprintf("%d/%d", ref.Number, ref.Repeat) }

func (b *bookRows) BegunRun(_ context.Context, ref contract.TrialRef) (string, round.Params, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.runs, name(ref)) {
		return "", round.Params{}, false, nil
	}
	params, err := b.Spec.Space.Apply(b.Base.Params, b.at(ref.Number).Point)
	params.Seed += uint64(ref.Repeat - 1)
	return runOf(ref), params, true, err
}

func runOf(ref contract.TrialRef) string { return fmt.Sprintf("run-%d-%d", ref.Number, ref.Repeat) }

func (b *bookRows) AddRun(_ context.Context, ref contract.TrialRef, _ string, _ round.Params) (string, error) {
	b.mu.Lock()
	if !slices.Contains(b.runs, name(ref)) {
		b.runs = append(b.runs, name(ref))
		b.at(ref.Number).Begun++
	}
	b.mu.Unlock()
	return runOf(ref), b.done("AddRun")
}

func (b *bookRows) SaveTrial(_ context.Context, ref contract.TrialRef, before int, after tuning.Job) error {
	b.mu.Lock()
	job := b.at(ref.Number)
	if job.Ended != before || job.State != tuning.Active {
		b.mu.Unlock()
		return activities.ErrStale
	}
	*job = after
	b.mu.Unlock()
	return b.done("SaveTrial")
}

// Facts reads how a run ended from the world.
func (b *bookRows) Facts(_ context.Context, _ string, run string) (activities.RunFacts, error) {
	for _, r := range b.world.Runs() {
		if r.Run == run {
			return activities.RunFacts{Status: r.Status, Cause: r.Cause, Metrics: r.Metrics, Rounds: r.Rounds}, nil
		}
	}
	return activities.RunFacts{Status: "running"}, nil
}

func (b *bookRows) CloseStudy(_ context.Context, in contract.CloseStudyInput, best int, tune *contract.TuneInput) (contract.StudyResult, error) {
	b.mu.Lock()
	if len(b.closed) == 0 {
		b.closed, b.tune = append(b.closed, in), tune
	}
	first := b.closed[0]
	out := contract.StudyResult{Study: in.Study, Status: first.Status, Cause: first.Cause, Trials: len(b.jobs), Best: best}
	if b.tune != nil {
		out.Suggestion = b.tune.Action
	}
	b.mu.Unlock()
	return out, b.done("CloseStudy")
}

// Admit implements [activities.Admission].
func (b *Book) Admit(_ context.Context, in contract.RunInput, _ bool) (round.Params, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if refused := b.Refuse[int(in.Params.LearningRate*100+0.5)]; refused != nil {
		return in.Params, refused
	}
	return in.Params, nil
}

// suggest is the engine of the book.
func (b *Book) suggest(_ tuning.Study, trials []tuning.Trial) (tuning.Point, error) {
	if b.Points > 0 && len(trials) >= b.Points {
		return nil, tuning.ErrExhausted
	}
	return tuning.Point{float64(len(trials)+1) / 100}, nil
}

// bindStudy binds the real activities of studies over the book.
func (w *World) bindStudy(r worker.ActivityRegistry) {
	if w.Book == nil {
		w.Book = NewBook(1, 1, 1)
	}
	w.Book.world = w
	search := &activities.Search{Studies: &bookRows{w.Book}, Admission: w.Book, Engine: w.Book.suggest, NewID: func() string { return "" }}
	contract.SuggestTrial.Bind(r, func(ctx context.Context, in contract.TrialRef) (contract.SuggestedTrial, error) {
		if err := w.call("SuggestTrial", fmt.Sprint(in.Number)); err != nil {
			return contract.SuggestedTrial{}, err
		}
		return search.SuggestTrial(ctx, in)
	})
	contract.BeginTrial.Bind(r, func(ctx context.Context, in contract.TrialRef) (contract.BegunTrial, error) {
		if err := w.call("BeginTrial", name(in)); err != nil {
			return contract.BegunTrial{}, err
		}
		return search.BeginTrial(ctx, in)
	})
	contract.AskRung.Bind(r, func(ctx context.Context, in contract.RungInput) (contract.Rung, error) {
		if err := w.call("AskRung", fmt.Sprintf("%s/%d", name(in.TrialRef), in.Round)); err != nil {
			return contract.Rung{}, err
		}
		return search.AskRung(ctx, in)
	})
	contract.EndTrial.Bind(r, func(ctx context.Context, in contract.TrialEnd) (contract.EndedTrial, error) {
		if err := w.call("EndTrial", name(in.TrialRef)); err != nil {
			return contract.EndedTrial{}, err
		}
		return search.EndTrial(ctx, in)
	})
	contract.CloseStudy.Bind(r, func(ctx context.Context, in contract.CloseStudyInput) (contract.StudyResult, error) {
		if err := w.call("CloseStudy", in.Status); err != nil {
			return contract.StudyResult{}, err
		}
		return search.CloseStudy(ctx, in)
	})
}
