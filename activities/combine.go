package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
)

// CombineRegions turns what the groups deliver into the weights after the
// round, and into the state of the run's strategy. Idempotent: the same sums
// give the same bits, and weights and state are stored by digest. A round that
// only evaluates returns the weights and the state that it was given, one of
// statistics the state. Heartbeats once per group.
// Final: [contract.BadUpdate] when nothing can be divided, too little is left
// for a robust rule, or the result does not fit into the weights.
func (a *Aggregate) CombineRegions(ctx context.Context, in contract.CombineInput) (contract.Combined, error) {
	out := contract.Combined{Weights: in.Base, State: in.State, Clip: in.Clip}
	var groups []contract.RegionResult
	for _, g := range in.Regions {
		if g.Cause == "" {
			groups = append(groups, g)
			out.Metrics = out.Metrics.Add(g.Metrics)
		}
	}
	var err error
	if in.Kind == round.Evaluate {
		if in.Params.Measurement.On() {
			out.Metrics.Measured, err = a.combineCounts(ctx, in, groups)
		}
		return out, about(in.Run, in.Number, err)
	}
	switch slices.SortStableFunc(groups, func(a, b contract.RegionResult) int { return cmp.Compare(a.Region, b.Region) }); {
	case len(groups) == 0:
		err = ErrNobody
	case in.Kind == round.Statistics:
		out.Weights, err = a.normalise(ctx, in, groups)
	default:
		out.Weights, out.State, err = a.step(ctx, in, groups)
		if err == nil {
			out.Clip, err = nextClip(in, groups)
		}
	}
	if hopeless(err) {
		err = permanent(contract.BadUpdate, err)
	}
	if err != nil {
		return contract.Combined{}, about(in.Run, in.Number, err)
	}
	return out, nil
}

// nextClip returns the clipping norm of the next round. The groups' counts come
// with noise in them, and the round's own norm is in the signed manifest.
func nextClip(in contract.CombineInput, groups []contract.RegionResult) (float64, error) {
	if !in.Params.Privacy.Adaptive.On() {
		return in.Clip, nil
	}
	counts := make([]payload.Count, len(groups))
	for i, g := range groups {
		counts[i] = payload.Count{Sites: g.Counts.Accepted, Within: g.Within}
	}
	return payload.NextClip(in.Params.Privacy, in.Clip, counts)
}

// normalise moves the normalisation of the weights to the groups' moments.
func (a *Aggregate) normalise(ctx context.Context, in contract.CombineInput, groups []contract.RegionResult) (artifact.Descriptor, error) {
	moments, err := a.mean(ctx, in.Params.Model.Update(in.Kind), groups)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	mean, err := readTensors(ctx, a.Blobs, moments.Digest)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	return keepWritten(ctx, a.Blobs, func(dst io.Writer) error {
		return aggregate.Normalise(beating{ctx, dst}, in.Params.Model, a.opens(ctx, in.Base), mean)
	})
}

// step takes the strategy's step along what the groups' updates amount to.
func (a *Aggregate) step(ctx context.Context, in contract.CombineInput, groups []contract.RegionResult) (weights, state artifact.Descriptor, err error) {
	s, spec := in.Params.Strategy, in.Params.Model
	direction, err := a.direction(ctx, in, groups)
	if err != nil {
		return weights, state, err
	}
	sources := aggregate.StepSources{Base: a.opens(ctx, in.Base), Mean: a.opens(ctx, direction)}
	if in.State.Digest != "" {
		sources.State = a.opens(ctx, in.State)
	}
	if s.Name == round.Scaffold {
		if sources.Answered, sources.All, err = a.share(ctx, in, groups); err != nil {
			return weights, state, err
		}
	}
	weights, err = keepWritten(ctx, a.Blobs, func(dst io.Writer) error { return aggregate.StepWeights(beating{ctx, dst}, spec, s, sources) })
	if err != nil || !s.Stateful() {
		return weights, state, err
	}
	state, err = keepWritten(ctx, a.Blobs, func(dst io.Writer) error { return aggregate.StepState(beating{ctx, dst}, spec, s, sources) })
	return weights, state, err
}

// direction stores what the groups' updates amount to, by the strategy's rule:
// their weighted mean, or what a robust rule makes of single updates where the
// round was open, and of the groups' means where it was not.
func (a *Aggregate) direction(ctx context.Context, in contract.CombineInput, groups []contract.RegionResult) (artifact.Descriptor, error) {
	s := in.Params.Strategy
	want := s.Update(in.Params.Model, in.Kind)
	if in.Params.Buffers(in.Kind) {
		groups = perUpdate(groups)
	}
	if !s.Robust() {
		return a.mean(ctx, want, groups)
	}
	if groups[0].Updates.Digest == "" {
		for i := range want {
			want[i].DType = artifact.F64 // means are; a round is open in all groups, or in none
		}
	}
	var vectors []aggregate.VectorSource
	for _, g := range groups {
		some, err := a.vectors(ctx, in, want, g)
		if err != nil {
			return artifact.Descriptor{}, err
		}
		vectors = append(vectors, some...)
	}
	slices.SortStableFunc(vectors, func(a, b aggregate.VectorSource) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Site, b.Site))
	})
	return keepWritten(ctx, a.Blobs, func(dst io.Writer) error {
		_, err := aggregate.MergeRobust(beating{ctx, dst}, want, s, vectors)
		return err
	})
}

// vectors returns what a group gives a robust rule to choose from.
func (a *Aggregate) vectors(ctx context.Context, in contract.CombineInput, want []round.TensorSpec, g contract.RegionResult) ([]aggregate.VectorSource, error) {
	if g.Updates.Digest == "" {
		mean, err := a.mean(ctx, want, []contract.RegionResult{g})
		return []aggregate.VectorSource{{Tenant: g.Region, Site: "mean", Open: a.opens(ctx, mean)}}, err
	}
	var updates []singleUpdate
	if err := decode(ctx, a.Blobs, g.Updates.Digest, contract.BadUpdate, &updates); err != nil {
		return nil, within(err, "updates of %s", g.Region)
	}
	var vectors []aggregate.VectorSource
	form := round.Manifest{Kind: in.Kind, Number: in.Number, Params: in.Params} // of updates
	for _, u := range updates {
		open := func() (io.ReadCloser, error) { return a.openUpdate(ctx, form, u.Update) }
		vectors = append(vectors, aggregate.VectorSource{Tenant: u.Tenant, Site: u.Site, Open: open})
	}
	return vectors, nil
}

// mean stores the sums of groups, divided by their weights.
func (a *Aggregate) mean(ctx context.Context, want []round.TensorSpec, groups []contract.RegionResult) (artifact.Descriptor, error) {
	var sources []aggregate.RegionSource
	for _, g := range groups {
		activity.RecordHeartbeat(ctx, g.Region)
		if g.Partial.Digest == "" {
			return artifact.Descriptor{}, permanent(contract.BadUpdate, fmt.Errorf("sum of %s: %w", g.Region, ErrNobody))
		}
		content, err := a.Blobs.Open(ctx, g.Partial.Digest)
		if err != nil {
			return artifact.Descriptor{}, fmt.Errorf("sum of %s: %w", g.Region, err)
		}
		defer content.Close()
		source := aggregate.RegionSource{Region: g.Region, Examples: g.Metrics.Examples, Content: content}
		if g.Weight != 0 {
			source.Examples, source.Thousandths = g.Weight/1000, g.Weight%1000
		}
		sources = append(sources, source)
	}
	return keepWritten(ctx, a.Blobs, func(dst io.Writer) error {
		_, err := aggregate.MergeMean(beating{ctx, dst}, want, sources)
		return err
	})
}

// share returns how many sites answered, of those that the round's cohort was
// drawn from.
func (a *Aggregate) share(ctx context.Context, in contract.CombineInput, groups []contract.RegionResult) (answered, all int64, err error) {
	manifest, _, err := loadManifest(ctx, a.Blobs, a.Rounds, contract.StageRef{Subject: in.Subject, Run: in.Run, Number: in.Number})
	if err != nil {
		return 0, 0, err
	}
	for _, g := range groups {
		answered += int64(g.Counts.Accepted)
	}
	return answered, int64(manifest.Enrolled), nil
}

// opens returns how to read a blob from its start. What is read is compared
// with its digest by the time its end is there.
func (a *Aggregate) opens(ctx context.Context, blob artifact.Descriptor) aggregate.Open {
	return func() (io.ReadCloser, error) { return a.Blobs.Open(ctx, blob.Digest) }
}

// beating is a writer that reports to the server that its activity lives: a
// large model takes longer to write than a worker may be silent.
type beating struct {
	ctx context.Context
	io.Writer
}

func (b beating) Write(p []byte) (int, error) {
	activity.RecordHeartbeat(b.ctx)
	return b.Writer.Write(p)
}

// hopeless tells what would fail again on the same content from a store that
// failed.
func hopeless(err error) bool {
	for _, fault := range []error{
		ErrNobody, aggregate.ErrNoUpdates, aggregate.ErrDuplicate, aggregate.ErrOrder, aggregate.ErrState, aggregate.ErrShare, round.ErrInfeasible,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	var param *round.ParamError
	return errors.As(err, &param) || unusable(err)
}
