package api

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

func approverView(a approval.Approver) v1.Approver {
	return v1.Approver{Name: a.Name, Role: a.Role, Key: string(a.Key), PublicKey: a.PublicKey}
}

func ballotView(b approval.Ballot) v1.Ballot {
	r, a := b.Request, b.Request.Action
	view := v1.Ballot{
		ID: a.ID, Kind: a.Kind, Tenant: a.Tenant, Summary: a.Summary, Environment: a.Environment,
		PlanDigest: string(a.Plan), Risk: a.Risk, Reasons: a.Reasons, Requester: r.Requester, Need: r.Need,
		Roles: append([]string{}, r.Roles...), Approvers: views(r.Approvers, approverView), Nonce: r.Nonce,
		OpenedAt: r.OpenedAt, ExpiresAt: r.Expires(), Outcome: v1.BallotOutcome(b.Outcome),
		Votes: views(b.Votes, voteView), Refused: views(b.Refused, voteView), Withdrawn: views(b.Withdrawn, voteView),
		Missing: b.Missing(), Escalated: b.Escalated, Glass: b.Glass, GlassRoles: r.GlassRoles, ReviewOf: r.Review,
		Evidence: views(r.Evidence, func(e approval.Exhibit) v1.Exhibit { return v1.Exhibit{Name: e.Name, Digest: string(e.Digest)} }),
	}
	for _, seat := range b.Seats() {
		view.Seats = append(view.Seats, append(v1.Roles{}, seat...))
	}
	if at, ever := r.Escalates(); ever {
		view.EscalatesAt = at
	}
	if !b.DecidedAt.IsZero() {
		view.DecidedAt = b.DecidedAt
	}
	if b.Outcome == approval.Approved {
		from := b.ExecuteFrom()
		view.ExecuteFrom = from
		if by, limited := b.ExecuteBy(); limited {
			view.ExecuteBy = by
		}
	}
	if !b.BegunAt.IsZero() {
		view.BegunAt = b.BegunAt
	}
	return view
}

// shown is a ballot with the exact text that a vote names by its digest.
func shown(b approval.Ballot) (v1.Ballot, error) {
	view := ballotView(b)
	text, err := artifact.Canonical(b.Request)
	if err != nil {
		return view, err
	}
	view.Request, view.RequestDigest = string(text), string(artifact.DigestOf(text))
	return view, nil
}

// voter says whether a person may decide now, and else why not: in person, or
// for somebody who delegated to them.
func voter(b approval.Ballot, name string, standing approval.Standing, now time.Time) v1.Voter {
	why := standing.May(b, name)
	if why == nil {
		return v1.Voter{CanDecide: true}
	}
	for _, g := range standing.Delegates(b.Request, now) {
		if g.To == name && name != b.Request.Requester && b.May(g.From) == nil {
			return v1.Voter{CanDecide: true, OnBehalfOf: g.From}
		}
	}
	if errors.Is(why, approval.ErrStranger) { // to the person, not of a signature
		return v1.Voter{Because: "you were not registered as " + strings.Join(b.Request.Roles, " or ") + " when it was asked for"}
	}
	return v1.Voter{Because: why.Error()}
}

// awaiting returns the names under which a ballot may wait for a person.
func awaiting(name string, standing approval.Standing) []string {
	names := []string{name}
	for _, g := range standing.Delegations {
		if g.To == name && g.RevokedAt.IsZero() && !slices.Contains(names, g.From) {
			names = append(names, g.From)
		}
	}
	return names
}

func voteView(v approval.Vote) v1.Vote {
	return v1.Vote{
		Approver: v.Approver, Role: v.Role, Approve: v.Approve, Reason: v.Reason, Decision: v.Says(), OnBehalfOf: v.For,
		Delegation: string(v.Delegation), Bundle: string(v.Bundle), Refused: v.Refused, Statement: string(v.Statement), At: v.At,
	}
}

func delegationView(g approval.Granted) v1.Delegation {
	view := v1.Delegation{
		ID: string(g.ID), From: g.From, To: g.To, Role: g.Delegator.Role, Key: string(g.Key), Kinds: g.Kinds, Environments: g.Environments,
		MaxRisk: g.MaxRisk, Reason: g.Reason, NotBefore: g.NotBefore, ExpiresAt: g.ExpiresAt, Nonce: g.Nonce,
	}
	if !g.RevokedAt.IsZero() {
		view.RevokedAt = g.RevokedAt
	}
	return view
}
