package trainer

import (
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// maxLossMicros keeps the loss of a site inside what sums of sites can hold; a
// model that is this wrong is wrong, not measured.
const maxLossMicros = 1 << 50

// Evaluate measures weights on rows: how many, how many right, and the summed
// cross-entropy in millionths of a nat, rounded once. No rows measure nothing.
// Errors: [ErrColumns], [ErrClasses], those of [model.Load].
func Evaluate(spec round.ModelSpec, weights artifact.Tensors, rows table.Table) (round.Metrics, error) {
	m, _, err := Measure(spec, round.Measurement{}, weights, rows)
	return m, err
}

// Measure does what [Evaluate] does, and counts what a measurement asks for;
// no counts where it asks for none. Errors: those of [Evaluate] and of
// [measure.NewCounter].
func Measure(spec round.ModelSpec, what round.Measurement, weights artifact.Tensors, rows table.Table) (round.Metrics, []int64, error) {
	net, err := model.Load(spec, weights)
	if err != nil {
		return round.Metrics{}, nil, err
	}
	return measured(spec, what, rows, func(use func(row int, logits []float64) error) error {
		pass := net.NewPass()
		for i, row := range rows.Rows {
			logits, err := pass.Logits(row)
			if err != nil {
				return &model.RowError{Row: i, Err: err}
			}
			if err := use(i, logits); err != nil {
				return err
			}
		}
		return nil
	})
}

// EvaluateAt measures weights that are too large for memory, to the bit as
// [Evaluate] does: safetensors of size bytes. Errors: [ErrColumns],
// [ErrClasses], those of [model.Stream].
func EvaluateAt(spec round.ModelSpec, weights io.ReaderAt, size int64, rows table.Table) (round.Metrics, error) {
	m, _, err := MeasureAt(spec, round.Measurement{}, weights, size, rows)
	return m, err
}

// MeasureAt is [Measure] as [EvaluateAt] is [Evaluate].
func MeasureAt(spec round.ModelSpec, what round.Measurement, weights io.ReaderAt, size int64, rows table.Table) (round.Metrics, []int64, error) {
	return measured(spec, what, rows, func(use func(row int, logits []float64) error) error {
		return model.Stream(spec, weights, size, rows.Rows, use)
	})
}

// measured adds up what a forward pass over the rows, in their order, says.
func measured(spec round.ModelSpec, what round.Measurement, rows table.Table, forward func(use func(row int, logits []float64) error) error) (round.Metrics, []int64, error) {
	if err := Check(spec, rows); err != nil {
		return round.Metrics{}, nil, err
	}
	var counter *measure.Counter
	var shares []float64
	if what.On() {
		var err error
		if counter, err = measure.NewCounter(what, spec.Classes, rows.Columns); err != nil {
			return round.Metrics{}, nil, err
		}
		shares = make([]float64, spec.Classes)
	}
	var m round.Metrics
	var loss float64
	err := forward(func(row int, logits []float64) error {
		m.Evaluated++
		said := model.Argmax(logits)
		if said == rows.Labels[row] {
			m.Correct++
		}
		if counter != nil {
			model.Softmax(shares, logits)
			counter.Add(rows.Rows[row], rows.Labels[row], said, shares[what.Class(spec.Classes)])
		}
		loss += model.CrossEntropy(logits, rows.Labels[row])
		return nil
	})
	if err != nil {
		return round.Metrics{}, nil, err
	}
	m.LossMicros = maxLossMicros
	if micros := math.Round(loss * 1e6); micros < maxLossMicros {
		m.LossMicros = int64(micros)
	}
	if counter == nil {
		return m, nil, nil
	}
	return m, counter.Counts(), nil
}
