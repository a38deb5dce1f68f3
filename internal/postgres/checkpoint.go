package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
)

// Checkpoint returns what a closed round of the caller's tenant left.
func (p Runs) Checkpoint(ctx context.Context, caller api.Caller, run string, number int) (api.Checkpoint, error) {
	found, err := readTenant(ctx, p.db, caller.Tenant, pgx.RowToStructByPos[api.Checkpoint], `
		select u.model, u.params, r.weights, r.state_after, r.clip_after from fabric.round r
		join fabric.run u on u.tenant = r.tenant and u.id = r.run
		where r.tenant = $1 and r.run = $2 and r.number = $3 and r.status = 'closed' and r.weights ? 'digest' and r.weights ->> 'digest' <> ''`,
		caller.Tenant, run, number)
	return one(found, err, api.ErrNotFound)
}
