package simulate

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// Metrics that a study may look at.
const (
	MetricLoss     = "loss"     // mean over the held-out rows, nats
	MetricAccuracy = "accuracy" // share of the held-out rows, 0..1
	MetricEpsilon  = "epsilon"  // spent by the run
	MetricUpload   = "upload"   // bytes that all sites sent
)

// Why a study of simulations cannot be.
var (
	ErrParameter = errors.New("cannot be tuned: learningRate, localEpochs, batchSize, serverRate, proximalMu, sampleBP, noiseMultiplier and clipNorm can, and strategy by its values")
	ErrMetric    = errors.New("a metric is loss, accuracy, epsilon or upload")
)

// Tune runs the trials of a study that are still to be run, one simulation for
// each repeat, and tells each as it ends. done are those of an earlier call:
// a study goes on where it was cut off, and ends the same.
// Errors: those of [tuning.Study.Validate]; [ErrParameter]; [ErrMetric]; what
// suggest and tell say.
func Tune(ctx context.Context, set Settings, study tuning.Study, done []tuning.Trial, suggest tuning.Suggester, tell func(tuning.Trial) error) ([]tuning.Trial, error) {
	if err := checkStudy(study); err != nil {
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

func checkStudy(study tuning.Study) error {
	if err := study.Validate(); err != nil {
		return err
	}
	for _, d := range study.Space {
		if err := apply(new(round.Params), d, 0); err != nil {
			return err
		}
	}
	names := []string{study.Metric}
	for _, c := range study.Constraints {
		names = append(names, c.Metric)
	}
	for _, name := range names {
		if _, ok := metric(Result{}, name); !ok {
			return fmt.Errorf("%s: %w", name, ErrMetric)
		}
	}
	return nil
}

// try runs one trial. A simulation that fails, or that the parameters' own
// rules refuse, is an infeasible point and no error.
func try(ctx context.Context, set Settings, study tuning.Study, done []tuning.Trial, point tuning.Point) (tuning.Trial, error) {
	trial := tuning.Trial{Number: len(done) + 1, Point: point, State: tuning.Succeeded, Constraints: make([]float64, len(study.Constraints))}
	for i, d := range study.Space {
		if err := apply(&set.Params, d, point[i]); err != nil {
			return trial, err
		}
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
		value, _ := metric(result, study.Metric)
		if err != nil || result.Status == "failed" || math.IsNaN(value) || math.IsInf(value, 0) {
			trial.State, trial.Values, trial.Constraints = tuning.Infeasible, nil, nil
			return trial, nil
		}
		trial.Values = append(trial.Values, value)
		for i, c := range study.Constraints {
			limit, _ := metric(result, c.Metric)
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

// apply sets the parameter of a dimension.
func apply(p *round.Params, d tuning.Dimension, x float64) error {
	numeric := d.Kind != tuning.Categorical
	switch {
	case d.Name == "strategy" && !numeric:
		p.Strategy.Name = d.Values[int(x)]
	case d.Name == "learningRate" && numeric:
		p.LearningRate = x
	case d.Name == "serverRate" && numeric:
		p.Strategy.ServerRate = x
	case d.Name == "proximalMu" && numeric:
		p.Strategy.ProximalMu = x
	case d.Name == "noiseMultiplier" && numeric:
		p.Privacy.NoiseMultiplier = x
	case d.Name == "clipNorm" && numeric:
		p.Privacy.ClipNorm = x
	case d.Name == "localEpochs" && d.Kind == tuning.Integer:
		p.LocalEpochs = int(x)
	case d.Name == "batchSize" && d.Kind == tuning.Integer:
		p.BatchSize = int(x)
	case d.Name == "sampleBP" && d.Kind == tuning.Integer:
		p.SampleBP = int(x)
	default:
		return &tuning.SpaceError{Dimension: d.Name, Err: ErrParameter}
	}
	return nil
}

// metric returns a figure of a result after its last train round.
func metric(r Result, name string) (value float64, known bool) {
	var last Round
	upload := int64(0)
	for _, one := range r.Rounds {
		if upload += one.Uploaded; one.Kind == round.Train {
			last = one
		}
	}
	switch name {
	case MetricLoss:
		return last.Loss(), true
	case MetricAccuracy:
		return last.Accuracy(), true
	case MetricEpsilon:
		return last.Epsilon, true
	case MetricUpload:
		return float64(upload), true
	}
	return 0, false
}
