package replay

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// A scenario is a workflow in a scripted world, and what happens to it
// meanwhile.
type scenario struct {
	workflow string
	name     string
	world    func() *script.World
	input    func() any
	during   func(*driver) // after the start
	after    func(*driver) // before the history is read
}

func (s scenario) id() string   { return s.workflow + "/" + s.name }
func (s scenario) file() string { return "testdata/" + s.workflow + "/" + s.name + ".json" }
func (s scenario) queue() string {
	if s.workflow == contract.RegionRound.Name {
		return contract.QueueRegion("eu")
	}
	return contract.QueueControl
}

// A driver does to a running workflow what people and machines do.
type driver struct {
	t       *testing.T
	ctx     context.Context
	client  client.Client
	id      string
	world   *script.World
	restart func() // stops every worker and starts new ones
}

// reached waits until a call was made.
func (d *driver) reached(call string) {
	d.t.Helper()
	require.Eventually(d.t, func() bool { return slices.Contains(d.world.Calls(), call) }, 20*time.Second, 10*time.Millisecond, "%s was never called", call)
}

// vote casts a vote by signal, once the ballot is open.
func (d *driver) vote(ballot string, v approval.Vote) {
	d.t.Helper()
	v.At = time.Now()
	require.Eventually(d.t, func() bool { return contract.CastVote.Send(d.ctx, d.client, ballot, script.Vote(v)) == nil },
		20*time.Second, 50*time.Millisecond)
}

// voteNow casts a vote by update and returns its error.
func (d *driver) voteNow(id string, v approval.Vote) error {
	v.At = time.Now()
	_, err := contract.VoteNow.Send(d.ctx, d.client, d.id, id, script.Vote(v))
	return err
}

// opened moves a scripted ballot to the server's clock.
func opened(checked contract.Checked, ttl time.Duration) contract.Checked {
	checked.Request.OpenedAt = time.Now().UTC()
	checked.Request.TTLSeconds = int64(ttl / time.Second)
	return checked
}

func scenarios() []scenario {
	return slices.Concat(runs(), rounds(), regions(), ballots(), actions(), recoveries(), withdrawals(), publications(), rollouts(), loops(), studies())
}

// federation is a world of five sites with changes.
func federation(change func(*script.World)) func() *script.World {
	return func() *script.World {
		w := &script.World{Cohort: script.FiveSites(), Errors: map[string]error{}, Passing: map[string]int{}}
		if change != nil {
			change(w)
		}
		return w
	}
}

func runs() []scenario {
	run := func(name string, n int, change func(*script.World), during func(*driver)) scenario {
		return scenario{workflow: contract.TrainingRun.Name, name: name, world: federation(change), during: during,
			input: func() any { return script.Run("run-"+name, n) }}
	}
	slow := func(call string) func(*script.World) {
		return func(w *script.World) {
			w.OnCall = func(key string) {
				if key == call {
					time.Sleep(300 * time.Millisecond)
				}
			}
		}
	}
	return []scenario{
		run("completed", 2, nil, nil),
		run("continued", 25, nil, nil),
		run("stopped", 9, slow("CombineRegions/1"), func(d *driver) {
			d.reached("CombineRegions/1")
			require.NoError(d.t, contract.StopRun.Send(d.ctx, d.client, d.id, contract.StopRequest{Actor: "ann", Reason: "enough"}))
		}),
		run("paused", 2, slow("CombineRegions/1"), func(d *driver) {
			d.reached("CombineRegions/1")
			require.NoError(d.t, contract.PauseRun.Send(d.ctx, d.client, d.id, contract.PauseRequest{Actor: "ann", Reason: "busy", Paused: true}))
			d.reached("CloseRound/1")
			time.Sleep(500 * time.Millisecond) // so that it holds for a while
			require.NoError(d.t, contract.PauseRun.Send(d.ctx, d.client, d.id, contract.PauseRequest{Actor: "ann"}))
		}),
		{workflow: contract.TrainingRun.Name, name: "converged", world: federation(func(w *script.World) {
			flat := round.Metrics{Evaluated: 100, Correct: 90, LossMicros: 5}
			w.Measured = map[int]round.Metrics{1: flat, 2: flat, 3: flat}
		}), input: func() any {
			in := script.Run("run-converged", 9)
			in.Params.Patience, in.Params.Strategy.Name = 1, round.FedAvgM
			return in
		}},
		run("failed", 9, func(w *script.World) {
			w.Errors["PlanRound/2"] = script.Final(contract.NoConsent, "feature wdbc of h2 is not consented")
		}, nil),
		run("canceled", 9, slow("CombineRegions/1"), func(d *driver) {
			d.reached("CombineRegions/1")
			require.NoError(d.t, d.client.CancelWorkflow(d.ctx, d.id, ""))
		}),
		run("restarted", 3, slow("CombineRegions/2"), func(d *driver) {
			d.reached("CombineRegions/2")
			d.restart()
		}),
	}
}

func rounds() []scenario {
	one := func(name string, publish bool, change func(*script.World)) scenario {
		return scenario{workflow: contract.FederatedRound.Name, name: name, world: federation(change), input: func() any {
			return contract.RoundInput{Subject: script.Subject(), Run: "run-" + name, Number: 3, Kind: round.Train, Tenants: []string{"h1", "h2"}, Params: script.Params(10), Publish: publish}
		}}
	}
	secured := one("secured", false, func(w *script.World) { w.Cohort, w.Secured = script.OneGroup(), true })
	secured.input = func() any {
		return contract.RoundInput{Subject: script.Subject(), Run: "run-secured", Number: 3, Kind: round.Train, Tenants: []string{"h1", "h2"}, Params: script.SecuredParams(10)}
	}
	return []scenario{
		secured,
		one("combined", false, nil),
		one("published", true, nil),
		one("region-lost", false, func(w *script.World) {
			w.Errors["OpenStage/apac"] = script.Final(contract.BadPackage, "the order does not verify")
		}),
		one("below-quorum", false, func(w *script.World) {
			w.Errors["OpenStage/apac"] = script.Final(contract.BadPackage, "the order does not verify")
			w.Errors["AggregateRegion/us"] = script.Final(contract.BadUpdate, "site h4/s1: NaN")
		}),
		one("without-consent", false, func(w *script.World) {
			w.Errors["PlanRound/3"] = script.Final(contract.NoConsent, "feature wdbc of h2 is not consented")
		}),
		one("after-failures", false, func(w *script.World) {
			w.Passing = map[string]int{"PlanRound/3": 2, "CombineRegions/3": 2, "CloseRound/3": 1}
		}),
	}
}

func regions() []scenario {
	region := func(name string, sites int, counts ...round.Counts) scenario {
		return scenario{workflow: contract.RegionRound.Name, name: name,
			world: func() *script.World { return &script.World{Counts: map[string][]round.Counts{"eu": counts}} },
			input: func() any {
				return contract.RegionInput{Subject: script.Subject(), Run: "run-" + name, Number: 3, Kind: round.Train, Region: "eu", Sites: sites, Need: 2,
					Params: script.Params(10), Manifest: script.Blob("manifest 3"), Signature: script.Blob("bundle")}
			}}
	}
	secured := func(name string, sites int, steps map[string]script.Step) scenario {
		return scenario{workflow: contract.RegionRound.Name, name: name,
			world: func() *script.World {
				return &script.World{Steps: steps, Counts: map[string][]round.Counts{"eu": {{Selected: sites, Accepted: sites}}}}
			},
			input: func() any {
				return contract.RegionInput{Subject: script.Subject(), Run: "run-" + name, Number: 3, Kind: round.Train, Region: "eu", Host: "eu", Sites: sites, Need: 2,
					Params: script.SecuredParams(10), Manifest: script.Blob("manifest 3"), Signature: script.Blob("bundle"), Secured: true}
			}}
	}
	return []scenario{
		secured("secured", 3, nil),
		secured("secured-three-hundred-sites", 300, map[string]script.Step{
			"AdvanceStage/eu/advertise": {Dropped: []string{"h1/s1: the identity of the site is not known here"}},
			"AdvanceStage/eu/share":     {Answers: 280},
		}),
		secured("secured-too-few-masked", 3, map[string]script.Step{"AdvanceStage/eu/share": {Answers: 2}}),
		secured("secured-masks-stay", 5, map[string]script.Step{
			"AggregateMasked/eu": {Cause: "stage unmask: 3 of 5 sites answered, 0 were refused: fewer sites than the threshold"},
		}),
		region("proceeded", 3, round.Counts{Selected: 3, Accepted: 3}),
		region("three-hundred-sites", 300, round.Counts{Selected: 300, Accepted: 297, Rejected: 1}),
		region("extended", 3, round.Counts{Selected: 3, Accepted: 1}, round.Counts{Selected: 3, Accepted: 2}),
		region("gave-up", 3, round.Counts{Selected: 3, Accepted: 1}),
	}
}

func ballots() []scenario {
	const owner, risk = approval.RoleOwner, approval.RoleRisk
	ballot := func(name string, need int, ttl time.Duration, during func(*driver)) scenario {
		return scenario{workflow: contract.Approval.Name, name: name, during: during,
			world: func() *script.World { return &script.World{} },
			input: func() any { return opened(script.Promotion(need), ttl).Request }}
	}
	return []scenario{
		ballot("approved-by-signals", 2, time.Hour, func(d *driver) {
			d.vote(d.id, script.Yes("bob", owner))
			d.vote(d.id, script.Yes("dan", risk))
		}),
		ballot("approved-by-updates", 2, time.Hour, func(d *driver) {
			require.NoError(d.t, d.voteNow("u1", script.Yes("bob", owner)))
			require.NoError(d.t, d.voteNow("u2", script.Yes("dan", risk)))
		}),
		ballot("rejected", 2, time.Hour, func(d *driver) { d.vote(d.id, script.No("dan", risk, "no evidence")) }),
		ballot("refused-votes", 1, time.Hour, func(d *driver) {
			require.ErrorContains(d.t, d.voteNow("u1", script.Yes("ann", owner)), approval.ErrOwnVote.Error())
			d.vote(d.id, script.Yes("eve", owner))
			require.ErrorContains(d.t, d.voteNow("u2", script.Yes("eve", owner)), approval.ErrStranger.Error())
			d.restart()
			require.NoError(d.t, d.voteNow("u3", script.Yes("bob", owner)))
		}),
		func() scenario {
			s := ballot("reconsidered", 2, time.Hour, func(d *driver) {
				require.NoError(d.t, d.voteNow("u1", script.Yes("bob", owner)))
				require.NoError(d.t, contract.Reconsider.Send(d.ctx, d.client, d.id, contract.Nothing{}))
				d.reached("CheckStanding")
				require.NoError(d.t, d.voteNow("u2", script.Yes("cyd", owner)))
				require.NoError(d.t, d.voteNow("u3", script.Yes("dan", risk)))
			})
			s.world = func() *script.World {
				return &script.World{Stands: approval.Standing{Revoked: []artifact.Digest{script.Person("bob", owner).Key}}}
			}
			return s
		}(),
		ballot("expired", 1, 2*time.Second, nil),
		ballot("canceled", 1, time.Hour, func(d *driver) {
			d.reached("NotifyApprovers")
			require.NoError(d.t, d.client.CancelWorkflow(d.ctx, d.id, ""))
		}),
	}
}

func actions() []scenario {
	world := func(checked func(int) contract.Checked, need int, change func(*script.World)) func() *script.World {
		return func() *script.World {
			w := &script.World{Checked: opened(checked(need), time.Hour), Errors: map[string]error{}}
			w.Tune = contract.Suggestion{Plan: script.PlanBlob(), Reason: "one step up"}
			if change != nil {
				change(w)
			}
			return w
		}
	}
	votes := func(action string, all ...approval.Vote) func(*driver) {
		return func(d *driver) {
			for _, v := range all {
				d.vote(contract.ApprovalID(action), v)
			}
		}
	}
	promote := func(name string, need int, change func(*script.World), all ...approval.Vote) scenario {
		// Actions of one kind share the id that the scripted plan names, so each ballot has to be over.
		return scenario{workflow: contract.ModelPromotion.Name, name: name, world: world(script.Promotion, need, change), during: votes("promote-1", all...),
			input: func() any {
				return contract.PromotionInput{Subject: script.Subject(), Action: "promote-1", Requester: "ann", Plan: script.PlanBlob()}
			}}
	}
	roll := func(name string, need int, change func(*script.World), all ...approval.Vote) scenario {
		return scenario{workflow: contract.PolicyRollout.Name, name: name, world: world(script.Policy, need, change), during: votes("policy-1", all...),
			input: func() any {
				return contract.RolloutInput{Subject: script.Subject(), Action: "policy-1", Requester: "ann", Plan: script.PlanBlob()}
			}}
	}
	tune := func(name string, need int, apply bool, change func(*script.World), all ...approval.Vote) scenario {
		return scenario{workflow: contract.AutoTune.Name, name: name, world: world(script.Tuning, need, change), during: votes("tune-1", all...),
			input: func() any {
				return contract.TuneInput{Subject: script.Subject(), Action: "tune-1", Requester: "ann", Environment: "staging", Apply: apply}
			}}
	}
	bob, dan := script.Yes("bob", approval.RoleOwner), script.Yes("dan", approval.RoleRisk)
	moved := script.Final(contract.StalePlan, "the version that serves was 3 and is 5")
	return []scenario{
		promote("applied", 2, nil, bob, dan),
		promote("applied-by-itself", 0, nil),
		promote("rollback", 0, func(w *script.World) { w.Checked.Plan.Rollback = true }),
		promote("rejected", 2, nil, script.No("dan", approval.RoleRisk, "no evidence")),
		promote("stale-after-ballot", 1, func(w *script.World) { w.Checks = []error{nil, moved} }, bob),
		promote("not-loaded", 0, func(w *script.World) {
			w.Errors["AwaitActive/load/us"] = script.Final(contract.BadPackage, "layer differs from its digest")
		}),
		promote("went-back", 0, func(w *script.World) {
			w.Errors["AwaitActive/switch/apac"] = script.Final(contract.NotActive, "region apac: it serves version 3")
		}),
		roll("applied", 2, nil, bob, dan),
		roll("went-back", 0, func(w *script.World) {
			w.Errors["AwaitActive/policy/us"] = script.Final(contract.NotActive, "region us: it runs policy 1")
		}),
		tune("applied", 1, true, nil, bob),
		tune("suggested", 0, false, nil),
		tune("nothing", 0, true, func(w *script.World) { w.Tune = contract.Suggestion{Reason: "no completed run has been evaluated yet"} }),
		tune("stale", 0, true, func(w *script.World) { w.Checks = []error{moved} }),
	}
}
