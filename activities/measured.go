package activities

import (
	"context"
	"fmt"
	"io"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

// maxCounts bounds a stored vector of counts, with its header.
const maxCounts = 8*round.MaxMeasured + 1<<16

// counts reads what a site or a region counted.
// Errors: [measure.ErrCounts]; those of the format; those of the store.
func counts(m round.Measurement, content io.Reader) ([]int64, error) {
	tensors, err := artifact.ReadTensors(content, maxCounts)
	if err != nil {
		return nil, err
	}
	return measure.FromTensors(tensors, m.Len())
}

// checkCounts reads the counts of an evaluation, or says why they do not count.
// A site that counts more rows than it evaluated is not believed at all.
func (a *Aggregate) checkCounts(ctx context.Context, manifest round.Manifest, s Submission) (reason string, err error) {
	if s.Update.Digest == "" {
		return measure.ErrCounts.Error(), nil
	}
	counted, err := a.countsOf(ctx, manifest, s)
	switch {
	case unusable(err):
		return err.Error(), nil
	case err != nil:
		return "", err // the store is away: retried
	case !measure.Possible(manifest.Params.Measurement, counted, s.Metrics.Evaluated):
		return "its counts are not possible", nil
	}
	return "", nil
}

func (a *Aggregate) countsOf(ctx context.Context, manifest round.Manifest, s Submission) ([]int64, error) {
	content, err := a.Blobs.Open(ctx, s.Update.Digest)
	if err != nil {
		return nil, fmt.Errorf("counts of %s/%s: %w", s.Tenant, s.Site, err)
	}
	defer content.Close()
	return counts(manifest.Params.Measurement, content)
}

// addCounts stores the sum of what the sites of an evaluation counted. Integers:
// no order matters.
func (a *Aggregate) addCounts(ctx context.Context, manifest round.Manifest, usable []Submission) (artifact.Descriptor, error) {
	var sum []int64
	for _, s := range usable {
		counted, err := a.countsOf(ctx, manifest, s)
		if err != nil {
			return artifact.Descriptor{}, err
		}
		if sum, err = measure.Add(sum, counted); err != nil {
			return artifact.Descriptor{}, err
		}
	}
	return keepTensors(ctx, a.Blobs, measure.ToTensors(sum))
}

// combineCounts adds what the regions counted.
func (a *Aggregate) combineCounts(ctx context.Context, in contract.CombineInput, groups []contract.RegionResult) (artifact.Digest, error) {
	var sum []int64
	for _, g := range groups {
		if g.Partial.Digest == "" {
			continue
		}
		tensors, err := readTensors(ctx, a.Blobs, g.Partial.Digest)
		if err != nil {
			return "", err
		}
		counted, err := measure.FromTensors(tensors, in.Params.Measurement.Len())
		if err != nil {
			return "", permanent(contract.BadUpdate, err)
		}
		if sum, err = measure.Add(sum, counted); err != nil {
			return "", permanent(contract.BadUpdate, err)
		}
	}
	if sum == nil {
		return "", nil
	}
	kept, err := keepTensors(ctx, a.Blobs, measure.ToTensors(sum))
	return kept.Digest, err
}
