package script

import (
	"context"
	"fmt"
	"slices"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Design is that of a rollout with two steps before a region is given over, of
// a minute each.
func Design() canary.Design {
	d := canary.Default("promote-1")
	d.SharesBP = []int{500, 5000, canary.Whole}
	d.BakeSeconds, d.LookSeconds, d.DeadlineSeconds = 60, 20, 100
	return d
}

// Rollout returns a checked plan that puts version 4 of m1 in the place of 3,
// as a canary in two regions.
func Rollout(need int) contract.Checked {
	checked := Promotion(need)
	design := Design()
	checked.Plan.Canary = &design
	checked.Plan.Regions = []string{"eu", "us"}
	checked.Plan.Observed.Served = []int{3, 3}
	return checked
}

// CanaryInput is a rollout whose package is loaded.
func CanaryInput() contract.CanaryInput {
	plan := Rollout(0).Plan
	return contract.CanaryInput{Subject: Subject(), Action: "promote-1", Requester: "ann", Plan: plan, Blob: PlanBlob(), Grant: Grant(plan.Kind, "promote-1")}
}

// Shadowed is a rollout that begins with copies of a tenth of the requests.
func Shadowed() contract.CanaryInput {
	in := CanaryInput()
	in.Plan.Canary.Shadow = &canary.Shadow{ShareBP: 1000, Required: 30}
	return in
}

// Grant is what was minted for an action.
func Grant(kind, action string) promotion.Grant {
	g, err := promotion.NewGrant(promotion.Grant{Tenant: Subject().Tenant, Kind: kind, Action: action, Plan: PlanBlob().Digest})
	if err != nil {
		return promotion.Grant{}
	}
	return g
}

// Facts returns what a rollout noted, by number.
func (w *World) Facts() []canary.Fact {
	w.mu.Lock()
	defer w.mu.Unlock()
	facts := slices.Clone(w.facts)
	slices.SortStableFunc(facts, func(a, b canary.Fact) int { return a.Number - b.Number })
	return slices.CompactFunc(facts, func(a, b canary.Fact) bool { return a.Number == b.Number })
}

func (w *World) noted(f canary.Fact) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts = append(w.facts, f)
}

// bindCanary registers the activities of a rollout and of grants.
func (w *World) bindCanary(r worker.ActivityRegistry) {
	contract.MintGrant.Bind(r, func(_ context.Context, in contract.MintInput) (promotion.Grant, error) {
		return Grant(in.Kind, in.Action), w.call("MintGrant", "")
	})
	contract.LookCanary.Bind(r, func(_ context.Context, in contract.LookInput) (contract.Looked, error) {
		if err := w.call("LookCanary", in.Step.Region+"/"+fmt.Sprint(in.Step.ShareBP+in.Step.MirrorBP)); err != nil {
			return contract.Looked{}, err
		}
		w.mu.Lock()
		verdict := canary.Pass
		if n := len(w.Looks); n > 0 {
			verdict = w.Looks[min(w.looked, n-1)]
		}
		w.looked++
		w.mu.Unlock()
		look := Blob(fmt.Sprintf("look %d", in.Number)).Digest
		w.noted(canary.Fact{Number: in.Number, Kind: canary.FactLook, At: in.To, Step: in.Step, Verdict: verdict, Look: look})
		return contract.Looked{Verdict: verdict, Look: look, Words: "errors " + string(verdict)}, nil
	})
	contract.AskAgain.Bind(r, func(_ context.Context, in contract.AskInput) (contract.Checked, error) {
		out := w.Again
		if out.Plan.Kind == "" {
			out = Rollout(1)
		}
		out.Request.Action.ID = in.Ballot
		return out, w.call("AskAgain", in.Ballot)
	})
	contract.NoteCanary.Bind(r, func(_ context.Context, in contract.CanaryNote) (contract.Nothing, error) {
		err := w.call("NoteCanary", in.Kind)
		if err == nil {
			w.noted(in.Fact)
		}
		return contract.Nothing{}, err
	})
	contract.RecordCanary.Bind(r, func(_ context.Context, in contract.CanaryEnd) (contract.CanaryResult, error) {
		in.Result.Record = artifact.DigestOf([]byte("record of " + in.Action))
		return in.Result, w.call("RecordCanary", in.Result.Outcome)
	})
}
