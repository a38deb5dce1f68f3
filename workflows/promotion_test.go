package workflows_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// stale, moved and failing are what activities may answer for good.
func stale() error {
	return script.Final(contract.StalePlan, "the version that serves was 3 and is 5")
}

func TestModelPromotion(t *testing.T) {
	yes := []approval.Vote{script.Yes("bob", owner), script.Yes("dan", risk)}
	tests := []struct {
		name      string
		need      int
		votes     []approval.Vote // one a minute
		checks    []error
		errors    map[string]error
		outcome   string
		cause     string
		published []string
	}{
		{"goes on by itself when nobody is needed", 0, nil, nil, nil, "applied", "", []string{"load", "switch"}},
		{"proceeds once both seats are filled", 2, yes, nil, nil, "applied", "", []string{"load", "switch"}},
		{"stays put without a vote", 2, nil, nil, nil, "expired", "the ballot expired", nil},
		{"stays put with the requester's own vote", 1, []approval.Vote{script.Yes("ann", owner)}, nil, nil, "expired", "the ballot expired", nil},
		{"stays put when it is rejected", 2, []approval.Vote{script.No("dan", risk, "no card")}, nil, nil, "rejected", "rejected by dan: no card", nil},
		{"is stale before the ballot", 2, yes, []error{stale()}, nil, "stale", "the version that serves was 3 and is 5", nil},
		{"is stale after the ballot", 2, yes, []error{nil, stale()}, nil, "stale", "the version that serves was 3 and is 5", nil},
		{"refuses a package that does not verify", 2, yes, []error{script.Final(contract.BadPackage, "no signature")}, nil, "failed", "no signature", nil},
		{"is stale when another hand publishes first", 0, nil, nil, map[string]error{"PublishSnapshot/load": stale()}, "stale", "the version that serves was 3 and is 5", []string{"load"}},
		{"changes no route when a region cannot load", 0, nil, nil,
			map[string]error{"AwaitActive/load/us": script.Final(contract.BadPackage, "layer differs from its digest")},
			"failed", "us: layer differs from its digest", []string{"load"}},
		{"goes back when a region does not switch", 0, nil, nil,
			map[string]error{"AwaitActive/switch/apac": script.Final("", "connection refused")},
			"failed", "apac: AwaitActive failed; switched back to version 3", []string{"load", "switch", "back"}},
		{"goes back when it is not known whether it switched", 0, nil, nil,
			map[string]error{"PublishSnapshot/switch": script.Final("", "connection refused")},
			"failed", "PublishSnapshot failed; switched back to version 3", []string{"load", "switch", "back"}},
		{"leaves alone what another hand switched", 0, nil, nil,
			map[string]error{"PublishSnapshot/switch": stale()},
			"stale", "the version that serves was 3 and is 5", []string{"load", "switch"}},
		{"says when going back fails too", 0, nil, nil,
			map[string]error{"AwaitActive/switch/eu": script.Final("", "x"), "PublishSnapshot/back": script.Final("", "y")},
			"failed", "eu: AwaitActive failed; going back to version 3 failed too: PublishSnapshot failed", []string{"load", "switch", "back"}},
		{"says when going back is not confirmed", 0, nil, nil,
			map[string]error{"AwaitActive/switch/eu": script.Final("", "x"), "AwaitActive/back/us": script.Final("", "y")},
			"failed", "eu: AwaitActive failed; switched back to version 3, which is not confirmed: us: AwaitActive failed", []string{"load", "switch", "back"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Checked: script.Promotion(tt.need), Checks: tt.checks, Errors: tt.errors}
			env := environment(t, w)
			for i, v := range tt.votes {
				vote(env, "promote-1", time.Duration(i+1)*time.Minute, v)
			}
			env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())

			got := result[contract.PromotionResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.published, published(w))
			require.Len(t, w.Outcomes(), 1, "the end is recorded once")
			end := w.Outcomes()[0]
			require.Equal(t, got.Outcome, end.Outcome)
			require.Equal(t, got.Cause, end.Cause)
			require.Equal(t, script.PlanBlob().Digest, end.Plan)
			if tt.outcome == "applied" {
				require.Len(t, got.Evidence, 3, "each region says itself what it runs")
				require.Equal(t, artifact.PredicatePromotion, w.Signed()[0].PredicateType)
				require.Equal(t, script.Blob("version 4").Digest, w.Signed()[0].Digest)
				require.NotEmpty(t, end.Bundle.Digest)
			}
			if tt.need > 0 && tt.outcome != "applied" {
				require.Empty(t, w.Signed(), "what was not approved is not signed")
			}
		})
	}
}

func promotionInput() contract.PromotionInput {
	return contract.PromotionInput{Subject: script.Subject(), Action: "promote-1", Requester: "ann", Plan: script.PlanBlob()}
}

// published returns the phases that were published, in order.
func published(w *script.World) []string {
	var phases []string
	for _, c := range w.Calls() {
		for _, p := range []string{"load", "switch", "policy", "back"} {
			if c == "PublishSnapshot/"+p+"/eu,us,apac" {
				phases = append(phases, p)
			}
		}
	}
	return phases
}

// The evidence is made when the outcome is written, and only of what was
// applied; nothing that serves waits for it.
func TestEvidenceOfWhatWasApplied(t *testing.T) {
	for name, tt := range map[string]struct {
		errors  map[string]error
		outcome string
		kept    int
	}{
		"applied":                 {nil, contract.Applied, 1},
		"failed":                  {map[string]error{"AwaitActive/load/us": script.Final(contract.BadPackage, "x")}, "failed", 0},
		"a pack that fails":       {map[string]error{"PackEvidence": script.Final(contract.BadPlan, "x")}, contract.Applied, 0},
		"a pack that is not kept": {map[string]error{"KeepEvidence": script.Final("", "x")}, contract.Applied, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &script.World{Checked: script.Promotion(0), Errors: tt.errors}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
			require.Equal(t, tt.outcome, result[contract.PromotionResult](t, env).Outcome)
			require.Len(t, w.Kept(), tt.kept)
			calls := w.Calls()
			if tt.kept > 0 {
				require.Less(t, slices.Index(calls, "RecordOutcome/applied"), slices.Index(calls, "PackEvidence"))
				require.Equal(t, script.Blob("pack of promote-1"), w.Kept()[0].Pack)
				require.Equal(t, script.Blob("bundle of "+string(w.Kept()[0].Pack.Digest)), w.Kept()[0].Bundle)
			}
		})
	}
}

func TestModelPromotionRefusesABallotAboutAnotherPlan(t *testing.T) {
	for name, change := range map[string]func(*approval.Request){
		"another digest": func(r *approval.Request) { r.Action.Plan = script.Blob("another plan").Digest },
		"another action": func(r *approval.Request) { r.Action.ID = "promote-2" },
	} {
		t.Run(name, func(t *testing.T) {
			checked := script.Promotion(1)
			change(&checked.Request)
			w := &script.World{Checked: checked}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
			require.Equal(t, "failed", result[contract.PromotionResult](t, env).Outcome)
			require.Empty(t, w.Ballots())
			require.Empty(t, published(w))
		})
	}
}

func TestModelPromotionOutlastsPassingFailures(t *testing.T) {
	w := &script.World{Checked: script.Promotion(0), Passing: map[string]int{
		"CheckPlan": 3, "SignStatement": 2, "PublishSnapshot/load/eu,us,apac": 3, "AwaitActive/switch/us": 2, "RecordOutcome/applied": 3,
	}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
	require.Equal(t, "applied", result[contract.PromotionResult](t, env).Outcome)
}

func TestModelPromotionCanceled(t *testing.T) {
	tests := []struct {
		name      string
		during    string
		published []string
		cause     string
	}{
		{"while it waits for votes, nothing happened", "NotifyApprovers", nil, "it was canceled"},
		{"after the switch, goes back", "AwaitActive/switch/eu", []string{"load", "switch", "back"}, "it was canceled; switched back to version 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Checked: script.Promotion(1)}
			env := environment(t, w)
			w.OnCall = func(key string) {
				if key == tt.during {
					env.CancelWorkflow()
				}
			}
			if tt.published != nil {
				vote(env, "promote-1", time.Minute, script.Yes("bob", owner))
			}
			env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
			require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
			require.Equal(t, tt.published, published(w))
			require.Equal(t, "failed", w.Outcomes()[0].Outcome)
			require.Equal(t, tt.cause, w.Outcomes()[0].Cause)
		})
	}
}

func TestPolicyRollout(t *testing.T) {
	yes := []approval.Vote{script.Yes("bob", owner), script.Yes("dan", risk)}
	tests := []struct {
		name    string
		need    int
		votes   []approval.Vote
		checks  []error
		errors  map[string]error
		outcome string
		cause   string
		steps   []string
	}{
		{"goes region by region", 0, nil, nil, nil, "applied", "", []string{"policy/eu", "policy/us", "policy/apac"}},
		{"waits for its approvers", 2, yes, nil, nil, "applied", "", []string{"policy/eu", "policy/us", "policy/apac"}},
		{"publishes nothing when rejected", 2, []approval.Vote{script.No("bob", owner, "later")}, nil, nil, "rejected", "rejected by bob: later", nil},
		{"publishes nothing when the world moved under the ballot", 2, yes, []error{nil, stale()}, nil, "stale", "the version that serves was 3 and is 5", nil},
		{"publishes nothing of a proposal that expired under the ballot", 2, yes, []error{nil, script.Final(contract.OldPlan, "the proposal has expired")}, nil, "expired", "the proposal has expired", nil},
		{"publishes nothing that is not signed", 0, nil, nil, map[string]error{"AttachSignature": script.Final(contract.BadPackage, "the registry gave back another bundle")},
			"failed", "the registry gave back another bundle", nil},
		{"takes it back from the regions it reached when one does not run it", 0, nil, nil,
			map[string]error{"AwaitActive/policy/us": script.Final("", "x")},
			"failed", "us: AwaitActive failed; switched back to policy revision 1", []string{"policy/eu", "policy/us", "back/eu,us"}},
		{"takes it back when it is not known whether it was published", 0, nil, nil,
			map[string]error{"PublishSnapshot/policy": script.Final("", "connection refused")},
			"failed", "PublishSnapshot failed; switched back to policy revision 1", []string{"policy/eu", "back/eu"}},
		{"leaves alone what another hand published", 0, nil, nil,
			map[string]error{"PublishSnapshot/policy": stale()},
			"stale", "the version that serves was 3 and is 5", []string{"policy/eu"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Checked: script.Policy(tt.need), Checks: tt.checks, Errors: tt.errors}
			env := environment(t, w)
			for i, v := range tt.votes {
				vote(env, "policy-1", time.Duration(i+1)*time.Minute, v)
			}
			env.ExecuteWorkflow(contract.PolicyRollout.Name, contract.RolloutInput{Subject: script.Subject(), Action: "policy-1", Requester: "ann", Plan: script.PlanBlob()})

			got := result[contract.RolloutResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome)
			require.Equal(t, tt.cause, got.Cause)
			var steps []string
			for _, c := range w.Calls() {
				if name, ok := strings.CutPrefix(c, "PublishSnapshot/"); ok {
					steps = append(steps, name)
				}
			}
			require.Equal(t, tt.steps, steps)
			require.Len(t, w.Outcomes(), 1)
			require.Equal(t, "policy", w.Outcomes()[0].Kind)
			if tt.outcome == "applied" {
				require.Len(t, got.Evidence, 3)
				require.Equal(t, script.Blob("policy").Digest, got.Policy)
				calls := w.Calls()
				require.Less(t, slices.Index(calls, "AwaitActive/policy/eu"), slices.Index(calls, "PublishSnapshot/policy/us"), "the next region waits for the one before")
			}
		})
	}
}

func TestAutoTune(t *testing.T) {
	something := contract.Suggestion{Plan: script.PlanBlob(), Reason: "one step up"}
	nothing := contract.Suggestion{Reason: "no completed run has been evaluated yet"}
	tests := []struct {
		name    string
		apply   bool
		tune    contract.Suggestion
		need    int
		votes   []approval.Vote
		checks  []error
		errors  map[string]error
		outcome string
		reason  string
	}{
		{"suggests, and changes nothing unasked", false, something, 0, nil, nil, nil, "suggested", "one step up"},
		{"says why there is nothing to suggest", true, nothing, 0, nil, nil, nil, "nothing", nothing.Reason},
		{"applies by itself where nobody is needed", true, something, 0, nil, nil, nil, "applied", "one step up"},
		{"applies with an approver", true, something, 1, []approval.Vote{script.Yes("bob", owner)}, nil, nil, "applied", "one step up"},
		{"does not apply without", true, something, 1, nil, nil, nil, "expired", "the ballot expired"},
		{"does not apply what was rejected", true, something, 1, []approval.Vote{script.No("cyd", owner, "too high")}, nil, nil, "rejected", "rejected by cyd: too high"},
		{"does not apply a stale plan", true, something, 1, []approval.Vote{script.Yes("bob", owner)}, []error{nil, stale()}, nil, "stale", "the version that serves was 3 and is 5"},
		{"fails with its scorecard", true, something, 0, nil, nil, map[string]error{"ComputeScorecard": script.Final(contract.BadPlan, "no such model")}, "failed", "no such model"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Checked: script.Tuning(tt.need), Checks: tt.checks, Errors: tt.errors, Tune: tt.tune}
			env := environment(t, w)
			for i, v := range tt.votes {
				vote(env, "tune-1", time.Duration(i+1)*time.Minute, v)
			}
			env.ExecuteWorkflow(contract.AutoTune.Name, contract.TuneInput{Subject: script.Subject(), Action: "tune-1", Requester: "ann", Environment: "staging", Apply: tt.apply})

			got := result[contract.TuneResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome)
			require.Equal(t, tt.reason, got.Reason)
			require.Equal(t, tt.outcome == "applied", count(w, "ApplySuggestion") == 1)
			if tt.outcome != "applied" {
				require.Len(t, w.Outcomes(), 1)
				require.Equal(t, tt.outcome, w.Outcomes()[0].Outcome)
			}
		})
	}
}
