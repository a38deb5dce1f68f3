package approval

import (
	"errors"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Standing is what has changed about people since ballots opened.
type Standing struct {
	Revoked     []artifact.Digest `json:"revoked,omitempty"`     // keys whose registration was revoked
	Delegations []Granted         `json:"delegations,omitempty"` // every one that was granted, revoked ones too
	Reviews     int               `json:"reviews,omitempty"`     // broken glasses of the tenant that nobody has signed off
	Overdue     int               `json:"overdue,omitempty"`     // those of them that are overdue
}

// Why a vote that counted counts no more.
const (
	lostKey        = "the registration of its signer was revoked"
	lostDelegator  = "the registration of whom its signer stands in for was revoked"
	lostDelegation = "the delegation of its signer was revoked"
)

// Losses returns the votes of the ballot that have no standing any more.
func (s Standing) Losses(b Ballot) []Loss {
	var out []Loss
	for _, v := range b.Votes {
		if why := s.lost(b.Request, v); why != "" {
			out = append(out, Loss{Statement: v.Statement, Why: why})
		}
	}
	return out
}

func (s Standing) lost(r Request, v Vote) string {
	if slices.Contains(s.Revoked, v.Key) {
		return lostKey
	}
	if v.For == "" {
		return ""
	}
	for _, p := range slices.Concat(r.Approvers, r.Reserve) {
		if p.Name == v.For && slices.Contains(s.Revoked, p.Key) {
			return lostDelegator
		}
	}
	for _, g := range s.Delegations {
		if g.ID == v.Delegation && g.RevokedAt.IsZero() {
			return ""
		}
	}
	return lostDelegation
}

// Delegates returns the delegations by which others may stand in for
// approvers of the request at a time.
func (s Standing) Delegates(r Request, at time.Time) []Granted {
	var out []Granted
	for _, g := range s.Delegations {
		covered := g.Covers(r.Action, at) == nil && g.RevokedAt.IsZero() && !slices.Contains(s.Revoked, g.Delegator.Key)
		for _, p := range slices.Concat(r.Approvers, r.Reserve) {
			if covered && p.Name == g.From && p.Key == g.Delegator.Key {
				out = append(out, g)
				break
			}
		}
	}
	return out
}

// ErrLost says that a registration was revoked.
var ErrLost = errors.New(lostKey)

// May is [Ballot.May] for a person whose registration may have been revoked
// since the ballot opened.
func (s Standing) May(b Ballot, name string) error {
	why := b.May(name)
	for _, p := range slices.Concat(b.Request.Approvers, b.Request.Reserve) {
		if why == nil && p.Name == name && slices.Contains(s.Revoked, p.Key) {
			return ErrLost
		}
	}
	return why
}

// May returns why a person, by their name among the approvers, cannot decide
// now, or nil. It is for people who look at a list: a vote is judged by
// [Ballot.Cast] alone, and by the same rules.
func (b Ballot) May(name string) error {
	people := slices.Concat(b.Request.Approvers, b.Request.Reserve, b.Request.Barred)
	i := slices.IndexFunc(people, func(p Approver) bool { return p.Name == name })
	if i < 0 {
		switch {
		case name == b.Request.Requester:
			return ErrOwnVote
		case b.Over():
			return ErrClosed
		}
		return ErrStranger
	}
	p := people[i]
	v := Vote{Approver: p.Name, Role: p.Role, Key: p.Key, Approve: true, Statement: "asked", At: b.Request.OpenedAt}
	if why := b.objection(v); why != nil {
		return why
	}
	seats := b.Seats()
	if fill(seats, distinct(append(slices.Clone(b.Votes), v))) == fill(seats, distinct(b.Votes)) {
		return ErrSeated
	}
	return nil
}

// Awaited returns the names of those whom the ballot waits for, in order: those
// who may decide now and whose approval would fill a seat.
func (b Ballot) Awaited() []string {
	if b.Over() {
		return nil
	}
	var out []string
	for _, p := range slices.Concat(b.Request.Approvers, b.Request.Reserve) {
		if b.May(p.Name) == nil {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
