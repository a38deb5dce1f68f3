package activities

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrNobody says that nobody delivered what could be added.
var ErrNobody = errors.New("no usable update was delivered")

// maxDropped bounds the names of dropped sites in a history; the rows name all.
const maxDropped = 10

// An Aggregate adds what sites and regions deliver. In memory are one sum and
// one update at a time, whatever the number of sites.
type Aggregate struct {
	Blobs  Blobs
	Rounds Rounds
}

// AggregateRegion closes the stage and adds what its sites sent. Idempotent: a
// closed stage returns the same submissions, their sum is the same to the bit,
// and it is stored by digest. A site whose update cannot be added is dropped
// and named; a region where all are is a result with a cause, not a failure.
// Heartbeats once per update.
func (a *Aggregate) AggregateRegion(ctx context.Context, in contract.StageRef) (contract.RegionResult, error) {
	result := contract.RegionResult{Region: in.Region}
	manifest, err := a.manifest(ctx, in)
	if err != nil {
		return result, err
	}
	// If we crash after this line, the stage is found closed, with the same
	// submissions in it.
	submissions, err := a.Rounds.CloseStage(ctx, in)
	if err != nil {
		return result, about(in.Run, in.Number, settled(err))
	}
	for _, c := range manifest.Cohort {
		if c.Region == in.Region {
			result.Counts.Selected = c.Sites
		}
	}
	sum := aggregate.NewSum(manifest.Params.Model, in.Kind)
	for _, s := range submissions {
		activity.RecordHeartbeat(ctx, s.Tenant+"/"+s.Site)
		reason, err := a.add(ctx, sum, manifest, s)
		if err != nil {
			return result, about(in.Run, in.Number, err)
		}
		if reason != "" {
			result.Counts.Rejected++
			if len(result.Dropped) < maxDropped {
				result.Dropped = append(result.Dropped, s.Tenant+"/"+s.Site+": "+reason)
			}
			continue
		}
		result.Counts.Accepted++
		result.Metrics = result.Metrics.Add(s.Metrics)
	}
	if result.Counts.Accepted == 0 {
		result.Cause = ErrNobody.Error()
		return result, nil
	}
	if in.Kind == round.Evaluate {
		return result, nil
	}
	partial, err := sum.Partial(in.Region)
	if err != nil {
		return result, permanent(contract.BadUpdate, about(in.Run, in.Number, err))
	}
	if result.Partial, err = keepTensors(ctx, a.Blobs, partial.Sum); err != nil {
		return result, about(in.Run, in.Number, err)
	}
	return result, nil
}

// add adds one submission, or returns why it does not count. What arrived was
// checked when it arrived; it is checked again because what is added cannot be
// taken out.
func (a *Aggregate) add(ctx context.Context, sum *aggregate.Sum, manifest round.Manifest, s Submission) (reason string, err error) {
	switch {
	case s.Reason != "":
		return s.Reason, nil
	case !s.Metrics.Possible():
		return "its counts are not possible", nil
	case manifest.Kind == round.Evaluate:
		return "", nil
	}
	tensors, err := a.update(ctx, manifest, s)
	if err == nil {
		err = sum.Add(aggregate.Update{Tenant: s.Tenant, Site: s.Site, Examples: s.Metrics.Examples, Tensors: tensors})
	}
	switch {
	case err == nil:
		return "", nil
	case unusable(err):
		return err.Error(), nil
	default:
		return "", err // the store is away, or the order is not the port's: retried
	}
}

// update reads an update twice: to check it to its end, then to have it. Both
// reads see the same bytes, because they are compared with one digest.
func (a *Aggregate) update(ctx context.Context, manifest round.Manifest, s Submission) (artifact.Tensors, error) {
	if s.Update.Digest == "" {
		return nil, round.ErrTensors
	}
	content, err := a.Blobs.Open(ctx, s.Update.Digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if err := round.CheckUpdate(manifest.Params.Model, manifest.Kind, content); err != nil {
		return nil, err
	}
	return readTensors(ctx, a.Blobs, s.Update.Digest)
}

// unusable tells an update that is wrong from a store that failed.
func unusable(err error) bool {
	for _, fault := range []error{
		aggregate.ErrShape, aggregate.ErrExamples,
		round.ErrTensors, round.ErrNotFinite,
		artifact.ErrHeaderLength, artifact.ErrHeader, artifact.ErrTensorName, artifact.ErrTensorOrder, artifact.ErrDType,
		artifact.ErrShape, artifact.ErrLayout, artifact.ErrTruncated, artifact.ErrTail, artifact.ErrTooLarge,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// manifest reads what the round was begun with.
func (a *Aggregate) manifest(ctx context.Context, in contract.StageRef) (round.Manifest, error) {
	var manifest round.Manifest
	begun, _, ok, err := a.Rounds.Begun(ctx, in.Tenant, in.Run, in.Number)
	if err == nil && !ok {
		err = settled(fmt.Errorf("its row: %w", ErrNotFound))
	}
	if err != nil {
		return manifest, about(in.Run, in.Number, err)
	}
	if err := decode(ctx, a.Blobs, begun.Digest, contract.BadPackage, &manifest); err != nil {
		return manifest, about(in.Run, in.Number, err)
	}
	return manifest, nil
}

// CombineRegions turns the regions' sums into the weights after the round.
// Idempotent: the same sums give the same bits, and the weights are stored by
// digest. A round that only evaluates returns the weights that it was given.
// Final: [contract.BadUpdate] when nothing can be divided or the result does
// not fit into the weights.
func (a *Aggregate) CombineRegions(ctx context.Context, in contract.CombineInput) (contract.Combined, error) {
	out := contract.Combined{Weights: in.Base}
	var partials []aggregate.Partial
	for _, region := range in.Regions {
		if region.Cause != "" {
			continue
		}
		out.Metrics = out.Metrics.Add(region.Metrics)
		if in.Kind == round.Evaluate {
			continue
		}
		activity.RecordHeartbeat(ctx, region.Region)
		if region.Partial.Digest == "" {
			return out, permanent(contract.BadUpdate, about(in.Run, in.Number, fmt.Errorf("sum of region %s: %w", region.Region, ErrNobody)))
		}
		sum, err := readTensors(ctx, a.Blobs, region.Partial.Digest)
		if unusable(err) {
			return out, permanent(contract.BadUpdate, about(in.Run, in.Number, within(err, "sum of region %s", region.Region)))
		}
		if err != nil {
			return out, about(in.Run, in.Number, err)
		}
		partials = append(partials, aggregate.Partial{Region: region.Region, Examples: region.Metrics.Examples, Sum: sum})
	}
	if in.Kind == round.Evaluate {
		return out, nil
	}
	base, err := readTensors(ctx, a.Blobs, in.Base.Digest)
	if unusable(err) {
		return out, permanent(contract.BadUpdate, about(in.Run, in.Number, err))
	}
	if err != nil {
		return out, about(in.Run, in.Number, err)
	}
	weights, err := combine(in, base, partials)
	if err != nil {
		return out, permanent(contract.BadUpdate, about(in.Run, in.Number, err))
	}
	if out.Weights, err = keepTensors(ctx, a.Blobs, weights); err != nil {
		return out, about(in.Run, in.Number, err)
	}
	return out, nil
}

func combine(in contract.CombineInput, base artifact.Tensors, partials []aggregate.Partial) (artifact.Tensors, error) {
	if len(partials) == 0 {
		return nil, ErrNobody
	}
	mean, err := aggregate.Mean(in.Params.Model, in.Kind, partials)
	if err != nil {
		return nil, err
	}
	return aggregate.Apply(in.Params.Model, in.Kind, base, mean)
}
