// Package provenance says where weights come from: what a round started from,
// who took part, how their answers became one, what it may have told of a row,
// and which round came before.
//
// Invariant: the statement of a round is a function of what was written when
// its stages closed, so making it again says the same words; and it names the
// statement before it, so that the last one vouches for all of them.
package provenance

import (
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
)

// A Round is the predicate about the weights that a round left.
type Round struct {
	Tenant       string             `json:"tenant"`
	Model        string             `json:"model"`
	Run          string             `json:"run"`
	Number       int                `json:"number"`
	Kind         round.Kind         `json:"kind"`
	Previous     artifact.Digest    `json:"previous,omitempty"` // identity of the statement about the round before
	Manifest     artifact.Digest    `json:"manifest"`           // the signed order to the sites
	Base         artifact.Digest    `json:"base"`               // weights before
	SizeBytes    int64              `json:"sizeBytes"`          // of the weights after, which are the subject
	State        artifact.Digest    `json:"state,omitempty"`    // the server's optimiser after
	Aggregation  Aggregation        `json:"aggregation"`
	Participants Participants       `json:"participants"`
	Privacy      *Privacy           `json:"privacy,omitempty"` // absent: nothing beyond what aggregation hides
	Features     []round.FeatureRef `json:"features"`
	Metrics      round.Metrics      `json:"metrics"`
	StartedAt    time.Time          `json:"startedAt"`
	Simulation   bool               `json:"simulation"`
}

// Aggregation is how the answers became one. The manifest has every parameter.
type Aggregation struct {
	Strategy string `json:"strategy"`
	Rule     string `json:"rule,omitempty"` // robust rule; absent: the mean
	Secured  bool   `json:"secured"`        // only the sum was ever seen
	Ring     int    `json:"ring,omitempty"` // bits of an element of the ring
	Groups   int    `json:"groups"`         // sums that were combined
}

// Privacy is what the round may have told of one unit. Numbers are decimal
// text: they are compared by digest, never by value.
type Privacy struct {
	Mechanism       string `json:"mechanism"`
	Unit            string `json:"unit"`
	ClipNorm        string `json:"clipNorm"`
	NoiseMultiplier string `json:"noiseMultiplier"`
	Epsilon         string `json:"epsilon"` // of this round alone
	Delta           string `json:"delta"`
	Accountant      string `json:"accountant"`
}

// An Input is what was written about a round.
type Input struct {
	Manifest  round.Manifest
	Digest    artifact.Digest // of the manifest
	Previous  artifact.Digest
	Weights   artifact.Descriptor
	State     artifact.Digest
	Metrics   round.Metrics
	Groups    int
	Counts    round.Counts // over the groups that delivered
	Answers   []Answer
	StartedAt time.Time
}

// Of returns the predicate. Errors: those of [privacy.Of] and [dp.Epsilon], for
// a manifest that no round was planned by.
func Of(in Input) (Round, error) {
	m := in.Manifest
	spent, err := spending(m, in.Digest)
	if err != nil {
		return Round{}, fmt.Errorf("what round %d of %s has told: %w", m.Number, m.Run, err)
	}
	out := Round{
		Tenant: m.Tenant, Model: m.ModelID, Run: m.Run, Number: m.Number, Kind: m.Kind,
		Previous: in.Previous, Manifest: in.Digest, Base: m.Base.Digest, SizeBytes: in.Weights.SizeBytes, State: in.State,
		Aggregation:  Aggregation{Strategy: m.Params.Strategy.Name, Rule: m.Params.Strategy.Rule, Secured: m.Secured, Groups: in.Groups},
		Participants: participants(m, in),
		Privacy:      spent,
		Features:     slices.Clone(m.Features),
		Metrics:      in.Metrics,
		StartedAt:    in.StartedAt.UTC().Truncate(time.Microsecond),
		Simulation:   m.Simulation,
	}
	if m.Secured {
		out.Aggregation.Ring = m.Params.Secure.Ring
	}
	return out, nil
}

// spending is absent where nothing is promised: the round has no mechanism, or
// reads no row of the training data.
func spending(m round.Manifest, digest artifact.Digest) (*Privacy, error) {
	p := m.Params.Privacy
	cost, err := privacy.Of(m, digest)
	if err != nil || !cost.Private() {
		return nil, err
	}
	charge, err := dp.Epsilon(cost.Events, p.Delta)
	if err != nil {
		return nil, err
	}
	return &Privacy{
		Mechanism: p.Mechanism, Unit: p.Unit, ClipNorm: decimal(m.ClipNorm()), NoiseMultiplier: decimal(p.NoiseMultiplier),
		Epsilon: privacy.Amount(charge.Epsilon), Delta: decimal(p.Delta), Accountant: charge.Method,
	}, nil
}
