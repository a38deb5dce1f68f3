package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

const (
	// slower is how many times rarer a rollout that is held is looked at: it is
	// looked at still, because what is bad must go also while people think.
	slower = 4
	// looksPerRollout bounds what a rollout writes. One that has used them up goes
	// back: nobody could say any more how it is doing.
	looksPerRollout = 2000
	// asksTwice is the risk from which people are asked again before half of a
	// region's answers: where two roles had to agree to begin.
	asksTwice = 60
	// steersPerRollout bounds what people may ask of it.
	steersPerRollout = 200
)

// Canary gives a version a growing share of the answers, region by region, and
// looks at what it does; before that, where the plan has a shadow, copies of
// requests whose answers go to nobody. A step that passes leads to the next one;
// a failure ends it at once; where nobody can say, it keeps its share and asks
// people. It publishes shares and never goes back itself: its parent does,
// however it ends but as applied. Whatever happens is a fact with a number,
// written down before the next thing happens.
func Canary(ctx workflow.Context, in contract.CanaryInput) (contract.CanaryResult, error) {
	begin(ctx, in.Subject, "canary")
	c := &climb{in: in}
	if err := c.listen(ctx); err != nil {
		return contract.CanaryResult{}, err
	}
	err := c.run(ctx)
	done, cancel := closing(ctx)
	defer cancel()
	c.over = true
	switch {
	case err != nil:
		c.decision = ended(err)
	case c.outcome == "":
		c.outcome = contract.Applied
	}
	stage(done, c.outcome)
	show(done, fmt.Sprintf("**%s**: %s", c.outcome, in.Plan.Summary()), "", c.cause)
	if settled := workflow.Await(done, func() bool { return workflow.AllHandlersFinished(done) }); settled != nil {
		return contract.CanaryResult{}, settled
	}
	if c.outcome != contract.Applied {
		if lost := c.note(done, canary.Fact{Kind: canary.FactBack, Words: c.cause}); lost != nil {
			workflow.GetLogger(ctx).Error("the end of a rollout was not noted", "action", in.Action, "error", lost)
		}
	}
	result := contract.CanaryResult{Outcome: c.outcome, Cause: c.cause, Snapshot: c.snapshot, Evidence: c.evidence}
	recorded, lost := contract.RecordCanary.Execute(quick(done, "the record of the rollout"), contract.CanaryEnd{
		Subject: in.Subject, Action: in.Action, Plan: in.Blob.Digest, Facts: c.facts, Result: result,
	})
	if canceled(ctx, err) {
		return result, err
	}
	return recorded, lost
}

// climb is the state of a rollout.
type climb struct {
	decision
	in       contract.CanaryInput
	step     canary.Step
	verdict  canary.Verdict
	look     artifact.Digest // the last one
	words    string          // of it
	facts    int
	looks    int
	steers   int
	holds    int
	snapshot contract.SnapshotRef
	evidence []contract.Evidence
	paused   bool
	resumed  bool   // since it was last looked at
	aborted  string // why
	waits    string // ballot
	over     bool
}

func (c *climb) run(ctx workflow.Context) error {
	plan, asked := c.in.Plan, false
	if plan.Canary == nil || plan.Version == nil {
		return &failure{contract.BadPlan, "the plan has no canary"}
	}
	for _, step := range plan.Canary.Steps(plan.Regions) {
		if err := c.halt(ctx); err != nil {
			return err
		}
		if c.outcome != "" {
			return nil
		}
		if step.ShareBP >= canary.Half && !asked && plan.Risk.Score >= asksTwice {
			asked = true
			if err := c.half(ctx, step); err != nil || c.outcome != "" {
				return err
			}
		}
		if err := c.raise(ctx, step); err != nil || step.Full() {
			if err != nil {
				return err
			}
			continue
		}
		if err := c.judge(ctx); err != nil || c.outcome != "" {
			return err
		}
	}
	return nil
}

// raise gives the version its next share, or its copies, and waits until the
// region's runtime says that it could give it.
func (c *climb) raise(ctx workflow.Context, step canary.Step) error {
	c.step, c.verdict, c.words = step, "", ""
	phase, share := contract.PhaseCanary, step.ShareBP
	switch {
	case step.Shadow():
		phase, share = contract.PhaseShadow, step.MirrorBP
	case step.Full():
		phase = contract.PhaseGive
	}
	c.show(ctx)
	ref, err := contract.PublishSnapshot.Execute(quick(ctx, "publish: "+step.String()), contract.PublishInput{
		Subject: c.in.Subject, Action: c.in.Action, Phase: phase, Plan: c.in.Plan, Regions: []string{step.Region}, ShareBP: share, Grant: c.in.Grant,
	})
	if err != nil {
		return err
	}
	c.snapshot = ref
	evidence, err := awaitActive(ctx, calm, contract.ActiveInput{
		Subject: c.in.Subject, Phase: phase, Plan: c.in.Plan, Version: ref.Version, Seconds: activeSeconds,
	}, []string{step.Region})
	if err != nil {
		return err
	}
	if step.Full() {
		c.evidence = append(c.evidence, evidence...)
	}
	return c.note(ctx, canary.Fact{Kind: canary.FactStep, Words: fmt.Sprintf("snapshot %d", ref.Version)})
}

// judge looks until the step is over: passed, or with an outcome.
func (c *climb) judge(ctx workflow.Context) error {
	design, began := c.in.Plan.Canary, workflow.Now(ctx)
	since := began // of the deadline: a person may give it anew
	for {
		if err := c.rest(ctx, seconds(design.LookSeconds)); err != nil {
			return err
		}
		if c.aborted != "" {
			c.outcome, c.cause = contract.Failed, c.aborted
			return nil
		}
		if c.resumed {
			c.resumed, since = false, workflow.Now(ctx)
		}
		if err := c.glance(ctx, began); err != nil || c.outcome != "" {
			return err
		}
		switch design.Next(c.verdict, c.waited(ctx, since)) {
		case canary.Back:
			c.regressed()
			return nil
		case canary.Advance:
			if !c.paused { // a pause ends where a person ends it, not where the numbers do
				return nil
			}
		case canary.Hold:
			if c.paused {
				continue // a person is at it
			}
			on, err := c.hold(ctx, began)
			if err != nil || on || c.outcome != "" {
				return err
			}
			since = workflow.Now(ctx)
		}
	}
}

// glance is one look at the step that began then.
func (c *climb) glance(ctx workflow.Context, began time.Time) error {
	if c.looks++; c.looks > looksPerRollout {
		c.outcome, c.cause = contract.Failed, fmt.Sprintf("%s: after %d looks nobody can say how it is doing", c.step, looksPerRollout)
		return nil
	}
	c.facts++
	looked, err := contract.LookCanary.Execute(quick(ctx, fmt.Sprintf("look %d: %s", c.looks, c.step)), contract.LookInput{
		Subject: c.in.Subject, Action: c.in.Action, Plan: c.in.Plan, Number: c.facts, Step: c.step,
		From: began.UTC(), To: workflow.Now(ctx).UTC(), Last: c.last(),
	})
	if err != nil {
		return err
	}
	c.verdict, c.look, c.words = looked.Verdict, looked.Look, looked.Words
	c.show(ctx)
	return nil
}

// last says whether the next step gives the region over whole.
func (c *climb) last() bool {
	shares := c.in.Plan.Canary.SharesBP
	return len(shares) > 1 && c.step.ShareBP == shares[len(shares)-2]
}

// regressed ends the rollout with what the last look said.
func (c *climb) regressed() {
	c.outcome, c.cause = contract.Failed, fmt.Sprintf("%s failed: %s", c.step, c.words)
}

// note writes a fact with the next number.
func (c *climb) note(ctx workflow.Context, f canary.Fact) error {
	c.facts++
	f.Number, f.At, f.Step = c.facts, workflow.Now(ctx).UTC(), c.step
	_, err := contract.NoteCanary.Execute(quick(ctx, "note: "+f.Kind), contract.CanaryNote{Subject: c.in.Subject, Action: c.in.Action, Fact: f})
	return err
}

func (c *climb) now() contract.CanaryState {
	return contract.CanaryState{Step: c.step, Verdict: c.verdict, Paused: c.paused, Waits: c.waits}
}

func (c *climb) waited(ctx workflow.Context, since time.Time) int {
	return int(workflow.Now(ctx).Sub(since) / time.Second)
}

func (c *climb) show(ctx workflow.Context) {
	state := ""
	if c.paused {
		state = "paused by a person"
	}
	if c.waits != "" {
		state = "waits for ballot " + c.waits
	}
	stage(ctx, "canary "+c.step.String())
	show(ctx, fmt.Sprintf("**step %d, %s**: %s", c.step.Number, c.step, c.in.Plan.Summary()), "", string(c.verdict)+" "+c.words, state)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
