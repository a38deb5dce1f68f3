package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
)

// awaitActive asks every region at once what it runs, and returns their
// evidence in the order of regions. Of several failures it returns the first in
// that order, after all have answered.
func awaitActive(ctx workflow.Context, pace func(workflow.Context) workflow.Context, in contract.ActiveInput, regions []string) ([]contract.Evidence, error) {
	asked := make([]workflow.Future, len(regions))
	for i, r := range regions {
		in.Region = r
		asked[i] = contract.AwaitActive.Start(pace(verdict(ctx, r, in.Seconds, in.Phase+" in "+r)), in)
	}
	var evidence []contract.Evidence
	var first error
	for i, r := range regions {
		var e contract.Evidence
		if err := asked[i].Get(ctx, &e); err != nil {
			if first == nil {
				why := explain(err, contract.BadPackage)
				first = &failure{why.kind, r + ": " + why.words}
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

// otherHand says that a publish was refused because somebody else moved what
// the plan observed: nothing was published, and there is nothing to take back.
func otherHand(err error) bool {
	return err != nil && explain(err, contract.BadPlan).kind == contract.StalePlan
}

// back publishes what the plan observed, before all other work, and asks the
// regions for it. The error tells which of both did not happen: without a
// version in the reference, nothing was published.
func back(ctx workflow.Context, in contract.PublishInput) (contract.SnapshotRef, []contract.Evidence, error) {
	in.Phase = contract.PhaseBack
	ref, err := contract.PublishSnapshot.Execute(urgent(quick(ctx, "publish: back to what was")), in)
	if err != nil {
		return contract.SnapshotRef{}, nil, err
	}
	evidence, err := awaitActive(ctx, urgent, contract.ActiveInput{
		Subject: in.Subject,
		Phase:   in.Phase,
		Plan:    in.Plan,
		Version: ref.Version,
		Seconds: activeSeconds,
	}, in.Regions)
	return ref, evidence, err
}

// outcomeOfBack says in words how going back went.
func outcomeOfBack(before string, ref contract.SnapshotRef, err error) string {
	switch {
	case ref.Version == 0:
		return fmt.Sprintf("going back to %s failed too: %s", before, words(err, contract.BadPlan))
	case err != nil:
		return fmt.Sprintf("switched back to %s, which is not confirmed: %s", before, words(err, contract.BadPlan))
	}
	return "switched back to " + before
}
