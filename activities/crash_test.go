package activities_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// A trial is one activity in a world made for it. run runs it and returns what
// a workflow would get, without what no two runs share (a signature, a nonce).
type trial struct {
	name string
	make func(*testing.T) (*activitytest.World, func() (any, error))
}

// TestEveryEffectMayFailOrBeDoneUnseen runs each activity once undisturbed, and
// then once for each call of a port that it makes, twice: the call fails, and
// the call fails after its effect. The activity is then run again, as Temporal
// does. Failure of the test is: the second run does not succeed, it returns
// something else, or the world is another one than after the undisturbed run.
func TestEveryEffectMayFailOrBeDoneUnseen(t *testing.T) {
	for _, tt := range slices.Concat(trials(), securedTrials()) {
		t.Run(tt.name, func(t *testing.T) {
			w, run := tt.make(t)
			w.Calls = 0
			want, err := run()
			require.NoError(t, err)
			calls, state := w.Calls, summary(t, w)
			require.Positive(t, calls)
			for n := 1; n <= calls; n++ {
				for _, after := range []bool{false, true} {
					t.Run(once(n, after), func(t *testing.T) {
						w, run := tt.make(t)
						w.Calls, w.FailAt, w.After = 0, n, after
						got, err := run()
						if err != nil {
							require.Empty(t, kind(err), "a passing failure must be retried: %v", err)
							got, err = run()
						}
						require.NoError(t, err)
						require.Equal(t, want, got)
						require.Equal(t, state, summary(t, w))
					})
				}
			}
		})
	}
}

// summary is what is left of a world's state when signatures, which differ
// from run to run, are taken out.
func summary(t *testing.T, w *activitytest.World) string {
	t.Helper()
	counts := map[artifact.Digest]int{}
	for subject, bundles := range w.Referrers {
		counts[subject] = len(bundles)
	}
	requests := map[string]approval.Request{}
	for action, ballot := range w.Ballots {
		ballot.Request.Nonce, ballot.Request.Action.Plan = "", "" // the plan names the bundle of its package
		ballot.Request.Evidence = slices.DeleteFunc(slices.Clone(ballot.Request.Evidence), func(e approval.Exhibit) bool {
			return e.Name == "plan" || strings.HasPrefix(e.Name, "bundle ")
		})
		requests[action] = ballot.Request
	}
	history := slices.Clone(w.History)
	for i := range history {
		for j := range history[i].Packages {
			history[i].Packages = slices.Clone(history[i].Packages)
			history[i].Packages[j].Bundle = nil
		}
	}
	models := slices.Clone(w.Models)
	for i := range models {
		models[i].Version.Bundle = ""
	}
	asked := map[string][]string{}
	for at, stage := range w.Stages {
		for _, m := range stage.Members {
			asked[at] = append(asked[at], m.Tenant+"/"+m.Site)
		}
	}
	encoded, err := json.Marshal(map[string]any{
		"rounds": w.Rounds, "stages": len(w.Stages), "asked": asked, "survivors": w.Sets, "closed": w.Closed, "ended": w.Ended, "models": models,
		"history": history, "steps": slices.Sorted(maps.Keys(w.Steps)), "ballots": requests, "outcomes": slices.Sorted(maps.Keys(w.Outcomes)),
		"packages": slices.Sorted(maps.Keys(w.Packages)), "referrers": counts,
	})
	require.NoError(t, err)
	return string(encoded)
}

func trials() []trial {
	return []trial{
		{"PlanRound", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			return w, func() (any, error) {
				return act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, roundInput(0, round.Statistics))
			}
		}},
		{"AttestRound", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			order := begin(t, w, 1, round.Train)
			return w, func() (any, error) {
				return act(t, contract.AttestRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).AttestRound, attestInput(t, w, order))
			}
		}},
		{"SignStatement", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			predicate := w.Keep(artifact.MediaTypePredicate, []byte(`{"a":1}`))
			return w, func() (any, error) {
				_, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: w, Signer: w}).SignStatement, contract.SignInput{
					Subject: subject(), Digest: predicate.Digest, PredicateType: artifact.PredicatePolicy, Predicate: predicate,
				})
				return nil, err
			}
		}},
		{"OpenStage", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			in := begin(t, w, 1, round.Train)
			return w, func() (any, error) {
				return act(t, contract.OpenStage, (&activities.Stage{Blobs: w, Rounds: w.Rows(), Verifier: w, Now: clock}).OpenStage, in)
			}
		}},
		{"AggregateRegion", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			begin(t, w, 1, round.Train)
			w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{
				submission("clinic", "a", update(t, w, 1), 3), submission("north", "a", update(t, w, 5), 1),
			}
			return w, func() (any, error) {
				return act(t, contract.AggregateRegion, (&activities.Aggregate{Blobs: w, Rounds: w.Rows()}).AggregateRegion, ref(1, round.Train, "eu"))
			}
		}},
		{"RegisterVersion", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			in := candidate(t, w)
			return w, func() (any, error) {
				return act(t, contract.RegisterVersion, versions(w).RegisterVersion, in)
			}
		}},
		{"PushCandidate", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			in := candidate(t, w)
			clear(w.Packages)
			return w, func() (any, error) {
				return act(t, contract.PushCandidate, (&activities.CandidatePackage{Blobs: w, Registry: w}).PushCandidate, contract.CandidateInput{
					Subject: subject(), Run: "run-1", Number: 2, Params: params(), Weights: in.Weights, Manifest: w.Rounds["run-1/2"].Manifest, Metrics: in.Metrics,
				})
			}
		}},
		{"CheckPlan", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w, plan := promotable(t)
			w.Voters = []approval.Approver{{Name: "bob", Role: approval.RoleOwner, Key: artifact.DigestOf([]byte("k1"))}, {Name: "cyd", Role: approval.RoleRisk, Key: artifact.DigestOf([]byte("k2"))}}
			in := planned(t, w, plan)
			return w, func() (any, error) {
				checked, err := act(t, contract.CheckPlan, promotions(w).CheckPlan, in)
				if err == nil {
					require.Equal(t, w.Ballots[in.Action].Request.Nonce, checked.Request.Nonce, "the nonce is the one that was written first")
				}
				return checked.Request.Seats, err
			}
		}},
		{"PublishSnapshot", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w, plan := promotable(t)
			return w, func() (any, error) {
				var got []int64
				for _, phase := range []string{contract.PhaseLoad, contract.PhaseSwitch, contract.PhaseBack} {
					published, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, publishing(plan, phase, "eu", "us"))
					if err != nil {
						return nil, err
					}
					got = append(got, published.Version)
				}
				return got, nil
			}
		}},
		{"AwaitActive", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			w.Reports = []activities.Active{{Snapshot: 1}, {Snapshot: 7, Packages: map[string]artifact.Digest{"clinic/tumour/3": "sha256:aa"}}}
			plan := promotion.Plan{Kind: "promotion", Tenant: "clinic", ModelID: "tumour", Version: &promotion.Version{Number: 3}}
			return w, func() (any, error) {
				_, err := act(t, contract.AwaitActive, (&activities.Region{Runtime: w, Now: clock, Pause: time.Millisecond}).AwaitActive, contract.ActiveInput{
					Subject: subject(), Region: "eu", Phase: contract.PhaseBack, Plan: plan, Version: 7, Seconds: 5,
				})
				return nil, err
			}
		}},
		{"PushPolicy", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w := world(t)
			bootstrap(t, w)
			plan := policyPlan(t, w, 10)
			return w, func() (any, error) {
				return act(t, contract.PushPolicy, (&activities.Policy{Blobs: w, Registry: w, Verifier: w, Grants: trusting(w)}).PushPolicy, contract.PushPolicyInput{Subject: subject(), Action: "policy-1", Plan: plan, Grant: grantOf(plan, "policy-1")})
			}
		}},
		{"the ends", func(t *testing.T) (*activitytest.World, func() (any, error)) {
			w, plan := promotable(t)
			in := planned(t, w, plan)
			rounds := &activities.Round{Blobs: w, Rounds: w.Rows()}
			ballots := &activities.Approval{Actions: w, Notifier: w, Now: clock}
			return w, func() (any, error) {
				ballot := approval.Open(approval.Request{Action: approval.Action{ID: "promotion-1"}, Need: 1})
				steps := []func() error{
					func() error {
						_, err := act(t, contract.CloseRound, rounds.CloseRound, contract.CloseRoundInput{Run: "run-1", Number: 1})
						return err
					},
					func() error {
						_, err := act(t, contract.CloseRun, rounds.CloseRun, contract.CloseRunInput{RunResult: contract.RunResult{Run: "run-1"}})
						return err
					},
					func() error {
						_, err := act(t, contract.NotifyApprovers, ballots.NotifyApprovers, ballot.Request)
						return err
					},
					func() error { _, err := act(t, contract.RecordBallot, ballots.RecordBallot, ballot); return err },
					func() error {
						_, err := act(t, contract.RecordOutcome, promotions(w).RecordOutcome, contract.OutcomeInput{
							Subject: in.Subject, Action: in.Action, Kind: in.Kind, Outcome: contract.Applied, Plan: in.Plan.Digest, Grant: grantOf(plan, in.Action),
						})
						return err
					},
				}
				for _, step := range steps {
					if err := step(); err != nil {
						return nil, err
					}
				}
				return nil, nil
			}
		}},
	}
}

// securedTrials are the steps of a secured round: each up to it, then it alone.
func securedTrials() []trial {
	step := func(name string, closes round.Stage, run func(*fleet, artifact.Descriptor) (any, error)) trial {
		return trial{name, func(t *testing.T) (*activitytest.World, func() (any, error)) {
			f := newFleet(t, round.Train, nil)
			f.players[1].gone = round.StageMask
			bundle := f.until(closes)
			if closes == round.StageMask && name != "CommitSurvivors" {
				bundle = f.sign(f.commit(1).Set)
			}
			return f.w, func() (any, error) {
				defer f.requireOneStory()
				return run(f, bundle)
			}
		}}
	}
	advance := func(closes round.Stage) trial {
		return step("AdvanceStage after "+string(closes), closes, func(f *fleet, bundle artifact.Descriptor) (any, error) {
			return act(f.t, contract.AdvanceStage, f.secure().AdvanceStage, contract.AdvanceInput{StageRef: f.ref(closes), Seconds: 10, Signature: bundle})
		})
	}
	return []trial{
		advance(round.StageAdvertise), advance(round.StageShare), advance(round.StageMask), advance(round.StageCheck),
		step("CommitSurvivors", round.StageMask, func(f *fleet, _ artifact.Descriptor) (any, error) {
			return act(f.t, contract.CommitSurvivors, f.secure().CommitSurvivors, f.ref(round.StageMask))
		}),
		step("AggregateMasked", round.StageUnmask, func(f *fleet, _ artifact.Descriptor) (any, error) {
			return act(f.t, contract.AggregateMasked, aggregates(f.w).AggregateMasked, f.ref(round.StageUnmask))
		}),
	}
}
