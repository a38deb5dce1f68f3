package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
)

func ready(t testing.TB, db *DB) {
	t.Helper()
	require.Eventually(t, db.hub.up.Load, 10*time.Second, 5*time.Millisecond)
}

// soon runs wait, then change, and returns how long wait went on after it.
func soon(t *testing.T, wait func() error, change func()) time.Duration {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- wait() }()
	time.Sleep(100 * time.Millisecond) // so that it does wait
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	change()
	since := time.Now()
	require.NoError(t, <-done)
	return time.Since(since)
}

// Everybody who waits is woken by the commit and not by the next poll. The
// limit is far below the poll and far above what a busy machine needs.
func TestWaitersAreWoken(t *testing.T) {
	t.Parallel()
	const quick = 900 * time.Millisecond
	db, _ := open(t)
	ready(t, db)
	ctx := t.Context()
	cohort := enrol(t, db, "t1", "eu", 2)
	var work []api.Work
	took := soon(t, func() (err error) { work, err = db.Sites().Work(ctx, "t1", "s0", 30*time.Second); return err }, func() {
		startRun(t, db, "t1", "run-1")
		openRound(t, db, "t1", "run-1", 0, cohort)
	})
	require.Less(t, took, quick)
	require.Len(t, work, 1)
	ref := work[0].Stage

	_, err := db.Rounds().StageCounts(ctx, ref)
	require.NoError(t, err)
	took = soon(t, func() error { return db.Rounds().StageChanged(ctx, ref, 30*time.Second) }, func() {
		require.NoError(t, db.Sites().Submit(ctx, caller("t1"), answer(ref, cohort[0])))
	})
	require.Less(t, took, quick)

	snapshot, signed := signedSnapshot(t, 1, "x")
	took = soon(t, func() error { _, _, _, err := db.Snapshots().SignedAfter(ctx, 0, 30*time.Second); return err }, func() {
		require.NoError(t, db.Snapshots().Publish(ctx, "a", "load", snapshot, signed))
	})
	require.Less(t, took, quick)

	_, err = db.Outbox().Relay(ctx, 10, func(context.Context, activities.Start) activities.Verdict { return activities.Verdict{Done: true} })
	require.NoError(t, err)
	took = soon(t, func() error { return db.Outbox().OutboxChanged(ctx, 30*time.Second) }, func() { startRun(t, db, "t1", "run-2") })
	require.Less(t, took, quick)
}

// What happens between a look and the wait after it ends that wait at once.
func TestNothingIsMissedBetweenLookAndWait(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ready(t, db)
	ctx := t.Context()
	startRun(t, db, "t1", "run-1")
	cohort := enrol(t, db, "t1", "eu", 1)
	ref := openRound(t, db, "t1", "run-1", 0, cohort)
	_, err := db.Rounds().StageCounts(ctx, ref)
	require.NoError(t, err)
	watch, cancel := db.hub.subscribe(topicOf(ref))
	defer cancel()
	require.NoError(t, db.Sites().Submit(ctx, caller("t1"), answer(ref, cohort[0])))
	<-watch // the notice has come, and nobody was waiting
	start := time.Now()
	require.NoError(t, db.Rounds().StageChanged(ctx, ref, 30*time.Second))
	require.Less(t, time.Since(start), 900*time.Millisecond)
}

// Without the listening connection waiters look by themselves, once a second;
// it comes back by itself.
func TestListenerComesBack(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ready(t, db)
	ctx := t.Context()
	conn := admin(t, dsn)
	_, err := conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'listen %'`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !db.hub.up.Load() }, 5*time.Second, time.Millisecond)
	wake, cancel := db.hub.subscribe("any")
	defer cancel()
	ready(t, db)
	select {
	case <-wake: // who waited while nobody listened looks again
	case <-time.After(5 * time.Second):
		t.Fatal("not woken by the return")
	}
	snapshot, signed := signedSnapshot(t, 1, "x")
	took := soon(t, func() error { _, _, _, err := db.Snapshots().SignedAfter(ctx, 0, 30*time.Second); return err }, func() {
		require.NoError(t, db.Snapshots().Publish(ctx, "a", "load", snapshot, signed))
	})
	require.Less(t, took, 900*time.Millisecond)
}

func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	enrol(t, db, "t1", "eu", 1)
	start := time.Now()
	work, err := db.Sites().Work(t.Context(), "t1", "s0", 150*time.Millisecond)
	require.NoError(t, err)
	require.Empty(t, work)
	require.InDelta(t, 0.15, time.Since(start).Seconds(), 0.8)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err = db.Sites().Work(ctx, "t1", "s0", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	db.hub.mu.Lock()
	defer db.hub.mu.Unlock()
	require.Empty(t, db.hub.waiters, "waiters that left are forgotten")
}
