package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Rollouts keeps grants, the facts of rollouts and the scorecards of versions:
// [activities.Grants], [activities.Canaries] and [activities.Cards].
type Rollouts struct{ db *DB }

// Rollouts returns the ports.
func (db *DB) Rollouts() Rollouts { return Rollouts{db} }

// Mint writes a grant once. The action is locked before it is looked at, so
// that none is minted for one that ends at this moment.
func (p Rollouts) Mint(ctx context.Context, grant promotion.Grant) (promotion.Grant, error) {
	stands := grant
	err := p.db.withTenant(ctx, grant.Tenant, func(tx *tenantTx) error {
		var state, plan string
		err := tx.QueryRow(ctx, `select state, coalesce(plan_digest, '') from fabric.action where tenant = $1 and id = $2 and kind = $3 for update`,
			grant.Tenant, grant.Action, grant.Kind).Scan(&state, &plan)
		if err != nil {
			return absent(err, fmt.Errorf("%s %s: %w", grant.Kind, grant.Action, activities.ErrRefused))
		}
		err = tx.QueryRow(ctx, `select body from fabric.plan_grant where tenant = $1 and action = $2`, grant.Tenant, grant.Action).Scan(&stands)
		if err == nil {
			if stands.Plan != grant.Plan {
				return fmt.Errorf("%s was granted another plan: %w", grant.Action, activities.ErrRefused)
			}
			return nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		// A tuning finds its plan after it has started.
		if state != "started" || plan != string(grant.Plan) && (plan != "" || grant.Kind != promotion.KindTuning) {
			return fmt.Errorf("%s is %s, with plan %q: %w", grant.Action, state, plan, activities.ErrRefused)
		}
		if grant.Need > 0 {
			if err := tx.agreed(ctx, grant); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `insert into fabric.plan_grant (tenant, action, id, body) values ($1, $2, $3, $4)`,
			grant.Tenant, grant.Action, grant.ID, grant); err != nil {
			return err
		}
		stands = grant
		leaf := endLeaf(grant.Kind, grant.Action, "granted")
		leaf.Tenant, leaf.Digest, leaf.Statement = grant.Tenant, grant.Plan, grant.ID
		tx.leaf(leaf)
		return nil
	})
	return stands, err
}

// agreed returns nil when the ballot's approval has begun, over this plan.
func (tx *tenantTx) agreed(ctx context.Context, grant promotion.Grant) error {
	ballot, use, err := tx.lockBallot(ctx, grant.Action)
	if err != nil {
		return err
	}
	req := ballot.Request
	if use == "" || ballot.Outcome != approval.Approved || req.Action.Plan != grant.Plan || artifact.DigestOf([]byte(req.Nonce)) != grant.Nonce {
		return fmt.Errorf("ballot %s is %s: %w", grant.Action, ballot.Outcome, activities.ErrRefused)
	}
	return nil
}

// Granted returns nil for a grant that was minted.
func (p Rollouts) Granted(ctx context.Context, grant promotion.Grant) error {
	found, err := queryTenant(ctx, p.db.app, grant.Tenant, pgx.RowTo[promotion.Grant],
		`select body from fabric.plan_grant where tenant = $1 and action = $2 and id = $3`, grant.Tenant, grant.Action, string(grant.ID))
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0] != grant {
		return fmt.Errorf("grant of %s: %w", clean(grant.Action), activities.ErrRefused)
	}
	return nil
}

// NoteFact writes a fact once by its number.
func (p Rollouts) NoteFact(ctx context.Context, tenant, action string, fact canary.Fact) (canary.Fact, error) {
	stands := fact
	err := p.db.withTenant(ctx, tenant, func(tx *tenantTx) error {
		fact.Actor, fact.Words = clean(fact.Actor), clean(fact.Words)
		tag, err := tx.Exec(ctx, `insert into fabric.canary_fact (tenant, action, number, kind, fact) values ($1, $2, $3, $4, $5) on conflict do nothing`,
			tenant, action, fact.Number, fact.Kind, fact)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			stands = canary.Fact{}
			return tx.QueryRow(ctx, `select fact from fabric.canary_fact where tenant = $1 and action = $2 and number = $3`, tenant, action, fact.Number).Scan(&stands)
		}
		stands = fact
		if fact.Kind == canary.FactLook {
			return nil // the record, whose digest has a leaf, holds all looks
		}
		leaf := endLeaf(promotion.KindPromotion, action, fact.Words)
		leaf.Kind, leaf.Tenant, leaf.Digest = "canary."+fact.Kind, tenant, fact.Look
		if fact.Actor != "" && fact.Kind != canary.FactAsk {
			leaf.Actor = fact.Actor
		}
		if fact.Step.Number > 0 {
			leaf.State = fact.Step.String() + ": " + leaf.State
		}
		tx.leaf(leaf)
		return nil
	})
	return stands, err
}

// Facts returns the facts of a rollout by number.
func (p Rollouts) Facts(ctx context.Context, tenant, action string) ([]canary.Fact, error) {
	return queryTenant(ctx, p.db.app, tenant, pgx.RowTo[canary.Fact],
		`select fact from fabric.canary_fact where tenant = $1 and action = $2 order by number`, tenant, action)
}

// KeepCard writes the scorecard of a version; the same one again changes
// nothing.
func (p Rollouts) KeepCard(ctx context.Context, tenant, model string, version int, card activities.VersionCard) error {
	return p.db.withTenant(ctx, tenant, func(tx *tenantTx) error {
		done, err := tx.Exec(ctx, `
			with newest as (select sequence, card from fabric.version_card where tenant = $1 and model = $2 and version = $3 order by sequence desc limit 1)
			insert into fabric.version_card (tenant, model, version, sequence, card, status, unproven)
			select $1, $2, $3, coalesce((select sequence from newest), 0) + 1, $4::text, $5, $6
			where not exists (select from newest where card = $4::text) on conflict do nothing`,
			tenant, model, version, string(card.Card), clean(card.Status), clean(card.Unproven))
		if err == nil && done.RowsAffected() == 1 {
			leaf := audit.Leaf{Kind: "version.judged", Tenant: tenant, Actor: actorFabric, State: clean(card.Status), Digest: card.Card,
				Subject: versionSubject(api.ModelVersion{Tenant: tenant, ModelID: model, Number: version})}
			tx.leaf(leaf)
		}
		return err
	})
}

// Unproven returns why the newest scorecard of a version keeps it from being
// promoted.
func (p Rollouts) Unproven(ctx context.Context, tenant, model string, version int) (string, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, pgx.RowTo[string],
		`select unproven from fabric.version_card where tenant = $1 and model = $2 and version = $3 order by sequence desc limit 1`, tenant, model, version)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}
