package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
)

// RecordPause notes that a run is to hold, or to go on; what it is already, or
// after its end, changes nothing.
func (p Runs) RecordPause(ctx context.Context, cmd api.Command, run string, paused bool, reply api.Reply[api.Run]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, `update fabric.run set paused = $3 where tenant = $1 and id = $2 and paused <> $3 and ended_at is null`, tx.tenant, run, paused)
		if err != nil {
			return api.Answer{}, err
		}
		rows, err := tx.Query(ctx, selectRun+`tenant = $1 and id = $2`, tx.tenant, run)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := pgx.CollectExactlyOneRow(rows, scanRun)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrNotFound)
		}
		if tag.RowsAffected() == 1 {
			kind := "run.resume_requested"
			if paused {
				kind = "run.pause_requested"
			}
			leaf := leafOf(cmd.Caller, kind, "run/"+run)
			leaf.Previous = written.Status
			tx.leaf(leaf)
		}
		return reply(written)
	})
}

// Checkpoint returns what a closed round of the caller's tenant left.
func (p Runs) Checkpoint(ctx context.Context, caller api.Caller, run string, number int) (api.Checkpoint, error) {
	found, err := readTenant(ctx, p.db, caller.Tenant, pgx.RowToStructByPos[api.Checkpoint], `
		select u.model, u.params, r.weights, r.state_after from fabric.round r
		join fabric.run u on u.tenant = r.tenant and u.id = r.run
		where r.tenant = $1 and r.run = $2 and r.number = $3 and r.status = 'closed' and r.weights ? 'digest' and r.weights ->> 'digest' <> ''`,
		caller.Tenant, run, number)
	return one(found, err, api.ErrNotFound)
}
