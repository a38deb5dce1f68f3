package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

// hold asks people what nobody can say. The share stays, and it is looked at on:
// a failure goes back at once and numbers that pass go on, whatever the people
// are about to say. It returns true when the next step may begin.
func (c *climb) hold(ctx workflow.Context, began time.Time) (bool, error) {
	c.holds++
	ballot := contract.HoldID(c.in.Action, c.holds)
	if err := c.note(ctx, canary.Fact{Kind: canary.FactHold, Verdict: c.verdict, Words: c.words, Look: c.look}); err != nil {
		return false, err
	}
	asked, enough := c.asking(ctx, ballot, fmt.Sprintf("%s is %s: go on all the same?", c.step, c.verdict))
	defer enough()
	design, since := c.in.Plan.Canary, workflow.Now(ctx)
	for {
		over, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
			Timeout:      slower * seconds(design.LookSeconds),
			TimerOptions: workflow.TimerOptions{Summary: "look again while people decide"},
		}, func() bool { return asked.given || c.aborted != "" || c.resumed })
		if err != nil {
			return false, err
		}
		switch {
		case c.aborted != "":
			c.outcome, c.cause = contract.Failed, c.aborted
		case over && asked.given:
			c.decision = asked.decision
			return asked.err == nil && c.outcome == "", asked.err
		case over: // somebody gives it more time
			c.resumed = false
		default:
			if err := c.glance(ctx, began); err != nil {
				return false, err
			}
			switch design.Next(c.verdict, c.waited(ctx, since)) {
			case canary.Back:
				c.regressed()
			case canary.Advance:
			default:
				if c.outcome == "" {
					continue
				}
			}
		}
		enough() // nobody is asked any more
		if err := workflow.Await(ctx, func() bool { return asked.given }); err != nil {
			return false, err
		}
		c.waits = ""
		return c.outcome == "" && c.verdict == canary.Pass, nil
	}
}

// half asks once more before half of a region's answers, where two roles had to
// agree to begin.
func (c *climb) half(ctx workflow.Context, step canary.Step) error {
	asked, enough := c.asking(ctx, contract.HalfID(c.in.Action), fmt.Sprintf("%s is next", step))
	defer enough()
	if err := workflow.Await(ctx, func() bool { return asked.given || c.aborted != "" }); err != nil {
		return err
	}
	if c.aborted == "" {
		c.decision = asked.decision
		return asked.err
	}
	enough()
	if err := workflow.Await(ctx, func() bool { return asked.given }); err != nil {
		return err
	}
	c.outcome, c.cause, c.waits = contract.Failed, c.aborted, ""
	return nil
}

// An answer is what people said, once it is given.
type answer struct {
	decision
	err   error
	given bool
}

// asking asks beside the main line, until it has heard enough.
func (c *climb) asking(ctx workflow.Context, ballot, why string) (*answer, workflow.CancelFunc) {
	ctx, enough := workflow.WithCancel(ctx)
	a, look := &answer{}, c.look
	workflow.Go(ctx, func(ctx workflow.Context) {
		a.decision, a.err = c.ask(ctx, ballot, why, look)
		a.given = true
	})
	return a, enough
}

// ask opens a ballot over the same plan and waits for it. The decision is empty
// when everybody agreed.
func (c *climb) ask(ctx workflow.Context, ballot, why string, look artifact.Digest) (decision, error) {
	checked, err := contract.AskAgain.Execute(quick(ctx, "who must agree?"), contract.AskInput{
		CheckInput: contract.CheckInput{Subject: c.in.Subject, Action: c.in.Action, Kind: c.in.Plan.Kind, Requester: c.in.Requester, Plan: c.in.Blob},
		Ballot:     ballot, Why: why, Look: look, Always: true,
	})
	if err != nil {
		return decision{}, err
	}
	req := checked.Request
	if req.Action.Plan != c.in.Blob.Digest || req.Action.ID != ballot {
		return decision{contract.Failed, "the ballot is about another plan"}, nil
	}
	c.waits = ballot
	c.show(ctx)
	opts := child(ctx, contract.ApprovalID(ballot), contract.QueueControl, "approve "+req.Action.Summary, 0, labels(c.in.Subject, "approval"))
	cast, err := contract.Approval.Execute(opts, req)
	if err != nil {
		return decision{}, err
	}
	c.waits = ""
	said := verdictOf(cast)
	words := "approved"
	if said.outcome != "" {
		words = said.cause
	}
	for _, v := range cast.Votes {
		words += ", " + v.Approver + " (" + v.Role + ") " + v.Says()
	}
	return said, c.note(ctx, canary.Fact{Kind: canary.FactAsk, Actor: ballot, Words: words})
}
