//go:build operations

package operations

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/tests/harness"
)

// upgraded follows docs/operations/upgrade.md: the commands before it on the
// system that runs; the migration on a copy of its rows in the schema that the
// newest migration found; the restarts and what comes after them on the system
// over that copy, which must hold what the one before held.
func upgraded(t *testing.T, s *harness.System, server *pgserver.Server, at terminal, lead *v1.Client, before held) {
	t.Helper()
	at.follow(t, "upgrade", "before")
	s.Stop()
	dsn := earlier(t, server, server.DSN("fabric", pgserver.Superuser))
	began := time.Now()
	said := strings.Fields(at.with("POSTGRES_DSN="+dsn).follow(t, "upgrade", "migrate"))
	t.Logf("migrated in %.1f s, with every row of the system", time.Since(began).Seconds())
	require.NotEqual(t, said[0], said[len(said)-1], "it was migrated already")

	s = harness.Up(t, s.State, s.Base, "POSTGRES_DSN="+dsn)
	at = at.with("RUNBOOK=" + control(t, s, nil))
	at.follow(t, "upgrade", "processes")
	require.Eventually(t, func() bool {
		answer, err := http.Get(s.Gateway() + "/health")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		_, err = v1.Fetch[v1.Invocation](lead.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
		return answer.StatusCode == http.StatusOK && err == nil
	}, 3*time.Minute, time.Second)
	at.follow(t, "upgrade", "after")
	after := holds(t, s, lead, at, filepath.Join(t.TempDir(), "upgraded"))
	after.Size, after.Root = 0, ""
	require.Equal(t, before, after)
	harness.Watch(t, lead, s.Train(t, lead, harness.Request(1)), 5*time.Minute, harness.Completed)
}

// earlier makes a database as the release before the newest migration left it,
// by hand as docs/operations/database.md says, with the rows of another, and
// returns its DSN. Migrations only add: what the newest has added is not copied.
func earlier(t *testing.T, server *pgserver.Server, from string) string {
	t.Helper()
	admin := open(t, server.DSN("postgres", pgserver.Superuser))
	_, err := admin.Exec(t.Context(), "create database earlier")
	require.NoError(t, err)
	dsn := server.DSN("earlier", pgserver.Superuser)
	files, err := filepath.Glob(filepath.Join(root, "infra/sql/i*_*.sql"))
	require.NoError(t, err)
	for n := 1; n < len(files); n++ {
		found, err := filepath.Glob(filepath.Join(root, fmt.Sprintf("infra/sql/i%d_*.sql", n)))
		require.NoError(t, err)
		require.Len(t, found, 1)
		out, err := exec.CommandContext(t.Context(), "psql", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", found[0], dsn).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	source, into := open(t, from), open(t, dsn)
	_, err = into.Exec(t.Context(), "set session_replication_role = replica") // no trigger, no foreign key
	require.NoError(t, err)
	tables, rows := 0, int64(0)
	for table, columns := range listed(t, into, `select format('%I.%I', n.nspname, c.relname), string_agg(format('%I', a.attname), ', ' order by a.attnum)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
		where n.nspname = 'fabric' and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'schema_version' group by 1`) {
		_, err := into.Exec(t.Context(), "delete from "+table)
		require.NoError(t, err, table)
		var held bytes.Buffer
		_, err = source.PgConn().CopyTo(t.Context(), &held, fmt.Sprintf("copy (select %s from %s) to stdout", columns, table))
		require.NoError(t, err, table)
		tag, err := into.PgConn().CopyFrom(t.Context(), &held, fmt.Sprintf("copy %s (%s) from stdin", table, columns))
		require.NoError(t, err, table)
		tables, rows = tables+1, rows+tag.RowsAffected()
	}
	for sequence, last := range listed(t, source, "select format('%I.%I', schemaname, sequencename), last_value::text from pg_sequences where schemaname = 'fabric' and last_value is not null") {
		_, err := into.Exec(t.Context(), "select setval($1, $2::bigint)", sequence, last)
		require.NoError(t, err, sequence)
	}
	require.Greater(t, rows, int64(100))
	t.Logf("a database of migration %d with %d rows of %d tables", len(files)-1, rows, tables)
	return dsn
}

// open opens a session as a superuser.
func open(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the server may be gone
	return conn
}

// listed asks for pairs.
func listed(t *testing.T, conn *pgx.Conn, sql string) map[string]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	require.NoError(t, err)
	pairs := map[string]string{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		pairs[name] = value
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, pairs, sql)
	return pairs
}
