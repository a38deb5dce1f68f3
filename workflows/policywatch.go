package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
)

// haltedSlower is how many times rarer a region is looked at while the rollout
// is halted: it is looked at still, for data may come back, and what is bad must
// go also while people think.
const haltedSlower = 4

// watch is what a rollout of a policy knows of the region that it watches.
type watch struct {
	at      string // region
	verdict canary.Verdict
	halted  bool
	paused  bool   // by a person
	resumed bool   // by a person, since it was last looked at
	aborted string // by whom, and why
	steers  int
	over    bool
}

// listen takes what people ask of the rollout.
func (r *rollout) listen(ctx workflow.Context) error {
	return contract.Steering.Handle(ctx, func(_ workflow.Context, s contract.Steer) (contract.CanaryState, error) {
		r.steers++
		switch s.Do {
		case contract.SteerPause:
			r.paused = true
		case contract.SteerResume:
			r.paused, r.halted, r.resumed = false, false, true
		case contract.SteerAbort:
			r.aborted = "aborted by " + s.Actor + ": " + s.Reason
		}
		return contract.CanaryState{Step: canary.Step{Region: r.at}, Verdict: r.verdict, Paused: r.paused || r.halted}, nil
	}, func(_ workflow.Context, s contract.Steer) error {
		switch {
		case r.over || r.at == "":
			return temporal.NewApplicationError("nothing is being watched", contract.NotSteered)
		case s.Do != contract.SteerPause && s.Do != contract.SteerResume && s.Do != contract.SteerAbort:
			return temporal.NewApplicationError("pause, resume or abort", contract.NotSteered)
		case r.steers >= steersPerRollout:
			return temporal.NewApplicationError("it was asked for too much", contract.NotSteered)
		}
		return nil
	}, "pauses, resumes or aborts the rollout")
}

// bake looks at a region until it passes for long enough. A regression ends the
// rollout. Where nobody can say until the deadline, no data above all, it halts:
// a person resumes or aborts it, or data comes back and decides; and when
// neither happens in time, it goes back.
func (r *rollout) bake(ctx workflow.Context, region string) error {
	guard := r.checked.Plan.Guard
	if guard == nil {
		return nil
	}
	if slices.Contains(r.policy.Closed, region) { // nobody is answered there: there is nothing to look at
		return nil
	}
	stage(ctx, "watch "+region)
	r.at, r.verdict, r.halted, r.resumed = region, "", false, false
	since := workflow.Now(ctx)
	deadline := since
	var haltedAt time.Time
	for looks := 1; ; looks++ {
		wait := time.Duration(guard.LookSeconds) * time.Second
		if r.halted || r.paused {
			wait *= haltedSlower
		}
		if _, err := workflow.AwaitWithTimeout(ctx, wait, func() bool { return r.aborted != "" || r.resumed }); err != nil {
			return err
		}
		if r.aborted != "" {
			return &failure{contract.Regressed, r.aborted}
		}
		if r.resumed {
			r.resumed, deadline = false, workflow.Now(ctx)
		}
		now := workflow.Now(ctx)
		looked, err := contract.GuardRegion.Execute(quick(ctx, "look at "+region), contract.GuardInput{
			Subject: r.in.Subject, Action: r.in.Action, Region: region, Guard: *guard, Since: since.Unix(), Until: now.Unix(), Looks: looks,
		})
		if err != nil {
			return err
		}
		r.verdict = looked.Verdict
		show(ctx, fmt.Sprintf("**%s**: %s", region, r.checked.Plan.Summary()), "", fmt.Sprintf("%s: %s", looked.Verdict, looked.Words))
		switch guard.Next(looked.Verdict, int(now.Sub(deadline)/time.Second)) {
		case canary.Back:
			return &failure{contract.Regressed, fmt.Sprintf("%s regressed: %s", region, looked.Words)}
		case canary.Advance:
			if !r.paused {
				r.at = ""
				return nil
			}
		case canary.Hold:
			if !r.halted {
				r.halted, haltedAt = true, now
				stage(ctx, "halted in "+region)
				r.note(ctx, region, contract.PolicyHalted, contract.Evidence{Region: region, Snapshot: r.snapshot.Version}, looked.Words)
			}
		}
		if r.halted && now.Sub(haltedAt) >= time.Duration(guard.HaltSeconds)*time.Second {
			return &failure{contract.Regressed, fmt.Sprintf("%s stayed halted, and nobody resumed it: %s", region, looked.Words)}
		}
	}
}

// note writes what is known of the policy in a region. That it is not written
// down stops nothing: what the region runs is in its own report.
func (r *rollout) note(ctx workflow.Context, region, state string, e contract.Evidence, why string) {
	digest := r.policy.Policy.Digest
	if e.Policy != "" {
		digest = e.Policy
	}
	_, err := contract.NoteRegion.Execute(until(quick(ctx, state+": policy in "+region), time.Minute), contract.RegionStateInput{
		Subject: r.in.Subject, Action: r.in.Action, Region: region, Revision: r.policy.Revision, Policy: digest,
		State: state, Snapshot: e.Snapshot, Delivered: e.Delivered, Verified: e.Verified, Words: why,
	})
	if err != nil && ctx.Err() == nil {
		workflow.GetLogger(ctx).Warn("what a region runs was not noted", "region", region, "state", state, "error", err)
	}
}
