package workflows

import (
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
)

// trialsPerExecution bounds the history of one execution of a study: it begins
// no more of them and continues as new when those that it began are over.
const trialsPerExecution = 50

// noAnswer is said of rows that another execution has left, after a reset.
const noAnswer = "a trial is under way in the rows that no run was started for"

// Study tries points, so many at once, until all its trials are made or one of
// its activities says that there is no more to try. A trial is one run after
// the other, each a TrainingRun of its own, whose rounds are admitted and
// charged as every run's. A stop reaches the runs, which end after their open
// round. However it ends, CloseStudy records it.
func Study(ctx workflow.Context, in contract.StudyInput) (contract.StudyResult, error) {
	begin(ctx, in.Subject, "study")
	s := &study{in: in}
	workflow.Go(ctx, s.listen)
	err := s.trials(ctx)
	if workflow.IsContinueAsNewError(err) {
		return contract.StudyResult{}, err
	}
	end := s.conclude(ctx, err)
	done, cancel := closing(ctx)
	defer cancel()
	stage(done, end.Status)
	s.show(done, end.Status+": "+end.Cause)
	result, lost := contract.CloseStudy.Execute(quick(done, "record the end of the study"),
		contract.CloseStudyInput{Subject: in.Subject, Study: in.Study, StudyEnd: end})
	if canceled(ctx, err) {
		return result, err
	}
	return result, lost
}

// study is the state of a study. in is its checkpoint: what trials came to is in
// the rows.
type study struct {
	in     contract.StudyInput
	begun  int // trials of this execution
	active int // of them, those under way
	over   int // and those that are over
	open   []workflow.ChildWorkflowFuture
	end    *contract.StudyEnd    // nothing is begun any more
	stop   *contract.StopRequest // by a person
}

// listen takes up a stop. The open runs are told, and those that are about to
// begin end at once.
func (s *study) listen(ctx workflow.Context) {
	for {
		stop, ok := contract.StopStudy.Receive(ctx)
		if !ok {
			return
		}
		if s.stop != nil {
			continue
		}
		s.stop = &stop
		s.finish(contract.StudyEnd{Status: stopped, Cause: stop.Reason})
		for _, run := range slices.Clone(s.open) {
			told := run.SignalChildWorkflow(ctx, contract.StopRun.Name, stop)
			workflow.Go(ctx, func(ctx workflow.Context) { _ = told.Get(ctx, nil) }) // one that is over needs no word
		}
	}
}

// finish ends the study with its first reason.
func (s *study) finish(end contract.StudyEnd) {
	if s.end == nil {
		s.end = &end
	}
}

// trials begins trials and waits for them. It returns when none is under way.
func (s *study) trials(ctx workflow.Context) error {
	err := s.beginAll(ctx)
	quiet, cancel := workflow.NewDisconnectedContext(ctx) // runs that are canceled end too, and are waited for
	defer cancel()
	if lost := workflow.Await(quiet, func() bool { return s.active == 0 }); lost != nil || err != nil {
		return errors.Join(err, lost)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.end == nil && s.in.Next <= s.in.Trials {
		return workflow.NewContinueAsNewError(ctx, contract.Study.Name, s.in)
	}
	return nil
}

// beginAll begins trials while there is room for one.
func (s *study) beginAll(ctx workflow.Context) error {
	for s.in.Next <= s.in.Trials {
		if s.begun >= trialsPerExecution || s.begun > 0 && workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return nil
		}
		if err := workflow.Await(ctx, func() bool { return s.active < s.in.Parallel || s.end != nil }); err != nil {
			return err
		}
		if s.end != nil {
			return nil
		}
		s.show(ctx, fmt.Sprintf("trial %d of %d", s.in.Next, s.in.Trials))
		before := s.over
		chosen, err := contract.SuggestTrial.Execute(compute(ctx, contract.QueueControl, "a point to try"),
			contract.TrialRef{Subject: s.in.Subject, Study: s.in.Study, Number: s.in.Next})
		switch {
		case err != nil:
			return err
		case chosen.End != nil:
			s.finish(*chosen.End)
		case chosen.Wait && s.active == 0 && s.over == before:
			s.finish(contract.StudyEnd{Status: failed, Cause: noAnswer})
		case chosen.Wait:
			if err := workflow.Await(ctx, func() bool { return s.over > before || s.end != nil }); err != nil {
				return err
			}
		case s.end != nil: // meanwhile: the trial ends with the study
			return nil
		default:
			s.launch(ctx, s.in.Next)
		}
	}
	return nil
}

// launch lets a trial go its way.
func (s *study) launch(ctx workflow.Context, number int) {
	s.in.Next++
	s.begun++
	s.active++
	workflow.Go(ctx, func(ctx workflow.Context) {
		if err := s.trial(ctx, number); err != nil && !canceled(ctx, err) {
			s.finish(contract.StudyEnd{Status: failed, Cause: words(err, contract.RunFailed)})
		}
		s.active--
		s.over++
	})
}

// trial runs the repeats of a trial, one after the other.
func (s *study) trial(ctx workflow.Context, number int) error {
	for repeat := 1; ; repeat++ {
		ref := contract.TrialRef{Subject: s.in.Subject, Study: s.in.Study, Number: number, Repeat: repeat}
		begun, err := contract.BeginTrial.Execute(look(ctx, "may it run? "+ref.Name()), ref)
		if err != nil {
			return err
		}
		if begun.End != nil {
			s.finish(*begun.End)
		}
		if begun.Over {
			return nil
		}
		blocked, err := s.run(ctx, ref, begun.Run)
		if err != nil {
			return err
		}
		done, cancel := closing(ctx)
		ended, err := contract.EndTrial.Execute(quick(done, "what came of "+ref.Name()), contract.TrialEnd{TrialRef: ref, Run: begun.Run.Run, Blocked: blocked})
		cancel()
		if err != nil {
			return err
		}
		if ended.End != nil {
			s.finish(*ended.End)
		}
		if !ended.More || s.stop != nil || ctx.Err() != nil {
			return nil
		}
	}
}

// run runs one run of a trial to its end, which is in the run's own row: blocked
// is what kept it from going on, if that was a budget or a consent.
func (s *study) run(ctx workflow.Context, ref contract.TrialRef, in contract.RunInput) (blocked string, err error) {
	if s.stop != nil {
		in.Stopped = true // it is in the rows: it begins, to be recorded as ended
	}
	run := contract.TrainingRun.Child(child(ctx, contract.RunID(in.Run), contract.QueueControl, ref.Name(), 0, labels(in.Subject, "accepted")), in)
	s.open = append(s.open, run)
	var result contract.RunResult
	err = run.Get(ctx, &result)
	s.open = slices.DeleteFunc(s.open, func(one workflow.ChildWorkflowFuture) bool { return one == run })
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.Type() == contract.RunFailed && app.HasDetails() && app.Details(&blocked) == nil {
		switch blocked {
		case contract.NoBudget, contract.NoConsent:
			return blocked, nil
		}
	}
	return "", nil
}

// conclude says how the study ends.
func (s *study) conclude(ctx workflow.Context, err error) contract.StudyEnd {
	switch {
	case canceled(ctx, err):
		return contract.StudyEnd{Status: stopped, Cause: "it was canceled"}
	case err != nil:
		return contract.StudyEnd{Status: failed, Cause: words(err, contract.RunFailed)}
	case s.end != nil:
		return *s.end
	}
	return contract.StudyEnd{Status: completed}
}

func (s *study) show(ctx workflow.Context, now string) {
	show(ctx, fmt.Sprintf("**study %s** of %s: %s", s.in.Study, s.in.ModelID, now), "",
		fmt.Sprintf("- under way: %d", s.active), fmt.Sprintf("- begun: %d of %d", s.in.Next-1, s.in.Trials))
}
