package scorecard

import (
	"reflect"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

// Facts are what is stored about a subject. What sites counted is named by
// digest, in the metrics of each trial.
type Facts struct {
	Subject   Subject
	Trials    []Trial // oldest first, the judged one last
	Operation Operation
	Spending  []Spending
}

// Evidence reads what the judged trial and the one before that counts as its
// reference have counted. Open returns a stored vector of counts.
// Errors: those of open and of [measure.Read].
func (f Facts) Evidence(open func(artifact.Digest) (artifact.Tensors, error)) (Evidence, error) {
	e := Evidence{Subject: f.Subject, Trials: f.Trials, Operation: f.Operation, Spending: f.Spending}
	judged := -1
	for i, t := range f.Trials {
		if t.Metrics.Evaluated > 0 {
			judged = i
		}
	}
	if judged < 0 {
		return e, nil
	}
	t := f.Trials[judged]
	e.Critical = t.Params.Measurement.Critical
	if t.Metrics.Measured == "" {
		return e, nil
	}
	var err error
	if e.Measured, err = counted(t, open); err != nil {
		return Evidence{}, err
	}
	first := slices.IndexFunc(f.Trials[:judged], func(o Trial) bool {
		return o.Metrics.Measured != "" && alike(o.Params.Measurement, t.Params.Measurement)
	})
	if first >= 0 {
		e.Reference, err = counted(f.Trials[first], open)
	}
	return e, err
}

func counted(t Trial, open func(artifact.Digest) (artifact.Tensors, error)) (*measure.Measured, error) {
	tensors, err := open(t.Metrics.Measured)
	if err != nil {
		return nil, err
	}
	counts, err := measure.FromTensors(tensors, t.Params.Measurement.Len())
	if err != nil {
		return nil, err
	}
	m, err := measure.Read(t.Params.Measurement, counts)
	return &m, err
}

// alike says whether two runs watched the same columns in the same bins.
// Importance and floor may differ.
func alike(a, b round.Measurement) bool {
	bins := func(m round.Measurement) []round.MeasuredFeature {
		out := slices.Clone(m.Features)
		for i := range out {
			out[i].Importance = 0
		}
		return out
	}
	return len(a.Features) > 0 && reflect.DeepEqual(bins(a), bins(b))
}

// Declares says whether the judged trial's run asked for anything to be counted.
// A run that did not is not gated by its card.
func (e Evidence) Declares() bool { return e.Measured != nil || len(e.Critical) > 0 }
