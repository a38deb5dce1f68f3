package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// activeSeconds is how long a region's runtime may take to run what it should.
const activeSeconds = 120

// ModelPromotion makes a version serve: regions load the package, then the
// route moves, then each region says itself what it runs. Whatever fails before
// the route moves changes nothing that serves; afterwards the route goes back to
// the version that the plan observed. However it ends, RecordOutcome records it.
func ModelPromotion(ctx workflow.Context, in contract.PromotionInput) (contract.PromotionResult, error) {
	begin(ctx, in.Subject, "check")
	p := &promoting{in: in}
	err := p.run(ctx)
	if err != nil {
		p.decision = ended(err)
	} else if p.outcome == "" {
		p.outcome = contract.Applied
	}
	done, cancel := closing(ctx)
	defer cancel()
	if p.switched && p.outcome != contract.Applied {
		p.goBack(done)
	}
	stage(done, p.outcome)
	show(done, fmt.Sprintf("**%s**: %s", p.outcome, p.checked.Plan.Summary()), "", p.cause)
	_, lost := contract.RecordOutcome.Execute(quick(done, "record the outcome: "+p.outcome), contract.OutcomeInput{
		Subject:  in.Subject,
		Action:   in.Action,
		Kind:     promotion.KindPromotion,
		Outcome:  p.outcome,
		Cause:    p.cause,
		Plan:     in.Plan.Digest,
		Snapshot: p.snapshot,
		Evidence: p.evidence,
		Bundle:   p.bundle,
		Grant:    p.checked.Grant,
	})
	if p.outcome == contract.Applied && lost == nil {
		p.pack(done)
	}
	result := contract.PromotionResult{Action: in.Action, Outcome: p.outcome, Cause: p.cause, Snapshot: p.snapshot, Evidence: p.evidence}
	if canceled(ctx, err) {
		return result, err
	}
	return result, lost
}

// pack makes and signs the evidence of a promotion that was applied. What
// serves does not wait for it, and a pack that cannot be made is said and
// changes nothing.
func (p *promoting) pack(ctx workflow.Context) {
	stage(ctx, "evidence")
	in := contract.EvidenceInput{Subject: p.in.Subject, Action: p.in.Action, Plan: p.in.Plan.Digest}
	err := func() error {
		packed, err := contract.PackEvidence.Execute(registry(ctx, "the evidence pack"), in)
		if err != nil {
			return err
		}
		signed, err := contract.SignStatement.Execute(signing(ctx, "the evidence pack"), contract.SignInput{
			Subject:       in.Subject,
			Name:          in.Action,
			Digest:        packed.Pack.Digest,
			PredicateType: artifact.PredicateEvidence,
			Predicate:     packed.Predicate,
		})
		if err != nil {
			return err
		}
		_, err = contract.KeepEvidence.Execute(quick(ctx, "keep the evidence"), contract.KeepInput{
			Subject: in.Subject, Action: in.Action, Pack: packed.Pack, Bundle: signed.Bundle,
		})
		return err
	}()
	if err != nil {
		workflow.GetLogger(ctx).Error("no evidence pack", "action", in.Action, "error", err)
	}
	stage(ctx, p.outcome)
}

// promoting is the state of a promotion.
type promoting struct {
	decision
	in       contract.PromotionInput
	checked  contract.Checked
	bundle   artifact.Descriptor
	switched bool // the route may have moved
	snapshot contract.SnapshotRef
	evidence []contract.Evidence
}

func (p *promoting) run(ctx workflow.Context) error {
	in := p.in
	var err error
	p.checked, p.decision, err = gate(ctx, contract.CheckInput{
		Subject:   in.Subject,
		Action:    in.Action,
		Kind:      promotion.KindPromotion,
		Requester: in.Requester,
		Plan:      in.Plan,
	}, nil)
	if err != nil || p.outcome != "" {
		return err
	}
	plan := p.checked.Plan
	if plan.Version == nil {
		return &failure{contract.BadPlan, "the plan names no version"}
	}
	if plan.Rollback {
		stage(ctx, "verify")
		err := held(ctx, contract.HeldInput{Subject: in.Subject, Version: plan.Version.Number, Package: plan.Version.Package}, plan.Regions)
		if err != nil {
			return err
		}
	}
	signed, err := contract.SignStatement.Execute(p.pace(signing(ctx, "the promotion")), contract.SignInput{
		Subject:       in.Subject,
		Name:          plan.Version.Repository,
		Digest:        plan.Version.Package,
		PredicateType: artifact.PredicatePromotion,
		Predicate:     in.Plan,
	})
	if err != nil {
		return err
	}
	p.bundle = signed.Bundle
	if err := p.phase(ctx, contract.PhaseLoad); err != nil {
		return err
	}
	p.switched = true // set before: a publish may be done and not reported
	if plan.Canary != nil {
		return p.climb(ctx)
	}
	err = p.phase(ctx, contract.PhaseSwitch)
	if otherHand(err) {
		p.switched = false
	}
	return err
}

// climb gives the version its share step by step. It ends as its rollout does.
func (p *promoting) climb(ctx workflow.Context) error {
	plan := p.checked.Plan
	opts := child(ctx, contract.CanaryID(p.in.Action), contract.QueueControl, "canary: "+plan.Summary(), 0, labels(p.in.Subject, "canary"))
	got, err := contract.Canary.Execute(opts, contract.CanaryInput{
		Subject: p.in.Subject, Action: p.in.Action, Requester: p.in.Requester, Plan: plan, Blob: p.in.Plan, Grant: p.checked.Grant,
	})
	if err != nil {
		return err
	}
	if got.Snapshot.Version > 0 {
		p.snapshot, p.evidence = got.Snapshot, got.Evidence
	}
	p.decision = decision{got.Outcome, got.Cause}
	if got.Outcome == contract.Stale && got.Snapshot.Version == 0 {
		p.switched = false // another hand was faster: nothing was given
	}
	return nil
}

// phase publishes one phase and waits until every region says that it runs it.
func (p *promoting) phase(ctx workflow.Context, name string) error {
	stage(ctx, name)
	plan := p.checked.Plan
	show(ctx, fmt.Sprintf("**%s**: %s", name, plan.Summary()), "", "regions: "+strings.Join(plan.Regions, ", "))
	ref, err := contract.PublishSnapshot.Execute(p.pace(quick(ctx, "publish: "+name)), contract.PublishInput{
		Subject: p.in.Subject,
		Action:  p.in.Action,
		Phase:   name,
		Plan:    plan,
		Regions: plan.Regions,
		Grant:   p.checked.Grant,
	})
	if err != nil {
		return err
	}
	p.snapshot = ref
	p.evidence, err = awaitActive(ctx, p.pace, contract.ActiveInput{
		Subject: p.in.Subject,
		Phase:   name,
		Plan:    plan,
		Version: ref.Version,
		Seconds: activeSeconds,
	}, plan.Regions)
	return err
}

// goBack moves the route back to what the plan observed, and says so in the
// cause. The regions are asked, but a region that is away cannot hold it up.
func (p *promoting) goBack(ctx workflow.Context) {
	stage(ctx, contract.PhaseBack)
	before := "no version"
	if n := p.checked.Plan.Observed.Champion; n > 0 {
		before = fmt.Sprintf("version %d", n)
	}
	ref, evidence, err := back(ctx, contract.PublishInput{
		Subject: p.in.Subject,
		Action:  p.in.Action,
		Plan:    p.checked.Plan,
		Regions: p.checked.Plan.Regions,
		Grant:   p.checked.Grant,
	})
	p.cause += "; " + outcomeOfBack(before, ref, err)
	if ref.Version > 0 {
		p.snapshot, p.evidence = ref, evidence
	}
}

// pace puts the way back to an earlier version before other work.
func (p *promoting) pace(ctx workflow.Context) workflow.Context {
	if p.checked.Plan.Rollback {
		return urgent(ctx)
	}
	return ctx
}
