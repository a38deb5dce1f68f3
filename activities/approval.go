package activities

import (
	"bytes"
	"context"
	"crypto/rand"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// reviewTTL is after how long a review of a broken glass is overdue, and stops
// what loosens until it is signed off.
const reviewTTL = 72 * time.Hour

// An Approval tells approvers, verifies what they answer and keeps the ballot.
type Approval struct {
	Actions  Actions
	Blobs    Blobs
	Notifier Notifier
	Now      func() time.Time
}

// NotifyApprovers tells that a ballot is open. Run again, it tells again, under
// the same key: a second notice is a nuisance, a lost one is a ballot that
// expires. A notice decides nothing.
func (a *Approval) NotifyApprovers(ctx context.Context, req approval.Request) (contract.Nothing, error) {
	return a.TellBallot(ctx, contract.TellInput{Ballot: approval.Open(req), Event: "opened"})
}

// TellBallot is NotifyApprovers for whatever else people should know.
func (a *Approval) TellBallot(ctx context.Context, in contract.TellInput) (contract.Nothing, error) {
	err := a.Notifier.Notify(ctx, in)
	return contract.Nothing{}, within(err, "action %s", in.Ballot.Request.Action.ID)
}

// VerifyVote says whose vote a bundle is and what it says. A vote that does
// not verify is a vote with the reason in Refused, not a failure: whoever sent
// it must not be able to stop the ballot. The bundle of one that does is kept,
// for whoever checks it without us. Idempotent but for the time, which is
// the clock's of the control plane: what the voter wrote proves no time.
func (a *Approval) VerifyVote(ctx context.Context, in contract.VoteInput) (approval.Vote, error) {
	action := in.Request.Action
	standing, err := a.Actions.Standing(ctx, action.Tenant)
	if err != nil {
		return approval.Vote{}, within(err, "action %s", action.ID)
	}
	vote, bundle := approval.Judge(in.Request, []byte(in.Vote.Bundle), standing, a.Now().UTC())
	if vote.Refused != "" {
		return vote, nil
	}
	kept, err := a.Blobs.Put(ctx, artifact.MediaTypeBundle, bytes.NewReader(bundle))
	if err != nil {
		return approval.Vote{}, within(err, "action %s", action.ID)
	}
	vote.Bundle = kept.Digest
	return vote, nil
}

// RecordBallot brings the rows of a ballot up to date. Idempotent: a vote that
// has its leaf gets no second one.
func (a *Approval) RecordBallot(ctx context.Context, ballot approval.Ballot) (contract.Nothing, error) {
	err := a.Actions.RecordBallot(ctx, ballot)
	return contract.Nothing{}, within(settled(err), "ballot of %s", ballot.Request.Action.ID)
}

// CheckStanding returns the votes of a ballot whose signers may no longer vote.
// It changes nothing.
func (a *Approval) CheckStanding(ctx context.Context, ballot approval.Ballot) (contract.Standing, error) {
	standing, err := a.Actions.Standing(ctx, ballot.Request.Action.Tenant)
	if err != nil {
		return contract.Standing{}, within(err, "ballot of %s", ballot.Request.Action.ID)
	}
	return contract.Standing{Losses: standing.Losses(ballot)}, nil
}

// BeginBallot uses an approval, once. Idempotent for the same use: what was
// begun is returned as it was. A broken glass opens its review in the same
// transaction, so that no crash loses it.
func (a *Approval) BeginBallot(ctx context.Context, in contract.BeginInput) (contract.Begun, error) {
	now := a.Now().UTC()
	var review *approval.Request
	if r, ok := in.Ballot.Review(rand.Text(), now, reviewTTL); ok && in.Ballot.Glass {
		review = &r
	}
	begun, err := a.Actions.BeginBallot(ctx, in, review, now)
	if err != nil {
		return contract.Begun{}, within(settled(err), "ballot of %s", in.Ballot.Request.Action.ID)
	}
	return begun, nil
}
