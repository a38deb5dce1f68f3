package script

import (
	"context"
	"encoding/json"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Guard watches each region for a minute, looks every twenty seconds, halts
// after two minutes without an answer and goes back ten minutes later.
func Guard() promotion.Guard {
	return promotion.Guard{Metric: "route_failed", MarginBP: 200, BakeSeconds: 60, LookSeconds: 20, DeadlineSeconds: 120, HaltSeconds: 600, AlphaBP: 500}
}

// Watched returns a checked plan of a policy for eu and us with a guard.
func Watched(need int) contract.Checked {
	checked := Policy(need)
	document := policy.Default()
	document.Revision = 2
	text, err := document.Encode()
	if err != nil {
		panic(err) // the default document has a canonical form
	}
	raw := json.RawMessage(text)
	guard := Guard()
	checked.Plan.Policy, checked.Plan.Guard, checked.Plan.Regions = &raw, &guard, []string{"eu", "us"}
	return checked
}

// Evaluation is the input of an evaluation of the policy loop.
func Evaluation() contract.FeedbackInput {
	return contract.FeedbackInput{Subject: Subject(), Evaluation: "e1", Environment: "production", Seconds: 60, Baseline: 3, Requester: "feedback-loop"}
}

// bindLoop registers the activities of the policy loop. An evaluation drafts
// one proposal, for rollout policy-1.
func (w *World) bindLoop(r worker.ActivityRegistry) {
	contract.ReadTelemetry.Bind(r, func(context.Context, contract.FeedbackInput) (contract.Telemetry, error) {
		return contract.Telemetry{Series: Blob("series"), Targets: 3}, w.call("ReadTelemetry", "")
	})
	contract.EvaluateTelemetry.Bind(r, func(context.Context, contract.EvaluateInput) (contract.Evaluated, error) {
		return contract.Evaluated{Report: Blob("findings"), Words: "1 PROPOSE", Drafts: []contract.Draft{{Key: "min_cohort/", Proposal: Blob("draft"), Document: Blob("policy")}}}, w.call("EvaluateTelemetry", "")
	})
	contract.ReplayDecisions.Bind(r, func(_ context.Context, in contract.ReplayInput) (contract.Replayed, error) {
		in.Draft.Proposal = Blob("proposal")
		return contract.Replayed{Draft: in.Draft, Plan: PlanBlob(), Action: "policy-1", Risk: 20, Decisions: 10, Closed: 2, Words: "tighten"}, w.call("ReplayDecisions", "")
	})
	contract.ProposePolicy.Bind(r, func(_ context.Context, in contract.ProposeInput) (contract.Proposed, error) {
		return contract.Proposed{Action: in.Replayed.Action, Refused: w.Refused}, w.call("ProposePolicy", "")
	})
	contract.GuardRegion.Bind(r, func(_ context.Context, in contract.GuardInput) (contract.Guarded, error) {
		verdict := canary.Pass
		w.mu.Lock()
		if queue := w.Guarded[in.Region]; len(queue) > 0 {
			verdict = queue[0]
			if len(queue) > 1 {
				w.Guarded[in.Region] = queue[1:]
			}
		}
		w.mu.Unlock()
		return contract.Guarded{Verdict: verdict, Words: "as scripted", Look: Blob("look").Digest}, w.call("GuardRegion", in.Region)
	})
	contract.NoteRegion.Bind(r, func(_ context.Context, in contract.RegionStateInput) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("NoteRegion", in.Region+"/"+in.State)
	})
}
