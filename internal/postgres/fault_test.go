package postgres

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
)

func TestFault(t *testing.T) {
	for sqlstate, want := range map[string]bool{
		"57P01": true, "57P03": true, "08006": true, "53300": true, lockNotAvailable: true, "25006": true,
		uniqueViolation: false, insufficientPrivilege: false, "57014": false,
	} {
		err := fault(&pgconn.PgError{Code: sqlstate})
		require.Equal(t, want, errors.Is(err, api.ErrUnavailable), sqlstate)
		require.Equal(t, sqlstate, code(err), "the cause stays")
	}
	require.ErrorIs(t, fault(io.ErrUnexpectedEOF), api.ErrUnavailable)
	require.NoError(t, fault(nil))
}

// A server that is gone is ErrUnavailable at every port; when it is back, so
// are the ports.
func TestServerAway(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	conn := admin(t, dsn)
	startRun(t, db, "t1", "run-1")
	_, err := conn.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	require.NoError(t, err)
	_, err = db.Runs().Run(t.Context(), caller("t1"), "run-1")
	if err != nil { // the pool may have noticed before we asked
		require.ErrorIs(t, err, api.ErrUnavailable)
	}
	require.Eventually(t, func() bool { _, err := db.Runs().Run(t.Context(), caller("t1"), "run-1"); return err == nil }, 5*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return db.Health(t.Context()) == nil }, 5*time.Second, 10*time.Millisecond)
	_, err = Open(t.Context(), Options{DSN: "postgres:///x?host=/nonexistent"})
	require.ErrorIs(t, err, api.ErrUnavailable)
}
