package workflows

import (
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
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
	// noticeLimit is how long a notice that is not the first one is tried.
	noticeLimit = time.Hour
	// lastLimit is how long an end waits for its notice.
	lastLimit = 12 * time.Second
	// remindEvery is how often people are reminded of a review that is overdue.
	remindEvery = 24 * time.Hour
)

// Approval runs one ballot until it is decided or expires, and, if it approved,
// uses the approval: once, after its cool-down, and before it lapses. Votes come
// as a signal or as an update and are taken up one after the other: verified by
// an activity, cast by the domain, recorded with a leaf of the audit log before
// the next one is looked at and before the outcome leaves. Until the approval is
// used, whoever gave it may take it back. The notice to the approvers is retried
// while the ballot is open, and abandoned with it.
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

	err := b.decide(ctx)
	for err == nil && req.Need > 0 && req.Review == "" && b.ballot.Outcome == approval.Approved {
		if err = b.begin(ctx); err != nil || b.ballot.Outcome != approval.Pending {
			break
		}
		err = b.decide(ctx) // somebody whose vote had counted may not vote any more
	}
	enough()
	if err != nil {
		b.ballot = b.ballot.Abandon() // canceled
	}
	done, cancel := closing(ctx)
	defer cancel()
	label(done, contract.AttrApproval.ValueSet(string(b.ballot.Outcome)))
	b.show(done)
	if lost := b.settle(done); lost != nil {
		return b.ballot, lost
	}
	if b.ballot.Outcome != approval.Approved { // what goes on, its requester sees
		ended := contract.TellInput{Ballot: b.ballot, Event: "ended"}
		if _, lost := contract.TellBallot.Execute(until(quick(done, "tell how it ended"), lastLimit), ended); lost != nil {
			workflow.GetLogger(ctx).Info("nobody was told how a ballot ended", "action", req.Action.ID, "error", lost)
		}
	}
	return b.ballot, err
}

// decide waits until the ballot is over. On the way it widens the seats, once;
// a review it does not end but reminds of.
func (b *box) decide(ctx workflow.Context) error {
	for !b.ballot.Over() {
		limit, escalates := b.left(ctx), false
		if at, ever := b.ballot.Request.Escalates(); ever && !b.ballot.Escalated {
			if wait := max(at.Sub(workflow.Now(ctx)), 0); wait < limit {
				limit, escalates = wait, true
			}
		}
		summary := "the ballot expires"
		switch {
		case escalates:
			summary = "others are asked"
		case b.ballot.Request.Review != "":
			limit, summary = max(limit, remindEvery), "remind of the review"
		}
		decided, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
			Timeout:      limit,
			TimerOptions: workflow.TimerOptions{Summary: summary},
		}, func() bool { return b.ballot.Over() })
		switch {
		case err != nil:
			return err
		case decided:
			return nil
		case escalates:
			b.ballot = b.ballot.Escalate()
			b.tell(ctx, "escalated")
			b.show(ctx)
			b.record(ctx)
		case b.ballot.Request.Review != "":
			b.tell(ctx, "reminded")
		default:
			b.ballot = b.ballot.Expire()
		}
	}
	return nil
}

// begin waits for the end of the cool-down and uses the approval, under the lock
// that votes are taken up with: a vote that takes it back comes before or after,
// never in between. If we crash after the use, it is found done by its name.
// What rests on something that expires during the cool-down lapses then.
func (b *box) begin(ctx workflow.Context) error {
	from := b.ballot.ExecuteFrom()
	if b.ballot.Request.Outdated(from) {
		from = b.ballot.Request.NotAfter
	}
	hold := from.Sub(workflow.Now(ctx))
	if hold > 0 {
		_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
			Timeout:      hold,
			TimerOptions: workflow.TimerOptions{Summary: "cool-down"},
		}, func() bool { return b.ballot.Outcome != approval.Approved })
		if err != nil {
			return err
		}
	}
	if err := b.one.Lock(ctx); err != nil {
		return err
	}
	defer b.one.Unlock()
	if b.ballot.Outcome != approval.Approved {
		return nil // taken back
	}
	begun, err := contract.BeginBallot.Execute(quick(ctx, "use the approval"), contract.BeginInput{
		Ballot: b.ballot,
		Use:    workflow.GetInfo(ctx).WorkflowExecution.RunID,
	})
	if err != nil {
		return err
	}
	if len(begun.Losses) > 0 {
		b.ballot = b.ballot.Lose(begun.Losses)
		b.show(ctx)
		b.keep(ctx)
		return nil
	}
	b.ballot = begun.Ballot
	if begun.Review == nil {
		return nil
	}
	return b.review(ctx, *begun.Review)
}

// review starts the review of a broken glass, which outlives the action. Its
// ballot is written already; a second start finds the first.
func (b *box) review(ctx workflow.Context, req approval.Request) error {
	opts := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            contract.ApprovalID(req.Action.ID),
		TaskQueue:             contract.QueueControl,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary:         "review: " + req.Action.Summary,
		TypedSearchAttributes: attributes(req),
	})
	started := contract.Approval.Child(opts, req).GetChildWorkflowExecution()
	if err := started.Get(ctx, nil); err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return err
	}
	return nil // it tells the approvers itself
}

func attributes(req approval.Request) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(
		contract.AttrTenant.ValueSet(req.Action.Tenant),
		contract.AttrRisk.ValueSet(int64(req.Action.Risk)),
		contract.AttrApproval.ValueSet(string(approval.Pending)),
	)
}

// tell sends a notice and does not wait for it: a ballot outlasts a webhook
// that is away.
func (b *box) tell(ctx workflow.Context, event string) {
	contract.TellBallot.Start(until(quick(ctx, "tell: "+event), noticeLimit), contract.TellInput{Ballot: b.ballot, Event: event})
}

// reconsider takes out the votes of those who may not vote any more.
func (b *box) reconsider(ctx workflow.Context) {
	b.busy++
	defer func() { b.busy-- }()
	if b.one.Lock(ctx) != nil {
		return
	}
	defer b.one.Unlock()
	standing, err := contract.CheckStanding.Execute(until(quick(ctx, "who may still vote?"), b.left(ctx)+lateLimit), b.ballot)
	if err != nil || len(standing.Losses) == 0 {
		return // using the approval asks again
	}
	b.ballot = b.ballot.Lose(standing.Losses)
	b.show(ctx)
	b.keep(ctx)
}

// box is a ballot with the votes that are on their way into it.
type box struct {
	ballot approval.Ballot
	one    workflow.Mutex // held while a vote is taken up
	taken  int
	asked  int // how often somebody's standing had changed
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
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return contract.Reconsider.Waiting(ctx) > 0 }) == nil {
			contract.Reconsider.Poll(ctx)
			if b.asked++; b.asked <= votesPerBallot && b.ballot.Waits() {
				b.reconsider(ctx)
			}
		}
	})
	return nil
}

// refuse turns an update away before it leaves a trace.
func (b *box) refuse(_ workflow.Context, vote contract.SignedVote) error {
	switch {
	case !b.ballot.Waits():
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
		who := v.Approver
		if v.For != "" {
			who += " for " + v.For
		}
		lines = append(lines, fmt.Sprintf("- %s (%s): %s", who, v.Role, v.Says()))
	}
	for _, v := range b.ballot.Withdrawn {
		lines = append(lines, fmt.Sprintf("- %s (%s): %s; counts no more", v.Approver, v.Role, v.Says()))
	}
	for _, v := range b.ballot.Refused {
		lines = append(lines, fmt.Sprintf("- not counted, %s: %s", v.Approver, v.Refused))
	}
	show(ctx, lines...)
}
