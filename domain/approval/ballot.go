package approval

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// MaxRefused is how many refused votes a ballot carries.
const MaxRefused = 100

// Why a vote does not count.
var (
	ErrUnverified = errors.New("it could not be verified")
	ErrClosed     = errors.New("the ballot is over")
	ErrExpired    = errors.New("it was cast after the ballot had expired")
	ErrOwnVote    = errors.New("nobody decides on their own request")
	ErrStranger   = errors.New("its signer may not decide this action")
	ErrTwice      = errors.New("its signer has voted")
)

// A VoteError says whose vote does not count, and why.
type VoteError struct {
	Approver string // empty when the signer is not known
	Err      error
}

func (e *VoteError) Error() string {
	if e.Approver == "" {
		return fmt.Sprintf("the vote does not count: %v", e.Err)
	}
	return fmt.Sprintf("the vote of %s does not count: %v", e.Approver, e.Err)
}
func (e *VoteError) Unwrap() error { return e.Err }

// Open returns the ballot before any vote. One that needs nobody is approved.
func Open(req Request) Ballot {
	b := Ballot{Request: req, Votes: []Vote{}, Refused: []Vote{}, Outcome: Pending}
	if req.Need <= 0 && len(req.Seats) == 0 {
		b.Outcome = Approved
	}
	return b
}

// Cast returns the ballot after a vote that was verified, or whose Refused says
// why it was not. One vote against, of somebody who may decide, rejects. The
// same statement again changes nothing and is no error: it is the same vote,
// delivered twice.
// Errors: a [*VoteError] when the vote does not count; the ballot returned
// then lists it under Refused.
func (b Ballot) Cast(v Vote) (Ballot, error) {
	if v.Refused == "" && slices.ContainsFunc(b.Votes, func(o Vote) bool { return o.Statement == v.Statement }) {
		return b, nil
	}
	if why := b.objection(v); why != nil {
		return b.refuse(v, why)
	}
	b.Votes = append(slices.Clone(b.Votes), v)
	switch {
	case !v.Approve:
		b.Outcome = Rejected
	case b.Request.filled(b.Votes):
		b.Outcome = Approved
	}
	return b, nil
}

// Expire ends a ballot that is still pending; one that was decided stays so.
func (b Ballot) Expire() Ballot {
	if b.Outcome == Pending {
		b.Outcome = Expired
	}
	return b
}

// Over says whether the ballot takes no more votes.
func (b Ballot) Over() bool { return b.Outcome != Pending }

// Missing returns how many seats are still to be filled, in 0..Need.
func (b Ballot) Missing() int {
	seats := b.Request.seats()
	return len(seats) - fill(seats, distinct(b.Votes))
}

// objection returns why the vote does not count, or nil. The ballot's end comes
// first: what arrives late says nothing about its sender.
func (b Ballot) objection(v Vote) error {
	switch {
	case b.Over():
		return ErrClosed
	case v.Refused != "":
		return fmt.Errorf("%w: %s", ErrUnverified, v.Refused)
	case v.Statement == "":
		return ErrUnverified
	case v.At.After(b.Request.Expires()):
		return ErrExpired
	case v.Approver == b.Request.Requester || slices.ContainsFunc(b.Request.Barred, func(p Approver) bool { return p.Key == v.Key }):
		return ErrOwnVote
	case !b.Request.eligible(v):
		return ErrStranger
	}
	for _, o := range b.Votes {
		if o.Approver == v.Approver || o.Key == v.Key {
			return ErrTwice
		}
	}
	return nil
}

func (b Ballot) refuse(v Vote, why error) (Ballot, error) {
	if v.Refused == "" {
		v.Refused = why.Error()
	}
	refused := append(slices.Clone(b.Refused), v)
	b.Refused = refused[max(0, len(refused)-MaxRefused):]
	return b, &VoteError{Approver: v.Approver, Err: why}
}

// eligible says whether the vote's signer, with exactly this key and role, is
// among those who may decide.
func (r Request) eligible(v Vote) bool {
	if !slices.Contains(r.Roles, v.Role) {
		return false
	}
	return slices.ContainsFunc(r.Approvers, func(p Approver) bool {
		return p.Name == v.Approver && p.Key == v.Key && p.Role == v.Role && p.Key != ""
	})
}

// TTL returns how long the ballot is open from its opening.
func (r Request) TTL() time.Duration { return time.Duration(r.TTLSeconds) * time.Second }
