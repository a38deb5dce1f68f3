// Package approval decides who must agree to an action, which votes count, and
// when a ballot is over.
//
// Invariant: a vote counts because its signature verified and its signer may
// decide this very action; how the vote arrived never matters. Expiry rejects.
package approval

import (
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// An Action is exactly what will be done if the ballot passes.
type Action struct {
	ID          string          `json:"id"`
	Kind        string          `json:"kind"` // "promotion", "policy", "tuning", "leave-simulation"
	Tenant      string          `json:"tenant"`
	Summary     string          `json:"summary"` // one line for the approver
	Environment string          `json:"environment"`
	Plan        artifact.Digest `json:"plan"`               // the plan that apply will run, byte for byte
	Risk        int             `json:"risk"`               // 0..100
	Loosens     bool            `json:"loosens,omitempty"`  // takes protection away, or cannot be told not to
	Rollback    bool            `json:"rollback,omitempty"` // back to what served here before
}

// An Approver may vote. Key is the digest of the DER SPKI of the public key.
type Approver struct {
	Name      string          `json:"name"`
	Role      string          `json:"role"`
	Key       artifact.Digest `json:"key"`
	PublicKey string          `json:"publicKey"` // PEM, ECDSA P-256
}

// A Request opens a ballot.
type Request struct {
	Action     Action     `json:"action"`
	Requester  string     `json:"requester"`        // may not vote
	Need       int        `json:"need"`             // distinct people that must approve
	Roles      []string   `json:"roles"`            // roles that may vote
	Seats      [][]string `json:"seats,omitempty"`  // the roles that may fill each of the Need seats; absent: any of Roles
	Approvers  []Approver `json:"approvers"`        // eligible people when the ballot opened
	Barred     []Approver `json:"barred,omitempty"` // the requester's own keys, so that their vote is told why
	Nonce      string     `json:"nonce"`            // issued once, named by every vote
	OpenedAt   time.Time  `json:"openedAt"`
	TTLSeconds int64      `json:"ttlSeconds"`
}

// Expires returns when the ballot is rejected for want of votes.
func (r Request) Expires() time.Time {
	return r.OpenedAt.Add(time.Duration(r.TTLSeconds) * time.Second)
}

// A Predicate is what an approver signs, as the predicate of an in-toto
// statement whose subject digest is Action.Plan.
type Predicate struct {
	Decision  string    `json:"decision"` // "approve" or "reject"
	Action    string    `json:"action"`   // Action.ID
	Kind      string    `json:"kind"`
	Nonce     string    `json:"nonce"`
	Approver  string    `json:"approver"`
	Reason    string    `json:"reason,omitempty"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// A Vote is a verified vote, or one that was refused and why.
type Vote struct {
	Approver  string          `json:"approver"`
	Role      string          `json:"role"`
	Key       artifact.Digest `json:"key"`
	Approve   bool            `json:"approve"`
	Reason    string          `json:"reason,omitempty"`
	Statement artifact.Digest `json:"statement"`         // sha256 of payload type and payload: the vote's identity
	Refused   string          `json:"refused,omitempty"` // why it does not count; empty when it may
	At        time.Time       `json:"at"`
}

// An Outcome is how a ballot stands.
type Outcome string

const (
	Pending  Outcome = "pending"
	Approved Outcome = "approved"
	Rejected Outcome = "rejected"
	Expired  Outcome = "expired"
)

// A Ballot is a request with the votes so far.
type Ballot struct {
	Request Request `json:"request"`
	Votes   []Vote  `json:"votes"`   // that count
	Refused []Vote  `json:"refused"` // that do not, at most 100, latest last
	Outcome Outcome `json:"outcome"`
}
