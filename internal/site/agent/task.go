package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/program"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// ErrContent says that what was downloaded is not what its digest names.
var ErrContent = errors.New("the content is not what its digest names")

// maxBase bounds the weights that a site takes.
const maxBase = 64 << 20

// A result is what goes out: an update, but in a round that only evaluates, and
// counts.
type result struct {
	update  artifact.Tensors
	metrics round.Metrics
}

// perform does what an order says, from its verification to its submission.
// Done twice, it sends the same update and the fabric counts it once.
func (a *Agent) perform(ctx context.Context, item v1.Work) (round.Answer, error) {
	o, err := a.opts.read(item, a.id.trust)
	if err != nil {
		return round.Answer{}, err
	}
	// All the time that the stage can stay open, and some: whether an answer is
	// too late is for the fabric's clock to say.
	open := time.Duration(o.Params.DeadlineSeconds) * time.Second * time.Duration(1+o.Params.Extensions)
	ctx, cancel := context.WithTimeout(traced(ctx, o.TraceID), open+time.Minute)
	defer cancel()
	if o.Secured {
		return a.secured(ctx, o, item)
	}
	work, err := a.compute(ctx, o)
	if err != nil {
		return round.Answer{}, err
	}
	answer, err := a.answer(ctx, o, work)
	if err != nil {
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
		return result{moments, round.Metrics{Examples: int64(train.Len())}}, err
	}
	content, base, err := a.base(ctx, o)
	if err != nil {
		return result{}, err
	}
	if o.Kind == round.Train && o.Params.Model.Trainer == round.TrainerExec {
		return a.run(ctx, o, content, train, held)
	}
	metrics, err := trainer.Evaluate(o.Params.Model, base, held)
	if err != nil || o.Kind == round.Evaluate {
		return result{metrics: metrics}, err
	}
	update, err := a.train(ctx, o, base, train)
	metrics.Examples = int64(train.Len())
	return result{update, metrics}, err
}

// train runs the built-in trainer as the run's strategy and privacy have it.
func (a *Agent) train(ctx context.Context, o order, base artifact.Tensors, rows table.Table) (artifact.Tensors, error) {
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
		var err error
		if set.Variates, err = a.variates(ctx, o); err != nil {
			return nil, err
		}
	}
	seed := trainer.NewSeed(p.Seed, o.Number, a.opts.Tenant, a.opts.Site)
	update, err := trainer.Train(ctx, p.Model, base, rows, set, seed.Rand())
	if err != nil {
		return nil, err
	}
	// What the site sends, not what it learnt, is what its own variate moves by.
	if err := clip(o, update); err != nil {
		return nil, err
	}
	if set.Variates != nil {
		err = a.moved(o, set.Variates.Own, update)
	}
	return update, err
}

// clip bounds a whole update where the site is the unit of privacy.
func clip(o order, update artifact.Tensors) error {
	if p := o.Params.Privacy; !p.On() || p.Unit != round.UnitSite {
		return nil
	}
	var parts [][]float32
	for _, t := range update {
		parts = append(parts, t.F32)
	}
	_, err := dp.Clip(o.Params.Privacy.ClipNorm, parts...)
	return err
}

// run lets the operator's program train.
func (a *Agent) run(ctx context.Context, o order, weights []byte, train, held table.Table) (result, error) {
	got, err := a.opts.Program.Train(ctx, program.Job{
		Run: o.Run, Round: o.Number, Tenant: a.opts.Tenant, Site: a.opts.Site, Params: o.Params,
		Seed:    trainer.NewSeed(o.Params.Seed, o.Number, a.opts.Tenant, a.opts.Site).Uint63(),
		Weights: weights, Train: train, Held: held,
	})
	if err != nil {
		return result{}, err
	}
	return result{got.Update, got.Metrics}, clip(o, got.Update)
}

// base downloads the weights that the order names.
func (a *Agent) base(ctx context.Context, o order) ([]byte, artifact.Tensors, error) {
	content, err := a.fetch(ctx, o.Base, maxBase)
	if err != nil {
		return nil, nil, fmt.Errorf("base weights: %w", err)
	}
	tensors, err := artifact.ParseTensors(content)
	if err != nil {
		return nil, nil, fmt.Errorf("base weights: %w", err)
	}
	return content, tensors, nil
}

// fetch downloads content and compares it with its digest.
func (a *Agent) fetch(ctx context.Context, d artifact.Descriptor, limit int64) (content []byte, err error) {
	if _, err := artifact.ParseDigest(string(d.Digest)); err != nil {
		return nil, err
	}
	if d.SizeBytes > limit {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrNotAllowed, limit)
	}
	err = a.retry(ctx, func() (err error) {
		content, err = a.fabric.Blob(ctx, a.id.token(), d.Digest)
		if err == nil && artifact.DigestOf(content) != d.Digest {
			err = ErrContent // cut short, or not ours: another download may do
		}
		return err
	})
	return content, err
}

// answer uploads the update, then submits the signed answer that names it.
func (a *Agent) answer(ctx context.Context, o order, work result) (round.Answer, error) {
	answer := a.signs(o)
	answer.Metrics = work.metrics
	req := v1.SubmissionRequest{
		Examples: work.metrics.Examples,
		Metrics:  v1.SiteMetrics{Evaluated: work.metrics.Evaluated, Correct: work.metrics.Correct, LossMicros: work.metrics.LossMicros},
	}
	if len(work.update) > 0 {
		content, err := work.update.Encode()
		if err != nil {
			return answer, fmt.Errorf("update: %w", err)
		}
		update := artifact.Describe(artifact.MediaTypeWeights, content)
		answer.Update, req.Update = update.Digest, described(update)
		if err := a.upload(ctx, update, content); err != nil {
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

func (a *Agent) upload(ctx context.Context, d artifact.Descriptor, content []byte) error {
	err := a.retry(ctx, func() error { return a.fabric.PutBlob(ctx, a.id.token(), d.Digest, content) })
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
