package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
)

func TestProgressOfAnOpenRound(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner", "clinic")
	sites := enrol(t, db, "clinic", "eu", 3)
	ref := openRound(t, db, "owner", "run-1", 1, sites)
	err := db.Sites().Submit(ctx, caller("clinic"), answer(ref, sites[0]))
	require.NoError(t, err)

	p, err := db.Runs().Progress(ctx, caller("owner"), "run-1")
	require.NoError(t, err)
	require.Len(t, p.Rounds, 1)
	require.Equal(t, 1, p.Rounds[0].Answers)
	require.Equal(t, answer(ref, sites[0]).Update.SizeBytes, p.Rounds[0].UploadedBytes)
	require.Len(t, p.Stages, 1)
	require.Equal(t, 3, p.Stages[0].Sites)
	require.Equal(t, 1, p.Stages[0].Answered)
	require.Equal(t, []string{"clinic/" + sites[1].ID, "clinic/" + sites[2].ID}, p.Stages[0].Waiting)
	require.Empty(t, p.Costs, "nothing is noised")
	require.Equal(t, params(), p.Asked)

	_, err = db.Runs().Progress(ctx, caller("clinic"), "run-1")
	require.ErrorIs(t, err, api.ErrNotFound, "a run is its owner's")
	_, err = db.Runs().Progress(ctx, caller("owner"), "run-9")
	require.ErrorIs(t, err, api.ErrNotFound)
}

// A site is told which runs it is in, of whatever tenant, until they end.
func TestTheOpenRunsOfASite(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	for _, owner := range []string{"owner", "other"} {
		startRun(t, db, owner, "run-1", owner, "clinic")
	}
	startRun(t, db, "owner", "run-2", "owner", "clinic") // has asked nobody yet
	sites := enrol(t, db, "clinic", "eu", 3)
	openRound(t, db, "owner", "run-1", 1, sites[:2])
	openRound(t, db, "owner", "run-1", 2, sites[:1])
	openRound(t, db, "other", "run-1", 1, sites[1:])
	both := []api.OpenRun{{Tenant: "other", Run: "run-1"}, {Tenant: "owner", Run: "run-1"}}
	for i, want := range [][]api.OpenRun{both[1:], both, both[:1]} {
		got, err := db.Sites().Runs(ctx, "clinic", sites[i].ID)
		require.NoError(t, err)
		require.Equal(t, want, got, "site %d", i)
	}
	got, err := db.Sites().Runs(ctx, "owner", sites[0].ID)
	require.NoError(t, err)
	require.Empty(t, got, "another tenant's site of that name")

	_, err = admin(t, dsn).Exec(ctx, `update fabric.run set status = 'failed', ended_at = now() where tenant = 'owner'`)
	require.NoError(t, err)
	got, err = db.Sites().Runs(ctx, "clinic", sites[1].ID)
	require.NoError(t, err)
	require.Equal(t, both[:1], got)
}

func TestRunsByStatusAndModel(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	startRun(t, db, "owner", "run-1", "owner")
	for filter, want := range map[api.RunFilter]int{{}: 1, {Status: "accepted"}: 1, {Status: "failed"}: 0, {Model: "m1"}: 1, {Model: "m2"}: 0} {
		got, err := db.Runs().Runs(t.Context(), caller("owner"), filter, api.Page{Limit: 10})
		require.NoError(t, err)
		require.Len(t, got, want, "%+v", filter)
	}
}

func TestLeavesAreFoundByWhatTheySay(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	startRun(t, db, "owner", "run-1", "owner")
	startRun(t, db, "other", "run-1", "other")
	found, err := db.AuditLog().Search(t.Context(), "owner", "RUN.accepted", 0, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "owner", found[0].Tenant)
	for _, text := range []string{"run/run-1", "ANN", "run/run-1 ann"} { // within a field, in any case, and over two of them
		again, err := db.AuditLog().Search(t.Context(), "owner", text, 0, 10)
		require.NoError(t, err)
		require.Equal(t, found, again, text)
	}
	for _, nothing := range []string{"salt", `"v":1`, "no such thing", "%"} {
		found, err = db.AuditLog().Search(t.Context(), "owner", nothing, 0, 10)
		require.NoError(t, err)
		require.Empty(t, found, nothing)
	}
}

// Of 100 calls that took 1 to 100 ms, half took at most 50.5, by interpolation
// between the two in the middle: PostgreSQL's percentile_cont.
func TestHowRuntimesAnswered(t *testing.T) {
	db, _ := open(t)
	var calls []api.Decision
	for i := range 100 {
		calls = append(calls, answered(int64(i+1), func(d *api.Decision) { d.LatencyMicros, d.Endpoint, d.Region = int64(i+1)*1000, "eu-1", "eu" }))
	}
	calls = append(calls, answered(101, func(d *api.Decision) { d.Status, d.Endpoint, d.Region = 503, "eu-1", "eu" }))
	_, err := db.Decisions().Record(t.Context(), batch("a", calls...))
	require.NoError(t, err)
	got, err := db.Decisions().Endpoints(t.Context(), calls[0].Owner, noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "eu", got[0].From)
	require.EqualValues(t, 101, got[0].Calls)
	require.EqualValues(t, 1, got[0].Failed)
	require.InDelta(t, 50.5, got[0].P50, 1e-9)
	require.InDelta(t, 95.05, got[0].P95, 1e-9)
	nobody, err := db.Decisions().Endpoints(t.Context(), "t9", noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, nobody)
}

func TestActionsByTime(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	first, err := db.Actions().Actions(t.Context(), caller("owner"), api.KindPromotion, api.Page{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, first)
	_, err = db.Actions().Actions(t.Context(), caller("owner"), api.KindPromotion, api.Page{Limit: 10, After: api.ActionKey(api.Action{ID: "promote-1", CreatedAt: time.Now()})})
	require.NoError(t, err)
}
