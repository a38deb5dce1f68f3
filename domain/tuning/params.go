package tuning

import (
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// Metrics of a run that a study may look at.
const (
	MetricLoss     = "loss"     // mean over the held-out rows, nats
	MetricAccuracy = "accuracy" // share of the held-out rows, 0..1
	MetricEpsilon  = "epsilon"  // spent by the run
	MetricUpload   = "upload"   // bytes that all sites sent
)

// Why a study cannot be one of training runs.
var (
	ErrParameter = errors.New("cannot be tuned: learningRate, localEpochs, batchSize, serverRate, proximalMu, sampleBP, noiseMultiplier and clipNorm can, and strategy by its values")
	ErrMetric    = errors.New("a metric is loss, accuracy, epsilon or upload")
)

// A MetricError names a metric that runs do not have.
type MetricError struct {
	Metric string
	Err    error // ErrMetric
}

func (e *MetricError) Error() string { return fmt.Sprintf("%s: %v", e.Metric, e.Err) }
func (e *MetricError) Unwrap() error { return e.Err }

// Figures are what a run came to, in the units of the metrics.
type Figures struct {
	Loss     float64 `json:"loss"`
	Accuracy float64 `json:"accuracy"`
	Epsilon  float64 `json:"epsilon"`
	Upload   float64 `json:"upload"`
}

// FiguresOf returns the loss and the accuracy of metrics, and false when
// nothing was evaluated.
func FiguresOf(m round.Metrics) (Figures, bool) {
	if m.Evaluated <= 0 {
		return Figures{}, false
	}
	rows := float64(m.Evaluated)
	return Figures{Loss: float64(m.LossMicros) / 1e6 / rows, Accuracy: float64(m.Correct) / rows}, true
}

// Metric returns a figure by its name.
func (f Figures) Metric(name string) (value float64, known bool) {
	switch name {
	case MetricLoss:
		return f.Loss, true
	case MetricAccuracy:
		return f.Accuracy, true
	case MetricEpsilon:
		return f.Epsilon, true
	case MetricUpload:
		return f.Upload, true
	}
	return 0, false
}

// OfRuns returns why the trials of a study cannot be training runs: an error of
// Validate, a [*SpaceError] with [ErrParameter], or a [*MetricError].
func (s Study) OfRuns() error {
	if err := s.Validate(); err != nil {
		return err
	}
	for _, d := range s.Space {
		if err := d.set(new(round.Params), 0); err != nil {
			return err
		}
	}
	for _, name := range s.metrics() {
		if _, known := (Figures{}).Metric(name); !known {
			return &MetricError{name, ErrMetric}
		}
	}
	return nil
}

// metrics are those that the study looks at: its own, then its constraints'.
func (s Study) metrics() []string {
	names := []string{s.Metric}
	for _, c := range s.Constraints {
		names = append(names, c.Metric)
	}
	return names
}

// Apply returns the parameters with those of a point. Errors: a [*SpaceError]
// with [ErrParameter].
func (s Space) Apply(p round.Params, point Point) (round.Params, error) {
	for i, d := range s {
		if err := d.set(&p, point[i]); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Of returns the point of the space that parameters are at, and false when they
// are at none.
func (s Space) Of(p round.Params) (Point, bool) {
	point := make(Point, len(s))
	for i, d := range s {
		x, ok := d.get(p)
		if !ok {
			return nil, false
		}
		point[i] = x
	}
	return point, s.Holds(point)
}

// measure adds a measurement to a trial. Of a constraint's metric the largest
// counts. Errors: [ErrMeasurement].
func (s Study) measure(t *Trial, f Figures) error {
	value, _ := f.Metric(s.Metric)
	if !finite(value) {
		return ErrMeasurement
	}
	limits := make([]float64, len(s.Constraints))
	for i, c := range s.Constraints {
		limits[i], _ = f.Metric(c.Metric)
		if !finite(limits[i]) {
			return ErrMeasurement
		}
		if len(t.Values) > 0 {
			limits[i] = max(limits[i], t.Constraints[i])
		}
	}
	t.Values, t.Constraints = append(t.Values, value), limits
	return nil
}

// set gives a parameter the value of its dimension.
func (d Dimension) set(p *round.Params, x float64) error {
	numeric := d.Kind != Categorical
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
	case d.Name == "localEpochs" && d.Kind == Integer:
		p.LocalEpochs = int(x)
	case d.Name == "batchSize" && d.Kind == Integer:
		p.BatchSize = int(x)
	case d.Name == "sampleBP" && d.Kind == Integer:
		p.SampleBP = int(x)
	default:
		return &SpaceError{d.Name, ErrParameter}
	}
	return nil
}

// get is the way back of set.
func (d Dimension) get(p round.Params) (x float64, ok bool) {
	switch d.Name {
	case "strategy":
		for i, v := range d.Values {
			if v == p.Strategy.Name {
				return float64(i), true
			}
		}
		return 0, false
	case "learningRate":
		return p.LearningRate, true
	case "serverRate":
		return p.Strategy.ServerRate, true
	case "proximalMu":
		return p.Strategy.ProximalMu, true
	case "noiseMultiplier":
		return p.Privacy.NoiseMultiplier, true
	case "clipNorm":
		return p.Privacy.ClipNorm, true
	case "localEpochs":
		return float64(p.LocalEpochs), true
	case "batchSize":
		return float64(p.BatchSize), true
	case "sampleBP":
		return float64(p.SampleBP), true
	}
	return 0, false
}

// Tidy returns the point with its numbers at four significant digits, which is
// finer than anybody tunes and can be read.
func (s Space) Tidy(point Point) Point {
	tidy := make(Point, len(point))
	for i, d := range s {
		if tidy[i] = point[i]; d.Kind == Double {
			tidy[i] = min(max(digits(point[i], 4), d.Low), d.High)
		}
	}
	return tidy
}

// Changes returns the parameters that a point changes, in the order of the
// space, as the plan of a tuning has them; nil when it changes none. What base
// leaves out is the default.
func (s Study) Changes(base round.Params, point Point) *promotion.Tuning {
	if complete, err := base.Validate(); err == nil {
		base = complete
	}
	var all []promotion.Change
	for i, d := range s.Space {
		from := ""
		if x, ok := d.get(base); ok {
			from = d.Text(x)
		}
		if to := d.Text(point[i]); to != from {
			all = append(all, promotion.Change{What: d.Name, From: from, To: to})
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &promotion.Tuning{Parameter: all[0].What, From: all[0].From, To: all[0].To, Also: all[1:]}
}

// Text spells the value of a dimension as it is written in parameters.
func (d Dimension) Text(x float64) string {
	if d.Kind == Categorical {
		return d.Values[int(x)]
	}
	return text(x)
}
