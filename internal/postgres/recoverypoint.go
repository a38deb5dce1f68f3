package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/recovery"
)

// RecoveryPoints is the index of record of recovery points:
// [activities.Points] and [api.Recoveries].
type RecoveryPoints struct{ db *DB }

// RecoveryPoints returns both ports.
func (db *DB) RecoveryPoints() RecoveryPoints { return RecoveryPoints{db} }

const selectPoint = `select sequence, digest, previous, bundle from fabric.recovery_point where tenant = $1 and `

// InUse returns the versions that the aliases name, that are the newest of
// their model or that served lists, and the aliases.
func (p RecoveryPoints) InUse(ctx context.Context, tenant string, served []recovery.Model) ([]recovery.Model, []recovery.Alias, error) {
	ids, numbers := make([]string, len(served)), make([]int, len(served))
	for i, m := range served {
		ids[i], numbers[i] = m.ID, m.Version
	}
	aliases, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[recovery.Alias], selectAliases, tenant)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range aliases {
		ids, numbers = append(ids, a.Model), append(numbers, a.Version)
	}
	models, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[recovery.Model], `
		select v.model, v.number, v.repository, v.package ->> 'digest', v.weights ->> 'digest', v.bundle ->> 'digest'
		from fabric.model_version v join fabric.model m on m.tenant = v.tenant and m.id = v.model
		where v.tenant = $1 and (v.number = m.versions or (v.model::text, v.number) in (select * from unnest($2::text[], $3::integer[])))`, tenant, ids, numbers)
	return orEmpty(models), orEmpty(aliases), err
}

// selectAliases is where every alias of the tenant stands.
const selectAliases = `
	select distinct on (model, environment, alias) model, environment, alias, number, package from fabric.alias_move
	where tenant = $1 order by model, environment, alias, sequence desc`

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// NewestPoint returns the newest point of a tenant.
func (p RecoveryPoints) NewestPoint(ctx context.Context, tenant string) (activities.PointRow, bool, error) {
	return p.onePoint(ctx, tenant, `true order by sequence desc limit 1`)
}

// Taken returns the point that an action took.
func (p RecoveryPoints) Taken(ctx context.Context, tenant, action string) (activities.PointRow, bool, error) {
	return p.onePoint(ctx, tenant, `action = $2`, action)
}

func (p RecoveryPoints) onePoint(ctx context.Context, tenant, where string, args ...any) (activities.PointRow, bool, error) {
	rows, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[activities.PointRow], selectPoint+where, append([]any{tenant}, args...)...)
	if err != nil || len(rows) == 0 {
		return activities.PointRow{}, false, err
	}
	return rows[0], true, nil
}

// Points returns the points from a sequence on, ascending.
func (p RecoveryPoints) Points(ctx context.Context, tenant string, from int64, limit int) ([]activities.PointRow, error) {
	return queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[activities.PointRow],
		selectPoint+`sequence >= $2 order by sequence limit $3`, tenant, from, limit)
}

// RecordPoint writes a point with its leaf, once per action. Two that race for
// a sequence meet at the primary key: one gets ErrStale.
func (p RecoveryPoints) RecordPoint(ctx context.Context, in contract.RecordPointInput, point recovery.Point) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		// What is newest is read by the insert itself: no row, no point.
		tag, err := tx.Exec(ctx, `
			insert into fabric.recovery_point (tenant, sequence, digest, previous, point, bundle, action, snapshot, items, reason, actor, at)
			select $1::text, $2::bigint, $3::text, $4::text, $5, $6, $7, $8, $9, $10, $11, $12
			where ($2::bigint, $4::text) = (select coalesce(max(sequence), 0) + 1, coalesce((array_agg(digest::text order by sequence desc))[1], '')
				from fabric.recovery_point where tenant = $1::text)
			on conflict do nothing`,
			in.Tenant, point.Sequence, string(in.Point.Point.Digest), string(point.Previous), in.Point.Point, in.Bundle, in.Action, point.Snapshot,
			point.Items(), clean(in.Reason), clean(in.Actor), point.At)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			var there bool
			err := tx.QueryRow(ctx, `select exists (select from fabric.recovery_point where tenant = $1 and action = $2)`, in.Tenant, in.Action).Scan(&there)
			if err == nil && !there {
				err = fmt.Errorf("recovery point %d is not the next: %w", point.Sequence, activities.ErrStale)
			}
			return err
		}
		tx.leaf(audit.Leaf{Kind: "recovery.taken", Tenant: in.Tenant, Actor: clean(in.Actor), TraceID: in.TraceID,
			Subject: "recovery/" + in.Tenant + "/" + strconv.FormatInt(point.Sequence, 10), Digest: in.Point.Point.Digest, Statement: in.Bundle.Digest})
		return nil
	})
}

// List returns the points of the caller's tenant, newest first.
func (p RecoveryPoints) List(ctx context.Context, caller api.Caller, page api.Page) ([]api.RecoveryPoint, error) {
	var below *int64
	if page.After != "" {
		n, err := strconv.ParseInt(page.After, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("no point %q: %w", clean(page.After), api.ErrNotFound)
		}
		below = &n
	}
	return queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.RecoveryPoint], selectAPIPoint+
		`($2::bigint is null or sequence < $2) order by sequence desc limit $3`, caller.Tenant, below, page.Limit)
}

const selectAPIPoint = `select sequence, digest, previous, point, bundle, action, snapshot, items, reason, actor, at from fabric.recovery_point where tenant = $1 and `

// Get returns a point; sequence 0 is the newest.
func (p RecoveryPoints) Get(ctx context.Context, caller api.Caller, sequence int64) (api.RecoveryPoint, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.RecoveryPoint], selectAPIPoint+
		`($2::bigint = 0 or sequence = $2) order by sequence desc limit 1`, caller.Tenant, sequence)
	return one(found, err, api.ErrNotFound)
}

// Take asks for a point: the workflow that takes it is started with the answer.
func (p RecoveryPoints) Take(ctx context.Context, cmd api.Command, action string, start api.Start, reply api.Reply[string]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tx.begin(cmd.Caller, start)
		tx.leaf(leafOf(cmd.Caller, "recovery.asked", "recovery/"+action))
		return reply(action)
	})
}

// LastGood returns the version that served an environment before the one that
// does. ErrNotFound when none did.
func (p Models) LastGood(ctx context.Context, caller api.Caller, model, environment string) (int, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowTo[int], `
		with moves as (select sequence, number from fabric.alias_move where tenant = $1 and model = $2 and environment = $3 and alias = 'champion')
		select number from moves where number <> (select number from moves order by sequence desc limit 1)
		order by sequence desc limit 1`, caller.Tenant, model, environment)
	return one(found, err, api.ErrNotFound)
}

// Served says whether a version has served an environment before.
func (p Models) Served(ctx context.Context, caller api.Caller, model, environment string, version int) (bool, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowTo[bool], `select exists (select from fabric.alias_move
		where tenant = $1 and model = $2 and environment = $3 and alias = 'champion' and number = $4)`,
		caller.Tenant, model, environment, version)
	return one(found, err, api.ErrNotFound)
}

const upsertChampion = `
	insert into fabric.model_alias (tenant, model, environment, number, action) values ($1, $2, $3, $4, $5)
	on conflict (tenant, model, environment) do update set number = excluded.number, action = excluded.action, at = now()`

// moveRestored changes the index of record to what a restore has brought. An
// environment without a route has no champion; an alias that stands where it
// stood then is not moved.
func (tx *tenantTx) moveRestored(ctx context.Context, in contract.OutcomeInput) error {
	if in.Restored == nil {
		return fmt.Errorf("applied restore %s says not what it brought: %w", in.Action, activities.ErrRefused)
	}
	var models, environments []string
	for _, m := range in.Restored.Models {
		if _, err := tx.Exec(ctx, upsertChampion, tx.tenant, m.ModelID, m.Environment, m.Version, in.Action); err != nil {
			return err
		}
		models, environments = append(models, m.ModelID), append(environments, m.Environment)
	}
	// What had no route at the point serves nothing now.
	_, err := tx.Exec(ctx, `
		update fabric.model_alias set number = null, action = $4, at = now()
		where tenant = $1 and number is not null and (model::text, environment) not in (select * from unnest($2::text[], $3::text[]))`,
		tx.tenant, models, environments, in.Action)
	if err != nil {
		return err
	}
	for _, a := range in.Restored.Aliases {
		head, err := tx.aliasHead(ctx, a.ModelID, a.Environment, a.Alias)
		if err != nil {
			return err
		}
		if head.Version == a.Version {
			continue
		}
		move := head.Next(tx.tenant, a.ModelID, a.Environment, a.Alias, a.Version, time.Time{})
		if _, err := tx.moveAlias(ctx, move, a.Package, in.Bundle, actorFabric, in.Action); err != nil {
			return err
		}
	}
	for _, d := range in.Restored.Policies {
		if err := tx.movePolicy(ctx, in, d.Document); err != nil {
			return err
		}
	}
	return nil
}
