package provenance

import (
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// A Package is the predicate that vouches for a model package: which round made
// it, of which signed manifest, and what was measured.
type Package struct {
	Tenant     string          `json:"tenant"`
	Model      string          `json:"model"`
	Run        string          `json:"run"`
	Round      int             `json:"round"`
	Weights    artifact.Digest `json:"weights"`
	Manifest   artifact.Digest `json:"manifest"`             // of the round
	Provenance artifact.Digest `json:"provenance,omitempty"` // identity of the round's statement about the weights
	Metrics    round.Metrics   `json:"metrics"`
	Simulation bool            `json:"simulation"`
}
