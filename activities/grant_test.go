package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// granting is a promotion that a ballot must approve, in a world that trusts
// nothing but what it has minted.
func granting(t *testing.T) (*activitytest.World, promotion.Plan, contract.CheckInput, *activitytest.Rollouts, *activities.Promotion) {
	t.Helper()
	w, plan := promotable(t)
	staff(t, w)
	r := activitytest.NewRollouts(w)
	gate := promotions(w)
	gate.Grants = r
	in := planned(t, w, plan)
	_, err := act(t, contract.CheckPlan, gate.CheckPlan, in)
	require.NoError(t, err)
	return w, plan, in, r, gate
}

// begun is the ballot when its approval was used.
func begun(w *activitytest.World, action string) {
	b := w.Ballots[action]
	b.Outcome, b.BegunAt = approval.Approved, noon.Add(time.Minute)
	w.Ballots[action] = b
}

func TestOnlyAnApprovedDigestMintsAGrant(t *testing.T) {
	w, plan, in, r, gate := granting(t)
	mint := func(in contract.CheckInput) (promotion.Grant, error) {
		return act(t, contract.MintGrant, gate.MintGrant, contract.MintInput{CheckInput: in})
	}
	_, err := mint(in)
	require.Equal(t, contract.NoGrant, kind(err), "nobody has voted")
	b := w.Ballots[in.Action]
	b.Outcome = approval.Approved
	w.Ballots[in.Action] = b
	_, err = mint(in)
	require.Equal(t, contract.NoGrant, kind(err), "the approval was not used")
	require.Empty(t, r.Minted)

	begun(w, in.Action)
	grant, err := mint(in)
	require.NoError(t, err)
	require.NoError(t, grant.Permits("clinic", in.Action, plan))
	again, err := mint(in)
	require.NoError(t, err)
	require.Equal(t, grant, again, "one action, one grant")

	sneaky := plan
	sneaky.Diff = append([]promotion.Change{{What: "sneaked in"}}, plan.Diff...)
	other := in
	other.Plan = planned(t, w, sneaky).Plan
	_, err = mint(other)
	require.Equal(t, contract.NoGrant, kind(err), "it was another plan that they approved")
	easy := plan
	easy.Risk.Score, easy.Environment = 0, promotion.Dev // says that it needs nobody
	other.Plan = planned(t, w, easy).Plan
	_, err = mint(other)
	require.Equal(t, contract.NoGrant, kind(err))
}

// Whatever writes refuses what has no grant, one for something else, and one
// that was made up.
func TestNothingIsWrittenWithoutAGrant(t *testing.T) {
	w, plan, in, r, gate := granting(t)
	begun(w, in.Action)
	grant, err := act(t, contract.MintGrant, gate.MintGrant, contract.MintInput{CheckInput: in})
	require.NoError(t, err)
	made := grantOf(plan, in.Action)
	require.NotEqual(t, grant, made)
	rules := policyPlan(t, w, 10)
	theirs := grantOf(rules, "policy-1")

	publisher := snapshots(w)
	publisher.Grants = r
	policies := &activities.Policy{Blobs: w, Registry: w, Verifier: w, Grants: r}
	tunings := &activities.Tuning{Blobs: w, Actions: w, Snapshots: w, Grants: r}
	tuning := promotion.Plan{Kind: promotion.KindTuning, Tenant: "clinic", ModelID: "tumour", Environment: "dev", Tuning: &promotion.Tuning{Parameter: "learningRate", From: "1", To: "2"}}
	restore := promotion.Plan{Kind: promotion.KindRestore, Tenant: "clinic", Restore: &promotion.Restore{Sequence: 1}}
	writes := map[string]func(promotion.Grant) error{
		"PublishSnapshot": func(g promotion.Grant) error {
			in := publishing(plan, contract.PhaseLoad, "eu", "us")
			in.Grant = g
			_, err := act(t, contract.PublishSnapshot, publisher.PublishSnapshot, in)
			return err
		},
		"PublishSnapshot back": func(g promotion.Grant) error {
			in := publishing(plan, contract.PhaseBack, "eu", "us")
			in.Grant = g
			_, err := act(t, contract.PublishSnapshot, publisher.PublishSnapshot, in)
			return err
		},
		"PublishRecovery": func(g promotion.Grant) error {
			_, err := act(t, contract.PublishRecovery, publisher.PublishRecovery, contract.RecoverInput{Subject: subject(), Action: "restore-1", Phase: contract.PhaseLoad, Plan: restore, Grant: g})
			return err
		},
		"PushPolicy": func(g promotion.Grant) error {
			_, err := act(t, contract.PushPolicy, policies.PushPolicy, contract.PushPolicyInput{Subject: subject(), Action: "policy-1", Plan: rules, Grant: g})
			return err
		},
		"AttachSignature": func(g promotion.Grant) error {
			_, err := act(t, contract.AttachSignature, policies.AttachSignature, contract.AttachInput{Subject: subject(), Repository: "x", PredicateType: artifact.PredicatePolicy, Grant: g})
			return err
		},
		"ApplySuggestion": func(g promotion.Grant) error {
			_, err := act(t, contract.ApplySuggestion, tunings.ApplySuggestion, contract.ApplyInput{Subject: subject(), Action: "tune-1", Plan: planned(t, w, tuning).Plan, Grant: g})
			return err
		},
		"RecordOutcome": func(g promotion.Grant) error {
			_, err := act(t, contract.RecordOutcome, gate.RecordOutcome, contract.OutcomeInput{Subject: subject(), Action: "other", Kind: "promotion", Outcome: contract.Applied, Plan: in.Plan.Digest, Grant: g})
			return err
		},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			before := len(w.History)
			for _, g := range []promotion.Grant{{}, made, theirs} {
				require.Equal(t, contract.NoGrant, kind(write(g)))
			}
			if name[:7] != "Publish" || name == "PublishRecovery" {
				require.Equal(t, contract.NoGrant, kind(write(grant)), "it is for something else")
			}
			require.Len(t, w.History, before)
			require.Empty(t, w.Outcomes)
		})
	}
	require.NoError(t, writes["PublishSnapshot"](grant))
}

func TestAVersionThatIsUnprovenIsNotPromoted(t *testing.T) {
	w, plan := promotable(t)
	staff(t, w)
	r := activitytest.NewRollouts(w)
	r.Lacking = "fairness: INSUFFICIENT, 5 positives in a group of 30 required"
	gate := promotions(w)
	gate.Cards = r
	_, err := act(t, contract.CheckPlan, gate.CheckPlan, planned(t, w, plan))
	require.Equal(t, contract.BadPlan, kind(err))
	require.ErrorContains(t, err, "fairness: INSUFFICIENT")
	require.Empty(t, w.Ballots, "nobody is asked")
	back := plan
	back.Rollback = true
	way := planned(t, w, back)
	way.Action = "promotion-2"
	_, err = act(t, contract.CheckPlan, gate.CheckPlan, way)
	require.NoError(t, err, "what is left must go")
	r.Lacking = ""
	_, err = act(t, contract.CheckPlan, gate.CheckPlan, planned(t, w, plan))
	require.NoError(t, err)
}
