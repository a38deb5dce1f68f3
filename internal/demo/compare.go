package demo

import (
	"context"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// open returns the settings of the two comparisons, which protect nobody: local
// passes in small batches, and the rows' own moments as normalisation.
func open() trainer.Settings { return trainer.Settings{Epochs: 1, Batch: 16, LearningRate: 0.1} }

// compare says what hiding costs: the same rows, the same rounds, trained on
// the pooled table, which nobody could have, and federated without masks and
// without noise, which nobody should want.
func (d *Demo) compare(ctx context.Context) error {
	p := d.params()
	spec := round.ModelSpec{Trainer: string(p.Model.Trainer), Inputs: p.Model.Inputs, Classes: p.Model.Classes}
	rows, held := tumour.Pooled()
	pooled, err := d.together(ctx, spec, []table.Table{rows}, held)
	if err != nil {
		return err
	}
	var parts []table.Table
	for _, h := range tumour.Split() {
		train, _ := h.Rows.Split()
		parts = append(parts, train)
	}
	unhidden, err := d.together(ctx, spec, parts, held)
	if err != nil {
		return err
	}
	d.Pooled = pooled
	d.say("on the same %d held-out rows: pooled %.2f %%, federated in the open %.2f %%, federated with masks and noise %.2f %%",
		held.Len(), 100*pooled, 100*unhidden, 100*d.Accuracy)
	d.say("federating cost %.2f points, privacy of every row %.2f points; masks cost none: a sum of integers is exact", 100*(pooled-unhidden), 100*(unhidden-d.Accuracy))
	return holds(d.Accuracy >= pooled-0.12, "private training is more than twelve points behind")
}

// together trains as many rounds as the demonstration did over the parts, each
// a site, and returns the accuracy on held.
func (d *Demo) together(ctx context.Context, spec round.ModelSpec, parts []table.Table, held table.Table) (float64, error) {
	weights := model.Initial(spec, uint64(d.params().Seed))
	for number := range d.Rounds + 1 {
		kind := round.Train
		if number == 0 {
			kind = round.Statistics
		}
		var updates []aggregate.Update
		for i, rows := range parts {
			site := string(rune('a' + i))
			delta, err := d.part(ctx, spec, kind, weights, rows, trainer.NewSeed(1, number, site, site))
			if err != nil {
				return 0, err
			}
			updates = append(updates, aggregate.Update{Tenant: site, Site: site, Examples: int64(rows.Len()), Tensors: delta})
		}
		mean, err := aggregate.FedAvg(updates)
		if err != nil {
			return 0, err
		}
		if weights, err = aggregate.Apply(spec, kind, weights, mean); err != nil {
			return 0, err
		}
	}
	metrics, err := trainer.Evaluate(spec, weights, held)
	return float64(metrics.Correct) / float64(max(1, metrics.Evaluated)), err
}

func (d *Demo) part(ctx context.Context, spec round.ModelSpec, kind round.Kind, weights artifact.Tensors, rows table.Table, seed trainer.Seed) (artifact.Tensors, error) {
	if kind == round.Statistics {
		return trainer.Moments(rows)
	}
	return trainer.Train(ctx, spec, weights, rows, open(), seed.Rand())
}
