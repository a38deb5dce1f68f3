package pgserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// With this variable set the test binary is a parent that runs a server in the
// directory that it names, until it is killed.
const asParent = "FABRIC_TEST_PGSERVER_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asParent); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.Pid())
		select {}
	}
	os.Exit(m.Run())
}

func TestRestartKeepsData(t *testing.T) {
	dir := place(t)
	s := begin(t, Options{Dir: dir})
	do(t, s, "create table kept (n int); insert into kept values (1)")
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, s.Err())
	<-s.Done()

	s = begin(t, Options{Dir: dir})
	require.Equal(t, 1, rows(t, s))
	require.NotContains(t, logOf(t, dir), "not properly shut down")
	require.NoError(t, s.Stop(t.Context()))
}

func TestKilledServerRecovers(t *testing.T) {
	dir := place(t)
	s := begin(t, Options{Dir: dir, Fast: true})
	do(t, s, "create table kept (n int); insert into kept values (1)")
	require.NoError(t, s.Kill())
	<-s.Done()

	s = begin(t, Options{Dir: dir, Fast: true})
	require.Contains(t, logOf(t, dir), "not properly shut down", "it was a crash")
	require.Equal(t, 1, rows(t, s))
}

// The parent is killed so that no line of it can run any more; the server
// nevertheless shuts down as if it had been asked to.
func TestKilledParentEndsTheServerCleanly(t *testing.T) {
	dir := place(t)
	self, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), asParent+"="+dir)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	t.Cleanup(func() { _ = parent.Process.Kill() })
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "the parent says when the server is ready")

	p, err := pathsOf(dir)
	require.NoError(t, err)
	run(t, dsn(p.run, "postgres", Superuser), "create table kept (n int); insert into kept values (1)")

	_, err = Start(t.Context(), Options{Dir: dir})
	require.ErrorIs(t, err, ErrInUse, "the directory is the parent's while it lives")

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	watch := &Server{paths: p}
	require.Eventually(t, func() bool {
		left, err := watch.leftovers()
		return err == nil && len(left) == 0
	}, 5*time.Second, 10*time.Millisecond)
	require.Contains(t, logOf(t, dir), "received fast shutdown request")
	require.Contains(t, logOf(t, dir), "database system is shut down")

	s := begin(t, Options{Dir: dir})
	require.Equal(t, 1, rows(t, s))
	require.NotContains(t, logOf(t, dir), "not properly shut down")
}

// Where no kernel tells it, or when it was not fast enough, the postmaster of a
// dead parent is still there at the next start.
func TestOrphanedServerIsEnded(t *testing.T) {
	dir := place(t)
	orphan := begin(t, Options{Dir: dir, Fast: true})
	do(t, orphan, "create table kept (n int); insert into kept values (1)")
	require.NoError(t, orphan.lock.Close(), "the kernel does this for a dead parent")

	s := begin(t, Options{Dir: dir, Fast: true})
	select {
	case <-orphan.Done():
	default:
		require.Fail(t, "two servers on one directory")
	}
	require.NoError(t, orphan.Err(), "asked, not killed")
	require.Equal(t, 1, rows(t, s))
}

// A postmaster that is killed leaves backends, and these keep the memory that
// its successor needs.
func TestKilledPostmasterRecovers(t *testing.T) {
	dir := place(t)
	s := begin(t, Options{Dir: dir, Fast: true})
	do(t, s, "create table kept (n int); insert into kept values (1)")
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres", Superuser))
	require.NoError(t, err)
	busy := make(chan error, 1)
	go func() {
		// A loop that never looks up: it would outlive its postmaster by far.
		_, err := conn.Exec(context.WithoutCancel(t.Context()),
			"do $$ declare n bigint := 0; begin while n < 4000000000 loop n := n + 1; end loop; end $$")
		busy <- err
	}()
	require.Eventually(t, func() bool {
		return one[int](t, s, "select count(*) from pg_stat_activity where state = 'active' and query like 'do %'") == 1
	}, 5*time.Second, 10*time.Millisecond)

	require.NoError(t, syscall.Kill(s.Pid(), syscall.SIGKILL))
	<-s.Done()
	require.ErrorIs(t, s.Err(), ErrExited)
	require.ErrorIs(t, s.Stop(t.Context()), ErrExited)

	next := begin(t, Options{Dir: dir, Fast: true})
	require.Error(t, <-busy)
	require.Equal(t, 1, rows(t, next))
}

func TestStopBeforeItsTimeCrashes(t *testing.T) {
	s := begin(t, Options{Dir: place(t), Fast: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Stop(ctx), context.Canceled)
	<-s.Done()
}

func TestCanceledStartLeavesNothing(t *testing.T) {
	dir := place(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, Options{Dir: dir, Fast: true})
	require.ErrorIs(t, err, context.Canceled)
	s := begin(t, Options{Dir: dir, Fast: true})
	require.NotZero(t, s.Pid())
}

// What a torn start or a power cut leaves behind stops nobody.
func TestStaleFilesAreReplaced(t *testing.T) {
	dir := place(t)
	torn := filepath.Join(dir, "data.new")
	require.NoError(t, os.MkdirAll(torn, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(torn, "PG_VERSION"), []byte("9"), 0o600))
	s := begin(t, Options{Dir: dir, Fast: true})
	do(t, s, "create table kept (n int); insert into kept values (1)")
	require.NoError(t, s.Kill())

	// A program of the server's user: PostgreSQL itself sees through any other.
	who, err := accountFor(s.paths.data)
	require.NoError(t, err)
	other := exec.Command("sleep", "600")
	other.Dir = "/"
	other.SysProcAttr = who.attributes()
	require.NoError(t, other.Start())
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	stale := map[string]string{
		"empty":                                "",
		"the number of another living program": fmt.Sprintf("%d\n%s\n", other.Process.Pid, s.paths.data),
	}
	for name, text := range stale {
		t.Run(name, func(t *testing.T) {
			info, err := os.Stat(s.paths.data)
			require.NoError(t, err)
			st := info.Sys().(*syscall.Stat_t)
			file := filepath.Join(s.paths.data, "postmaster.pid")
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			require.NoError(t, os.Chown(file, int(st.Uid), int(st.Gid)))
			next := begin(t, Options{Dir: dir, Fast: true})
			require.Equal(t, 1, rows(t, next))
			require.NoError(t, next.Kill())
		})
	}
}

func TestSocketIsTheOnlyDoor(t *testing.T) {
	s := begin(t, Options{Dir: place(t), Fast: true})
	require.Empty(t, one[string](t, s, "show listen_addresses"))
	info, err := os.Stat(s.paths.run)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
	require.NotEqual(t, uint32(0), info.Sys().(*syscall.Stat_t).Uid, "the server is not root")
}

// Statements and constraint errors can hold anybody's data.
func TestLogHoldsNoData(t *testing.T) {
	dir := place(t)
	s := begin(t, Options{Dir: dir, Fast: true})
	do(t, s, "create table people (name text primary key)")
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres", Superuser))
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, sql := range []string{
		"insert into people values ('canary'), ('canary')", "select 'canary'::int", "select canary from people",
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.Error(t, err, sql)
	}
	text := logOf(t, dir)
	require.Contains(t, text, "ERROR:  duplicate key value violates unique constraint")
	require.NotContains(t, text, "(canary)")
	require.NotContains(t, text, "STATEMENT:")
	require.NotContains(t, text, "DETAIL:")
}

// begin starts a server that ends with the test at the latest.
func begin(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Kill() })
	return s
}

// place is a directory that the server's user can reach: those of t.TempDir
// are closed to it when root runs the tests.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fabpg")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func do(t *testing.T, s *Server, sql string) {
	t.Helper()
	run(t, s.DSN("postgres", Superuser), sql)
}

func run(t *testing.T, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func rows(t *testing.T, s *Server) int {
	t.Helper()
	return one[int](t, s, "select count(*) from kept")
}

func one[T any](t *testing.T, s *Server, sql string) (v T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres", Superuser))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&v))
	return v
}

func logOf(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	require.NoError(t, err)
	return string(text)
}
