package activities

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// A Region asks its own runtime.
type Region struct {
	Runtime Runtime
	Now     func() time.Time
	Pause   time.Duration // between two questions
}

// AwaitActive returns when the region's runtime reports that it runs what a
// phase has given it. Idempotent: it asks. A restart of the worker does not
// restart the clock. Final: [contract.NotActive] with what the runtime said
// last, when the time is up.
func (r *Region) AwaitActive(ctx context.Context, in contract.ActiveInput) (contract.Evidence, error) {
	active, err := r.await(ctx, in.Region, in.Seconds, func(a Active) string { return lacks(in, a) })
	if err != nil {
		return contract.Evidence{}, err
	}
	return reported(in, active), nil
}

// await asks the runtime until it lacks nothing, or the time is up.
func (r *Region) await(ctx context.Context, region string, seconds int, lacks func(Active) string) (Active, error) {
	state := wait{Deadline: deadline(ctx, r.Now, seconds)}
	for {
		activity.RecordHeartbeat(ctx, state)
		active, err := r.Runtime.Active(ctx, region)
		var why string
		if err != nil {
			why = err.Error()
		} else if why = lacks(active); why == "" {
			return active, nil
		}
		left := state.Deadline.Sub(r.Now())
		if left <= 0 {
			return active, permanent(contract.NotActive, fmt.Errorf("region %s: %s", region, why))
		}
		select {
		case <-ctx.Done():
			return active, fmt.Errorf("region %s: %w", region, ctx.Err())
		case <-time.After(min(left, r.Pause)):
		}
	}
}

// lacks says what a runtime's report lacks of what a phase wants, or nothing.
func lacks(in contract.ActiveInput, active Active) string {
	plan := in.Plan
	if active.Snapshot < in.Version {
		return fmt.Sprintf("it is at snapshot %d, not %d", active.Snapshot, in.Version)
	}
	route := plan.Tenant + "/" + plan.ModelID + "/" + plan.Environment
	switch {
	case plan.Kind == promotion.KindPolicy:
		_, digest, err := plan.Document()
		if err != nil {
			return err.Error()
		}
		if (active.Policy == digest) != (in.Phase == contract.PhasePolicy) {
			return fmt.Sprintf("it runs policy %s", active.Policy.Short())
		}
	case in.Phase == contract.PhaseBack:
		if plan.Version != nil && active.Routes[route] == plan.Version.Number && plan.Observed.Champion != plan.Version.Number {
			return fmt.Sprintf("it still serves version %d", plan.Version.Number)
		}
	case plan.Version == nil:
		return ErrPhase.Error()
	default:
		if loaded := active.Packages[packageKey(plan, plan.Version.Number)]; loaded != plan.Version.Package {
			return fmt.Sprintf("it has not loaded version %d", plan.Version.Number)
		}
		if (in.Phase == contract.PhaseSwitch || in.Phase == contract.PhaseGive) && active.Routes[route] != plan.Version.Number {
			return fmt.Sprintf("it serves version %d", active.Routes[route])
		}
	}
	return ""
}

// reported is what the runtime said of the version, or after going back of the
// one before.
func reported(in contract.ActiveInput, active Active) contract.Evidence {
	e := contract.Evidence{Region: in.Region, Snapshot: active.Snapshot, Policy: active.Policy, Delivered: active.Delivered, Verified: active.Verified}
	switch {
	case in.Plan.Version == nil:
	case in.Phase == contract.PhaseBack:
		e.Package = active.Packages[packageKey(in.Plan, in.Plan.Observed.Champion)]
	default:
		e.Package = active.Packages[packageKey(in.Plan, in.Plan.Version.Number)]
	}
	return e
}

// packageKey is what a runtime calls a package in its report.
func packageKey(plan promotion.Plan, version int) string {
	return fmt.Sprintf("%s/%s/%d", plan.Tenant, plan.ModelID, version)
}
