package canary

import (
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Kinds of fact.
const (
	FactStep   = "step"   // a share was given
	FactLook   = "look"   // somebody looked
	FactHold   = "hold"   // a person is asked
	FactAsk    = "ask"    // a ballot ended
	FactPause  = "pause"  // by a person
	FactResume = "resume" // by a person
	FactAbort  = "abort"  // by a person
	FactBack   = "back"   // to what served before
	FactEnd    = "end"
)

// A Fact is one thing that happened in a rollout.
type Fact struct {
	Number  int             `json:"number"` // from 1, without a gap
	Kind    string          `json:"kind"`
	At      time.Time       `json:"at"`
	Step    Step            `json:"step"`
	Verdict Verdict         `json:"verdict,omitempty"`
	Actor   string          `json:"actor,omitempty"`
	Words   string          `json:"words,omitempty"`
	Look    artifact.Digest `json:"look,omitempty"`
}
