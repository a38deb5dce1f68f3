package approval

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// MaxRefused is how many refused votes a ballot carries.
const MaxRefused = 100

// Why a vote does not count.
var (
	ErrUnverified = errors.New("it could not be verified")
	ErrClosed     = errors.New("the ballot is over")
	ErrExpired    = errors.New("it was cast after the ballot had expired")
	ErrOutdated   = errors.New("what it is about has expired: its evidence is too old to decide on")
	ErrOwnVote    = errors.New("nobody decides on their own request")
	ErrTrainer    = errors.New("nobody decides on what they have trained")
	ErrStranger   = errors.New("its signer may not decide this action")
	ErrTwice      = errors.New("its signer has voted")
	ErrReplay     = errors.New("it was counted before, and counts no more")
	ErrNothing    = errors.New("its signer has no vote to take back")
	ErrGlass      = errors.New("the glass may not be broken for this action")
	ErrBearer     = errors.New("its signer may not break the glass")
	ErrReview     = errors.New("a review is signed off or found against, nothing else")
	ErrDelegate   = errors.New("its signer may not stand in for this approver")
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
// why it was not. One vote against, of somebody who may decide, rejects; one
// that requests changes returns the action to its requester; one that breaks
// the glass approves alone. Whoever approved may take it back until the action
// has begun. The same statement again changes nothing and is no error while it
// counts: it is the same vote, delivered twice.
// Errors: a [*VoteError] when the vote does not count; the ballot returned
// then lists it under Refused.
func (b Ballot) Cast(v Vote) (Ballot, error) {
	if v.Refused == "" && v.Statement != "" && slices.ContainsFunc(b.Votes, same(v)) {
		return b, nil
	}
	if why := b.objection(v); why != nil {
		return b.refuse(v, why)
	}
	said := v.Says()
	if i := b.own(v); i >= 0 {
		// Whatever the signer says now, the approval that they gave is void.
		b = b.withdraw(i, "superseded by a later vote: "+said)
	}
	if said == Revoke {
		b.Withdrawn = append(slices.Clone(b.Withdrawn), v)
		if b.Outcome == Approved {
			b.Outcome = Revoked
			b.DecidedAt = v.At
		}
		return b, nil
	}
	b.Votes = append(slices.Clone(b.Votes), v)
	switch {
	case said == BreakGlass:
		b.Outcome, b.Glass = Approved, true
	case said == Reject:
		b.Outcome = Rejected
	case said == RequestChanges:
		b.Outcome = Returned
	case b.filled(b.Votes):
		b.Outcome = Approved
	}
	if b.Outcome != Pending {
		b.DecidedAt = v.At
	}
	return b, nil
}

// Expire ends a ballot that is still pending; one that was decided stays so.
func (b Ballot) Expire() Ballot {
	if b.Outcome == Pending && b.Request.Review == "" {
		b.Outcome = Expired
	}
	return b
}

// Abandon ends a ballot that nobody will use any more: a pending one expires,
// and an approval that was not used lapses.
func (b Ballot) Abandon() Ballot {
	if b.Outcome == Approved && b.Waits() && b.Request.Need > 0 {
		b.Outcome = Lapsed
		return b
	}
	return b.Expire()
}

// Escalate widens the seats of a ballot that is still pending.
func (b Ballot) Escalate() Ballot {
	if b.Outcome == Pending && len(b.Request.Widened) > 0 {
		b.Escalated = true
	}
	return b
}

// Over says whether the ballot takes no more votes for or against. Until it
// has begun, an approved one can still be taken back.
func (b Ballot) Over() bool { return b.Outcome != Pending }

// Waits says whether the ballot can still change: it is pending, or approved
// and not begun.
func (b Ballot) Waits() bool {
	return b.Outcome == Pending || b.Outcome == Approved && b.BegunAt.IsZero() && b.Request.Review == ""
}

// Missing returns how many seats are still to be filled, in 0..Need.
func (b Ballot) Missing() int {
	seats := b.Seats()
	return len(seats) - fill(seats, distinct(b.Votes))
}

// objection returns why the vote does not count, or nil. The ballot's end comes
// first: what arrives late says nothing about its sender.
func (b Ballot) objection(v Vote) error {
	said := v.Says()
	takesBack := said == Revoke || said == Reject || said == RequestChanges
	switch own := v.Refused == "" && b.own(v) >= 0; {
	case b.Over() && !(b.Waits() && takesBack && own):
		return ErrClosed
	case v.Refused != "":
		return fmt.Errorf("%w: %s", ErrUnverified, v.Refused)
	case v.Statement == "":
		return ErrUnverified
	case slices.ContainsFunc(b.Withdrawn, same(v)):
		return ErrReplay
	case b.Request.Review == "" && b.Outcome == Pending && b.Request.Outdated(v.At):
		return ErrOutdated
	case b.Request.Review == "" && b.Outcome == Pending && v.At.After(b.Request.Expires()):
		return ErrExpired
	case b.Request.Review != "" && said != Approve && said != Reject:
		return ErrReview
	case said == BreakGlass:
		return b.bears(v)
	}
	if why := b.eligible(v); why != nil {
		return why
	}
	voted := b.own(v)
	switch {
	case said == Revoke && voted < 0:
		return ErrNothing
	case said == Approve && voted >= 0:
		return ErrTwice
	}
	for i, o := range b.Votes {
		if i != voted && touches(o, v) {
			return ErrTwice // somebody else voted for this seat, or with this key
		}
	}
	return nil
}

// bears says why the signer may not break the glass.
func (b Ballot) bears(v Vote) error {
	a := b.Request.Action
	switch {
	case len(b.Request.GlassRoles) == 0 || a.Loosens && !a.Rollback:
		return ErrGlass
	case v.For != "" || !slices.Contains(b.Request.GlassRoles, v.Role) || !holds(b.Request.Bearers, v.Approver, v.Role, v.Key):
		return ErrBearer
	}
	return nil
}

// eligible says why the vote's signer, with exactly this key and role, is not
// among those who may decide. A delegate fills the seat of whom they stand in
// for, and must be neither the requester nor a trainer.
func (b Ballot) eligible(v Vote) error {
	r := b.Request
	switch {
	case v.Approver == r.Requester && v.Approver != "" || v.For == r.Requester && v.For != "":
		return ErrOwnVote
	case slices.Contains(r.Trainers, v.Approver) || slices.Contains(r.Trainers, v.For) && v.For != "":
		return ErrTrainer
	case r.Breaker != "" && (v.Approver == r.Breaker || v.For == r.Breaker):
		return ErrOwnVote
	}
	for _, p := range r.Barred {
		if p.Key != v.Key {
			continue
		}
		if slices.Contains(r.Trainers, p.Name) {
			return ErrTrainer
		}
		return ErrOwnVote
	}
	people := r.Approvers
	if b.Escalated {
		people = slices.Concat(people, r.Reserve)
	}
	switch {
	case !slices.ContainsFunc(b.Seats(), func(seat []string) bool { return slices.Contains(seat, v.Role) }):
		return ErrStranger
	case v.For != "":
		stands := slices.ContainsFunc(people, func(p Approver) bool { return p.Name == v.For && p.Role == v.Role && p.Key != v.Key })
		if !stands || v.Delegation == "" || v.For == v.Approver || v.Key == "" {
			return ErrDelegate
		}
	case !holds(people, v.Approver, v.Role, v.Key):
		return ErrStranger
	}
	return nil
}

func holds(people []Approver, name, role string, key artifact.Digest) bool {
	return slices.ContainsFunc(people, func(p Approver) bool {
		return p.Name == name && p.Key == key && p.Role == role && p.Key != ""
	})
}

// own returns the index of the approval that the vote's signer gave or that was
// given for them, or -1.
func (b Ballot) own(v Vote) int {
	return slices.IndexFunc(b.Votes, func(o Vote) bool {
		return v.Key != "" && o.Key == v.Key && o.Approver == v.Approver && o.For == v.For || v.For == "" && o.For != "" && o.For == v.Approver
	})
}

// touches says whether two votes are of one person or of one key, or stand for
// one person.
func touches(a, b Vote) bool {
	of := func(v Vote) []string {
		if v.For == "" {
			return []string{v.Approver}
		}
		return []string{v.Approver, v.For}
	}
	return a.Key == b.Key || slices.ContainsFunc(of(a), func(name string) bool { return slices.Contains(of(b), name) })
}

func same(v Vote) func(Vote) bool {
	return func(o Vote) bool { return o.Statement == v.Statement }
}

func (b Ballot) refuse(v Vote, why error) (Ballot, error) {
	if v.Refused == "" {
		v.Refused = why.Error()
	}
	refused := append(slices.Clone(b.Refused), v)
	b.Refused = refused[max(0, len(refused)-MaxRefused):]
	return b, &VoteError{Approver: v.Approver, Err: why}
}

// withdraw takes the i-th vote out of those that count.
func (b Ballot) withdraw(i int, why string) Ballot {
	gone := b.Votes[i]
	gone.Refused = why
	b.Votes = slices.Delete(slices.Clone(b.Votes), i, i+1)
	b.Withdrawn = append(slices.Clone(b.Withdrawn), gone)
	return b
}

// Seats returns the roles that may fill each seat as it is now.
func (b Ballot) Seats() [][]string {
	if b.Escalated {
		return b.Request.Widened
	}
	return b.Request.seats()
}

// filled says whether distinct people with distinct keys fill every seat.
func (b Ballot) filled(votes []Vote) bool {
	seats := b.Seats()
	return fill(seats, distinct(votes)) == len(seats)
}

// TTL returns how long the ballot is open from its opening.
func (r Request) TTL() time.Duration { return time.Duration(r.TTLSeconds) * time.Second }
