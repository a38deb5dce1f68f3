package trainer

import (
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
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
	net, err := model.Load(spec, weights)
	if err != nil {
		return round.Metrics{}, err
	}
	return measure(spec, rows, func(use func(row int, logits []float64) error) error {
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
	return measure(spec, rows, func(use func(row int, logits []float64) error) error {
		return model.Stream(spec, weights, size, rows.Rows, use)
	})
}

// measure adds up what a forward pass over the rows, in their order, says.
func measure(spec round.ModelSpec, rows table.Table, forward func(use func(row int, logits []float64) error) error) (round.Metrics, error) {
	if err := Check(spec, rows); err != nil {
		return round.Metrics{}, err
	}
	var m round.Metrics
	var loss float64
	err := forward(func(row int, logits []float64) error {
		m.Evaluated++
		if model.Argmax(logits) == rows.Labels[row] {
			m.Correct++
		}
		loss += model.CrossEntropy(logits, rows.Labels[row])
		return nil
	})
	if err != nil {
		return round.Metrics{}, err
	}
	m.LossMicros = maxLossMicros
	if micros := math.Round(loss * 1e6); micros < maxLossMicros {
		m.LossMicros = int64(micros)
	}
	return m, nil
}
