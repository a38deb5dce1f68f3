package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// Actions keeps promotions, rollouts and tunings: [api.Actions], and in
// outcome.go and ballot.go [activities.Actions].
type Actions struct{ db *DB }

// Actions returns both ports.
func (db *DB) Actions() Actions { return Actions{db} }

const selectAction = `select id, kind, tenant, model, environment, requester, plan, risk, need, state, cause, snapshot, evidence,
	created_at, ended_at, simulated, trace_id, pack, pack_bundle from fabric.action where `

func actionSubject(kind, id string) string { return kind + "/" + id }

// SavePlan writes the action as planned; the same plan, planned already, is
// the same action.
func (p Actions) SavePlan(ctx context.Context, cmd api.Command, action api.Action, reply api.Reply[api.Action]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		action.State = "planned"
		written, err := tx.insertAction(ctx, cmd, action)
		if errors.Is(err, pgx.ErrNoRows) { // planned before, here or at this moment
			written, err = tx.oneAction(ctx, `tenant = $1 and kind = $2 and plan_digest = $3 and state = 'planned'`, tx.tenant, action.Kind, string(action.Plan.Digest))
			if err != nil {
				return api.Answer{}, absent(err, api.ErrConflict) // the id is another action's
			}
			return reply(written)
		}
		if err != nil {
			return api.Answer{}, err
		}
		tx.actionLeaf(cmd, written, "")
		return reply(written)
	})
}

// Planned returns the planned action with this plan.
func (p Actions) Planned(ctx context.Context, caller api.Caller, kind string, plan artifact.Digest) (api.Action, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.Action],
		selectAction+`tenant = $1 and kind = $2 and plan_digest = $3 order by state = 'planned' desc limit 1`, caller.Tenant, kind, string(plan))
	action, err := one(found, err, api.ErrNotFound)
	if err == nil && action.State != "planned" {
		return api.Action{}, fmt.Errorf("%s is %s: %w", action.ID, action.State, api.ErrConflict)
	}
	return action, err
}

// Apply moves a planned action to started, with its start.
func (p Actions) Apply(ctx context.Context, cmd api.Command, id string, start api.Start, reply api.Reply[api.Action]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, `update fabric.action set state = 'started', requester = $3, simulated = simulated or $4, trace_id = $5
			where tenant = $1 and id = $2 and state = 'planned'`, tx.tenant, id, clean(cmd.Subject), cmd.Simulated, cmd.TraceID)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := tx.oneAction(ctx, `tenant = $1 and id = $2`, tx.tenant, id)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrNotFound)
		}
		if tag.RowsAffected() == 0 {
			return api.Answer{}, fmt.Errorf("%s is %s: %w", id, written.State, api.ErrConflict)
		}
		tx.actionLeaf(cmd, written, "planned")
		tx.begin(cmd.Caller, start)
		return reply(written)
	})
}

// Begin writes an action that needs no plan beforehand as started.
func (p Actions) Begin(ctx context.Context, cmd api.Command, action api.Action, start api.Start, reply api.Reply[api.Action]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		action.State = "started"
		written, err := tx.insertAction(ctx, cmd, action)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrConflict)
		}
		tx.actionLeaf(cmd, written, "")
		tx.begin(cmd.Caller, start)
		return reply(written)
	})
}

// Action returns an action of the caller's tenant and of this kind.
func (p Actions) Action(ctx context.Context, caller api.Caller, kind, id string) (api.Action, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.Action],
		selectAction+`tenant = $1 and kind = $2 and id = $3`, caller.Tenant, kind, id)
	return one(found, err, api.ErrNotFound)
}

// insertAction returns pgx.ErrNoRows when the id, or the plan while planned, is taken.
func (tx *tenantTx) insertAction(ctx context.Context, cmd api.Command, a api.Action) (api.Action, error) {
	tag, err := tx.Exec(ctx, `
		insert into fabric.action (tenant, id, kind, model, environment, requester, plan, risk, need, state, simulated, trace_id)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing`,
		tx.tenant, a.ID, a.Kind, a.ModelID, a.Environment, clean(cmd.Subject), a.Plan, a.Risk, a.Need, a.State, cmd.Simulated || a.Simulated, cmd.TraceID)
	if err != nil {
		return api.Action{}, err
	}
	if tag.RowsAffected() == 0 {
		return api.Action{}, pgx.ErrNoRows
	}
	return tx.oneAction(ctx, `tenant = $1 and id = $2`, tx.tenant, a.ID)
}

func (tx *tenantTx) oneAction(ctx context.Context, where string, args ...any) (api.Action, error) {
	rows, err := tx.Query(ctx, selectAction+where, args...)
	if err != nil {
		return api.Action{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[api.Action])
}

// actionLeaf notes that an action came to its state.
func (tx *tenantTx) actionLeaf(cmd api.Command, a api.Action, previous string) {
	leaf := leafOf(cmd.Caller, a.Kind+"."+a.State, actionSubject(a.Kind, a.ID))
	leaf.Digest, leaf.Previous, leaf.State, leaf.Simulated = a.Plan.Digest, previous, a.State, a.Simulated
	tx.leaf(leaf)
}

// endLeaf is a leaf about how an action ended.
func endLeaf(kind, id, outcome string) audit.Leaf {
	return audit.Leaf{Kind: kind + "." + outcome, Actor: actorFabric, Subject: actionSubject(kind, id), State: outcome}
}
