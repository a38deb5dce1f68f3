package replay

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// loops are evaluations of the policy loop, and rollouts of policies that are
// watched for a second in each region.
func loops() []scenario {
	world := func(change func(*script.World)) func() *script.World {
		return func() *script.World {
			checked := opened(script.Watched(0), time.Hour)
			checked.Plan.Guard.BakeSeconds, checked.Plan.Guard.LookSeconds, checked.Plan.Guard.DeadlineSeconds, checked.Plan.Guard.HaltSeconds = 1, 1, 2, 5
			w := &script.World{Checked: checked, Errors: map[string]error{}, Guarded: map[string][]canary.Verdict{}}
			if change != nil {
				change(w)
			}
			return w
		}
	}
	evaluate := func(name string, change func(*script.World), shadow bool) scenario {
		return scenario{workflow: contract.Feedback.Name, name: name, world: world(change), input: func() any {
			in := script.Evaluation()
			in.Shadow = shadow
			return in
		}}
	}
	watch := func(name string, during func(*driver), verdicts ...canary.Verdict) scenario {
		return scenario{workflow: contract.PolicyRollout.Name, name: name, during: during,
			world: world(func(w *script.World) { w.Guarded["eu"] = verdicts }), input: func() any {
				return contract.RolloutInput{Subject: script.Subject(), Action: "policy-1", Requester: "ann", Plan: script.PlanBlob()}
			}}
	}
	const pass, fail, none = canary.Pass, canary.Fail, canary.NoData
	return []scenario{
		evaluate("proposed", nil, false),
		evaluate("in-shadow", nil, true),
		evaluate("not-kept", func(w *script.World) { w.Refused = "another is open" }, false),
		watch("watched", nil, pass),
		watch("regressed", nil, pass, fail),
		watch("halted-until-data", nil, none, none, none, pass),
		watch("halted-and-aborted", func(d *driver) {
			d.reached("NoteRegion/eu/halted")
			_, err := contract.Steering.Send(d.ctx, d.client, d.id, "abort", contract.Steer{Actor: "olga", Do: contract.SteerAbort, Reason: "enough"})
			require.NoError(d.t, err)
		}, none),
		watch("restarted-while-watched", func(d *driver) {
			d.reached("GuardRegion/eu")
			d.restart()
		}, none, none, pass),
	}
}
