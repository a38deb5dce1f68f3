package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
)

// The census over two tenants, from an empty database on. Ages are set as the
// superuser: nobody waits for them.
func TestCensus(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	conn, censor := admin(t, dsn), db.Censor()
	set := func(sql string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	look := func() activities.Census {
		t.Helper()
		c, err := censor.Census(t.Context())
		require.NoError(t, err)
		return c
	}
	require.Equal(t, activities.Census{BudgetLeast: 1}, look(), "nothing is open")

	startRun(t, db, "owner", "run-1", "clinic", "north")
	startRun(t, db, "t2", "run-2", "t2")
	sites := enrol(t, db, "clinic", "eu", 3)
	ref := openRound(t, db, "owner", "run-1", 1, sites)
	c := look()
	require.Equal(t, []int{2, 1, 3, 3, 0}, []int{c.Runs, c.Rounds, c.MissingSites, c.Sites, c.SilentSites})
	require.Less(t, c.SilentStage, time.Minute)
	require.Zero(t, c.OverdueStage)
	require.Positive(t, c.Leaves)
	require.Positive(t, c.Unsigned, "this process signs no log")

	set(`update fabric.stage set opened_at = now() - interval '20 minutes', deadline = now() - interval '3 minutes'`)
	set(`update fabric.site set seen_at = now() - interval '6 minutes' where id = 's0'`)
	c = look()
	require.InDelta(t, 20*time.Minute, c.SilentStage, float64(time.Minute))
	require.InDelta(t, 3*time.Minute, c.OverdueStage, float64(time.Minute))
	require.Equal(t, 1, c.SilentSites)

	set(`update fabric.stage set deadline = now() + interval '3 minutes'`)
	err := db.Sites().Submit(t.Context(), api.Caller{Tenant: "clinic", Subject: "s1"}, answer(ref, sites[1]))
	require.NoError(t, err)
	c = look()
	require.Less(t, c.SilentStage, time.Minute, "a site has said something")
	require.Equal(t, 2, c.MissingSites)

	spendable(t, db, ward, 3, 2)
	setBudget(t, db, north, 1e2)
	for number := 10; number < 12; number++ {
		require.NoError(t, beginRound(t.Context(), db, number, reads(3, ward, north)))
		c = look()
		require.Equal(t, 2, c.Budgets)
		require.Equal(t, number-10, c.Exhausted, "a third round does not fit, a second does")
	}
	require.InDelta(t, 0, c.BudgetLeast, 1e-9)
	setBudget(t, db, ward, 1e2)
	require.Zero(t, look().Exhausted, "its owner allows more")

	set(`insert into fabric.canary_fact (tenant, action, number, kind, fact) values
		('owner', 'a1', 1, 'step', '{}'), ('owner', 'a1', 2, 'back', '{}'), ('owner', 'a1', 3, 'end', '{}'),
		('owner', 'a2', 1, 'step', '{}'), ('owner', 'a2', 2, 'hold', '{}'), ('owner', 'a2', 3, 'look', '{}'),
		('owner', 'a4', 1, 'hold', '{}'), ('owner', 'a4', 2, 'ask', '{}'), ('owner', 'a4', 3, 'look', '{}'), ('t2', 'a3', 1, 'step', '{}')`)
	set(`insert into fabric.ballot (tenant, action, request, ballot, opened_at, due_at) values
		('owner', 'b1', '{"nonce":"1"}', '{}', now(), now() + interval '30 minutes'), ('t2', 'b2', '{"nonce":"2"}', '{}', now(), now() + interval '2 hours'),
		('t2', 'a3-half', '{"nonce":"4"}', '{}', now(), now() + interval '2 hours'),
		('t2', 'b3', '{"nonce":"3","review":"b2"}', '{}', now(), now() - interval '2 hours')`)
	c = look()
	require.Equal(t, []int{3, 2, 1, 4}, []int{c.Rollouts, c.HeldBack, c.WentBack, c.Ballots}, "a look does not decide, a ballot that ended waits for nobody, one before half of the answers does")
	require.InDelta(t, 30*time.Minute, c.BallotLeft, float64(time.Minute), "a review that is overdue expires no more")
}
