package workflows

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Feedback is one evaluation of the policy loop: it reads telemetry, judges it,
// replays the decision log under each draft, has the proposal signed, keeps it
// and starts its rollout. The rollout outlives it, and asks the people who must
// agree; this decides nothing that a person should.
func Feedback(ctx workflow.Context, in contract.FeedbackInput) (contract.FeedbackResult, error) {
	begin(ctx, in.Subject, "telemetry")
	if in.Evaluation == "" { // a schedule starts each under an id of its own
		in.Evaluation = workflow.GetInfo(ctx).WorkflowExecution.RunID
	}
	var result contract.FeedbackResult
	telemetry, err := contract.ReadTelemetry.Execute(compute(ctx, contract.QueueControl, "read the windows of every metric"), in)
	if err != nil {
		return result, err
	}
	stage(ctx, "evaluate")
	evaluated, err := contract.EvaluateTelemetry.Execute(compute(ctx, contract.QueueControl, "judge every template"), contract.EvaluateInput{FeedbackInput: in, Telemetry: telemetry})
	if err != nil {
		return result, err
	}
	result.Report, result.Words = evaluated.Report.Digest, evaluated.Words
	show(ctx, "**evaluated**: "+evaluated.Words, "", "")
	for _, draft := range evaluated.Drafts {
		action, err := propose(ctx, in, draft)
		if canceled(ctx, err) {
			return result, err
		}
		if err != nil { // one draft that fails keeps no other one back
			result.Words += fmt.Sprintf("; %s: %s", draft.Key, words(err, contract.BadPlan))
			continue
		}
		if action != "" {
			result.Proposed = append(result.Proposed, action)
		}
	}
	stage(ctx, "done")
	show(ctx, "**done**: "+result.Words, "", "")
	return result, nil
}

// propose brings one draft as far as its rollout, and returns the action that
// rolls it out; none for a draft that is not kept.
func propose(ctx workflow.Context, in contract.FeedbackInput, draft contract.Draft) (string, error) {
	stage(ctx, "replay")
	replayed, err := contract.ReplayDecisions.Execute(compute(ctx, contract.QueueControl, "replay the log: "+draft.Key), contract.ReplayInput{FeedbackInput: in, Draft: draft})
	if err != nil {
		return "", err
	}
	show(ctx, "**replayed**: "+replayed.Words, "", "")
	if in.Shadow {
		return "", nil
	}
	stage(ctx, "propose")
	signed, err := contract.SignStatement.Execute(signing(ctx, "the proposal: "+draft.Key), contract.SignInput{
		Subject:       in.Subject,
		Name:          "policy",
		Digest:        replayed.Draft.Document.Digest,
		PredicateType: artifact.PredicateProposal,
		Predicate:     replayed.Draft.Proposal,
	})
	if err != nil {
		return "", err
	}
	kept, err := contract.ProposePolicy.Execute(quick(ctx, "keep the proposal: "+draft.Key), contract.ProposeInput{FeedbackInput: in, Replayed: replayed, Bundle: signed.Bundle})
	if err != nil || kept.Refused != "" {
		return "", err
	}
	// The rollout is started by its action's id: twice is once, also when another
	// evaluation did it before.
	outliving := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            contract.RolloutID(kept.Action),
		TaskQueue:             contract.QueueControl,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         replayed.Words,
		TypedSearchAttributes: labels(in.Subject, "started"),
	})
	started := contract.PolicyRollout.Child(outliving, contract.RolloutInput{
		Subject:   in.Subject,
		Action:    kept.Action,
		Requester: in.Requester,
		Plan:      replayed.Plan,
	})
	if err := started.GetChildWorkflowExecution().Get(ctx, nil); err != nil && !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return "", err
	}
	return kept.Action, nil
}
