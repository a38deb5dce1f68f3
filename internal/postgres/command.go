package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
)

// Idempotency remembers answers: [api.Idempotency].
type Idempotency struct{ db *DB }

// Idempotency returns the port.
func (db *DB) Idempotency() Idempotency { return Idempotency{db} }

// Recall returns the stored answer of the same command, if there is one.
func (i Idempotency) Recall(ctx context.Context, cmd api.Command) (api.Answer, bool, error) {
	if cmd.KeyHash == "" {
		return api.Answer{}, false, nil
	}
	found, err := queryTenant(ctx, i.db.app, cmd.Tenant, pgx.RowToStructByPos[kept], selectKept, cmd.Tenant, cmd.Operation, cmd.KeyHash)
	if err != nil || len(found) == 0 {
		return api.Answer{}, false, err
	}
	answer, err := found[0].replay(cmd)
	return answer, err == nil, err
}

// Keep stores the answer of a command that was done elsewhere.
func (i Idempotency) Keep(ctx context.Context, cmd api.Command, answer api.Answer) (api.Answer, error) {
	return i.db.command(ctx, cmd, func(*tenantTx) (api.Answer, error) { return answer, nil })
}

// command runs do once for the key of cmd, and remembers its answer in the
// transaction of its effect. While another transaction holds the key we wait
// two seconds for its answer.
func (db *DB) command(ctx context.Context, cmd api.Command, do func(*tenantTx) (api.Answer, error)) (api.Answer, error) {
	var answer api.Answer
	err := db.withTenant(ctx, cmd.Tenant, func(tx *tenantTx) error {
		var err error
		if cmd.KeyHash == "" {
			answer, err = do(tx)
			return err
		}
		prior, mine, err := tx.claim(ctx, cmd)
		if err != nil {
			return err
		}
		if !mine {
			answer, err = prior.replay(cmd)
			return err
		}
		if answer, err = do(tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `update fabric.idempotency set status = $4, body = $5 where tenant = $1 and operation = $2 and key_hash = $3`,
			cmd.Tenant, cmd.Operation, cmd.KeyHash, answer.Status, append([]byte{}, answer.Body...))
		return err
	})
	if err != nil {
		return api.Answer{}, err
	}
	return answer, nil
}

// A kept is an idempotency row.
type kept struct {
	Fingerprint string
	Status      int
	Body        []byte
}

const selectKept = `select fingerprint, status, body from fabric.idempotency where tenant = $1 and operation = $2 and key_hash = $3`

// replay returns the stored answer if it was given to the same request.
func (k kept) replay(cmd api.Command) (api.Answer, error) {
	if k.Fingerprint != string(cmd.Fingerprint) {
		return api.Answer{}, fmt.Errorf("%s: %w", cmd.Operation, api.ErrKeyReuse)
	}
	return api.Answer{Status: k.Status, Body: k.Body, Replayed: true}, nil
}

// claim takes the key for this transaction, or returns what another one
// stored under it. It waits for a transaction that has the key and is open.
func (tx *tenantTx) claim(ctx context.Context, cmd api.Command) (prior kept, mine bool, err error) {
	var b pgx.Batch
	b.Queue(`select set_config('lock_timeout', '2s', true)`)
	b.Queue(`insert into fabric.idempotency (tenant, operation, key_hash, fingerprint) values ($1, $2, $3, $4) on conflict do nothing`,
		cmd.Tenant, cmd.Operation, cmd.KeyHash, cmd.Fingerprint)
	b.Queue(`select set_config('lock_timeout', '10s', true)`)
	b.Queue(selectKept, cmd.Tenant, cmd.Operation, cmd.KeyHash)
	results := tx.SendBatch(ctx, &b)
	defer func() {
		if closed := results.Close(); err == nil {
			err = closed
		}
	}()
	if _, err = results.Exec(); err != nil {
		return kept{}, false, err
	}
	inserted, err := results.Exec()
	if code(err) == lockNotAvailable {
		return kept{}, false, fmt.Errorf("%s: %w", cmd.Operation, api.ErrInProgress)
	}
	if err != nil {
		return kept{}, false, err
	}
	if _, err = results.Exec(); err != nil {
		return kept{}, false, err
	}
	rows, err := results.Query()
	if err != nil {
		return kept{}, false, err
	}
	prior, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[kept])
	return prior, inserted.RowsAffected() == 1, err
}
