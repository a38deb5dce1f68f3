package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
)

// An Outbox hands out the workflows to start: [activities.Outbox].
type Outbox struct{ db *DB }

// Outbox returns the port.
func (db *DB) Outbox() Outbox { return Outbox{db} }

const selectDue = `
	select id, workflow, workflow_id, queue, input, summary, attributes, traceparent, created_at, attempts
	from fabric.outbox
	where done_at is null and dead_at is null and next_at <= now()
	order by next_at, id
	limit $1
	for update skip locked`

// Relay claims at most limit due rows and writes what start says of each. All
// verdicts commit together: a crash before that starts some again, which the
// workflow id makes no second start. When ctx ends, rows that start was not
// asked about stay due and those before them keep their verdict.
func (o Outbox) Relay(ctx context.Context, limit int, start func(context.Context, activities.Start) activities.Verdict) (int, error) {
	o.db.hub.look(channelOutbox)
	var claimed int
	// The verdicts are kept even if ctx ends while they are written.
	err := o.db.withSystem(context.WithoutCancel(ctx), func(tx *systemTx) error {
		claimed = 0
		rows, err := tx.Query(ctx, selectDue, limit)
		if err != nil {
			return err
		}
		due, err := pgx.CollectRows(rows, pgx.RowToStructByPos[activities.Start])
		if err != nil {
			return err
		}
		var b pgx.Batch
		for _, s := range due {
			if ctx.Err() != nil {
				break
			}
			claimed++
			queueVerdict(&b, s.ID, start(ctx, s))
		}
		if b.Len() == 0 {
			return nil
		}
		return tx.SendBatch(context.WithoutCancel(ctx), &b).Close()
	})
	if err != nil {
		return 0, err
	}
	return claimed, nil
}

func queueVerdict(b *pgx.Batch, id int64, v activities.Verdict) {
	var counts int
	if v.Counts {
		counts = 1
	}
	switch {
	case v.Done:
		b.Queue(`update fabric.outbox set done_at = now(), error = '' where id = $1`, id)
	case v.Dead:
		b.Queue(`update fabric.outbox set dead_at = now(), attempts = attempts + $2, error = $3 where id = $1`, id, counts, clean(v.Cause))
	default:
		b.Queue(`update fabric.outbox set next_at = clock_timestamp() + make_interval(secs => $4), attempts = attempts + $2, error = $3 where id = $1`,
			id, counts, clean(v.Cause), v.RetryIn.Seconds())
	}
}

// OutboxChanged returns when a row may have been added since the last Relay,
// or after wait.
func (o Outbox) OutboxChanged(ctx context.Context, wait time.Duration) error {
	_, err := o.db.hub.wait(ctx, o.db.hub.stand(channelOutbox), wait)
	return err
}

// OutboxBacklog returns how the outbox stands. The oldest row is as old as its
// command: when it is due next moves with every attempt.
func (o Outbox) OutboxBacklog(ctx context.Context) (activities.Backlog, error) {
	var b activities.Backlog
	var seconds float64
	err := o.db.system.QueryRow(ctx, `
		select count(*) filter (where dead_at is null), count(*) filter (where dead_at is not null),
			coalesce(extract(epoch from now() - min(created_at) filter (where dead_at is null)), 0)::float8
		from fabric.outbox where done_at is null`).Scan(&b.Waiting, &b.Dead, &seconds)
	b.Oldest = time.Duration(seconds * float64(time.Second))
	return b, fault(err)
}

// Revive makes a row that was given up due again. It is for a person who has
// removed the cause.
func (o Outbox) Revive(ctx context.Context, id int64) error {
	return o.db.withSystem(ctx, func(tx *systemTx) error {
		tag, err := tx.Exec(ctx, `update fabric.outbox set dead_at = null, attempts = 0, next_at = now() where id = $1 and dead_at is not null`, id)
		if err == nil && tag.RowsAffected() == 0 {
			return api.ErrNotFound
		}
		tx.notify(channelOutbox, "")
		return err
	})
}

// errKeep says that a keeping time is shorter than promised to callers.
var errKeep = errors.New("answers are kept for 24 hours or more")

// Reap removes remembered answers and started outbox rows that are older than
// keep, which is longer than Temporal keeps closed workflows.
func (db *DB) Reap(ctx context.Context, keep time.Duration) error {
	if keep < 24*time.Hour {
		return errKeep
	}
	return db.withSystem(ctx, func(tx *systemTx) error {
		var b pgx.Batch
		b.Queue(`delete from fabric.idempotency where created_at < now() - make_interval(secs => $1)`, keep.Seconds())
		b.Queue(`delete from fabric.outbox where done_at < now() - make_interval(secs => $1)`, keep.Seconds())
		return tx.SendBatch(ctx, &b).Close()
	})
}
