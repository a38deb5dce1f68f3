package secagg

import (
	"errors"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A State is what a site has committed itself to in one aggregation: the digest
// of each message that it acted on, and of what it sent where that is not a
// function of those. It holds no secret. The agent stores the state before it
// sends what a stage returned, so that not even a crash in between lets a
// different message in.
type State struct {
	Advertisement artifact.Digest `json:"advertisement,omitempty"` // own entry: spec and round secret
	Roster        artifact.Digest `json:"roster,omitempty"`
	Inbox         artifact.Digest `json:"inbox,omitempty"`
	Vector        artifact.Digest `json:"vector,omitempty"`
	Set           artifact.Digest `json:"set,omitempty"`
	Aborted       string          `json:"aborted,omitempty"` // why nothing is sent any more
}

// pin commits a field of the state, or refuses a second value.
// Errors: [ErrChanged].
func pin(field *artifact.Digest, value artifact.Digest) error {
	if *field != "" && *field != value {
		return ErrChanged
	}
	*field = value
	return nil
}

// fatal says whether a refusal shows that the coordinator lies or that the
// group has become too small. The site then leaves the round: a second try
// could be the second half of an attack. Messages that are merely none of this
// stage, or cannot be read, may have strayed and change nothing.
func fatal(err error) bool {
	for _, stray := range []error{ErrForeign, ErrStage, ErrSender, ErrCall, ErrForm, ErrSpec, ErrInfeasible} {
		if errors.Is(err, stray) {
			return false
		}
	}
	return true
}
