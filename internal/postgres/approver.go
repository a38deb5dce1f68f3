package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/approval"
)

// Approvals keeps ballots, approvers and delegations: [api.Approvals].
type Approvals struct{ db *DB }

// Approvals returns the port.
func (db *DB) Approvals() Approvals { return Approvals{db} }

// Three questions, each with an index that has its order: a page of a list of
// any length reads the page.
const (
	ballotsOfAll = `
		select ballot from fabric.ballot
		where tenant = $1 and ($2::timestamptz is null or (opened_at, action) < ($2, $3::text))
		order by opened_at desc, action desc limit $4`
	ballotsOfState = `
		select ballot from fabric.ballot
		where tenant = $1 and outcome = $5 and ($2::timestamptz is null or (opened_at, action) < ($2, $3::text))
		order by opened_at desc, action desc limit $4`
	ballotsOfMine = `
		select b.ballot from (
			select distinct opened_at, action from unnest($5::text[]) name, lateral (
				select d.opened_at, d.action from fabric.ballot_duty d
				where d.tenant = $1 and d.approver = name and d.due and ($2::timestamptz is null or (d.opened_at, d.action) < ($2, $3::text))
				order by d.opened_at desc, d.action desc limit $4) each
			order by opened_at desc, action desc limit $4) mine
		join fabric.ballot b on b.tenant = $1 and b.action = mine.action
		order by mine.opened_at desc, mine.action desc`
)

// Ballots returns the ballots of the caller's tenant, newest first.
func (p Approvals) Ballots(ctx context.Context, caller api.Caller, filter api.BallotFilter, page api.Page) ([]approval.Ballot, error) {
	var before *time.Time
	var action string
	if page.After != "" {
		text, id, _ := strings.Cut(page.After, "|")
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("no ballot %q: %w", clean(page.After), api.ErrNotFound)
		}
		before, action = &at, id
	}
	sql, args := ballotsOfAll, []any{caller.Tenant, before, action, page.Limit}
	switch {
	case len(filter.Awaited) > 0:
		sql, args = ballotsOfMine, append(args, filter.Awaited)
	case filter.State != "":
		sql, args = ballotsOfState, append(args, string(filter.State))
	}
	return readTenant(ctx, p.db, caller.Tenant, pgx.RowTo[approval.Ballot], sql, args...)
}

// Ballot returns the ballot of an action.
func (p Approvals) Ballot(ctx context.Context, caller api.Caller, action string) (approval.Ballot, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowTo[approval.Ballot],
		`select ballot from fabric.ballot where tenant = $1 and action = $2`, caller.Tenant, action)
	return one(found, err, api.ErrNotFound)
}

const selectApprover = `select name, role, key, public_key from fabric.approver where `

// Approvers returns who may vote for the tenant, by name.
func (p Approvals) Approvers(ctx context.Context, tenant string) ([]approval.Approver, error) {
	return p.db.approvers(ctx, tenant)
}

// Approvers returns who may vote for the tenant, by name.
func (p Actions) Approvers(ctx context.Context, tenant string) ([]approval.Approver, error) {
	return p.db.approvers(ctx, tenant)
}

func (db *DB) approvers(ctx context.Context, tenant string) ([]approval.Approver, error) {
	return queryTenant(ctx, db.app, tenant, pgx.RowToStructByPos[approval.Approver], selectApprover+`tenant = $1 and revoked_at is null order by name collate "C"`, tenant)
}

// AddApprover writes an approver once. The same name with the same key is a
// success, whatever the role: a role is not changed by asking again.
func (p Approvals) AddApprover(ctx context.Context, cmd api.Command, a approval.Approver, reply api.Reply[approval.Approver]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, `insert into fabric.approver (tenant, name, role, key, public_key, added_by) values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
			tx.tenant, a.Name, a.Role, a.Key, a.PublicKey, clean(cmd.Subject))
		if err != nil {
			return api.Answer{}, err
		}
		rows, err := tx.Query(ctx, selectApprover+`tenant = $1 and name = $2 and key = $3 and revoked_at is null`, tx.tenant, a.Name, a.Key)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[approval.Approver])
		if err != nil {
			return api.Answer{}, absent(err, fmt.Errorf("approver has another key, or the key another name or none any more: %w", api.ErrConflict))
		}
		if tag.RowsAffected() == 1 {
			leaf := leafOf(cmd.Caller, "approver.added", "approver/"+tx.tenant+"/"+a.Name)
			leaf.Digest, leaf.State = a.Key, a.Role
			tx.leaf(leaf)
		}
		return reply(written)
	})
}

// RevokeApprover ends a registration, once, and returns the ballots that wait
// and hold a vote of it.
func (p Approvals) RevokeApprover(ctx context.Context, cmd api.Command, name, reason string, reply api.Reply[approval.Approver]) (api.Answer, []string, error) {
	var touched []string
	answer, err := p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		rows, err := tx.Query(ctx, `update fabric.approver set revoked_at = now(), revoked_by = $3, revoked_for = $4
			where tenant = $1 and name = $2 and revoked_at is null returning name, role, key, public_key`, tx.tenant, name, clean(cmd.Subject), clean(reason))
		if err != nil {
			return api.Answer{}, err
		}
		revoked, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[approval.Approver])
		if err != nil {
			return api.Answer{}, absent(err, fmt.Errorf("approver %q: %w", clean(name), api.ErrNotFound))
		}
		leaf := leafOf(cmd.Caller, "approver.revoked", "approver/"+tx.tenant+"/"+revoked.Name)
		leaf.Digest, leaf.Previous, leaf.State = revoked.Key, revoked.Role, "revoked: "+clean(reason)
		tx.leaf(leaf)
		touched, err = tx.waiting(ctx, `v.key = $2 or v.on_behalf = $3`, string(revoked.Key), revoked.Name)
		if err != nil {
			return api.Answer{}, err
		}
		return reply(revoked)
	})
	return answer, touched, err
}

// waiting returns the ballots that can still change and hold such a vote.
func (tx *tenantTx) waiting(ctx context.Context, where string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, `
		select distinct v.action from fabric.vote v join fabric.ballot b on b.tenant = v.tenant and b.action = v.action
		where v.tenant = $1 and v.counted and (b.outcome = 'pending' or b.outcome = 'approved' and b.begun_at is null) and (`+where+`)
		order by v.action limit 1000`, append([]any{tx.tenant}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Standing returns what has changed about people.
func (p Approvals) Standing(ctx context.Context, tenant string) (approval.Standing, error) {
	return Actions(p).Standing(ctx, tenant)
}

// Delegate writes a delegation once; the same statement again is the same one.
func (p Approvals) Delegate(ctx context.Context, cmd api.Command, g approval.Granted, reply api.Reply[approval.Granted]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		var live bool
		err := tx.QueryRow(ctx, `select revoked_at is null from fabric.approver where tenant = $1 and key = $2 for share`, tx.tenant, string(g.Delegator.Key)).Scan(&live)
		if err != nil || !live {
			return api.Answer{}, absent(err, fmt.Errorf("approver %q was revoked: %w", g.From, api.ErrConflict))
		}
		tag, err := tx.Exec(ctx, `insert into fabric.delegation (tenant, id, delegator, nonce, granted, expires_at) values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
			tx.tenant, g.ID, g.From, g.Nonce, g, g.ExpiresAt)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := tx.delegation(ctx, g)
		if err != nil {
			return api.Answer{}, err
		}
		if tag.RowsAffected() == 1 {
			leaf := leafOf(cmd.Caller, "delegation.granted", "delegation/"+tx.tenant+"/"+g.From)
			leaf.Digest, leaf.Statement, leaf.State = g.Key, g.ID, g.To
			tx.leaf(leaf)
		}
		return reply(written)
	})
}

// RevokeDelegation ends a delegation of from under its nonce, once, and returns
// the ballots that wait and hold a vote by it.
func (p Approvals) RevokeDelegation(ctx context.Context, cmd api.Command, g approval.Granted, by string, reply api.Reply[approval.Granted]) (api.Answer, []string, error) {
	var touched []string
	answer, err := p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, `update fabric.delegation set revoked_at = now(), revoked_by = $3 where tenant = $1 and id = $2 and revoked_at is null`, tx.tenant, string(g.ID), clean(by))
		if err != nil {
			return api.Answer{}, err
		}
		written, err := tx.delegation(ctx, g)
		if err != nil {
			return api.Answer{}, err
		}
		if tag.RowsAffected() == 1 {
			leaf := leafOf(cmd.Caller, "delegation.revoked", "delegation/"+tx.tenant+"/"+g.From)
			leaf.Digest, leaf.Statement, leaf.State = g.Key, g.ID, "revoked by "+clean(by)
			tx.leaf(leaf)
		}
		if touched, err = tx.waiting(ctx, `v.delegation = $2`, string(g.ID)); err != nil {
			return api.Answer{}, err
		}
		return reply(written)
	})
	return answer, touched, err
}

// delegation returns the one with this id; a nonce that another one has is a
// conflict.
func (tx *tenantTx) delegation(ctx context.Context, g approval.Granted) (approval.Granted, error) {
	var row grantedRow
	err := tx.QueryRow(ctx, `select granted, revoked_at from fabric.delegation where tenant = $1 and id = $2`, tx.tenant, string(g.ID)).Scan(&row.Granted, &row.RevokedAt)
	if row.RevokedAt != nil {
		row.Granted.RevokedAt = row.RevokedAt.UTC()
	}
	return row.Granted, absent(err, fmt.Errorf("delegation of %q: %w", g.From, api.ErrConflict))
}
