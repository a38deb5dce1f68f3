package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/promotion"
)

const selectAlias = `select tenant, model, environment, alias, sequence, number, package, previous, bundle, actor, action, at from fabric.alias_move where `

// Aliases returns where the aliases of a model stand, or stood at a time, by
// environment and name. ErrNotFound without the model.
func (p Models) Aliases(ctx context.Context, caller api.Caller, model string, at time.Time) ([]api.Alias, error) {
	if caller.Tenant == "" {
		return nil, errNoTenant
	}
	var known []string
	var found []api.Alias
	var b pgx.Batch
	b.Queue(setTenant, caller.Tenant)
	queue(&b, &known, pgx.RowTo[string], `select id::text from fabric.model where tenant = $1 and id = $2`, caller.Tenant, model)
	queue(&b, &found, pgx.RowToStructByPos[api.Alias], selectFrom(selectAlias, `(
		select distinct on (environment, alias) * from fabric.alias_move
		where tenant = $1 and model = $2 and ($3::timestamptz is null or at <= $3)
		order by environment, alias, sequence desc) as head`)+`true order by environment collate "C", alias collate "C"`, caller.Tenant, model, stamp(at))
	err := p.db.app.SendBatch(ctx, &b).Close()
	_, err = one(known, fault(err), api.ErrNotFound)
	return found, err
}

// stamp is a time that may be absent.
func stamp(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// AliasMoves returns the moves of a model's aliases, newest first, at most 100.
func (p Models) AliasMoves(ctx context.Context, caller api.Caller, model string) ([]api.Alias, error) {
	return queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.Alias],
		selectAlias+`tenant = $1 and model = $2 order by at desc, environment, alias, sequence desc limit 100`, caller.Tenant, model)
}

// MoveAlias moves an alias by a statement, if that begins where the alias
// stands and names a version with its package.
func (p Models) MoveAlias(ctx context.Context, cmd api.Command, move modelpack.Move, pkg artifact.Digest, bundle artifact.Descriptor, reply api.Reply[api.Alias]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		var registered artifact.Digest
		err := tx.QueryRow(ctx, `select package_digest from fabric.model_version where tenant = $1 and model = $2 and number = $3`,
			tx.tenant, move.Model, move.Version).Scan(&registered)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrNotFound)
		}
		if registered != pkg || move.Tenant != tx.tenant {
			return api.Answer{}, fmt.Errorf("version %d of %s: %w", move.Version, move.Model, modelpack.ErrMove)
		}
		head, err := tx.aliasHead(ctx, move.Model, move.Environment, move.Alias)
		if err != nil {
			return api.Answer{}, err
		}
		if err := move.Follows(head); err != nil {
			return api.Answer{}, err
		}
		written, err := tx.moveAlias(ctx, move, pkg, bundle, clean(cmd.Subject), "")
		if err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "alias.moved", "model/"+tx.tenant+"/"+move.Model+"/"+move.Environment+"/"+move.Alias)
		leaf.Digest, leaf.Statement, leaf.Previous, leaf.State = pkg, bundle.Digest, strconv.Itoa(head.Version), strconv.Itoa(move.Version)
		tx.leaf(leaf)
		return reply(written)
	})
}

// moveChampion writes what a promotion did as a move of its environment's champion.
func (tx *tenantTx) moveChampion(ctx context.Context, in contract.OutcomeInput, plan promotion.Plan) error {
	head, err := tx.aliasHead(ctx, plan.ModelID, plan.Environment, modelpack.Champion)
	if err != nil {
		return err
	}
	move := head.Next(in.Tenant, plan.ModelID, plan.Environment, modelpack.Champion, plan.Version.Number, time.Time{})
	_, err = tx.moveAlias(ctx, move, plan.Version.Package, in.Bundle, actorFabric, in.Action)
	return err
}

// aliasHead returns where an alias stands and holds it there until the end of
// the transaction: two moves of a model's aliases come one after the other.
func (tx *tenantTx) aliasHead(ctx context.Context, model, environment, alias string) (modelpack.Head, error) {
	var h modelpack.Head
	_, err := tx.Exec(ctx, `select from fabric.model where tenant = $1 and id = $2 for update`, tx.tenant, model)
	if err != nil {
		return h, err
	}
	err = tx.QueryRow(ctx, `select sequence, number, package from fabric.alias_move
		where tenant = $1 and model = $2 and environment = $3 and alias = $4 order by sequence desc limit 1`,
		tx.tenant, model, environment, alias).Scan(&h.Sequence, &h.Version, &h.Package)
	if errors.Is(err, pgx.ErrNoRows) {
		return modelpack.Head{}, nil
	}
	return h, err
}

func (tx *tenantTx) moveAlias(ctx context.Context, m modelpack.Move, pkg artifact.Digest, bundle artifact.Descriptor, actor, action string) (api.Alias, error) {
	rows, err := tx.Query(ctx, `
		with written as (
			insert into fabric.alias_move (tenant, model, environment, alias, sequence, number, package, previous, bundle, actor, action)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning *)
		`+selectFrom(selectAlias, "written")+`true`,
		tx.tenant, m.Model, m.Environment, m.Alias, m.Sequence, m.Version, string(pkg), string(m.Previous), bundle, actor, action)
	if err != nil {
		return api.Alias{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[api.Alias])
}
