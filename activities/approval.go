package activities

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// An Approval tells approvers, verifies what they answer and keeps the ballot.
type Approval struct {
	Actions  Actions
	Notifier Notifier
	Now      func() time.Time
}

// NotifyApprovers tells that a ballot is open. Run again, it tells again, under
// the same key: a second notice is a nuisance, a lost one is a ballot that
// expires. A notice decides nothing.
func (a *Approval) NotifyApprovers(ctx context.Context, req approval.Request) (contract.Nothing, error) {
	if err := a.Notifier.Notify(ctx, req); err != nil {
		return contract.Nothing{}, within(err, "action %s", req.Action.ID)
	}
	return contract.Nothing{}, nil
}

// VerifyVote says whose vote a bundle is and what it says. A vote that does
// not verify is a vote with the reason in Refused, not a failure: whoever sent
// it must not be able to stop the ballot. Idempotent but for the time, which is
// the clock's of the control plane: what the voter wrote proves no time.
func (a *Approval) VerifyVote(_ context.Context, in contract.VoteInput) (approval.Vote, error) {
	return verifyVote(in.Request, []byte(in.Vote.Bundle), a.Now().UTC()), nil
}

// RecordBallot brings the rows of a ballot up to date. Idempotent: a vote that
// has its leaf gets no second one.
func (a *Approval) RecordBallot(ctx context.Context, ballot approval.Ballot) (contract.Nothing, error) {
	if err := a.Actions.RecordBallot(ctx, ballot); err != nil {
		return contract.Nothing{}, within(settled(err), "ballot of %s", ballot.Request.Action.ID)
	}
	return contract.Nothing{}, nil
}

// verifyVote checks the signature against the keys of those who may vote, and
// then every word of the statement against the request.
func verifyVote(req approval.Request, bundle []byte, now time.Time) approval.Vote {
	// Until somebody is known to have signed it, a vote is known by its bytes.
	vote := approval.Vote{Statement: artifact.DigestOf(bundle), At: now}
	known := slices.Concat(req.Approvers, req.Barred)
	verified, err := artifact.VerifyBundle(keysOf(known), bundle, artifact.PredicateApproval, req.Action.Plan)
	if err != nil {
		vote.Refused = refusal(err)
		return vote
	}
	vote.Statement, vote.Key = verified.Statement, verified.Key
	for _, p := range known {
		if p.Key == verified.Key {
			vote.Approver, vote.Role = p.Name, p.Role
		}
	}
	var said approval.Predicate
	if err := artifact.DecodeStrict(verified.Predicate, &said); err != nil {
		vote.Refused = approval.ErrForm.Error()
		return vote
	}
	vote.Approve, vote.Reason = said.Decision == approval.Approve, said.Reason
	if err := req.Accepts(said, vote.Approver, now); err != nil {
		vote.Refused = err.Error()
	}
	return vote
}

// keysOf returns the keys of the approvers. A key that does not parse is
// nobody's: it was checked when the approver was enrolled.
func keysOf(approvers []approval.Approver) []*ecdsa.PublicKey {
	var keys []*ecdsa.PublicKey
	for _, p := range approvers {
		key, err := artifact.ParsePublicKey([]byte(p.PublicKey))
		if err == nil && artifact.KeyID(key) == p.Key {
			keys = append(keys, key)
		}
	}
	return keys
}

// refusal names the reason in words of ours: a bundle's own text is not for
// logs and pages.
func refusal(err error) string {
	for _, why := range []error{
		artifact.ErrUntrusted, artifact.ErrSubject, artifact.ErrPredicateType, artifact.ErrStatement, artifact.ErrTooLarge, artifact.ErrBundle,
	} {
		if errors.Is(err, why) {
			return why.Error()
		}
	}
	return approval.ErrUnverified.Error()
}
