package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// thinking is how often a search for a point says that it is alive.
const thinking = 5 * time.Second

// errRaced says that another call has written meanwhile: the activity is
// retried, over what is written by then.
var errRaced = errors.New("another call has written the trial meanwhile")

// A Search chooses the points of studies, admits the runs that try them, and
// takes down what came of it.
type Search struct {
	Studies   Studies
	Admission Admission
	Engine    tuning.Suggester
	NewID     func() string // that sorts by time
}

// SuggestTrial chooses the point of a trial and writes it down, or says why
// there is none. Idempotent: the point that was written first is the trial's;
// it follows from the study and the trials before it. Heartbeats.
// Final: [contract.BadPlan] without the study.
func (s *Search) SuggestTrial(ctx context.Context, in contract.TrialRef) (contract.SuggestedTrial, error) {
	out, err := s.suggest(ctx, in)
	return out, within(settled(err), "study %s, trial %d", in.Study, in.Number)
}

func (s *Search) suggest(ctx context.Context, in contract.TrialRef) (contract.SuggestedTrial, error) {
	study, err := s.Studies.Study(ctx, in.Tenant, in.Study)
	if err != nil {
		return contract.SuggestedTrial{}, err
	}
	if _, written := study.job(in.Number); written {
		return contract.SuggestedTrial{}, nil
	}
	wait, err := study.Spec.Affords(study.Jobs, study.Base.Params.Rounds, study.Rounds)
	var refused *tuning.Refusal
	switch {
	case errors.As(err, &refused):
		return contract.SuggestedTrial{End: &contract.StudyEnd{Status: refused.Status, Cause: refused.Reason}}, nil
	case err != nil || wait:
		return contract.SuggestedTrial{Wait: wait}, err
	}
	trials := tuning.Trials(study.Prior, study.Jobs)
	point, err := s.think(ctx, study.Spec, trials)
	switch {
	case errors.Is(err, tuning.ErrExhausted):
		return contract.SuggestedTrial{End: &contract.StudyEnd{Status: tuning.StudyCompleted, Cause: tuning.ErrExhausted.Error()}}, nil
	case err != nil:
		return contract.SuggestedTrial{}, permanent(contract.BadPlan, err) // a function of the rows: it would fail again
	}
	if tidy := study.Spec.Space.Tidy(point); !tuning.Tried(trials, tidy) {
		point = tidy
	}
	return contract.SuggestedTrial{}, again(s.Studies.AddTrial(ctx, in, point))
}

// think asks the engine, and says meanwhile that it is alive.
func (s *Search) think(ctx context.Context, study tuning.Study, trials []tuning.Trial) (tuning.Point, error) {
	type answer struct {
		point tuning.Point
		err   error
	}
	found := make(chan answer, 1)
	go func() {
		point, err := s.Engine(study, trials)
		found <- answer{point, err}
	}()
	tick := time.NewTicker(thinking)
	defer tick.Stop()
	for {
		select {
		case a := <-found:
			return a.point, a.err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
			activity.RecordHeartbeat(ctx, len(trials))
		}
	}
}

// BeginTrial admits one run of a trial and writes it down as accepted: whoever
// asked for the study asked for it. A point that is refused ends the trial, and
// what no other point would mend ends the study.
// Idempotent: a run that was written is the run of its repeat, admitted then.
// Final: [contract.BadPlan] without the study or the trial.
func (s *Search) BeginTrial(ctx context.Context, in contract.TrialRef) (contract.BegunTrial, error) {
	out, err := s.begin(ctx, in)
	return out, within(settled(err), "%s", in.Name())
}

func (s *Search) begin(ctx context.Context, in contract.TrialRef) (contract.BegunTrial, error) {
	study, job, err := s.trial(ctx, in)
	if err != nil {
		return contract.BegunTrial{}, err
	}
	run, params, ok, err := s.Studies.BegunRun(ctx, in)
	if err != nil {
		return contract.BegunTrial{}, err
	}
	if !ok {
		if job.State != tuning.Active {
			return contract.BegunTrial{Over: true}, nil
		}
		if params, err = s.admit(ctx, study, job, in.Repeat); err != nil {
			return s.refuse(ctx, study, job, in, err)
		}
		if run, err = s.Studies.AddRun(ctx, in, "run-"+s.NewID(), params); err != nil {
			return contract.BegunTrial{}, err
		}
	}
	order := study.Base
	order.Subject, order.Run, order.Params = in.Subject, run, params
	order.Trial = &contract.StudyRun{Study: in.Study, Number: in.Number, Repeat: in.Repeat}
	if h := study.Spec.Halving; h != nil && in.Repeat == 1 {
		order.Trial.First, order.Trial.Factor = h.First, h.Factor
	}
	return contract.BegunTrial{Run: order}, nil
}

// admit returns the parameters of a run: those of the study at the point of the
// trial, with a seed of its own for each repeat.
func (s *Search) admit(ctx context.Context, study Study, job tuning.Job, repeat int) (round.Params, error) {
	in := study.Base
	var err error
	if in.Params, err = study.Spec.Space.Apply(in.Params, job.Point); err != nil {
		return round.Params{}, err
	}
	in.Params.Seed += uint64(repeat - 1)
	return s.Admission.Admit(ctx, in, study.Simulated)
}

// refuse writes that a trial is over because its run was refused. Any other
// error is handed on.
func (s *Search) refuse(ctx context.Context, study Study, job tuning.Job, in contract.TrialRef, err error) (contract.BegunTrial, error) {
	var refused *tuning.Refusal
	if !errors.As(err, &refused) {
		return contract.BegunTrial{}, err
	}
	if err := s.Studies.SaveTrial(ctx, in, job.Ended, study.Spec.Refuse(job, *refused)); err != nil {
		return contract.BegunTrial{}, again(err)
	}
	out := contract.BegunTrial{Over: true}
	if refused.Status != "" {
		out.End = &contract.StudyEnd{Status: refused.Status, Cause: refused.Reason}
	}
	return out, nil
}

// AskRung says whether the run of a trial goes on, and notes what it came to at
// the rung. Idempotent: the same rung is noted once; asked again, it is answered
// from what the other trials came to by then.
// Final: [contract.BadPlan] without the study or the trial.
func (s *Search) AskRung(ctx context.Context, in contract.RungInput) (contract.Rung, error) {
	out, err := s.ask(ctx, in)
	return out, within(settled(err), "%s", in.Name())
}

func (s *Search) ask(ctx context.Context, in contract.RungInput) (contract.Rung, error) {
	study, job, err := s.trial(ctx, in.TrialRef)
	if err != nil {
		return contract.Rung{}, err
	}
	var others []tuning.Trial
	for _, j := range study.Jobs {
		if j.Number != in.Number {
			others = append(others, j.Trial)
		}
	}
	trial, stop := study.Spec.Judge(job.Trial, others, in.Round, in.Metrics)
	if len(trial.Rungs) != len(job.Rungs) {
		after := job
		after.Trial = trial
		if err := s.Studies.SaveTrial(ctx, in.TrialRef, job.Ended, after); err != nil {
			return contract.Rung{}, again(err)
		}
	}
	if !stop {
		return contract.Rung{}, nil
	}
	return contract.Rung{Stop: true, Cause: fmt.Sprintf("others did better after %d rounds", in.Round)}, nil
}

// EndTrial takes down what one run of a trial came to. Idempotent: a run counts
// once. Final: [contract.BadPlan] without the study, the trial or the run.
func (s *Search) EndTrial(ctx context.Context, in contract.TrialEnd) (contract.EndedTrial, error) {
	out, err := s.finish(ctx, in)
	return out, within(settled(err), "%s", in.Name())
}

func (s *Search) finish(ctx context.Context, in contract.TrialEnd) (contract.EndedTrial, error) {
	study, job, err := s.trial(ctx, in.TrialRef)
	if err != nil {
		return contract.EndedTrial{}, err
	}
	facts, err := s.Studies.Facts(ctx, in.Tenant, in.Run)
	if err != nil {
		return contract.EndedTrial{}, err
	}
	if job.Ended < in.Repeat {
		after := study.Spec.After(job, facts.outcome(in.Blocked != ""))
		if err := s.Studies.SaveTrial(ctx, in.TrialRef, job.Ended, after); err != nil {
			return contract.EndedTrial{}, again(err)
		}
		job = after
		study.replace(job)
	}
	out := contract.EndedTrial{More: job.State == tuning.Active}
	cause, hopeless := tuning.Failing(study.Jobs)
	switch {
	case in.Blocked == contract.NoBudget:
		out.End = &contract.StudyEnd{Status: tuning.StudyExhausted, Cause: facts.Cause}
	case in.Blocked != "":
		out.End = &contract.StudyEnd{Status: tuning.StudyFailed, Cause: facts.Cause}
	case hopeless:
		out.End = &contract.StudyEnd{Status: tuning.StudyFailed, Cause: fmt.Sprintf("%d runs failed one after the other, the last one: %s", tuning.Hopeless, cause)}
	}
	return out, nil
}

// outcome is what the domain makes of a run. One that its workflow has left
// open was terminated.
func (f RunFacts) outcome(blocked bool) tuning.Outcome {
	out := tuning.Outcome{Status: f.Status, Cause: f.Cause, Rounds: f.Rounds, Blocked: blocked}
	switch f.Status {
	case "completed", "stopped", "failed":
	default:
		out.Status, out.Cause = "failed", "the run was terminated by an operator"
	}
	out.Figures, out.Measured = tuning.FiguresOf(f.Metrics)
	out.Figures.Upload, out.Figures.Epsilon = float64(f.Uploaded), privacy.Most(f.Charges)
	return out
}

// CloseStudy writes the end of a study. Its best trial, if there is one, is
// carried on as a suggestion, which is a tuning like any other: it is planned,
// and applied only as its environment and its approvers let it.
// Idempotent: written once. Final: [contract.BadPlan] without the study.
func (s *Search) CloseStudy(ctx context.Context, in contract.CloseStudyInput) (contract.StudyResult, error) {
	out, err := s.close(ctx, in)
	return out, within(settled(err), "study %s", in.Study)
}

func (s *Search) close(ctx context.Context, in contract.CloseStudyInput) (contract.StudyResult, error) {
	study, err := s.Studies.Study(ctx, in.Tenant, in.Study)
	if err != nil {
		return contract.StudyResult{}, err
	}
	best, found := study.best()
	var tune *contract.TuneInput
	if found && study.Spec.Changes(study.Base.Params, best.Point) != nil {
		tune = &contract.TuneInput{
			Subject: in.Subject, Action: "tune-" + strings.TrimPrefix(in.Study, "study-"), Requester: study.Requester,
			Environment: study.Environment, Apply: study.Apply, Study: in.Study,
		}
	}
	return s.Studies.CloseStudy(ctx, in, best.Number, tune)
}

// trial returns a trial of a study.
func (s *Search) trial(ctx context.Context, in contract.TrialRef) (Study, tuning.Job, error) {
	study, err := s.Studies.Study(ctx, in.Tenant, in.Study)
	if err != nil {
		return study, tuning.Job{}, err
	}
	job, ok := study.job(in.Number)
	if !ok {
		return study, job, fmt.Errorf("trial %d: %w", in.Number, ErrNotFound)
	}
	return study, job, nil
}

// again makes what another call has written meanwhile a reason to look again.
func again(err error) error {
	if errors.Is(err, ErrStale) {
		return errRaced
	}
	return err
}

// best is the study's best trial.
func (s Study) best() (tuning.Trial, bool) {
	return s.Spec.Best(tuning.Trials(nil, s.Jobs))
}

func (s Study) job(number int) (tuning.Job, bool) {
	for _, j := range s.Jobs {
		if j.Number == number {
			return j, true
		}
	}
	return tuning.Job{}, false
}

func (s Study) replace(job tuning.Job) {
	for i, j := range s.Jobs {
		if j.Number == job.Number {
			s.Jobs[i] = job
		}
	}
}
