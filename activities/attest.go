package activities

import (
	"context"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/round"
)

// AttestRound writes down what will be said of a round's weights, as the
// predicate of [artifact.PredicateRound]. Idempotent: it is a function of rows
// that no longer change. Final: [contract.BadPlan] when the round's manifest is
// not one.
func (r *Round) AttestRound(ctx context.Context, in contract.AttestInput) (artifact.Descriptor, error) {
	var manifest round.Manifest
	if err := decode(ctx, r.Blobs, in.Manifest.Digest, contract.BadPlan, &manifest); err != nil {
		return artifact.Descriptor{}, about(in.Run, in.Number, err)
	}
	taken, began, err := r.Rounds.Answers(ctx, in.Tenant, in.Run, in.Number)
	if err != nil {
		return artifact.Descriptor{}, about(in.Run, in.Number, err)
	}
	delivered := make(map[string]bool, len(in.Regions))
	var counts round.Counts
	for _, g := range in.Regions {
		delivered[g.Region] = true
		counts.Selected += g.Counts.Selected
		counts.Accepted += g.Counts.Accepted
		counts.Rejected += g.Counts.Rejected
	}
	var answers []provenance.Answer
	for _, a := range taken {
		if delivered[a.Group] {
			answers = append(answers, provenance.Answer{Site: a.Tenant + "/" + a.Site, Bundle: a.Bundle})
		}
	}
	predicate, err := provenance.Of(provenance.Input{
		Manifest: manifest, Digest: in.Manifest.Digest, Previous: in.Previous,
		Weights: in.Weights, State: in.State.Digest, Metrics: in.Metrics,
		Groups: len(in.Regions), Counts: counts, Answers: answers, StartedAt: began,
	})
	if err != nil {
		return artifact.Descriptor{}, permanent(contract.BadPlan, about(in.Run, in.Number, err))
	}
	kept, err := keep(ctx, r.Blobs, artifact.MediaTypePredicate, predicate)
	if err != nil {
		return artifact.Descriptor{}, about(in.Run, in.Number, err)
	}
	return kept, nil
}
