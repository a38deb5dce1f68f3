package simulate

import (
	"context"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// work is what a site makes of a round's order: moments, or an update from the
// weights of round from, which a liar changes after everything that an honest
// site does to it.
func (s *simulation) work(ctx context.Context, o order, v *virtual, from int) (artifact.Tensors, error) {
	if o.Kind == round.Statistics {
		return trainer.Moments(v.rows)
	}
	update, err := s.train(ctx, o, v, from)
	if err == nil && v.liar {
		lie(s.set.Attack, s.set.Strength, update, s.draw("lie", from, v))
	}
	return update, err
}

// train runs the built-in trainer as the run's strategy and privacy have it.
func (s *simulation) train(ctx context.Context, o order, v *virtual, from int) (artifact.Tensors, error) {
	p := o.Params
	if p.Privacy.On() && p.Privacy.Unit == round.UnitExample {
		weight := min(v.rows.Len(), p.Secure.MaxExamples)
		return trainer.Clipped(ctx, p.Model, s.weights, v.rows, p.LearningRate, p.Privacy.ClipNorm, weight)
	}
	set := trainer.Settings{Epochs: p.LocalEpochs, Batch: p.BatchSize, LearningRate: p.LearningRate}
	switch p.Strategy.Name {
	case round.FedProx:
		set.ProximalMu = p.Strategy.ProximalMu
	case round.Scaffold:
		set.Variates = &trainer.Variates{Server: s.state, Own: v.variate}
	}
	update, err := trainer.Train(ctx, p.Model, s.start(from), v.rows, set, trainer.NewSeed(p.Seed, from, v.Tenant, v.ID).Rand())
	if err != nil || !p.Privacy.On() {
		return update, err
	}
	parts := make([][]float32, len(update))
	for i, t := range update {
		parts[i] = t.F32
	}
	norm, err := dp.Clip(o.ClipNorm(), parts...)
	v.within = norm <= o.ClipNorm()
	return update, err
}

// counted moves the site's own control variate, by what it sent.
func (s *simulation) counted(o order, v *virtual, update artifact.Tensors) (err error) {
	if o.Kind == round.Train && o.Params.Strategy.Name == round.Scaffold {
		v.variate, err = trainer.Moved(o.Params.Model, v.variate, update)
	}
	return err
}
