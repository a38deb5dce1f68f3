package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
)

// RecordStop notes that a stop was asked for; a second time, or after the end,
// changes nothing.
func (p Runs) RecordStop(ctx context.Context, cmd api.Command, run, reason string, reply api.Reply[api.Run]) (api.Answer, error) {
	return p.wish(ctx, cmd, run, reply, "run.stop_requested",
		`update fabric.run set stop_asked = now(), stop_reason = $3
		 where tenant = $1 and id = $2 and stop_asked is null and ended_at is null`, clean(reason))
}

// RecordPause notes that a run is to hold, or to go on; what it is already, or
// after its end, changes nothing.
func (p Runs) RecordPause(ctx context.Context, cmd api.Command, run string, paused bool, reply api.Reply[api.Run]) (api.Answer, error) {
	kind := "run.resume_requested"
	if paused {
		kind = "run.pause_requested"
	}
	return p.wish(ctx, cmd, run, reply, kind,
		`update fabric.run set paused = $3 where tenant = $1 and id = $2 and paused <> $3 and ended_at is null`, paused)
}

// wish notes what somebody asked of a run that is not over: the update names
// the tenant, the run and the value, in this order. A leaf says so if it
// changed the row.
func (p Runs) wish(ctx context.Context, cmd api.Command, run string, reply api.Reply[api.Run], kind, update string, value any) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, update, tx.tenant, run, value)
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
			leaf := leafOf(cmd.Caller, kind, "run/"+run)
			leaf.Previous = written.Status
			tx.leaf(leaf)
		}
		return reply(written)
	})
}
