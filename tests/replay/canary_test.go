package replay

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// rollouts are canaries whose steps take a second.
func rollouts() []scenario {
	quick := func(plan promotion.Plan) promotion.Plan {
		plan.Canary.BakeSeconds, plan.Canary.LookSeconds, plan.Canary.DeadlineSeconds = 1, 1, 2
		return plan
	}
	world := func(change func(*script.World), looks ...canary.Verdict) func() *script.World {
		return func() *script.World {
			checked := opened(script.Rollout(0), time.Hour)
			checked.Plan = quick(checked.Plan)
			w := &script.World{Checked: checked, Again: opened(script.Rollout(1), time.Hour), Looks: looks, Errors: map[string]error{}}
			if change != nil {
				change(w)
			}
			return w
		}
	}
	climb := func(name string, change func(*script.World), during func(*driver), looks ...canary.Verdict) scenario {
		return scenario{workflow: contract.Canary.Name, name: name, world: world(change, looks...), during: during, input: func() any {
			in := script.CanaryInput()
			in.Plan = quick(in.Plan)
			return in
		}}
	}
	shadowed := func(name string, during func(*driver), looks ...canary.Verdict) scenario {
		out := climb(name, nil, during, looks...)
		out.input = func() any {
			in := script.Shadowed()
			in.Plan = quick(in.Plan)
			return in
		}
		return out
	}
	promote := func(name string, during func(*driver), looks ...canary.Verdict) scenario {
		return scenario{workflow: contract.ModelPromotion.Name, name: name, world: world(nil, looks...), during: during, input: func() any {
			return contract.PromotionInput{Subject: script.Subject(), Action: "promote-1", Requester: "ann", Plan: script.PlanBlob()}
		}}
	}
	half := func(d *driver) {
		d.reached("AskAgain/promote-1-half")
		d.vote(contract.ApprovalID(contract.HalfID("promote-1")), script.Yes("bob", approval.RoleOwner))
	}
	steer := func(d *driver, do string) {
		_, err := contract.Steering.Send(d.ctx, d.client, d.id, do, contract.Steer{Actor: "olga", Do: do, Reason: "lunch"})
		require.NoError(d.t, err)
	}
	const pass, fail, none = canary.Pass, canary.Fail, canary.NoData
	return []scenario{
		climb("climbed", nil, half, pass),
		climb("regressed", nil, nil, none, fail),
		climb("held-and-let-go-on", nil, func(d *driver) {
			d.reached("AskAgain/promote-1-hold-1")
			d.vote(contract.ApprovalID(contract.HoldID("promote-1", 1)), script.Yes("bob", approval.RoleOwner))
			half(d)
		}, none, none, none, pass),
		climb("held-and-failed", nil, nil, none, none, none, fail),
		climb("rejected-before-half", nil, func(d *driver) {
			d.reached("AskAgain/promote-1-half")
			d.vote(contract.ApprovalID(contract.HalfID("promote-1")), script.No("bob", approval.RoleOwner, "not today"))
		}, pass),
		climb("paused-and-aborted", nil, func(d *driver) {
			d.reached("LookCanary/eu/500")
			steer(d, contract.SteerPause)
			time.Sleep(2 * time.Second)
			steer(d, contract.SteerResume)
			steer(d, contract.SteerAbort)
		}, none),
		climb("restarted", nil, func(d *driver) {
			d.reached("LookCanary/eu/500")
			d.restart()
			half(d)
		}, pass),
		climb("refused", func(w *script.World) {
			w.Errors["PublishSnapshot/canary"] = script.Final(contract.NoGrant, "no grant")
		}, nil, pass),
		shadowed("shadow-passed", half, pass),
		shadowed("shadow-failed", nil, none, fail),
		promote("climbed", half, pass),
		promote("canary-regressed", nil, none, fail),
	}
}

// Every activity that writes what serves.
var writers = map[string]bool{"PublishSnapshot": true, "PublishRecovery": true, "PushPolicy": true, "AttachSignature": true, "ApplySuggestion": true, "RecordOutcome": true}

// No write is scheduled but with a grant that was minted before it, in the same
// history or by the parent that handed it on, for the same action and plan.
func TestNoWriteWithoutAGrant(t *testing.T) {
	written := map[string]int{}
	for _, file := range allHistories(t) {
		minted := map[artifact.Digest]promotion.Grant{}
		asked := map[int64]bool{} // events that schedule MintGrant
		for _, e := range load(t, file).Events {
			if started := e.GetWorkflowExecutionStartedEventAttributes(); started != nil {
				if g := carried(t, started.GetInput().GetPayloads()); g.ID != "" {
					minted[g.ID] = g // MintGrant's, by the parent
				}
			}
			if done := e.GetActivityTaskCompletedEventAttributes(); done != nil && asked[done.GetScheduledEventId()] {
				var g promotion.Grant
				require.NoError(t, json.Unmarshal(done.GetResult().GetPayloads()[0].GetData(), &g), file)
				minted[g.ID] = g
			}
			a := e.GetActivityTaskScheduledEventAttributes()
			name := a.GetActivityType().GetName()
			asked[e.EventId] = name == contract.MintGrant.Name
			if !writers[name] || !changes(t, name, a) {
				continue
			}
			written[name]++
			g := carried(t, a.GetInput().GetPayloads())
			require.NotEmpty(t, g.ID, "%s, event %d: %s without a grant", file, e.EventId, name)
			require.Equal(t, minted[g.ID], g, "%s, event %d: %s with a grant that nobody minted", file, e.EventId, name)
		}
	}
	for name := range writers {
		require.Positive(t, written[name], "%s is in no history: nothing was shown of it", name)
	}
}

// carried returns the grant in the first argument.
func carried(t *testing.T, payloads []*commonpb.Payload) promotion.Grant {
	t.Helper()
	var in struct {
		Grant promotion.Grant `json:"grant"`
	}
	if len(payloads) == 0 || json.Unmarshal(payloads[0].GetData(), &in) != nil {
		return promotion.Grant{}
	}
	return in.Grant
}

// changes says whether the call writes what serves: a round signs its own
// package, and an action that was not applied moves nothing.
func changes(t *testing.T, name string, a *historypb.ActivityTaskScheduledEventAttributes) bool {
	t.Helper()
	var in struct {
		Outcome       string `json:"outcome"`
		PredicateType string `json:"predicateType"`
	}
	require.NoError(t, json.Unmarshal(a.GetInput().GetPayloads()[0].GetData(), &in))
	switch name {
	case "AttachSignature":
		return in.PredicateType == artifact.PredicatePolicy
	case "RecordOutcome":
		return in.Outcome == contract.Applied
	}
	return true
}
