package approval

import (
	"errors"
	"time"
)

// What a vote may say.
const (
	Approve        = "approve"
	Reject         = "reject"
	RequestChanges = "request-changes"
	Revoke         = "revoke"
	BreakGlass     = "break-glass"
)

// maxSkew is how far an approver's clock may be ahead of the fabric's.
const maxSkew = 5 * time.Minute

// maxReason bounds the reason that a vote gives.
const maxReason = 1000

// Why a signed vote is not one in this ballot.
var (
	ErrForm     = errors.New("its statement has not the form of a vote")
	ErrDecision = errors.New("it says none of what a vote may say")
	ErrAction   = errors.New("it is about another action")
	ErrNonce    = errors.New("it does not name this ballot's nonce")
	ErrRequest  = errors.New("it does not name the request and evidence of this ballot")
	ErrName     = errors.New("the name in it is not that of its signer")
	ErrWindow   = errors.New("it is not valid now")
	ErrReason   = errors.New("its reason is too long")
	ErrNoReason = errors.New("it gives no reason")
)

// Accepts returns nil if what was signed is a vote of signer in this ballot,
// valid now. That the signature is signer's, and over the plan's digest, was
// established before.
func (r Request) Accepts(p Predicate, signer string, now time.Time) error {
	digest, err := r.Digest()
	if err != nil {
		return err
	}
	switch {
	case p.Decision != Approve && p.Decision != Reject && p.Decision != RequestChanges && p.Decision != Revoke && p.Decision != BreakGlass:
		return ErrDecision
	case p.Action != r.Action.ID || p.Kind != r.Action.Kind:
		return ErrAction
	case p.Nonce == "" || p.Nonce != r.Nonce:
		return ErrNonce
	case p.Request != digest:
		return ErrRequest
	case p.Approver == "" || p.Approver != signer:
		return ErrName
	case p.IssuedAt.After(now.Add(maxSkew)) || !p.ExpiresAt.After(now) || !p.ExpiresAt.After(p.IssuedAt):
		return ErrWindow
	case len(p.Reason) > maxReason:
		return ErrReason
	case p.Decision != Approve && p.Reason == "":
		return ErrNoReason
	}
	return nil
}
