package postgres

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// begunAction is an action that has been planned and started.
func begunAction(t *testing.T, db *DB, id string) api.Action {
	t.Helper()
	action := api.Action{ID: id, Kind: "promotion", ModelID: "m1", Environment: "production", Plan: blob("plan of " + id)}
	_, err := db.Actions().SavePlan(t.Context(), command("t1", "", ""), action, reply[api.Action])
	require.NoError(t, err)
	_, err = db.Actions().Apply(t.Context(), command("t1", "", ""), id, api.Start{Workflow: "W", ID: id, Queue: "control"}, reply[api.Action])
	require.NoError(t, err)
	return action
}

func TestAGrantIsMintedForWhatWasApproved(t *testing.T) {
	db, _ := open(t)
	port, ctx := db.Rollouts(), t.Context()
	action := begunAction(t, db, "promote-1")
	want := func(change func(*promotion.Grant)) promotion.Grant {
		g := promotion.Grant{Tenant: "t1", Kind: "promotion", Action: action.ID, Plan: action.Plan.Digest}
		if change != nil {
			change(&g)
		}
		g, err := promotion.NewGrant(g)
		require.NoError(t, err)
		return g
	}
	for name, change := range map[string]func(*promotion.Grant){
		"another plan":     func(g *promotion.Grant) { g.Plan = blob("sneaked in").Digest },
		"another action":   func(g *promotion.Grant) { g.Action = "promote-2" },
		"another kind":     func(g *promotion.Grant) { g.Kind = "policy" },
		"another tenant's": func(g *promotion.Grant) { g.Tenant = "t2" },
		"without a ballot": func(g *promotion.Grant) { g.Need, g.Nonce = 1, artifact.DigestOf([]byte("n")) },
	} {
		_, err := port.Mint(ctx, want(change))
		require.Error(t, err, name)
		require.True(t, errors.Is(err, activities.ErrRefused) || errors.Is(err, activities.ErrNotFound), "%s: %v", name, err)
	}
	grant := want(nil)
	require.ErrorIs(t, port.Granted(ctx, grant), activities.ErrRefused, "not yet")
	got, err := port.Mint(ctx, grant)
	require.NoError(t, err)
	require.Equal(t, grant, got)
	again, err := port.Mint(ctx, grant)
	require.NoError(t, err)
	require.Equal(t, grant, again)
	require.NoError(t, port.Granted(ctx, grant))
	forged := grant
	forged.Need = 1
	require.ErrorIs(t, port.Granted(ctx, forged), activities.ErrRefused)

	require.NoError(t, db.Actions().RecordOutcome(ctx, contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1"}, Action: action.ID, Kind: "promotion", Outcome: contract.Failed}, promotion.Plan{}))
	_, err = port.Mint(ctx, grant)
	require.NoError(t, err, "a second run of the first mint")
	over := begunAction(t, db, "promote-3")
	require.NoError(t, db.Actions().RecordOutcome(ctx, contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1"}, Action: over.ID, Kind: "promotion", Outcome: contract.Failed}, promotion.Plan{}))
	_, err = port.Mint(ctx, want(func(g *promotion.Grant) { g.Action, g.Plan = over.ID, over.Plan.Digest }))
	require.ErrorIs(t, err, activities.ErrRefused, "it has ended")
}

func TestAGrantOfABallotNeedsItsApprovalToHaveBegun(t *testing.T) {
	db, _ := open(t)
	port, ctx := db.Rollouts(), t.Context()
	action := begunAction(t, db, "promote-1")
	req := approval.Request{
		Action: approval.Action{ID: action.ID, Kind: "promotion", Tenant: "t1", Plan: action.Plan.Digest}, Requester: "ann", Need: 1,
		Roles: []string{approval.RoleOwner}, Nonce: "nonce-1", OpenedAt: time.Now().UTC(), TTLSeconds: 3600,
	}
	_, err := db.Actions().OpenBallot(ctx, req)
	require.NoError(t, err)
	grant, err := promotion.NewGrant(promotion.Grant{Tenant: "t1", Kind: "promotion", Action: action.ID, Plan: action.Plan.Digest, Need: 1, Nonce: artifact.DigestOf([]byte("nonce-1"))})
	require.NoError(t, err)
	_, err = port.Mint(ctx, grant)
	require.ErrorIs(t, err, activities.ErrRefused, "nobody has voted")
	ballot := approval.Open(req)
	ballot.Outcome = approval.Approved
	require.NoError(t, db.Actions().RecordBallot(ctx, ballot))
	_, err = port.Mint(ctx, grant)
	require.ErrorIs(t, err, activities.ErrRefused, "approved, and not used")
	begun, err := db.Actions().BeginBallot(ctx, contract.BeginInput{Ballot: ballot, Use: "run"}, nil, time.Now())
	require.NoError(t, err)
	require.Empty(t, begun.Losses)
	_, err = port.Mint(ctx, grant)
	require.NoError(t, err)
}

func TestFactsAreWrittenOnce(t *testing.T) {
	db, _ := open(t)
	port, ctx := db.Rollouts(), t.Context()
	step := canary.Step{Number: 1, Region: "eu", ShareBP: 100}
	first := canary.Fact{Number: 2, Kind: canary.FactLook, At: time.Now().UTC().Truncate(time.Second), Step: step, Verdict: canary.Pass, Look: blob("look").Digest}
	got, err := port.NoteFact(ctx, "t1", "promote-1", first)
	require.NoError(t, err)
	require.Equal(t, first, got)
	other := first
	other.Verdict = canary.Fail
	got, err = port.NoteFact(ctx, "t1", "promote-1", other)
	require.NoError(t, err)
	require.Equal(t, first, got, "the first stands")
	paused := canary.Fact{Number: 1, Kind: canary.FactPause, At: first.At, Step: step, Actor: "olga", Words: "lunch"}
	_, err = port.NoteFact(ctx, "t1", "promote-1", paused)
	require.NoError(t, err)
	facts, err := port.Facts(ctx, "t1", "promote-1")
	require.NoError(t, err)
	require.Equal(t, []canary.Fact{paused, first}, facts)
	theirs, err := port.Facts(ctx, "t2", "promote-1")
	require.NoError(t, err)
	require.Empty(t, theirs)
	require.Contains(t, kinds(t, db), "canary.pause")
	require.NotContains(t, kinds(t, db), "canary.look", "the record stands for all looks")
}

func TestWhatRanWhen(t *testing.T) {
	db, _ := open(t)
	views, ctx := db.RolloutViews(), t.Context()
	_, err := views.RanAt(ctx, caller("t1"), "m1", time.Now())
	require.ErrorIs(t, err, api.ErrNotFound)
	begunAction(t, db, "promote-1")
	publish := func(version int64, action, step string) time.Time {
		snapshot := routing.Snapshot{Version: version}
		text, err := json.Marshal(snapshot)
		require.NoError(t, err)
		require.NoError(t, db.Snapshots().Publish(ctx, action, step, snapshot, routing.Signed{Snapshot: text, Bundle: []byte("{}")}))
		ran, err := views.RanAt(ctx, caller("t1"), "m1", time.Now().Add(time.Minute))
		require.NoError(t, err)
		return ran.At
	}
	first := publish(1, "bootstrap", "topology/1")
	publish(2, "promote-1", "switch/eu,us")
	last := publish(3, "policy-1", "policy/eu")
	now, err := views.RanAt(ctx, caller("t1"), "m1", last)
	require.NoError(t, err)
	require.EqualValues(t, 3, now.Snapshot.Version)
	require.Len(t, now.Moves, 1, "what is not about the model is left out")
	require.Equal(t, []any{int64(2), "promote-1", "switch/eu,us"}, []any{now.Moves[0].Snapshot, now.Moves[0].Action, now.Moves[0].Step})
	then, err := views.RanAt(ctx, caller("t1"), "m1", first)
	require.NoError(t, err)
	require.EqualValues(t, 1, then.Snapshot.Version)
	require.Empty(t, then.Moves)
	theirs, err := views.RanAt(ctx, caller("t2"), "m1", last)
	require.NoError(t, err)
	require.Empty(t, theirs.Moves)
}
