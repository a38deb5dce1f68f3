package demo

import (
	"context"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// compare trains on all training rows in one place, with the same trainer and
// as many passes over the rows, and measures on the rows that the sites held
// out.
func (d *Demo) compare(ctx context.Context) error {
	p := d.params()
	spec := round.ModelSpec{Trainer: string(p.Model.Trainer), Inputs: p.Model.Inputs, Classes: p.Model.Classes}
	rows, held := tumour.Pooled()
	moments, err := trainer.Moments(rows)
	if err != nil {
		return err
	}
	weights, err := aggregate.Apply(spec, round.Statistics, model.Initial(spec, uint64(p.Seed)), moments)
	if err != nil {
		return err
	}
	random := trainer.NewSeed(uint64(p.Seed), 1, "pooled", "pooled").Rand()
	for range p.Rounds {
		delta, err := trainer.Train(ctx, spec, weights, rows, trainer.Settings{Epochs: p.LocalEpochs, Batch: p.BatchSize, LearningRate: p.LearningRate}, random)
		if err != nil {
			return err
		}
		if weights, err = aggregate.Apply(spec, round.Train, weights, delta); err != nil {
			return err
		}
	}
	metrics, err := trainer.Evaluate(spec, weights, held)
	if err != nil {
		return err
	}
	d.Pooled = float64(metrics.Correct) / float64(metrics.Evaluated)
	d.say("pooled %.2f %%, federated %.2f %%, on the same %d rows", 100*d.Pooled, 100*d.Accuracy, metrics.Evaluated)
	return holds(d.Accuracy >= d.Pooled-0.02, "federated training is more than two points behind")
}
