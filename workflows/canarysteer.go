package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
)

// halt waits while a person has paused the rollout, and takes up an abort.
func (c *climb) halt(ctx workflow.Context) error {
	if err := workflow.Await(ctx, func() bool { return !c.paused || c.aborted != "" }); err != nil {
		return err
	}
	c.resumed = false
	if c.aborted != "" {
		c.outcome, c.cause = contract.Failed, c.aborted
	}
	return nil
}

// rest waits for the next look, or until a person says something.
func (c *climb) rest(ctx workflow.Context, pause time.Duration) error {
	if c.paused {
		pause *= slower
	}
	_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
		Timeout:      pause,
		TimerOptions: workflow.TimerOptions{Summary: "until the next look"},
	}, func() bool { return c.aborted != "" || c.resumed })
	return err
}

// listen takes up what people ask. State is complete before: an update may
// arrive with the first task.
func (c *climb) listen(ctx workflow.Context) error {
	return contract.Steering.Handle(ctx, c.steer, c.refuse, "pauses, resumes or aborts the rollout and answers with where it is")
}

// refuse turns away what asks for nothing, before it leaves a trace.
func (c *climb) refuse(_ workflow.Context, s contract.Steer) error {
	var why string
	switch {
	case c.over || c.aborted != "":
		why = "the rollout is over"
	case c.steers >= steersPerRollout:
		why = "the rollout takes no more requests; abort it by canceling its promotion"
	case s.Actor == "" || len(s.Reason) > 1000:
		why = "who asks is missing, or the reason is too long"
	case s.Do == contract.SteerPause && c.paused:
		why = "the rollout is paused already"
	case s.Do == contract.SteerResume && !c.paused && c.waits == "":
		why = "the rollout is neither paused nor held"
	case s.Do != contract.SteerPause && s.Do != contract.SteerResume && s.Do != contract.SteerAbort:
		why = "a rollout can be told to pause, resume or abort"
	default:
		return nil
	}
	return temporal.NewApplicationErrorWithOptions(why, contract.NotSteered, temporal.ApplicationErrorOptions{
		NonRetryable: true, Category: temporal.ApplicationErrorCategoryBenign,
	})
}

// steer does what a person asks, and notes who it was before it answers.
func (c *climb) steer(ctx workflow.Context, s contract.Steer) (contract.CanaryState, error) {
	c.steers++
	kind := canary.FactPause
	switch s.Do {
	case contract.SteerPause:
		c.paused = true
	case contract.SteerResume:
		kind, c.paused, c.resumed = canary.FactResume, false, true
	case contract.SteerAbort:
		kind, c.aborted = canary.FactAbort, fmt.Sprintf("aborted by %s: %s", s.Actor, s.Reason)
	}
	done, _ := workflow.NewDisconnectedContext(ctx) // whoever asked is written down also when it ends meanwhile
	err := c.note(done, canary.Fact{Kind: kind, Actor: s.Actor, Words: s.Reason})
	c.show(done)
	return c.now(), err
}
