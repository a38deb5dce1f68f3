package postgres

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/internal/pgserver"
)

// pair starts a primary and a streaming replica of it.
func pair(t *testing.T) (primary, replica *pgserver.Server) {
	t.Helper()
	ctx := t.Context()
	base, err := os.MkdirTemp("", "fabric-pair-") // t.TempDir is too long for a socket's path
	require.NoError(t, err)
	require.NoError(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	stop := func(s *pgserver.Server) {
		t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	}
	primary, err = pgserver.Start(ctx, pgserver.Options{Dir: filepath.Join(base, "p"), Fast: true})
	require.NoError(t, err)
	stop(primary)
	found, err := pgserver.Find()
	require.NoError(t, err)
	data := filepath.Join(base, "r", "data")
	require.NoError(t, os.Mkdir(filepath.Dir(data), 0o700))
	out, err := exec.CommandContext(ctx, filepath.Join(found.Dir, "pg_basebackup"), "-d", primary.DSN("postgres", pgserver.Superuser), "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	owner, err := os.Stat(filepath.Join(base, "p", "data"))
	require.NoError(t, err)
	st, ok := owner.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.NoError(t, filepath.WalkDir(filepath.Dir(data), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(st.Uid), int(st.Gid))
	}))
	replica, err = pgserver.Start(ctx, pgserver.Options{Dir: filepath.Dir(data), Fast: true})
	require.NoError(t, err)
	stop(replica)
	return primary, replica
}

// Lists come from a replica while it is fresh, and from the primary as soon as
// it is not: lagging, gone, or no replica any more.
func TestReplicaReads(t *testing.T) {
	t.Parallel()
	primary, replica := pair(t)
	ctx := t.Context()
	dsn, standby := primary.DSN("postgres", pgserver.Superuser), replica.DSN("postgres", pgserver.Superuser)
	require.NoError(t, Migrate(ctx, dsn))
	const window = 400 * time.Millisecond
	db, err := Open(ctx, Options{DSN: dsn, ReplicaDSNs: []string{standby}, ReplicaWindow: window})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	onReplica := func() bool { return db.replicas.fresh(ctx) != nil }
	runs := func() int {
		found, err := db.Runs().Runs(ctx, caller("t1"), api.RunFilter{}, api.Page{Limit: 100})
		require.NoError(t, err)
		return len(found)
	}
	require.Eventually(t, onReplica, 10*time.Second, 5*time.Millisecond, "a replica that has caught up is used")
	startRun(t, db, "t1", "run-1")
	require.Eventually(t, func() bool { return onReplica() && runs() == 1 }, 10*time.Second, 5*time.Millisecond)
	found, err := db.Runs().Runs(ctx, caller("t2"), api.RunFilter{}, api.Page{Limit: 100})
	require.NoError(t, err)
	require.Empty(t, found, "row-level security holds on the replica")

	lever, err := pgx.Connect(ctx, standby)
	require.NoError(t, err)
	defer func() { _ = lever.Close(ctx) }()
	_, err = lever.Exec(ctx, `select pg_wal_replay_pause()`)
	require.NoError(t, err)
	startRun(t, db, "t1", "run-2")
	require.Eventually(t, func() bool { return !onReplica() }, 10*time.Second, 5*time.Millisecond, "a lagging replica is left")
	require.Equal(t, 2, runs(), "the primary knows")
	_, err = lever.Exec(ctx, `select pg_wal_replay_resume()`)
	require.NoError(t, err)
	require.Eventually(t, onReplica, 10*time.Second, 5*time.Millisecond, "and comes back")

	_, err = lever.Exec(ctx, `select pg_promote()`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !onReplica() }, 10*time.Second, 5*time.Millisecond, "a primary is no replica")
	require.Equal(t, 2, runs())
}

// The bound errs on the safe side: an answer is never older than it says.
func TestReplicaBound(t *testing.T) {
	r := &replicas{}
	add := func(at time.Duration, lsn int64) {
		r.ring[r.next%len(r.ring)] = sample{at, lsn}
		r.next++
	}
	_, ok := r.complete(100)
	require.False(t, ok, "without a sample nothing is known")
	add(1*time.Second, 100)
	add(2*time.Second, 200)
	add(3*time.Second, 200)
	add(4*time.Second, 300)
	for lsn, want := range map[int64]time.Duration{100: time.Second, 199: time.Second, 200: 3 * time.Second, 299: 3 * time.Second, 400: 4 * time.Second} {
		at, ok := r.complete(lsn)
		require.True(t, ok)
		require.Equal(t, want, at, "replayed up to %d", lsn)
	}
	_, ok = r.complete(99)
	require.False(t, ok)
	for range len(r.ring) {
		add(5*time.Second, 500)
	}
	_, ok = r.complete(400)
	require.False(t, ok, "further behind than the ring reaches")
}
