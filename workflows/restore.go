package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// pointRaces bounds how often a recovery point is put together again after
// another one was recorded first.
const pointRaces = 8

// RecoveryPoint signs what a tenant runs as its next recovery point.
func RecoveryPoint(ctx workflow.Context, in contract.PointInput) (contract.PointResult, error) {
	begin(ctx, in.Subject, "take")
	for try := 1; ; try++ {
		point, err := contract.TakePoint.Execute(quick(ctx, "what runs now"), in)
		if err != nil {
			return contract.PointResult{}, ending(ctx, err)
		}
		signed, err := contract.SignStatement.Execute(signing(ctx, "the recovery point"), contract.SignInput{
			Subject:       in.Subject,
			Name:          fmt.Sprintf("recovery/%s/%d", in.Tenant, point.Sequence),
			Digest:        point.Point.Digest,
			PredicateType: artifact.PredicateRecoveryPoint,
			Predicate:     point.Predicate,
		})
		if err != nil {
			return contract.PointResult{}, ending(ctx, err)
		}
		done, err := contract.RecordPoint.Execute(quick(ctx, "record the point"), contract.RecordPointInput{PointInput: in, Point: point, Bundle: signed.Bundle})
		if otherHand(err) && try < pointRaces {
			continue
		}
		if err != nil {
			return done, ending(ctx, err)
		}
		stage(ctx, contract.Applied)
		show(ctx, fmt.Sprintf("recovery point **%d** of %s", done.Sequence, in.Tenant), "", "")
		return done, nil
	}
}

// ending is the error that ends a workflow without an outcome of its own.
func ending(ctx workflow.Context, err error) error {
	if canceled(ctx, err) {
		return err
	}
	return explain(err, contract.BadPlan).final()
}

// Restore goes back to a recovery point, which is verified before anybody is
// asked about it. Once it may, everything that the point lists is verified
// again before anything moves, in the mirror of each region too; then regions
// load the packages, then routes and policies move at once, then each region
// says itself what it runs. Whatever fails
// before the routes move changes nothing that serves; afterwards they go back to
// what the plan observed. However it ends, RecordOutcome records it.
func Restore(ctx workflow.Context, in contract.RestoreInput) (contract.RestoreResult, error) {
	begin(ctx, in.Subject, "verify")
	r := &restoring{in: in}
	err := r.run(ctx)
	if err != nil {
		r.decision = ended(err)
	} else if r.outcome == "" {
		r.outcome = contract.Applied
	}
	done, cancel := closing(ctx)
	defer cancel()
	if err != nil && r.switched {
		r.goBack(done)
	}
	stage(done, r.outcome)
	show(done, fmt.Sprintf("**%s**: %s", r.outcome, r.checked.Plan.Summary()), "", r.cause)
	end := contract.OutcomeInput{
		Subject:  in.Subject,
		Action:   in.Action,
		Kind:     promotion.KindRestore,
		Outcome:  r.outcome,
		Cause:    r.cause,
		Plan:     in.Plan.Digest,
		Snapshot: r.now.Snapshot,
		Evidence: r.evidence,
		Bundle:   r.bundle,
		Grant:    r.checked.Grant,
	}
	if r.outcome == contract.Applied {
		end.Restored = &r.now
	}
	_, lost := contract.RecordOutcome.Execute(quick(done, "record the outcome: "+r.outcome), end)
	result := contract.RestoreResult{Action: in.Action, Outcome: r.outcome, Cause: r.cause, Sequence: r.sequence(), Snapshot: r.now.Snapshot, Evidence: r.evidence}
	if canceled(ctx, err) {
		return result, err
	}
	return result, lost
}

// restoring is the state of a restore.
type restoring struct {
	decision
	in       contract.RestoreInput
	checked  contract.Checked
	bundle   artifact.Descriptor
	switched bool // the routes may have moved
	now      contract.Recovered
	evidence []contract.Evidence
}

func (r *restoring) sequence() int64 {
	if r.checked.Plan.Restore == nil {
		return 0
	}
	return r.checked.Plan.Restore.Sequence
}

func (r *restoring) run(ctx workflow.Context) error {
	in := r.in
	var err error
	r.checked, r.decision, err = gate(ctx, contract.CheckInput{
		Subject:   in.Subject,
		Action:    in.Action,
		Kind:      promotion.KindRestore,
		Requester: in.Requester,
		Plan:      in.Plan,
	}, func(plan promotion.Plan) error {
		_, err := r.point(ctx, plan)
		return err
	})
	if err != nil || r.outcome != "" {
		return err
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	signed, err := contract.SignStatement.Execute(urgent(signing(ctx, "the restore")), contract.SignInput{
		Subject:       in.Subject,
		Name:          fmt.Sprintf("recovery/%s/%d", in.Tenant, r.sequence()),
		Digest:        r.checked.Plan.Restore.Point,
		PredicateType: artifact.PredicatePromotion,
		Predicate:     in.Plan,
	})
	if err != nil {
		return err
	}
	r.bundle = signed.Bundle
	if err := r.phase(ctx, contract.PhaseLoad); err != nil {
		return err
	}
	r.switched = true // set before: a publish may be done and not reported
	err = r.phase(ctx, contract.PhaseSwitch)
	if otherHand(err) {
		r.switched = false
	}
	return err
}

// point verifies the plan's recovery point: its signature, its place in the
// chain, and every item that it lists.
func (r *restoring) point(ctx workflow.Context, plan promotion.Plan) (contract.VerifiedPoint, error) {
	if plan.Restore == nil {
		return contract.VerifiedPoint{}, &failure{contract.BadPlan, "the plan names no recovery point"}
	}
	return contract.VerifyPoint.Execute(urgent(bulk(ctx, "every item of the recovery point")), contract.VerifyPointInput{
		Subject: r.in.Subject, Point: plan.Restore.Point, Sequence: plan.Restore.Sequence,
	})
}

// verify compares every digest of the point, here and in each region.
func (r *restoring) verify(ctx workflow.Context) error {
	stage(ctx, "verify")
	point, err := r.point(ctx, r.checked.Plan)
	if err != nil {
		return err
	}
	for _, part := range point.Holds {
		subject := r.in.Subject
		subject.ModelID = part.ModelID
		if err := held(ctx, contract.HeldInput{Subject: subject, Version: part.Version, Package: part.Package}, part.Regions); err != nil {
			return err
		}
	}
	return nil
}

// phase publishes one phase and waits until every region says that it runs it.
func (r *restoring) phase(ctx workflow.Context, name string) error {
	stage(ctx, name)
	show(ctx, fmt.Sprintf("**%s**: %s", name, r.checked.Plan.Summary()), "", "")
	now, err := contract.PublishRecovery.Execute(urgent(quick(ctx, "publish: "+name)), contract.RecoverInput{
		Subject: r.in.Subject, Action: r.in.Action, Phase: name, Plan: r.checked.Plan, Grant: r.checked.Grant,
	})
	if err != nil {
		return err
	}
	r.now = now
	r.evidence, err = awaitRecovered(ctx, r.in.Subject, name, now)
	return err
}

// goBack moves routes and policies back to what the plan observed, and says so
// in the cause.
func (r *restoring) goBack(ctx workflow.Context) {
	stage(ctx, contract.PhaseBack)
	now, err := contract.PublishRecovery.Execute(urgent(quick(ctx, "publish: back to what was")), contract.RecoverInput{
		Subject: r.in.Subject, Action: r.in.Action, Phase: contract.PhaseBack, Plan: r.checked.Plan, Grant: r.checked.Grant,
	})
	if err == nil {
		r.now = now
		r.evidence, err = awaitRecovered(ctx, r.in.Subject, contract.PhaseBack, now)
	}
	r.cause += "; " + outcomeOfBack("what ran before", now.Snapshot, err)
}

// awaitRecovered asks every region at once what it runs, and returns their
// evidence in the order of regions.
func awaitRecovered(ctx workflow.Context, subject contract.Subject, phase string, now contract.Recovered) ([]contract.Evidence, error) {
	asked := make([]workflow.Future, len(now.Regions))
	for i, want := range now.Regions {
		asked[i] = contract.AwaitRecovered.Start(urgent(verdict(ctx, want.Region, activeSeconds, phase+" in "+want.Region)), contract.AwaitRecoveredInput{
			Subject: subject, Phase: phase, Want: want, Version: now.Snapshot.Version, Seconds: activeSeconds,
		})
	}
	var evidence []contract.Evidence
	var first error
	for i, want := range now.Regions {
		var e contract.Evidence
		if err := asked[i].Get(ctx, &e); err != nil {
			if first == nil {
				why := explain(err, contract.BadPackage)
				first = &failure{why.kind, want.Region + ": " + why.words}
			}
			continue
		}
		evidence = append(evidence, e)
	}
	if ctx.Err() != nil {
		return evidence, ctx.Err()
	}
	return evidence, first
}
