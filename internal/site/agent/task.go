package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/program"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// ErrWeights says that the base weights are not the ones that the order names.
var ErrWeights = errors.New("the base weights are not the ones that the order names")

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

	rows, err := table.ReadFile(a.opts.Data)
	if err != nil {
		return round.Answer{}, fmt.Errorf("the site's rows: %w", err)
	}
	if err := trainer.Check(o.Params.Model, rows); err != nil {
		return round.Answer{}, err
	}
	train, held := rows.Split()
	if train.Len() < a.opts.MinRows {
		return round.Answer{}, fmt.Errorf("%w: too few rows to train on", ErrNotAllowed)
	}
	work, err := a.work(ctx, o, train, held)
	if err != nil {
		return round.Answer{}, err
	}
	return a.answer(ctx, o, work)
}

// work computes the result of an order.
func (a *Agent) work(ctx context.Context, o order, train, held table.Table) (result, error) {
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
	seed := trainer.NewSeed(o.Params.Seed, o.Number, a.opts.Tenant, a.opts.Site)
	update, err := trainer.Train(ctx, o.Params.Model, base, train, trainer.Settings{
		Epochs: o.Params.LocalEpochs, Batch: o.Params.BatchSize, LearningRate: o.Params.LearningRate,
	}, seed.Rand())
	metrics.Examples = int64(train.Len())
	return result{update, metrics}, err
}

// run lets the operator's program train.
func (a *Agent) run(ctx context.Context, o order, weights []byte, train, held table.Table) (result, error) {
	got, err := a.opts.Program.Train(ctx, program.Job{
		Run: o.Run, Round: o.Number, Tenant: a.opts.Tenant, Site: a.opts.Site, Params: o.Params,
		Seed:    trainer.NewSeed(o.Params.Seed, o.Number, a.opts.Tenant, a.opts.Site).Uint63(),
		Weights: weights, Train: train, Held: held,
	})
	return result{got.Update, got.Metrics}, err
}

// base downloads the weights that the order names.
func (a *Agent) base(ctx context.Context, o order) ([]byte, artifact.Tensors, error) {
	if o.Base.SizeBytes > maxBase {
		return nil, nil, fmt.Errorf("%w: larger than %d bytes", ErrNotAllowed, maxBase)
	}
	var content []byte
	err := a.retry(ctx, func() (err error) {
		content, err = a.fabric.Blob(ctx, a.id.token(), o.Base.Digest)
		if err == nil && artifact.DigestOf(content) != o.Base.Digest {
			err = ErrWeights // cut short, or not ours: another download may do
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("base weights: %w", err)
	}
	tensors, err := artifact.ParseTensors(content)
	if err != nil {
		return nil, nil, fmt.Errorf("base weights: %w", err)
	}
	return content, tensors, nil
}

// answer uploads the update, then submits the signed answer that names it.
func (a *Agent) answer(ctx context.Context, o order, work result) (round.Answer, error) {
	answer := round.Answer{
		Run: o.Run, Number: o.Number, Kind: o.Kind, Tenant: a.opts.Tenant, Site: a.opts.Site, Region: a.opts.Region,
		Manifest: o.digest, Metrics: work.metrics,
	}
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
		answer.Update = update.Digest
		req.Update = v1.Descriptor{Digest: string(update.Digest), SizeBytes: update.SizeBytes, MediaType: update.MediaType}
		if err := a.retry(ctx, func() error { return a.fabric.PutBlob(ctx, a.id.token(), update.Digest, content) }); err != nil {
			return answer, fmt.Errorf("upload: %w", err)
		}
	}
	name := fmt.Sprintf("%s/%d %s/%s", o.Run, o.Number, a.opts.Tenant, a.opts.Site)
	statement, err := artifact.NewStatement(name, answer.Subject(), artifact.PredicateSubmission, answer)
	if err != nil {
		return answer, err
	}
	bundle, err := artifact.SignStatement(rand.Reader, a.id.key, statement)
	if err != nil {
		return answer, err
	}
	req.Bundle = string(bundle)
	err = a.retry(ctx, func() error { return a.fabric.Submit(ctx, a.id.token(), o.Run, o.Number, req) })
	if err != nil {
		return answer, fmt.Errorf("submission: %w", err)
	}
	return answer, nil
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
		case final(err) || errors.Is(err, ErrWeights) && waiting.failures >= 2:
			return err
		}
		waiting.sleep(ctx)
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}
