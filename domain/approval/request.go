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
	Kind        string          `json:"kind"` // "promotion", "policy", "tuning", "review", "leave-simulation"
	Tenant      string          `json:"tenant"`
	Summary     string          `json:"summary"` // one line for the approver
	Environment string          `json:"environment"`
	Plan        artifact.Digest `json:"plan"`               // the plan that apply will run, byte for byte
	Risk        int             `json:"risk"`               // 0..100
	Reasons     []string        `json:"reasons,omitempty"`  // what the risk comes from, the largest part first
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

// An Exhibit is one piece of what an approver is shown, by digest.
type Exhibit struct {
	Name   string          `json:"name"`
	Digest artifact.Digest `json:"digest"`
}

// A Request opens a ballot. It never changes: a vote names its digest.
type Request struct {
	Action     Action     `json:"action"`
	Requester  string     `json:"requester"`        // may not vote
	Need       int        `json:"need"`             // distinct people that must approve
	Roles      []string   `json:"roles"`            // roles that may vote
	Seats      [][]string `json:"seats,omitempty"`  // the roles that may fill each of the Need seats; absent: any of Roles
	Approvers  []Approver `json:"approvers"`        // eligible people when the ballot opened
	Barred     []Approver `json:"barred,omitempty"` // keys of the requester and of Trainers, so that their vote is told why
	Nonce      string     `json:"nonce"`            // issued once, named by every vote
	OpenedAt   time.Time  `json:"openedAt"`
	TTLSeconds int64      `json:"ttlSeconds"` // to decide

	ExecuteSeconds  int64      `json:"executeSeconds,omitempty"`  // to begin, once it may; 0: no limit
	HoldSeconds     int64      `json:"holdSeconds,omitempty"`     // from approval until it may begin
	EscalateSeconds int64      `json:"escalateSeconds,omitempty"` // from opening until Widened holds; 0: never
	Widened         [][]string `json:"widened,omitempty"`         // the seats after escalation
	Reserve         []Approver `json:"reserve,omitempty"`         // people who are eligible after escalation only
	Trainers        []string   `json:"trainers,omitempty"`        // who made what is to serve; may not vote
	GlassRoles      []string   `json:"glassRoles,omitempty"`      // one person of these may break the glass; none: nobody may
	Bearers         []Approver `json:"bearers,omitempty"`         // who has such a role
	Evidence        []Exhibit  `json:"evidence,omitempty"`        // what an approver is to look at
	NotAfter        time.Time  `json:"notAfter,omitzero"`         // what it rests on is too old then: undecided or approved, it does not begin
	Review          string     `json:"review,omitempty"`          // the action whose broken glass this ballot reviews; it never expires
	Breaker         string     `json:"breaker,omitempty"`         // of a review: who broke the glass; may not vote
}

// Expires returns when the ballot is rejected for want of votes: never after
// what it is about has expired. A review does not expire: it is overdue then.
func (r Request) Expires() time.Time {
	due := r.OpenedAt.Add(time.Duration(r.TTLSeconds) * time.Second)
	if r.Outdated(due) {
		return r.NotAfter
	}
	return due
}

// Outdated says whether what the request rests on is too old at a time.
func (r Request) Outdated(at time.Time) bool { return !r.NotAfter.IsZero() && at.After(r.NotAfter) }

// Escalates returns when other roles are told and seats widen, and whether
// that ever happens.
func (r Request) Escalates() (time.Time, bool) {
	return r.OpenedAt.Add(time.Duration(r.EscalateSeconds) * time.Second), r.EscalateSeconds > 0 && len(r.Widened) > 0
}

// Digest names exactly this request, with the digests of its evidence: what a
// voter was shown and nothing else.
// Errors: those of [artifact.Canonical].
func (r Request) Digest() (artifact.Digest, error) {
	text, err := artifact.Canonical(r)
	if err != nil {
		return "", err
	}
	return artifact.DigestOf(text), nil
}

// A Predicate is what an approver signs, as the predicate of an in-toto
// statement whose subject digest is Action.Plan.
type Predicate struct {
	Decision   string          `json:"decision"` // "approve", "reject", "request-changes", "revoke" or "break-glass"
	Action     string          `json:"action"`   // Action.ID
	Kind       string          `json:"kind"`
	Nonce      string          `json:"nonce"`
	Request    artifact.Digest `json:"request,omitempty"` // digest of the request that was shown
	Approver   string          `json:"approver"`
	OnBehalfOf string          `json:"onBehalfOf,omitempty"` // the approver who delegated to the signer
	Reason     string          `json:"reason,omitempty"`     // must be given for all but "approve"
	IssuedAt   time.Time       `json:"issuedAt"`
	ExpiresAt  time.Time       `json:"expiresAt"`
}

// A Vote is a verified vote, or one that was refused and why.
type Vote struct {
	Approver   string          `json:"approver"`
	Role       string          `json:"role"`
	Key        artifact.Digest `json:"key"`
	Approve    bool            `json:"approve"`
	Decision   string          `json:"decision,omitempty"`   // absent: Approve says it
	For        string          `json:"for,omitempty"`        // whose seat it fills, when the signer is a delegate
	Delegation artifact.Digest `json:"delegation,omitempty"` // the statement by which they are
	Reason     string          `json:"reason,omitempty"`
	Statement  artifact.Digest `json:"statement"`         // sha256 of payload type and payload: the vote's identity
	Bundle     artifact.Digest `json:"bundle,omitempty"`  // blob of the signed bundle, for whoever checks later
	Refused    string          `json:"refused,omitempty"` // why it does not count; empty when it may
	At         time.Time       `json:"at"`
}

// Says returns the decision of a vote.
func (v Vote) Says() string {
	switch {
	case v.Decision != "":
		return v.Decision
	case v.Approve:
		return Approve
	}
	return Reject
}

// An Outcome is how a ballot stands.
type Outcome string

const (
	Pending  Outcome = "pending"
	Approved Outcome = "approved"
	Rejected Outcome = "rejected"
	Expired  Outcome = "expired"
	Returned Outcome = "returned" // to the requester, who is asked for changes
	Revoked  Outcome = "revoked"  // approved, and taken back before it began
	Lapsed   Outcome = "lapsed"   // approved, and not begun in time
)

// A Ballot is a request with the votes so far.
type Ballot struct {
	Request   Request   `json:"request"`
	Votes     []Vote    `json:"votes"`               // that count
	Refused   []Vote    `json:"refused"`             // that do not, at most 100, latest last
	Withdrawn []Vote    `json:"withdrawn,omitempty"` // that counted and count no more, each with the reason; and the votes that took them back
	Outcome   Outcome   `json:"outcome"`
	Escalated bool      `json:"escalated,omitempty"`
	Glass     bool      `json:"glass,omitempty"` // one person broke the glass: it is under review
	DecidedAt time.Time `json:"decidedAt,omitzero"`
	BegunAt   time.Time `json:"begunAt,omitzero"` // its nonce was used then
}
