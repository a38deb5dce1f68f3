package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// PolicyRollout signs a policy, publishes it region by region in the plan's
// order, and goes on to the next only when the one before says itself that it
// runs it and, where the plan has a guard, does no worse under it. If a region
// does not, every region that was reached goes back to the policy that the plan
// observed, under a higher revision. However it ends, RecordOutcome records it.
func PolicyRollout(ctx workflow.Context, in contract.RolloutInput) (contract.RolloutResult, error) {
	begin(ctx, in.Subject, "check")
	r := &rollout{in: in}
	if err := r.listen(ctx); err != nil {
		return contract.RolloutResult{}, err
	}
	err := r.run(ctx)
	if err != nil {
		r.decision = ended(err)
	} else if r.outcome == "" {
		r.outcome = contract.Applied
	}
	done, cancel := closing(ctx)
	defer cancel()
	r.over = true
	if err != nil && r.reached > 0 {
		r.goBack(done)
	}
	stage(done, r.outcome)
	show(done, fmt.Sprintf("**%s**: %s", r.outcome, r.checked.Plan.Summary()), "", r.cause)
	_, lost := contract.RecordOutcome.Execute(quick(done, "record the outcome: "+r.outcome), contract.OutcomeInput{
		Subject:  in.Subject,
		Action:   in.Action,
		Kind:     promotion.KindPolicy,
		Outcome:  r.outcome,
		Cause:    r.cause,
		Plan:     in.Plan.Digest,
		Snapshot: r.snapshot,
		Evidence: r.evidence,
		Bundle:   r.bundle,
		Grant:    r.checked.Grant,
	})
	result := contract.RolloutResult{Action: in.Action, Outcome: r.outcome, Cause: r.cause, Policy: r.policy.Policy.Digest, Evidence: r.evidence}
	if canceled(ctx, err) {
		return result, err
	}
	return result, lost
}

// rollout is the state of a policy rollout.
type rollout struct {
	decision
	in       contract.RolloutInput
	checked  contract.Checked
	policy   contract.PolicyPackage
	bundle   artifact.Descriptor
	reached  int // regions, in the plan's order, that may have the new policy
	snapshot contract.SnapshotRef
	evidence []contract.Evidence
	watch
}

func (r *rollout) run(ctx workflow.Context) error {
	in := r.in
	var err error
	r.checked, r.decision, err = gate(ctx, contract.CheckInput{
		Subject:   in.Subject,
		Action:    in.Action,
		Kind:      promotion.KindPolicy,
		Requester: in.Requester,
		Plan:      in.Plan,
	}, nil)
	if err != nil || r.outcome != "" {
		return err
	}
	if err := r.sign(ctx); err != nil {
		return err
	}
	for _, region := range r.checked.Plan.Regions {
		if err := r.region(ctx, region); err != nil {
			return err
		}
	}
	return nil
}

// sign packs the policy, signs the package and attaches the signature.
func (r *rollout) sign(ctx workflow.Context) error {
	stage(ctx, "sign")
	in := r.in
	var err error
	r.policy, err = contract.PushPolicy.Execute(registry(ctx, "the policy bundle"), contract.PushPolicyInput{Subject: in.Subject, Action: in.Action, Plan: r.checked.Plan, Grant: r.checked.Grant})
	if err != nil {
		return err
	}
	signed, err := contract.SignStatement.Execute(signing(ctx, "the policy bundle"), contract.SignInput{
		Subject:       in.Subject,
		Name:          r.policy.Repository,
		Digest:        r.policy.Package.Digest,
		PredicateType: artifact.PredicatePolicy,
		Predicate:     in.Plan,
	})
	if err != nil {
		return err
	}
	r.bundle = signed.Bundle
	_, err = contract.AttachSignature.Execute(registry(ctx, "attach and read back"), contract.AttachInput{
		Subject:       in.Subject,
		Repository:    r.policy.Repository,
		Package:       r.policy.Package,
		PredicateType: artifact.PredicatePolicy,
		Bundle:        signed.Bundle,
		Grant:         r.checked.Grant,
	})
	return err
}

// region gives the policy to one region and waits for its word.
func (r *rollout) region(ctx workflow.Context, region string) error {
	stage(ctx, "policy in "+region)
	plan := r.checked.Plan
	show(ctx, fmt.Sprintf("**%s**: %s", region, plan.Summary()), "", fmt.Sprintf("%d of %d regions run it", len(r.evidence), len(plan.Regions)))
	r.reached++ // before: a publish may be done and not reported
	ref, err := contract.PublishSnapshot.Execute(quick(ctx, "publish: policy in "+region), contract.PublishInput{
		Subject: r.in.Subject,
		Action:  r.in.Action,
		Phase:   contract.PhasePolicy,
		Plan:    plan,
		Regions: []string{region},
		Grant:   r.checked.Grant,
	})
	if otherHand(err) {
		r.reached--
	}
	if err != nil {
		return err
	}
	r.snapshot = ref
	r.note(ctx, region, contract.PolicyPublished, contract.Evidence{Region: region, Snapshot: ref.Version}, "")
	evidence, err := awaitActive(ctx, calm, contract.ActiveInput{
		Subject: r.in.Subject,
		Phase:   contract.PhasePolicy,
		Plan:    plan,
		Version: ref.Version,
		Seconds: activeSeconds,
	}, []string{region})
	r.evidence = append(r.evidence, evidence...)
	if err != nil {
		return err
	}
	r.note(ctx, region, contract.PolicyActive, evidence[0], "")
	return r.bake(ctx, region)
}

// goBack returns every region that was reached to the earlier policy.
func (r *rollout) goBack(ctx workflow.Context) {
	stage(ctx, contract.PhaseBack)
	ref, evidence, err := back(ctx, contract.PublishInput{
		Subject: r.in.Subject,
		Action:  r.in.Action,
		Plan:    r.checked.Plan,
		Regions: r.checked.Plan.Regions[:r.reached],
		Grant:   r.checked.Grant,
	})
	r.cause += "; " + outcomeOfBack(fmt.Sprintf("policy revision %d", r.checked.Plan.Observed.Policy), ref, err)
	if ref.Version > 0 {
		r.snapshot, r.evidence = ref, evidence
		for _, e := range evidence {
			r.note(ctx, e.Region, contract.PolicyRolledBack, e, r.cause)
		}
	}
}

// calm leaves the priority as it is.
func calm(ctx workflow.Context) workflow.Context { return ctx }
