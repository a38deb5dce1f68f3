package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
)

func TestARunIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner")
	paused := func() bool {
		run, err := db.Runs().Run(ctx, caller("owner"), "run-1")
		require.NoError(t, err)
		return run.Paused
	}
	set := func(tenant string, on bool) error {
		_, err := db.Runs().RecordPause(ctx, command(tenant, "", "pause"), "run-1", on, reply[api.Run])
		return err
	}
	require.False(t, paused())
	require.NoError(t, set("owner", true))
	require.NoError(t, set("owner", true), "twice is once")
	require.True(t, paused())
	require.NoError(t, set("owner", false))
	require.False(t, paused())
	require.ErrorIs(t, set("clinic", true), api.ErrNotFound, "another tenant's run is not there")

	require.NoError(t, set("owner", true))
	subject := contract.Subject{Tenant: "owner", ModelID: "m1"}
	require.NoError(t, db.Rounds().CloseRun(ctx, contract.CloseRunInput{Subject: subject, RunResult: contract.RunResult{Run: "run-1", Status: "stopped"}}))
	require.False(t, paused(), "what is over does not hold")
	require.NoError(t, set("owner", false))

	conn := admin(t, dsn)
	for kind, n := range map[string]int{"run.pause_requested": 2, "run.resume_requested": 1} {
		require.Equal(t, n, count(t, conn, `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = $1`, kind), kind)
	}
}

func TestAClosedRoundIsACheckpoint(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner")
	cohort := enrol(t, db, "owner", "eu", 1)
	ref := openRound(t, db, "owner", "run-1", 1, cohort)
	_, err := db.Runs().Checkpoint(ctx, caller("owner"), "run-1", 1)
	require.ErrorIs(t, err, api.ErrNotFound, "an open round has left nothing")

	require.NoError(t, db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: ref.Subject, Run: "run-1", Number: 1, Weights: blob("weights"), State: blob("momentum"), Clip: 0.25, NextClip: 0.375}))
	got, err := db.Runs().Checkpoint(ctx, caller("owner"), "run-1", 1)
	require.NoError(t, err)
	require.Equal(t, api.Checkpoint{ModelID: "m1", Params: params(), Weights: blob("weights"), State: blob("momentum"), Clip: 0.375}, got)
	run, err := db.Runs().Run(ctx, caller("owner"), "run-1")
	require.NoError(t, err)
	require.Equal(t, 0.25, run.Rounds[0].Clip, "what was clipped to, not what comes next")
	for _, other := range []struct {
		tenant, run string
		number      int
	}{{"clinic", "run-1", 1}, {"owner", "run-2", 1}, {"owner", "run-1", 2}} {
		_, err = db.Runs().Checkpoint(ctx, caller(other.tenant), other.run, other.number)
		require.ErrorIs(t, err, api.ErrNotFound)
	}

	openRound(t, db, "owner", "run-1", 2, cohort)
	require.NoError(t, db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: ref.Subject, Run: "run-1", Number: 2, Cause: "below quorum"}))
	_, err = db.Runs().Checkpoint(ctx, caller("owner"), "run-1", 2)
	require.ErrorIs(t, err, api.ErrNotFound, "a failed round has left nothing")
}
