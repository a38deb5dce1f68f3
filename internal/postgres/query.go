package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// queue adds a query whose rows are collected into out when the batch is read.
func queue[T any](b *pgx.Batch, out *[]T, row pgx.RowToFunc[T], sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		var err error
		*out, err = pgx.CollectRows(rows, row)
		return err
	})
}

// selectFrom turns "select ... from fabric.x where " into the same over a
// common table expression, for what an insert or update returns.
func selectFrom(query, cte string) string {
	columns, _, _ := strings.Cut(query, " from fabric.")
	return columns + " from " + cte + " where "
}

// readTenant is queryTenant for lists, which a replica may answer if it is
// fresh enough.
func readTenant[T any](ctx context.Context, db *DB, tenant string, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	if replica := db.replicas.fresh(ctx); replica != nil {
		out, err := queryTenant(ctx, replica, tenant, row, sql, args...)
		if err == nil || !db.replicas.elsewhere(err) {
			return out, err
		}
	}
	return queryTenant(ctx, db.app, tenant, row, sql, args...)
}
