package simulate

import (
	"context"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// Tune runs the trials of a study that are still to be run, one simulation for
// each repeat, and tells each as it ends. done are those of an earlier call:
// a study goes on where it was cut off, and ends the same.
// Errors: those of [tuning.Study.OfRuns]; what suggest and tell say.
func Tune(ctx context.Context, set Settings, study tuning.Study, done []tuning.Trial, suggest tuning.Suggester, tell func(tuning.Trial) error) ([]tuning.Trial, error) {
	if err := study.OfRuns(); err != nil {
		return done, err
	}
	for len(done) < study.Trials {
		point, err := suggest(study, done)
		if err != nil {
			return done, err
		}
		trial, err := try(ctx, set, study, done, point)
		if err != nil {
			return done, err
		}
		done = append(done, trial)
		if err := tell(trial); err != nil {
			return done, err
		}
	}
	return done, nil
}

// try runs one trial. A simulation that fails, or that the parameters' own
// rules refuse, is an infeasible point and no error.
func try(ctx context.Context, set Settings, study tuning.Study, done []tuning.Trial, point tuning.Point) (tuning.Trial, error) {
	trial := tuning.Trial{Number: len(done) + 1, Point: point, State: tuning.Succeeded, Constraints: make([]float64, len(study.Constraints))}
	var err error
	if set.Params, err = study.Space.Apply(set.Params, point); err != nil {
		return trial, err
	}
	for repeat := range study.Repeats {
		one := set
		one.Params.Seed += uint64(repeat)
		if repeat == 0 && study.Halving != nil {
			one.Halt = halt(*study.Halving, done, &trial)
		}
		result, err := Run(ctx, one)
		if ctx.Err() != nil {
			return trial, ctx.Err()
		}
		figures := figuresOf(result)
		value, _ := figures.Metric(study.Metric)
		if err != nil || result.Status == "failed" || math.IsNaN(value) || math.IsInf(value, 0) {
			trial.State, trial.Values, trial.Constraints = tuning.Infeasible, nil, nil
			return trial, nil
		}
		trial.Values = append(trial.Values, value)
		for i, c := range study.Constraints {
			limit, _ := figures.Metric(c.Metric)
			trial.Constraints[i] = max(trial.Constraints[i], limit)
		}
		if trial.State == tuning.Stopped {
			return trial, nil
		}
	}
	return trial, nil
}

// halt ends a trial at a rung where others did better, and notes its losses.
func halt(h tuning.Halving, done []tuning.Trial, trial *tuning.Trial) func(Round) string {
	return func(r Round) string {
		rung, is := h.Rung(r.Number)
		if !is {
			return ""
		}
		loss := int64(math.Round(r.Loss() * 1e6))
		trial.Rungs = append(trial.Rungs, loss)
		if !h.Stops(loss, tuning.Reached(done, rung)) {
			return ""
		}
		trial.State = tuning.Stopped
		return fmt.Sprintf("others did better after %d rounds", r.Number)
	}
}

// figuresOf returns what a result came to after its last train round.
func figuresOf(r Result) tuning.Figures {
	var last Round
	var f tuning.Figures
	for _, one := range r.Rounds {
		if f.Upload += float64(one.Uploaded); one.Kind == round.Train {
			last = one
		}
	}
	f.Loss, f.Accuracy, f.Epsilon = last.Loss(), last.Accuracy(), last.Epsilon
	return f
}
