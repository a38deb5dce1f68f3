package round

import "github.com/atom-fabric/fabric/domain/artifact"

// An Answer is what a site signs when it submits: the predicate of a statement
// of type [artifact.PredicateSubmission] about the update's digest, or about
// the manifest's in a round without one. It names the manifest, so that an
// answer to one round is none to another.
type Answer struct {
	Run      string          `json:"run"`
	Number   int             `json:"number"`
	Kind     Kind            `json:"kind"`
	Tenant   string          `json:"tenant"` // of the site
	Site     string          `json:"site"`
	Region   string          `json:"region"`
	Manifest artifact.Digest `json:"manifest"`
	Update   artifact.Digest `json:"update,omitempty"`
	Metrics  Metrics         `json:"metrics"`         // zero in a secured round: they ride inside the masked vector
	Stage    Stage           `json:"stage,omitempty"` // empty is [StageUpdate]
	From     int             `json:"from,omitempty"`  // train round whose weights a late update started from; 0 is this one. Always 0 in a secured round
}

// Subject returns the digest that the statement is about.
func (a Answer) Subject() artifact.Digest {
	if a.Update == "" {
		return a.Manifest
	}
	return a.Update
}
