package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A tenantTx is a transaction as fabric_app in which one tenant is set. What
// writes a tenant's rows takes it and never a pool: without it there is no row
// to be seen.
type tenantTx struct {
	pgx.Tx
	tenant  string
	regions []string // whose mirrors are given what is registered
	change
}

// A systemTx is a transaction as fabric_system, which sees every tenant. What
// takes it says whose rows it means in every statement.
type systemTx struct {
	pgx.Tx
	change
}

// setTenant ends with the transaction (its third argument).
const setTenant = `select set_config('fabric.tenant', $1, true)`

// errNoTenant stops a mistake of ours before it reads as "no rows".
var errNoTenant = errors.New("no tenant given")

// withTenant runs fn in a transaction of the tenant and commits it, with the
// leaves, outbox rows and notices that fn added. Beginning and setting the
// tenant is one round trip.
func (db *DB) withTenant(ctx context.Context, tenant string, fn func(*tenantTx) error) error {
	if tenant == "" {
		return errNoTenant
	}
	opening := func(b *pgx.Batch) { b.Queue(setTenant, tenant) }
	return begin(ctx, db.app, opening, func(tx pgx.Tx) error {
		t := &tenantTx{Tx: tx, tenant: tenant, regions: db.regions}
		if err := fn(t); err != nil {
			return err
		}
		return db.settle(ctx, tx, t.change)
	})
}

// withSystem is withTenant for the system role.
func (db *DB) withSystem(ctx context.Context, fn func(*systemTx) error) error {
	return begin(ctx, db.system, func(*pgx.Batch) {}, func(tx pgx.Tx) error {
		t := &systemTx{Tx: tx}
		if err := fn(t); err != nil {
			return err
		}
		return db.settle(ctx, tx, t.change)
	})
}

func begin(ctx context.Context, pool *pgxpool.Pool, opening func(*pgx.Batch), fn func(pgx.Tx) error) error {
	var b pgx.Batch
	b.BeginTx(pgx.TxOptions{})
	opening(&b)
	results := pool.SendBatch(ctx, &b)
	tx := results.Tx()
	if err := results.Close(); err != nil {
		if tx != nil {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // err says why
		}
		return fault(err)
	}
	// Without the caller's cancellation: a rollback that is not sent costs the connection.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return fault(err)
	}
	return fault(tx.Commit(ctx))
}

// queryTenant runs one query of a tenant in one round trip: a batch is its own
// transaction, so the setting is gone after it.
func queryTenant[T any](ctx context.Context, pool *pgxpool.Pool, tenant string, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	if tenant == "" {
		return nil, errNoTenant
	}
	var b pgx.Batch
	var out []T
	b.Queue(setTenant, tenant)
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		var err error
		out, err = pgx.CollectRows(rows, row)
		return err
	})
	return out, fault(pool.SendBatch(ctx, &b).Close())
}

// one returns the only element, or what the port says when there is none.
func one[T any](found []T, err, otherwise error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	if len(found) == 0 {
		return zero, otherwise
	}
	return found[0], nil
}
