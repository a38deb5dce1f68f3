package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/lineage"
)

// Cards returns that features exist, of every tenant: with the words in them,
// and how the caller stands to each.
func (c Catalog) Cards(ctx context.Context, caller api.Caller, words string, page api.Page) ([]api.Card, error) {
	rows, err := c.db.system.Query(ctx, `
		select v.tenant, v.id, v.description, v.tags,
			case when v.tenant = $1 then 'OWNER'
				when exists (select from fabric.consent_grant g where g.tenant = v.tenant and g.feature = v.id and g.grantee = $1 and g.withdrawn_at is null) then 'PROVISIONED'
				else coalesce((select r.state from fabric.access_request r where r.tenant = v.tenant and r.feature = v.id and r.requester = $1
					order by r.created_at desc limit 1), 'NONE') end
		from fabric.feature v join fabric.feature_alias a on a.tenant = v.tenant and a.feature = v.id and a.version = v.version
		where (v.tenant || '/' || v.id) collate "C" > $2
			and ($4 = '' or strpos(lower(v.id), $4) > 0 or strpos(lower(v.description), $4) > 0 or exists (select from unnest(v.tags) t where strpos(t, $4) > 0))
		order by (v.tenant || '/' || v.id) collate "C" limit $3`, caller.Tenant, page.After, page.Limit, words)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.Card])
	return found, fault(err)
}

const selectAccess = `
	select id, tenant, feature, requester, purpose, actions, reason, days, state, grant_id, decided_for, coalesce(decided_at, 'epoch'), created_at
	from fabric.access_request where `

func scanAccess(row pgx.CollectableRow) (api.Access, error) {
	a, err := pgx.RowToStructByPos[api.Access](row)
	a.DecidedAt = real(a.DecidedAt)
	return a, err
}

// RequestAccess writes a request into the owner's rows: what the requester may
// not see itself is written as the owner.
func (c Catalog) RequestAccess(ctx context.Context, cmd api.Command, in api.Access, reply api.Reply[api.Access]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		var written api.Access
		err := tx.as(ctx, in.Owner, func() error {
			if err := tx.mustExist(ctx, `select from fabric.feature_alias where tenant = $1 and feature = $2`, in.Owner, in.Feature); err != nil {
				return fmt.Errorf("feature %s: %w", in.Feature, api.ErrNotFound)
			}
			_, err := tx.Exec(ctx, `insert into fabric.access_request (tenant, id, feature, requester, purpose, actions, reason, days, actor, simulated)
				values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (tenant, feature, requester) where state = 'PENDING' do nothing`,
				in.Owner, in.ID, in.Feature, cmd.Tenant, in.Purpose, in.Actions, clean(in.Reason), in.Days, clean(cmd.Subject), cmd.Simulated)
			if err != nil {
				return err
			}
			rows, err := tx.Query(ctx, selectAccess+`tenant = $1 and feature = $2 and requester = $3 and state = 'PENDING'`, in.Owner, in.Feature, cmd.Tenant)
			if err != nil {
				return err
			}
			written, err = pgx.CollectExactlyOneRow(rows, scanAccess)
			return err
		})
		if err != nil {
			return api.Answer{}, err
		}
		if written.ID == in.ID {
			leaf := leafOf(cmd.Caller, "access.requested", featureSubject(in.Owner, in.Feature))
			leaf.State = written.ID
			tx.leaf(leaf)
		}
		return reply(written)
	})
}

// AccessRequests returns what the tenant asked for and is asked.
func (c Catalog) AccessRequests(ctx context.Context, caller api.Caller) ([]api.Access, error) {
	rows, err := c.db.system.Query(ctx, selectAccess+`tenant = $1 or requester = $1 order by created_at desc, id limit 200`, caller.Tenant)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, scanAccess)
	return found, fault(err)
}

// DecideAccess moves a request to a feature of the tenant. What is approved is
// granted in the same transaction, so that it is provisioned at once.
func (c Catalog) DecideAccess(ctx context.Context, cmd api.Command, id string, event consent.AccessEvent, reason string, reply api.Reply[api.Access]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		rows, err := tx.Query(ctx, selectAccess+`tenant = $1 and id = $2 for update`, tx.tenant, id)
		if err != nil {
			return api.Answer{}, err
		}
		a, err := pgx.CollectExactlyOneRow(rows, scanAccess)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrNotFound)
		}
		if _, _, err := tx.lockFeature(ctx, a.Feature); err != nil {
			return api.Answer{}, err
		}
		was := a.State
		if a.State, err = a.State.After(event); err != nil {
			return api.Answer{}, fmt.Errorf("%w: %w", err, api.ErrClosed)
		}
		switch {
		case a.State == consent.Approved:
			g := consent.Grant{Feature: a.Feature, Grantee: a.Requester, Purposes: []string{a.Purpose}, Actions: a.Actions}
			g.ExpiresAt = c.db.clock().Add(time.Duration(a.Days) * 24 * time.Hour)
			written, err := tx.grant(ctx, cmd, g, fromAccess)
			if err != nil {
				return api.Answer{}, err
			}
			a.GrantID = written.ID
			if a.State, err = a.State.After(consent.Provision); err != nil {
				return api.Answer{}, err
			}
			if err := tx.event(ctx, cmd, a.Feature); err != nil {
				return api.Answer{}, err
			}
		case was == consent.Provisioned:
			if _, err := tx.withdraw(ctx, cmd, a.Feature, []string{a.Requester}, reason); err != nil {
				return api.Answer{}, err
			}
			if err := tx.event(ctx, cmd, a.Feature); err != nil {
				return api.Answer{}, err
			}
		}
		_, err = tx.Exec(ctx, `update fabric.access_request set state = $3, decided_by = $4, decided_for = $5, decided_at = now(), grant_id = $6 where tenant = $1 and id = $2`,
			tx.tenant, id, a.State, clean(cmd.Subject), clean(reason), a.GrantID)
		if err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "access.decided", featureSubject(tx.tenant, a.Feature))
		leaf.Previous, leaf.State = string(was), string(a.State)
		tx.leaf(leaf)
		a.DecidedFor = clean(reason)
		return reply(a)
	})
}

// Lineage returns the facts of the rounds of a run of the caller's tenant. The
// grants are those that it was given, whoever gave them.
func (c Catalog) Lineage(ctx context.Context, caller api.Caller, run string) ([]lineage.Round, error) {
	found, err := queryTenant(ctx, c.db.app, caller.Tenant, func(row pgx.CollectableRow) (lineage.Round, error) {
		r := lineage.Round{Tenant: caller.Tenant, Run: run}
		var ended time.Time
		err := row.Scan(&r.Model, &r.Number, &r.Kind, &r.Status, &r.Cause, &r.Base, &r.Weights, &r.Manifest, &r.StartedAt, &ended)
		r.EndedAt, r.Canceled = real(ended), r.Cause == "the run ended" || r.Cause == "it was canceled"
		return r, err
	}, `select n.model, r.number, r.kind, r.status, r.cause, coalesce(r.base ->> 'digest', ''), coalesce(r.weights ->> 'digest', ''),
			coalesce(r.manifest ->> 'digest', ''), r.started_at, coalesce(r.ended_at, 'epoch')
		from fabric.round r join fabric.run n on n.tenant = r.tenant and n.id = r.run where r.tenant = $1 and r.run = $2 order by r.number`, caller.Tenant, run)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		err := c.db.withTenant(ctx, caller.Tenant, func(tx *tenantTx) error {
			return tx.mustExist(ctx, `select from fabric.run where tenant = $1 and id = $2`, caller.Tenant, run)
		})
		if err != nil {
			return nil, api.ErrNotFound
		}
		return nil, nil
	}
	at := map[int]*lineage.Round{}
	for i := range found {
		at[found[i].Number] = &found[i]
	}
	rows, err := c.db.system.Query(ctx, `
		select u.number, g.document, g.digest, coalesce(f.fingerprint, '') from fabric.grant_use u
		join fabric.consent_grant g on g.tenant = u.tenant and g.id = u.grant_id
		left join lateral (select fingerprint from fabric.feature v where v.tenant = g.tenant and v.id = g.feature and v.registered_at <= u.at order by v.version desc limit 1) f on true
		where u.owner = $1 and u.run = $2 order by u.number, g.tenant collate "C", g.feature collate "C", g.id`, caller.Tenant, run)
	if err != nil {
		return nil, fault(err)
	}
	var number int
	var document string
	var g lineage.Grant
	_, err = pgx.ForEachRow(rows, []any{&number, &document, &g.Digest, &g.Fingerprint}, func() error {
		granted, err := decodeGrant(document)
		if err != nil || at[number] == nil {
			return err
		}
		g.Tenant, g.Feature, g.ID, g.Epoch, g.Purposes, g.Actions = granted.Tenant, granted.Feature, granted.ID, granted.Epoch, granted.Purposes, granted.Actions
		at[number].Grants = append(at[number].Grants, g)
		return nil
	})
	if err != nil {
		return nil, fault(err)
	}
	rows, err = c.db.system.Query(ctx, `
		select number, site_tenant, epoch, case when step >= 4 then 'stopped' when submitted > 0 then 'dropped' else 'canceled' end, false
		from fabric.round_halt where tenant = $1 and run = $2
		union select number, site_tenant, epoch, 'tainted', true from fabric.round_taint where tenant = $1 and run = $2 order by 1, 2, 3`, caller.Tenant, run)
	if err != nil {
		return nil, fault(err)
	}
	var w lineage.Withdrawn
	_, err = pgx.ForEachRow(rows, []any{&number, &w.Tenant, &w.Epoch, &w.Effect, &w.Tainted}, func() error {
		if at[number] != nil {
			at[number].Withdrawn = append(at[number].Withdrawn, w)
		}
		return nil
	})
	return found, fault(err)
}
