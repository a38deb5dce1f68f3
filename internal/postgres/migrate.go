package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	sqlfiles "github.com/atom-fabric/fabric/infra/sql"
)

// migrationTable is goose's own record. What the server reads is
// fabric.schema_version, which a migration run by hand fills too.
const migrationTable = "goose_db_version"

// migrationLock is an arbitrary number that all our migrations lock.
const migrationLock = 7_145_205_023_771_091

// Migrate brings the database up to date as the login of dsn, which owns the
// database or is a superuser. Processes that race do it one after the other,
// and the later ones find nothing to do. Migrations that were run by psql are
// taken as run.
func Migrate(ctx context.Context, dsn string) error {
	set, err := sqlfiles.Migrations()
	if err != nil {
		return err
	}
	return migrate(ctx, dsn, set)
}

func migrate(ctx context.Context, dsn string, set sqlfiles.Set) (err error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return errDSN
	}
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 5*time.Second)
	cfg.RuntimeParams["application_name"] = "fabric migrate"
	cfg.RuntimeParams["lock_timeout"] = "3s" // a migration must not queue the product up behind it
	cfg.RuntimeParams["statement_timeout"] = "10min"
	cfg.RuntimeParams["search_path"] = "public" // where goose's table is, whatever the login's own path

	guard, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fault(err)
	}
	defer func() { _ = guard.Close(context.WithoutCancel(ctx)) }() // and so the lock
	if err := lockMigrations(ctx, guard); err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	store, err := database.NewStore(database.DialectPostgres, migrationTable)
	if err != nil {
		return err
	}
	if err := adopt(ctx, guard, store, db); err != nil {
		return fmt.Errorf("take over migrations that ran by hand: %w", err)
	}
	provider, err := goose.NewProvider("", db, set.FS, goose.WithStore(store))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return fault(err)
}

// lockMigrations waits for the lock without an open statement, which would
// hold up CREATE INDEX CONCURRENTLY in the process that has it.
func lockMigrations(ctx context.Context, conn *pgx.Conn) error {
	for {
		var got bool
		if err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1)`, int64(migrationLock)).Scan(&got); err != nil {
			return fault(err)
		}
		if got {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another migration is running: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// adopt tells goose of migrations that psql has run.
func adopt(ctx context.Context, conn *pgx.Conn, store database.Store, db database.DBTxConn) error {
	var byHand, byGoose bool
	err := conn.QueryRow(ctx, `
		select coalesce(bool_or(n.nspname = 'fabric' and c.relname = 'schema_version'), false), coalesce(bool_or(n.nspname = 'public' and c.relname = $1), false)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace`, migrationTable).Scan(&byHand, &byGoose)
	if err != nil || !byHand || byGoose {
		return err
	}
	// The login may own nothing and inherit nothing: it reads as the owner.
	if _, err := conn.Exec(ctx, "set role "+roleOwner); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `select version from fabric.schema_version order by version`)
	if err != nil {
		return err
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "reset role"); err != nil {
		return err
	}
	if err := store.CreateVersionTable(ctx, db); err != nil {
		return err
	}
	for _, v := range append([]int64{0}, versions...) {
		if err := store.Insert(ctx, db, database.InsertRequest{Version: v}); err != nil {
			return err
		}
	}
	return nil
}
