package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	sqlfiles "github.com/atom-fabric/fabric/infra/sql"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
)

// fingerprint is everything that the catalogue says of our schema.
const fingerprint = `
	with t as (select * from pg_class where relnamespace = 'fabric'::regnamespace)
	select line from (
		select format('relation %s %s %s %s %s %s', relname, relkind, relowner::regrole, relrowsecurity, relforcerowsecurity, reloptions) from t
		union all select format('grants %s %s', relname, (select array_agg(x::text order by x::text) from unnest(relacl) x)) from t
		union all select format('column %s.%s %s %s %s %s %s', t.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attidentity,
			pg_get_expr(d.adbin, d.adrelid)) from t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 left join pg_attrdef d on d.adrelid = t.oid and d.adnum = a.attnum
		union all select format('index %s', pg_get_indexdef(oid)) from t where relkind = 'i'
		union all select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'fabric'::regnamespace
		union all select format('policy %s %s %s %s %s', polrelid::regclass, polname, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) from pg_policy
		union all select format('trigger %s', pg_get_triggerdef(g.oid)) from pg_trigger g join t on t.oid = g.tgrelid where not tgisinternal
		union all select format('function %s', pg_get_functiondef(oid)) from pg_proc where pronamespace = 'fabric'::regnamespace
		union all select format('view %s', pg_get_viewdef(oid)) from t where relkind = 'v'
		union all select format('comment %s %s %s', d.objoid::regclass, d.objsubid, d.description) from pg_description d join t on t.oid = d.objoid and d.classoid = 'pg_class'::regclass
		union all select format('schema %s %s', nspname, nspacl) from pg_namespace where nspname = 'fabric'
		union all select format('head %s %s %s', size, frontier, root) from fabric.audit_state
		union all select format('version %s', version) from fabric.schema_version
	) as lines (line) order by line collate "C"`

func catalogue(t *testing.T, dsn string) []string {
	t.Helper()
	rows, err := admin(t, dsn).Query(t.Context(), fingerprint)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEmpty(t, lines)
	return lines
}

// byHand runs the first migrations as psql -1 does: each file as it is, in one
// transaction, comments and all.
func byHand(t *testing.T, dsn string, files int) {
	t.Helper()
	set, err := sqlfiles.Migrations()
	require.NoError(t, err)
	names, err := fs.Glob(set.FS, "*.sql")
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	for _, name := range names[:files] {
		file, err := fs.ReadFile(set.FS, name)
		require.NoError(t, err)
		_, err = conn.PgConn().Exec(t.Context(), "begin;\n"+string(file)+"\ncommit;").ReadAll()
		require.NoError(t, err, name)
	}
}

// latest is the number of the newest migration.
func latest(t *testing.T) int {
	t.Helper()
	set, err := sqlfiles.Migrations()
	require.NoError(t, err)
	return int(set.Latest)
}

func TestMigrateByHandIsTheSame(t *testing.T) {
	t.Parallel()
	goose, psql := pgtest.New(t, Migrate), pgtest.New(t, nil)
	byHand(t, psql, latest(t))
	require.Equal(t, catalogue(t, goose), catalogue(t, psql))
	require.NoError(t, Migrate(t.Context(), psql), "what ran by hand is taken as run")
	require.NoError(t, Migrate(t.Context(), psql))
	require.Equal(t, catalogue(t, goose), catalogue(t, psql))
	db, err := Open(t.Context(), Options{DSN: psql})
	require.NoError(t, err)
	defer db.Close()
	version, err := db.Version(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, latest(t), version)
	require.NoError(t, db.Health(t.Context()))
}

// The first release's database, made by hand, is brought up to date by the program.
func TestMigrateAfterTheFirstByHand(t *testing.T) {
	t.Parallel()
	goose, psql := pgtest.New(t, Migrate), pgtest.New(t, nil)
	byHand(t, psql, 1)
	require.NoError(t, Migrate(t.Context(), psql))
	require.Equal(t, catalogue(t, goose), catalogue(t, psql))
}

func TestMigrateRace(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t, nil)
	together(4, func(int) {
		if err := Migrate(t.Context(), dsn); err != nil {
			t.Error(err)
		}
	})
	require.Equal(t, 1, count(t, admin(t, dsn), `select count(*) from goose_db_version where version_id = 1`))
}

// plain makes a login without any power but that over its own database.
func plain(t *testing.T, dsn, attributes string) string {
	t.Helper()
	conn := admin(t, dsn)
	var database string
	require.NoError(t, conn.QueryRow(t.Context(), `select current_database()`).Scan(&database))
	role := "login_" + database
	for _, sql := range []string{`create role %s login ` + attributes, `alter database ` + pgx.Identifier{database}.Sanitize() + ` owner to %s`} {
		_, err := conn.Exec(t.Context(), fmt.Sprintf(sql, pgx.Identifier{role}.Sanitize()))
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		sql := `reassign owned by %[1]s to postgres; drop owned by %[1]s; drop role %[1]s`
		_, err := conn.PgConn().Exec(context.Background(), fmt.Sprintf(sql, pgx.Identifier{role}.Sanitize())).ReadAll()
		require.NoError(t, err)
	})
	return pgtest.As(t, dsn, role)
}

func TestMigrateAsPlainLogin(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t, nil)
	login := plain(t, dsn, "createrole")
	require.NoError(t, Migrate(t.Context(), login))
	require.Equal(t, catalogue(t, pgtest.New(t, Migrate)), catalogue(t, dsn))
	require.NoError(t, Migrate(t.Context(), login))
	db, err := Open(t.Context(), Options{DSN: login})
	require.NoError(t, err)
	defer db.Close()
	startRun(t, db, "t1", "run-1")
	require.NoError(t, db.AuditLog().VerifyAll(t.Context()))
}

func TestMigrateByHandAsPlainLogin(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t, nil)
	login := plain(t, dsn, "createrole")
	byHand(t, login, latest(t))
	require.NoError(t, Migrate(t.Context(), login))
}

func TestMigrateSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	_ = pgtest.New(t, Migrate) // the roles are there, and not this login's
	login := plain(t, pgtest.New(t, nil), "")
	err := Migrate(t.Context(), login)
	require.ErrorContains(t, err, "may not become fabric_owner")
	_, err = Open(t.Context(), Options{DSN: login})
	require.ErrorIs(t, err, ErrRole)
	require.ErrorContains(t, err, "grant fabric_app to it")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), Options{DSN: "postgres://user:hunter2@[bad"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = Open(t.Context(), Options{DSN: pgtest.New(t, nil)})
	require.ErrorIs(t, err, ErrSchema)
	dsn := pgtest.New(t, Migrate)
	_, err = admin(t, dsn).Exec(t.Context(), `delete from fabric.schema_version`)
	require.NoError(t, err)
	_, err = Open(t.Context(), Options{DSN: dsn})
	require.ErrorIs(t, err, ErrSchema)
}

// What was released is what everybody has run.
func TestReleasedMigrationsAreFrozen(t *testing.T) {
	set, err := sqlfiles.Migrations()
	require.NoError(t, err)
	names, err := fs.Glob(set.FS, "*.sql")
	require.NoError(t, err)
	require.Len(t, names, int(set.Latest))
	golden, err := os.ReadFile("../../infra/sql/checksums.golden")
	require.NoError(t, err)
	var have strings.Builder
	for _, name := range names {
		body, err := fs.ReadFile(set.FS, name)
		require.NoError(t, err)
		sum := sha256.Sum256(body)
		fmt.Fprintf(&have, "%s  %s\n", hex.EncodeToString(sum[:]), name)
	}
	require.True(t, strings.HasPrefix(have.String(), string(golden)), "a released migration has changed; have:\n%s", have.String())
}

// A further migration is applied on top, and a failing one changes nothing.
func TestMigrateGoesOn(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t, Migrate)
	set, err := sqlfiles.Migrations()
	require.NoError(t, err)
	names, err := fs.Glob(set.FS, "*.sql")
	require.NoError(t, err)
	with := func(further string) sqlfiles.Set {
		files := fstest.MapFS{fmt.Sprintf("%05d_more.sql", set.Latest+1): {Data: []byte("-- +goose Up\n" + further)}}
		for _, name := range names {
			body, err := fs.ReadFile(set.FS, name)
			require.NoError(t, err)
			files[name] = &fstest.MapFile{Data: body}
		}
		return sqlfiles.Set{Latest: set.Latest + 1, FS: files}
	}
	before := catalogue(t, dsn)
	require.Error(t, migrate(t.Context(), dsn, with("set role fabric_owner; create table fabric.more (tenant text); select 1/0;")))
	require.Equal(t, before, catalogue(t, dsn))
	require.NoError(t, migrate(t.Context(), dsn, with("set role fabric_owner; create table fabric.more (tenant text); reset role;")))
	require.Equal(t, 1, count(t, admin(t, dsn), `select count(*) from pg_class where oid = 'fabric.more'::regclass`))
}
