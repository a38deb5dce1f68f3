package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Revocations are the tokens that are not accepted any more: [api.Revocations].
type Revocations struct{ db *DB }

// Revocations returns the port.
func (db *DB) Revocations() Revocations { return Revocations{db} }

const selectRevocation = `select id, tenant, token, subject, before, until, actor, reason, revoked_at from fabric.token_revocation where `

// Revoke writes a revocation and wakes who makes snapshots and who checks tokens.
func (p Revocations) Revoke(ctx context.Context, cmd api.Command, r api.Revocation, reply api.Reply[api.Revocation]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		var active int
		err := tx.QueryRow(ctx, `select count(*) from fabric.token_revocation where tenant = $1 and until > now()`, tx.tenant).Scan(&active)
		if err != nil {
			return api.Answer{}, err
		}
		if active >= api.MaxRevocations {
			return api.Answer{}, fmt.Errorf("%d are in force: %w", active, api.ErrConflict)
		}
		rows, err := tx.Query(ctx, `
			with written as (
				insert into fabric.token_revocation (tenant, id, token, subject, before, until, actor, reason)
				values ($1, $2, $3, $4, $5, $6, $7, $8) returning *)
			`+selectFrom(selectRevocation, "written")+`true`,
			tx.tenant, r.ID, r.Token, r.Subject, r.Before, r.Until, clean(cmd.Subject), clean(r.Reason))
		if err != nil {
			return api.Answer{}, err
		}
		written, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[api.Revocation])
		if err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "token.revoked", "revocation/"+tx.tenant+"/"+r.ID)
		leaf.State = "issued until " + strconv.FormatInt(r.Before.Unix(), 10)
		tx.leaf(leaf)
		tx.notify(channelRevocation, "")
		return reply(written)
	})
}

// Revocations returns what the caller's tenant has revoked, newest first.
func (p Revocations) Revocations(ctx context.Context, caller api.Caller, page api.Page) ([]api.Revocation, error) {
	return queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.Revocation],
		selectRevocation+`tenant = $1 and ($2 = '' or id < $2) order by id desc limit $3`, caller.Tenant, page.After, page.Limit)
}

// Active returns every tenant's revocations that are in force at a time.
func (p Revocations) Active(ctx context.Context, at time.Time) ([]routing.Revocation, error) {
	rows, err := p.db.system.Query(ctx, `
		select tenant, token, subject, extract(epoch from before)::bigint, extract(epoch from until)::bigint
		from fabric.token_revocation where until > $1 order by tenant collate "C", id`, at)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[routing.Revocation])
	return found, fault(err)
}

// Follow gives use the revocations that are in force, now and whenever they have
// changed, until ctx ends. When they cannot be read, or use fails, it tries
// again a second later; log is told when that begins and when it is over, for
// until then a token that was taken back may be let in.
func (p Revocations) Follow(ctx context.Context, log *slog.Logger, use func(context.Context, []routing.Revocation) error) {
	wake, cancel := p.db.hub.subscribe(channelRevocation)
	defer cancel()
	var known []routing.Revocation
	failing := false
	for first := true; ctx.Err() == nil; {
		active, err := p.Active(ctx, p.db.clock())
		if err == nil && (first || !slices.Equal(active, known)) {
			if err = use(ctx, active); err == nil {
				first, known = false, active
			}
		}
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			log.WarnContext(ctx, "revoked tokens are not followed", "err", err)
		case err == nil && failing:
			log.InfoContext(ctx, "revoked tokens are followed again")
		}
		failing = err != nil
		if _, err := p.db.hub.wait(ctx, wake, time.Second); err != nil {
			return // the context's end
		}
	}
}
