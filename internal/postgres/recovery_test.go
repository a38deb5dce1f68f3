package postgres

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/recovery"
)

// copies returns "region state attempt" of version 1 of model m1.
func copies(t *testing.T, db *DB) (out []string) {
	t.Helper()
	found, err := db.ModelReplicas().Replicas(t.Context(), "t1", "m1", 1)
	require.NoError(t, err)
	for _, r := range found {
		require.Equal(t, blob("one").Digest, r.Package)
		require.Equal(t, "models/t1/m1", r.Input.Repository)
		out = append(out, r.Region+" "+r.State+" "+string(rune('0'+r.Input.Attempt)))
	}
	return out
}

func TestAReplicationHasOneWriterAtATime(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	twoVersions(t, db)
	root := admin(t, dsn)
	starts := func() int {
		return count(t, root, `select count(*) from fabric.outbox where workflow = 'Replication'`)
	}
	_, err := root.Exec(ctx, `delete from fabric.outbox; delete from fabric.model_replica`) // what registering asked for
	require.NoError(t, err)
	subject := contract.Subject{Tenant: "t1", ModelID: "m1"}
	together(8, func(int) {
		if err := db.ModelReplicas().Ask(ctx, subject, 1, []string{"us", "eu"}, true); err != nil {
			t.Error(err)
		}
	})
	require.Equal(t, []string{"eu asked 1", "us asked 1"}, copies(t, db), "of eight that ask at once, one starts it")
	require.Equal(t, 2, starts())
	require.ErrorIs(t, db.ModelReplicas().Ask(ctx, subject, 9, []string{"eu"}, true), activities.ErrNotFound)
	_, err = db.ModelReplicas().Replicas(ctx, "t2", "m1", 1)
	require.ErrorIs(t, err, activities.ErrNotFound, "somebody else's")

	found, err := db.ModelReplicas().Replicas(ctx, "t1", "m1", 1)
	require.NoError(t, err)
	end := contract.ReplicaOutcome{ReplicaInput: found[0].Input, Outcome: contract.ReplicaHeld, Bundle: blob("statement"),
		Inspected: contract.Inspected{Registry: "http://eu.invalid", Layers: 3, Referrers: 4, SizeBytes: 99}}
	for range 2 { // an activity may run twice
		require.NoError(t, db.ModelReplicas().RecordReplica(ctx, end))
	}
	late := end
	late.Outcome, late.Cause = contract.ReplicaFailed, "too late"
	require.NoError(t, db.ModelReplicas().RecordReplica(ctx, late), "an attempt ends once")
	held, err := db.ModelReplicas().Held(ctx, caller("t1"), "m1", 1)
	require.NoError(t, err)
	require.Equal(t, []string{"held", "asked"}, []string{held[0].State, held[1].State})
	require.NotNil(t, held[0].CheckedAt)
	require.Nil(t, held[1].CheckedAt)
	require.Equal(t, blob("statement").Digest, held[0].Statement)
	require.Equal(t, []any{"http://eu.invalid", 3, 4, int64(99)}, []any{held[0].Registry, held[0].Layers, held[0].Referrers, held[0].SizeBytes})
	others, err := db.ModelReplicas().Held(ctx, caller("t2"), "m1", 1)
	require.NoError(t, err)
	require.Empty(t, others)

	require.NoError(t, db.ModelReplicas().Ask(ctx, subject, 1, []string{"eu", "us"}, false))
	require.Equal(t, []string{"eu held 1", "us asked 1"}, copies(t, db), "what is held or under way is not asked for again")
	started := body[[]string](t, must(db.ModelReplicas().Replicate(ctx, command("t1", "", ""), "m1", 1, []string{"eu", "us"}, reply)), nil)
	require.Equal(t, []string{"eu"}, started, "by people it is, where none is under way")
	require.Equal(t, []string{"eu asked 2", "us asked 1"}, copies(t, db))
	require.NoError(t, db.ModelReplicas().RecordReplica(ctx, late))
	require.Equal(t, []string{"eu asked 2", "us asked 1"}, copies(t, db), "the attempt before says nothing of this one")
	_, err = db.ModelReplicas().Replicate(ctx, command("t2", "", ""), "m1", 1, []string{"eu"}, reply)
	require.ErrorIs(t, err, api.ErrNotFound)

	_, err = root.Exec(ctx, `update fabric.model_replica set asked_at = now() - interval '59 minutes' where region = 'us'`)
	require.NoError(t, err)
	require.NoError(t, db.ModelReplicas().Ask(ctx, subject, 1, []string{"us"}, false))
	require.Equal(t, []string{"eu asked 2", "us asked 1"}, copies(t, db))
	_, err = root.Exec(ctx, `update fabric.model_replica set asked_at = now() - interval '61 minutes' where region = 'us'`)
	require.NoError(t, err)
	require.NoError(t, db.ModelReplicas().Ask(ctx, subject, 1, []string{"us"}, false))
	require.Equal(t, []string{"eu asked 2", "us asked 2"}, copies(t, db), "one that never ended is asked for again after an hour")

	failed := end
	failed.Attempt, failed.Outcome, failed.Cause = 2, contract.ReplicaFailed, "layer differs"
	require.NoError(t, db.ModelReplicas().RecordReplica(ctx, failed))
	require.NoError(t, db.ModelReplicas().Ask(ctx, subject, 1, []string{"eu"}, false))
	require.Equal(t, []string{"eu failed 2", "us asked 2"}, copies(t, db), "what failed for good is asked for by people only")
	held, err = db.ModelReplicas().Held(ctx, caller("t1"), "m1", 1)
	require.NoError(t, err)
	require.Equal(t, "layer differs", held[0].Cause)
	require.Empty(t, held[0].Statement, "what failed is not stated")
}

// pointOf is a point of t1 that lists nothing.
func pointOf(sequence int64, before artifact.Digest) (recovery.Point, contract.RecordPointInput) {
	p := recovery.Point{Sequence: sequence, Previous: before, Tenant: "t1", At: time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC), Snapshot: 7}
	in := contract.RecordPointInput{PointInput: contract.PointInput{Subject: contract.Subject{Tenant: "t1"}, Action: "snap-" + string(rune('0'+sequence)), Actor: "ann", Reason: "a \x00 reason"},
		Point: contract.Point{Sequence: sequence, Point: blob("point " + string(rune('0'+sequence)))}, Bundle: blob("bundle " + string(rune('0'+sequence)))}
	return p, in
}

func TestRecoveryPointsAreAChain(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	points := db.RecoveryPoints()
	_, ok, err := points.NewestPoint(ctx, "t1")
	require.NoError(t, err)
	require.False(t, ok)
	for _, sequence := range []int64{0, 1, 1 << 31, 1 << 53, math.MaxInt64} { // a sequence is a bigint, wherever it is compared
		_, err = points.Get(ctx, caller("t1"), sequence)
		require.ErrorIs(t, err, api.ErrNotFound, "%d", sequence)
	}

	refused := func(sequence int64, before artifact.Digest, why string) {
		t.Helper()
		p, in := pointOf(sequence, before)
		in.Action += " again"
		require.ErrorIs(t, points.RecordPoint(ctx, in, p), activities.ErrStale, why)
	}
	refused(2, blob("point 1").Digest, "there is no first")
	one, first := pointOf(1, "")
	for range 2 { // an activity may run twice
		require.NoError(t, points.RecordPoint(ctx, first, one))
	}
	refused(1, "", "there is a first")
	refused(2, blob("another").Digest, "it names another point before it")
	refused(3, blob("point 1").Digest, "it leaves one out")
	two, second := pointOf(2, blob("point 1").Digest)
	var errs [4]error
	together(len(errs), func(i int) {
		in := second
		in.Action += string(rune('a' + i))
		in.Point.Point = blob(in.Action)
		errs[i] = points.RecordPoint(ctx, in, two)
	})
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, activities.ErrStale)
	}
	require.Equal(t, 1, won, "of those that race for a sequence one is recorded")

	newest, ok, err := points.NewestPoint(ctx, "t1")
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 2, newest.Sequence)
	require.Equal(t, blob("point 1").Digest, newest.Previous)
	rows, err := points.Points(ctx, "t1", 1, 1)
	require.NoError(t, err)
	require.Equal(t, []activities.PointRow{{Sequence: 1, Digest: blob("point 1").Digest, Bundle: blob("bundle 1")}}, rows)
	taken, ok, err := points.Taken(ctx, "t1", "snap-1")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, rows[0], taken)
	_, ok, err = points.Taken(ctx, "t2", "snap-1")
	require.NoError(t, err)
	require.False(t, ok, "somebody else's")

	listed, err := points.List(ctx, caller("t1"), api.Page{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []int64{2, 1}, []int64{listed[0].Sequence, listed[1].Sequence})
	listed, err = points.List(ctx, caller("t1"), api.Page{After: "2", Limit: 10})
	require.NoError(t, err)
	got, err := points.Get(ctx, caller("t1"), 1)
	require.NoError(t, err)
	require.Equal(t, listed[0], got)
	require.Equal(t, "a ? reason", got.Reason)
	require.Equal(t, one.At, got.At.UTC())
	_, err = points.List(ctx, caller("t1"), api.Page{After: "two", Limit: 10})
	require.ErrorIs(t, err, api.ErrNotFound)
	newestOf, err := points.Get(ctx, caller("t1"), 0)
	require.NoError(t, err)
	require.EqualValues(t, 2, newestOf.Sequence)
	_, err = points.Get(ctx, caller("t2"), 1)
	require.ErrorIs(t, err, api.ErrNotFound)

	require.Equal(t, []string{"recovery.taken", "recovery.taken"}, kinds(t, db))
	start := api.Start{Workflow: contract.RecoveryPoint.Name, ID: "recovery/snap-9", Queue: "control"}
	require.Equal(t, "snap-9", body[string](t, must(points.Take(ctx, command("t1", "", ""), "snap-9", start, reply)), nil))
	require.Equal(t, 1, count(t, admin(t, dsn), `select count(*) from fabric.outbox`))
}

// serving promotes a version of m1 as the data plane would.
func serving(t *testing.T, db *DB, action, environment string, number int, pkg artifact.Digest) {
	t.Helper()
	cmd := api.Action{ID: action, Kind: api.KindPromotion, ModelID: "m1", Environment: environment}
	_, err := db.Actions().Begin(t.Context(), command("t1", "", ""), cmd, api.Start{Workflow: "W", ID: action, Queue: "control"}, reply)
	require.NoError(t, err)
	require.NoError(t, db.Actions().RecordOutcome(t.Context(), contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1", ModelID: "m1"}, Action: action,
		Kind: api.KindPromotion, Outcome: contract.Applied, Bundle: blob(action)},
		promotion.Plan{ModelID: "m1", Environment: environment, Version: &promotion.Version{Number: number, Package: pkg}}))
}

func TestARestoreMovesTheIndexBack(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	one, two := twoVersions(t, db)
	served := func(environment string, version int) bool {
		t.Helper()
		ok, err := db.Models().Served(ctx, caller("t1"), "m1", environment, version)
		require.NoError(t, err)
		return ok
	}
	_, err := db.Models().LastGood(ctx, caller("t1"), "m1", "production")
	require.ErrorIs(t, err, api.ErrNotFound, "nothing has served")
	serving(t, db, "promote-1", "production", 1, one)
	_, err = db.Models().LastGood(ctx, caller("t1"), "m1", "production")
	require.ErrorIs(t, err, api.ErrNotFound, "nothing has served before")
	models, aliases, err := db.RecoveryPoints().InUse(ctx, "t1", nil)
	require.NoError(t, err)
	require.Equal(t, []recovery.Alias{{Model: "m1", Environment: "production", Name: "champion", Version: 1, Package: one}}, aliases)
	require.Len(t, models, 2, "the alias's, and the newest")

	serving(t, db, "promote-2", "production", 2, two)
	serving(t, db, "promote-3", "staging", 2, two)
	good, err := db.Models().LastGood(ctx, caller("t1"), "m1", "production")
	require.NoError(t, err)
	require.Equal(t, 1, good)
	require.True(t, served("production", 1))
	require.False(t, served("staging", 1))
	models, _, err = db.RecoveryPoints().InUse(ctx, "t1", nil)
	require.NoError(t, err)
	require.Len(t, models, 1, "nothing names the first any more")
	models, _, err = db.RecoveryPoints().InUse(ctx, "t1", []recovery.Model{{ID: "m1", Version: 1}})
	require.NoError(t, err)
	require.Len(t, models, 2, "but what serves is listed")
	models, aliases, err = db.RecoveryPoints().InUse(ctx, "t2", []recovery.Model{{ID: "m1", Version: 1}})
	require.NoError(t, err)
	require.Equal(t, []any{[]recovery.Model{}, []recovery.Alias{}}, []any{models, aliases}, "somebody else's, and never null")

	_, err = db.Actions().Begin(ctx, command("t1", "", ""), api.Action{ID: "restore-1", Kind: promotion.KindRestore, Environment: "production"}, api.Start{Workflow: "W", ID: "restore-1", Queue: "control"}, reply)
	require.NoError(t, err)
	end := contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1"}, Action: "restore-1", Kind: promotion.KindRestore, Outcome: contract.Applied, Bundle: blob("restore")}
	plan := promotion.Plan{Restore: &promotion.Restore{Sequence: 1, Point: blob("point 1").Digest, Head: 1}}
	require.ErrorIs(t, db.Actions().RecordOutcome(ctx, end, plan), activities.ErrRefused, "it says not what it brought")
	end.Restored = &contract.Recovered{
		Models:   []contract.ChampionAt{{ModelID: "m1", Environment: "production", Version: 1}},
		Aliases:  []contract.AliasAt{{ModelID: "m1", Environment: "production", Alias: "champion", Version: 1, Package: one}, {ModelID: "m1", Environment: "staging", Alias: "champion", Version: 2, Package: two}},
		Policies: []contract.GovernedDoc{{Revision: 4, Document: json.RawMessage(`{"revision":4}`)}},
	}
	for range 2 { // an activity may run twice
		require.NoError(t, db.Actions().RecordOutcome(ctx, end, plan))
	}
	model, err := db.Models().Model(ctx, caller("t1"), "m1")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"production": 1}, model.Champions, "staging had no route at the point")
	stands, err := db.Models().Aliases(ctx, caller("t1"), "m1", time.Time{})
	require.NoError(t, err)
	require.Equal(t, []any{1, int64(3), "restore-1", blob("restore")}, []any{stands[0].Version, stands[0].Sequence, stands[0].Action, stands[0].Bundle}, "moved by the restore's statement, once")
	require.Equal(t, []any{2, int64(1), "promote-3"}, []any{stands[1].Version, stands[1].Sequence, stands[1].Action}, "it stood there then")
	policies, err := db.Actions().Policies(ctx, api.Page{Limit: 10})
	require.NoError(t, err)
	require.EqualValues(t, 4, policies[0].Revision)
	good, err = db.Models().LastGood(ctx, caller("t1"), "m1", "production")
	require.NoError(t, err)
	require.Equal(t, 2, good, "the way back leads to what the restore took away")
}
