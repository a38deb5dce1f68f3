package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m) }

var ran atomic.Int64 // times that migrate has run

func migrate(ctx context.Context, dsn string) error {
	ran.Add(1)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `
		do $$ begin create role pgtest_reader login; exception when duplicate_object then null; end $$;
		create table kept (n int);
		grant select on kept to pgtest_reader`)
	return err
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dsn := New(t, migrate)
			require.Equal(t, 0, one[int](t, dsn, "select count(*) from kept"))
			do(t, dsn, fmt.Sprintf("insert into kept values (%d)", i))
			require.Equal(t, i, one[int](t, dsn, "select sum(n) from kept"))
			require.Equal(t, i, one[int](t, As(t, dsn, "pgtest_reader"), "select sum(n) from kept"))
		})
	}
	t.Cleanup(func() { require.EqualValues(t, 1, ran.Load(), "migrated once") })
}

func TestWithoutMigrationItIsEmpty(t *testing.T) {
	dsn := New(t, nil)
	require.Equal(t, 0, one[int](t, dsn, "select count(*) from pg_tables where schemaname = 'public'"))
}

// Two closures of one function may differ in what they hold.
func TestClosuresHaveTheirOwnTemplates(t *testing.T) {
	table := func(name string) Migrate {
		return func(ctx context.Context, dsn string) error {
			do(t, dsn, "create table "+name+" ()")
			return nil
		}
	}
	names := "select string_agg(tablename, ' ') from pg_tables where schemaname = 'public'"
	require.Equal(t, "a", one[string](t, New(t, table("a")), names))
	require.Equal(t, "b", one[string](t, New(t, table("b")), names))
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	var name string
	var open *pgx.Conn // the test forgets to close it
	t.Run("uses one", func(t *testing.T) {
		dsn := New(t, nil)
		name = one[string](t, dsn, "select current_database()")
		var err error
		open, err = pgx.Connect(t.Context(), dsn)
		require.NoError(t, err)
	})
	defer open.Close(t.Context())
	require.NotEmpty(t, name)
	dsn := New(t, nil)
	require.Equal(t, 0, one[int](t, dsn, "select count(*) from pg_database where datname = '"+name+"'"))
}

var errMigration = errors.New("no such column")

func failing(context.Context, string) error { return errMigration }

// On a server of somebody else's, nothing is left when the binary ends, neither
// by a migration that failed.
func TestForeignServerIsLeftClean(t *testing.T) {
	dsn := New(t, nil)
	c, err := open(t.Context(), dsn)
	require.NoError(t, err)
	_, err = c.create(t.Context(), migrate)
	require.NoError(t, err)
	for range 2 {
		_, err = c.create(t.Context(), failing)
		require.ErrorIs(t, err, errMigration)
	}
	name, err := c.create(t.Context(), migrate)
	require.NoError(t, err)
	require.Equal(t, 0, one[int](t, c.dsn(name), "select count(*) from kept"))
	own := "select count(*) from pg_database where datname like '" + c.prefix + "%'"
	require.Equal(t, 4, one[int](t, dsn, own), "two templates, two databases")

	require.NoError(t, c.drop(t.Context(), name))
	require.NoError(t, c.close(t.Context()))
	require.Equal(t, 1, one[int](t, dsn, own), "the one that this test has not dropped")
	do(t, dsn, "drop database "+c.prefix+"2")
}

func TestBadDSNIsNotQuoted(t *testing.T) {
	for _, dsn := range []string{"host=db password=canary", "postgres://u:canary@db:port/x", "mysql://u:canary@db/x"} {
		_, err := open(t.Context(), dsn)
		require.Error(t, err, dsn)
		require.NotContains(t, err.Error(), "canary")
	}
}

func TestNewWantsMain(t *testing.T) {
	binary.Lock()
	binary.running = false
	binary.Unlock()
	defer func() {
		binary.Lock()
		binary.running = true
		binary.Unlock()
	}()
	_, err := shared(t.Context())
	require.ErrorContains(t, err, "must call pgtest.Main")
}

func TestHome(t *testing.T) {
	t.Setenv("TMPDIR", "/somewhere")
	require.Equal(t, "/somewhere", home())
	t.Setenv("TMPDIR", "")
	require.Contains(t, []string{memory, "/tmp"}, home())
}

func TestSweepRemovesWhatKilledTestsLeft(t *testing.T) {
	tmp := t.TempDir()
	old := time.Now().Add(-2 * time.Hour)
	dir := func(name string, when time.Time) *os.File {
		d := filepath.Join(tmp, name)
		require.NoError(t, os.Mkdir(d, 0o755))
		lock, err := os.Create(filepath.Join(d, "lock"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = lock.Close() })
		require.NoError(t, os.Chtimes(d, when, when))
		return lock
	}
	dir("pgtest1", old)
	dir("pgtest2", time.Now())
	dir("pgtests", old)
	require.NoError(t, syscall.Flock(int(dir("pgtest3", old).Fd()), syscall.LOCK_EX))
	require.NoError(t, sweep(tmp))
	require.NoDirExists(t, filepath.Join(tmp, "pgtest1"))
	require.DirExists(t, filepath.Join(tmp, "pgtest2"), "it may be about to start")
	require.DirExists(t, filepath.Join(tmp, "pgtest3"), "it runs")
	require.DirExists(t, filepath.Join(tmp, "pgtests"), "it is not ours")
}

func do(t *testing.T, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func one[T any](t *testing.T, dsn, sql string) (v T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&v))
	return v
}

// BenchmarkNew measures what a test pays for its database.
func BenchmarkNew(b *testing.B) {
	c, err := shared(b.Context())
	require.NoError(b, err)
	for b.Loop() {
		name, err := c.create(b.Context(), migrate)
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, c.drop(b.Context(), name))
		b.StartTimer()
	}
}
