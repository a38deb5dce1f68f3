package activities

import (
	"context"
	"strings"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Scored keeps the scorecards of versions, and what they are made of.
type Scored interface {
	// CardFacts returns what is stored about a subject: its model's runs that are
	// over and the one that is named, and what the fabric saw of its rounds and
	// requests.
	CardFacts(ctx context.Context, subject scorecard.Subject, run string) (scorecard.Facts, error)
	// KeepCard writes the scorecard of a version. The newest counts; the same one
	// again changes nothing.
	KeepCard(ctx context.Context, tenant, model string, version int, card VersionCard) error
}

// A VersionCard is what a scorecard says of a version.
type VersionCard struct {
	Card     artifact.Digest
	Status   string
	Unproven string // why it does not let the version be promoted
}

// proves computes the scorecard of a version that was just registered and
// writes it down, so that a promotion finds it. Idempotent as far as it
// matters: a second run may see another round or request and write another card,
// of the same counts.
//
// A run that asked its sites to count nothing, and named no dimension as
// critical, is not gated: its card says nothing against it.
func (v *Version) proves(ctx context.Context, in contract.RegisterInput, version int) error {
	if v.Scored == nil {
		return nil
	}
	facts, err := v.Scored.CardFacts(ctx, scorecard.Subject{Tenant: in.Tenant, Model: in.ModelID, Version: version}, in.Run)
	if err != nil {
		return settled(err)
	}
	for i := range facts.Trials { // the run is not over: its row may still have the figures of an earlier round
		if facts.Trials[i].Run == in.Run {
			facts.Trials[i].Metrics = in.Metrics
		}
	}
	evidence, err := facts.Evidence(func(digest artifact.Digest) (artifact.Tensors, error) { return readTensors(ctx, v.Blobs, digest) })
	if err != nil {
		return err
	}
	card := scorecard.Judge(evidence)
	kept, err := keep(ctx, v.Blobs, mediaTypeCard, card)
	if err != nil {
		return err
	}
	said := VersionCard{Card: kept.Digest, Status: string(card.Status)}
	if gate := card.Gate(); evidence.Declares() && gate.Decision != scorecard.Open {
		said.Unproven = strings.Join(gate.Reasons, "; ")
	}
	// If we crash before this line, the version is registered without a card, and
	// the retry, which registers it again and changes nothing, writes the card.
	return settled(v.Scored.KeepCard(ctx, in.Tenant, in.ModelID, version, said))
}

// mediaTypeCard is the type of a version's card.
const mediaTypeCard = "application/vnd.fabric.version-card.v2+json"
