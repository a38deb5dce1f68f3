package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

const (
	// votesPerBallot bounds the history of a ballot. Whoever floods it can make
	// it expire, which rejects; they can never make it pass.
	votesPerBallot = 400
	// voteLimit is far above any bundle with one signature.
	voteLimit = 64 << 10
	// lateLimit is how long a vote may be verified once the ballot is over.
	lateLimit = time.Minute
)

// Approval runs one ballot until it is decided or expires. Votes come as a
// signal or as an update and are taken up one after the other: verified by an
// activity, cast by the domain, recorded with a leaf of the audit log before
// the next one is looked at and before the outcome leaves. The notice to the
// approvers is retried while the ballot is open, and abandoned with it.
func Approval(ctx workflow.Context, req approval.Request) (approval.Ballot, error) {
	b := &box{ballot: approval.Open(req), one: workflow.NewMutex(ctx)}
	if err := b.listen(ctx); err != nil {
		return b.ballot, err
	}
	label(ctx,
		contract.AttrTenant.ValueSet(req.Action.Tenant),
		contract.AttrRisk.ValueSet(int64(req.Action.Risk)),
		contract.AttrApproval.ValueSet(string(b.ballot.Outcome)),
	)
	b.show(ctx)
	inform, enough := workflow.WithCancel(ctx)
	defer enough()
	contract.NotifyApprovers.Start(until(quick(inform, "tell the approvers"), b.left(ctx)), req)

	decided, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
		Timeout:      b.left(ctx),
		TimerOptions: workflow.TimerOptions{Summary: "the ballot expires"},
	}, func() bool { return b.ballot.Over() })
	enough()
	if !decided { // expired, or canceled
		b.ballot = b.ballot.Expire()
	}
	done, cancel := closing(ctx)
	defer cancel()
	label(done, contract.AttrApproval.ValueSet(string(b.ballot.Outcome)))
	b.show(done)
	if lost := b.settle(done); lost != nil {
		return b.ballot, lost
	}
	return b.ballot, err
}

// box is a ballot with the votes that are on their way into it.
type box struct {
	ballot approval.Ballot
	one    workflow.Mutex // held while a vote is taken up
	taken  int
	busy   int
}

// listen begins to take up votes. State is complete before: an update may
// arrive with the first task.
func (b *box) listen(ctx workflow.Context) error {
	if err := contract.BallotNow.Handle(ctx, func() (approval.Ballot, error) { return b.ballot, nil }); err != nil {
		return err
	}
	if err := contract.VoteNow.Handle(ctx, b.answer, b.refuse, "casts a signed vote and answers with the ballot"); err != nil {
		return err
	}
	b.busy++ // until the opening is recorded
	workflow.Go(ctx, func(ctx workflow.Context) {
		defer func() { b.busy-- }()
		b.record(ctx)
	})
	ctx, _ = workflow.NewDisconnectedContext(ctx) // votes are taken up to the end, canceled or not
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return contract.CastVote.Waiting(ctx) > 0 }) == nil {
			vote, ok := contract.CastVote.Poll(ctx)
			if !ok || tooLong(vote) || b.taken >= votesPerBallot {
				continue // not a vote, or a flood
			}
			if err := b.take(ctx, vote); err != nil {
				workflow.GetLogger(ctx).Info("a vote does not count", "action", b.ballot.Request.Action.ID, "error", err)
			}
		}
	})
	return nil
}

// refuse turns an update away before it leaves a trace.
func (b *box) refuse(_ workflow.Context, vote contract.SignedVote) error {
	switch {
	case b.ballot.Over():
		return refused(approval.ErrClosed, contract.BallotClosed)
	case b.taken >= votesPerBallot:
		return refused(errors.New("the ballot takes no more votes"), contract.BallotClosed)
	case tooLong(vote):
		return refused(approval.ErrUnverified, contract.VoteRefused)
	}
	return nil
}

// answer takes up a vote and answers with the ballot after it, or with the
// reason why the vote does not count and the ballot as its detail.
func (b *box) answer(ctx workflow.Context, vote contract.SignedVote) (approval.Ballot, error) {
	err := b.take(ctx, vote)
	switch {
	case err == nil:
		return b.ballot, nil
	case errors.Is(err, approval.ErrClosed):
		return b.ballot, refused(err, contract.BallotClosed, b.ballot)
	}
	return b.ballot, refused(err, contract.VoteRefused, b.ballot)
}

func refused(why error, kind string, details ...any) error {
	return temporal.NewApplicationErrorWithOptions(why.Error(), kind, temporal.ApplicationErrorOptions{
		NonRetryable: true,
		Category:     temporal.ApplicationErrorCategoryBenign, // an answer to a voter, no alarm
		Details:      details,
	})
}

// take verifies, casts and records one vote. The error says why it does not
// count. A crash anywhere in it resumes here: the ballot is in the history.
func (b *box) take(ctx workflow.Context, vote contract.SignedVote) error {
	b.taken++
	b.busy++
	defer func() { b.busy-- }()
	if err := b.one.Lock(ctx); err != nil {
		return err
	}
	defer b.one.Unlock()

	verified, err := contract.VerifyVote.Execute(until(quick(ctx, "whose vote, for what"), b.left(ctx)+lateLimit), contract.VoteInput{Request: b.ballot.Request, Vote: vote})
	if temporal.IsCanceledError(err) {
		return err
	}
	if err != nil {
		verified = approval.Vote{
			Statement: artifact.DigestOf([]byte(vote.Bundle)),
			Refused:   approval.ErrUnverified.Error(),
			At:        workflow.Now(ctx),
		}
	}
	var why error
	b.ballot, why = b.ballot.Cast(verified)
	b.show(ctx)
	b.keep(ctx)
	return why
}

// record records the ballot as it stands when its turn comes.
func (b *box) record(ctx workflow.Context) {
	if b.one.Lock(ctx) != nil {
		return // canceled; settle records
	}
	defer b.one.Unlock()
	b.keep(ctx)
}

// keep projects the ballot and writes the leaves of its votes. It is retried
// for ever: a vote must not be lost, and no outcome leaves before it is kept.
func (b *box) keep(ctx workflow.Context) {
	summary := fmt.Sprintf("%s: %d for, %d refused", b.ballot.Outcome, len(b.ballot.Votes), len(b.ballot.Refused))
	if _, err := contract.RecordBallot.Execute(quick(ctx, summary), b.ballot); err != nil && !temporal.IsCanceledError(err) {
		workflow.GetLogger(ctx).Error("a ballot was not recorded", "action", b.ballot.Request.Action.ID, "error", err)
	}
}

// settle waits until every vote that arrived was taken up, and records the end.
func (b *box) settle(ctx workflow.Context) error {
	err := workflow.Await(ctx, func() bool {
		return b.busy == 0 && contract.CastVote.Waiting(ctx) == 0 && workflow.AllHandlersFinished(ctx)
	})
	if err != nil {
		return err
	}
	_, err = contract.RecordBallot.Execute(quick(ctx, "the ballot is over: "+string(b.ballot.Outcome)), b.ballot)
	return err
}

// left is the time until the ballot expires.
func (b *box) left(ctx workflow.Context) time.Duration {
	return max(b.ballot.Request.Expires().Sub(workflow.Now(ctx)), 0)
}

func tooLong(vote contract.SignedVote) bool { return vote.Bundle == "" || len(vote.Bundle) > voteLimit }

func (b *box) show(ctx workflow.Context) {
	req := b.ballot.Request
	lines := []string{
		fmt.Sprintf("**%s**: %s", b.ballot.Outcome, req.Action.Summary),
		"",
		fmt.Sprintf("- %s in %s, risk %d, asked for by %s", req.Action.Kind, req.Action.Environment, req.Action.Risk, req.Requester),
		fmt.Sprintf("- plan: `%s`", req.Action.Plan.Short()),
		fmt.Sprintf("- still needed: %d of %d, until %s", b.ballot.Missing(), req.Need, req.Expires().UTC().Format(time.RFC3339)),
	}
	for _, v := range b.ballot.Votes {
		said := "for"
		if !v.Approve {
			said = "against"
		}
		lines = append(lines, fmt.Sprintf("- %s (%s): %s", v.Approver, v.Role, said))
	}
	for _, v := range b.ballot.Refused {
		lines = append(lines, fmt.Sprintf("- not counted, %s: %s", v.Approver, v.Refused))
	}
	show(ctx, lines...)
}
