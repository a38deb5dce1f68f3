// Package audit is what the audit log holds and how it is proved: leaves, the
// RFC 6962 tree over them, and checkpoints.
//
// Invariant: a leaf, once numbered, never changes; the tree of n leaves is a
// prefix of the tree of n+1.
package audit

import (
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Leaf is one entry. It names content by digest and holds no personal data.
type Leaf struct {
	V         int             `json:"v"` // 1
	At        time.Time       `json:"at"`
	Kind      string          `json:"kind"` // "feature.registered", "round.closed", "vote.counted", ...
	Tenant    string          `json:"tenant"`
	Actor     string          `json:"actor"`
	Subject   string          `json:"subject"`             // "run/<id>", "promotion/<id>", ...
	Digest    artifact.Digest `json:"digest,omitempty"`    // of what it is about
	Statement artifact.Digest `json:"statement,omitempty"` // of the signed statement
	Previous  string          `json:"previous,omitempty"`  // state before
	State     string          `json:"state,omitempty"`     // state after
	TraceID   string          `json:"traceId,omitempty"`
	Simulated bool            `json:"simulated,omitempty"`
	// Salt is 128 random bits in base64url. Every tenant sees every hash; without
	// it a hash would tell whoever can guess the leaf that the guess is right.
	Salt string `json:"salt,omitempty"`
}
