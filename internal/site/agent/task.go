package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/program"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// maxBuiltIn bounds the weights of a built-in trainer, with their header. A
// program of the operator's own decides by itself what it holds in memory.
const maxBuiltIn = round.MaxBuiltInBytes + 1<<16

// A result is what goes out: an update, but in a round that only evaluates, and
// counts.
type result struct {
	update  *content
	metrics round.Metrics
}

// perform does what an order says, from its verification to its submission.
// Done twice, it sends the same update and the fabric counts it once.
func (a *Agent) perform(ctx context.Context, item v1.Work) (round.Answer, error) {
	o, err := a.opts.read(item, a.id.trust)
	if err != nil {
		return round.Answer{}, err
	}
	if err := a.consented(o, item.Grants); err != nil {
		return round.Answer{}, err
	}
	// All the time that the stage can stay open, and some: whether an answer is
	// too late is for the fabric's clock to say.
	ctx, cancel := context.WithTimeout(traced(ctx, o.TraceID), o.matters()+time.Minute)
	defer cancel()
	if o.Secured {
		return a.secured(ctx, o, item)
	}
	work, from, err := a.contribute(ctx, o)
	if err != nil {
		return round.Answer{}, err
	}
	defer work.update.Close()
	answer, err := a.answer(ctx, o, work, from)
	if err := a.settle(o, err); err != nil {
		return answer, err
	}
	return answer, a.counted(o)
}

// compute does the work of an order on the rows as they are now.
func (a *Agent) compute(ctx context.Context, o order) (result, error) {
	rows, err := table.ReadFile(a.opts.Data)
	if err != nil {
		return result{}, fmt.Errorf("the site's rows: %w", err)
	}
	if err := trainer.Check(o.Params.Model, rows); err != nil {
		return result{}, err
	}
	train, held := rows.Split()
	if train.Len() < a.opts.MinRows {
		return result{}, fmt.Errorf("%w: too few rows to train on", ErrNotAllowed)
	}
	if o.Kind == round.Statistics {
		moments, err := trainer.Moments(train)
		if err != nil {
			return result{}, err
		}
		update, err := encoded(moments)
		return result{update, round.Metrics{Examples: int64(train.Len())}}, err
	}
	if o.Params.Model.Trainer == round.TrainerExec {
		return a.external(ctx, o, train, held)
	}
	base, err := a.base(ctx, o)
	if err != nil {
		return result{}, err
	}
	if o.Kind == round.Evaluate {
		return counted(trainer.Measure(o.Params.Model, o.Params.Measurement, base, held))
	}
	metrics, err := trainer.Evaluate(o.Params.Model, base, held)
	if err != nil {
		return result{}, err
	}
	update, err := a.train(ctx, o, base, train)
	if err != nil {
		return result{}, err
	}
	metrics.Examples = int64(train.Len())
	sent, err := encoded(update)
	return result{sent, metrics}, err
}

// counted is what an evaluation sends: its metrics, and where the run asks for
// more counts these, in the place of an update.
func counted(metrics round.Metrics, counts []int64, err error) (result, error) {
	if err != nil || counts == nil {
		return result{metrics: metrics}, err
	}
	update, err := encoded(measure.ToTensors(counts))
	return result{update, metrics}, err
}

// train runs the built-in trainer as the run's strategy and privacy have it.
func (a *Agent) train(ctx context.Context, o order, base artifact.Tensors, rows table.Table) (update artifact.Tensors, err error) {
	p := o.Params
	if p.Privacy.On() && p.Privacy.Unit == round.UnitExample {
		weight := min(rows.Len(), p.Secure.MaxExamples)
		return trainer.Clipped(ctx, p.Model, base, rows, p.LearningRate, p.Privacy.ClipNorm, weight)
	}
	set := trainer.Settings{Epochs: p.LocalEpochs, Batch: p.BatchSize, LearningRate: p.LearningRate}
	switch p.Strategy.Name {
	case round.FedProx:
		set.ProximalMu = p.Strategy.ProximalMu
	case round.Scaffold:
		if set.Variates, err = a.variates(ctx, o); err != nil {
			return nil, err
		}
	}
	seed := trainer.NewSeed(p.Seed, o.Number, a.opts.Tenant, a.opts.Site)
	if update, err = trainer.Train(ctx, p.Model, base, rows, set, seed.Rand()); err != nil {
		return nil, err
	}
	if set.Variates == nil {
		return update, nil
	}
	// What the site sends, not what it learnt, is what its own variate moves by.
	sent, err := clipped(o, update)
	if err != nil {
		return nil, err
	}
	return update, a.moved(o, set.Variates.Own, sent)
}

// clips says whether a whole update is clipped, which is done when it is
// encoded: where the site is the unit of privacy.
func (o order) clips() bool {
	p := o.Params.Privacy
	return o.Kind == round.Train && p.On() && p.Unit == round.UnitSite
}

// clipped returns an update as it goes into the sum.
func clipped(o order, update artifact.Tensors) (artifact.Tensors, error) {
	if !o.clips() {
		return update, nil
	}
	var parts [][]float32
	out := slices.Clone(update)
	for i, t := range out {
		out[i].F32 = slices.Clone(t.F32)
		parts = append(parts, out[i].F32)
	}
	_, err := dp.Clip(o.ClipNorm(), parts...)
	return out, err
}

// external trains with the operator's program, or measures weights that it has
// trained: neither is held in memory.
func (a *Agent) external(ctx context.Context, o order, train, held table.Table) (result, error) {
	path, err := a.save(ctx, o.Base, a.opts.largest(round.TrainerExec))
	if err != nil {
		return result{}, fmt.Errorf("base weights: %w", err)
	}
	defer os.Remove(path) // the program has it by then
	if o.Kind == round.Evaluate {
		weights, err := os.Open(path)
		if err != nil {
			return result{}, err
		}
		defer weights.Close()
		return counted(trainer.MeasureAt(o.Params.Model, o.Params.Measurement, weights, o.Base.SizeBytes, held))
	}
	got, err := a.opts.Program.Train(ctx, program.Job{
		Run: o.Run, Round: o.Number, Tenant: a.opts.Tenant, Site: a.opts.Site, Params: o.Params,
		Seed:    trainer.NewSeed(o.Params.Seed, o.Number, a.opts.Tenant, a.opts.Site).Uint63(),
		Weights: func(to string) error { return os.Rename(path, to) }, Train: train, Held: held,
	})
	if err != nil {
		return result{}, err
	}
	return result{&content{Descriptor: got.Written, ReaderAt: got.Update, close: got.Update.Close}, got.Metrics}, nil
}

// base downloads the weights that the order names.
func (a *Agent) base(ctx context.Context, o order) (artifact.Tensors, error) {
	text, err := a.fetch(ctx, o.Base, maxBuiltIn)
	if err != nil {
		return nil, fmt.Errorf("base weights: %w", err)
	}
	tensors, err := artifact.ParseTensors(text)
	if err != nil {
		return nil, fmt.Errorf("base weights: %w", err)
	}
	return tensors, nil
}

// answer uploads the update, then submits the signed answer that names it.
func (a *Agent) answer(ctx context.Context, o order, work result, from int) (round.Answer, error) {
	answer := a.signs(o)
	answer.Metrics, answer.From = work.metrics, from
	req := v1.SubmissionRequest{
		Examples: work.metrics.Examples, From: from,
		Metrics: v1.SiteMetrics{Evaluated: work.metrics.Evaluated, Correct: work.metrics.Correct, LossMicros: work.metrics.LossMicros},
	}
	if work.update != nil {
		update, err := a.packed(o, work.update)
		if err != nil {
			return answer, fmt.Errorf("update: %w", err)
		}
		defer update.Close()
		answer.Update, req.Update = update.Digest, described(update.Descriptor)
		if err := a.upload(ctx, update); err != nil {
			return answer, err
		}
	}
	return answer, a.submit(ctx, o, answer, req)
}

// signs returns the answer to an order before it says anything.
func (a *Agent) signs(o order) round.Answer {
	return round.Answer{
		Run: o.Run, Number: o.Number, Kind: o.Kind, Tenant: a.opts.Tenant, Site: a.opts.Site, Region: a.opts.Region, Manifest: o.digest,
	}
}

func (a *Agent) upload(ctx context.Context, c *content) error {
	err := a.retry(ctx, func() error { return a.fabric.PutBlob(ctx, a.id.token(), c.Digest, c.SizeBytes, c) })
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return nil
}

// submit signs the answer and sends it. The signature is deterministic (RFC
// 6979), so that a repeated submission is the same to the byte.
func (a *Agent) submit(ctx context.Context, o order, answer round.Answer, req v1.SubmissionRequest) error {
	name := fmt.Sprintf("%s/%d %s/%s", o.Run, o.Number, a.opts.Tenant, a.opts.Site)
	statement, err := artifact.NewStatement(name, answer.Subject(), artifact.PredicateSubmission, answer)
	if err != nil {
		return err
	}
	bundle, err := artifact.SignStatement(nil, a.id.key, statement)
	if err != nil {
		return err
	}
	req.Bundle = string(bundle)
	if err := a.retry(ctx, func() error { return a.fabric.Submit(ctx, a.id.token(), o.Run, o.Number, req) }); err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	return nil
}

func described(d artifact.Descriptor) v1.Descriptor {
	return v1.Descriptor{Digest: string(d.Digest), SizeBytes: d.SizeBytes, MediaType: d.MediaType}
}

func descriptor(d v1.Descriptor) artifact.Descriptor {
	return artifact.Descriptor{Digest: artifact.Digest(d.Digest), SizeBytes: d.SizeBytes, MediaType: d.MediaType}
}

// retry repeats a call until it is answered, refused for good, or ctx ends. A
// token that has run out is renewed once on the way.
func (a *Agent) retry(ctx context.Context, call func() error) error {
	waiting, renewed := backoff{}, false
	for {
		err := call()
		switch {
		case err == nil:
			return nil
		case unauthorised(err) && !renewed:
			renewed = true
			a.id.forget()
			if err := a.enrol(ctx); errors.Is(err, ErrRefused) {
				return err
			}
			continue
		case final(err) || errors.Is(err, ErrContent) && waiting.failures >= 2:
			return err
		}
		waiting.sleep(ctx)
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}
