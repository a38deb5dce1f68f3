package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// BeginBallot uses an approval once: the ballot, the nonce, the action and the
// leaves change together, after the registrations of its voters were locked as
// they are. A revocation that comes a moment later finds the approval used.
func (p Actions) BeginBallot(ctx context.Context, in contract.BeginInput, review *approval.Request, now time.Time) (contract.Begun, error) {
	action := in.Ballot.Request.Action
	var out contract.Begun
	err := p.db.withTenant(ctx, action.Tenant, func(tx *tenantTx) error {
		was, use, err := tx.lockBallot(ctx, action.ID)
		if err != nil {
			return err
		}
		if use != "" {
			out, err = tx.begunBefore(ctx, was, in.Use == use)
			return err
		}
		standing, err := tx.standing(ctx, " for share")
		if err != nil {
			return err
		}
		out = contract.Begun{Ballot: in.Ballot, Losses: standing.Losses(in.Ballot)}
		if len(out.Losses) > 0 {
			return nil
		}
		if !was.Waits() { // another run of the workflow has ended it
			out.Ballot = was
			return nil
		}
		out.Ballot, err = in.Ballot.Begin(now)
		if err != nil && !errors.Is(err, approval.ErrLapsed) {
			return fmt.Errorf("ballot %s: %w", action.ID, err) // its cool-down ends soon, by this clock too
		}
		if kept := tx.keepBallot(ctx, was, out.Ballot); kept != nil || err != nil {
			return kept
		}
		return tx.use(ctx, &out, in.Use, review)
	})
	return out, err
}

// use writes that the approval was used, and what that opens.
func (tx *tenantTx) use(ctx context.Context, out *contract.Begun, use string, review *approval.Request) error {
	action := out.Ballot.Request.Action
	var b pgx.Batch
	b.Queue(`update fabric.ballot set begun_at = $3, begun_use = $4, ballot = $5 where tenant = $1 and action = $2`, tx.tenant, action.ID, out.Ballot.BegunAt, use, out.Ballot)
	b.Queue(`update fabric.action set begun_at = $3 where tenant = $1 and id = $2`, tx.tenant, action.ID, out.Ballot.BegunAt)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	leaf := ballotLeaf(action, "ballot.begun", actorFabric)
	leaf.Previous, leaf.State = string(approval.Approved), "begun"
	tx.leaf(leaf)
	if review == nil {
		return nil
	}
	loud := ballotLeaf(action, "glass.broken", clean(review.Breaker))
	loud.State = "open until reviewed: " + review.Action.ID
	tx.leaf(loud)
	opened, err := tx.openBallot(ctx, *review)
	out.Review = &opened
	return err
}

// begunBefore is what the first use did, for the same use.
func (tx *tenantTx) begunBefore(ctx context.Context, was approval.Ballot, mine bool) (contract.Begun, error) {
	id := was.Request.Action.ID
	if !mine {
		return contract.Begun{}, fmt.Errorf("ballot %s: %w: %w", id, approval.ErrUsed, activities.ErrRefused)
	}
	out := contract.Begun{Ballot: was}
	if !was.Glass {
		return out, nil
	}
	out.Review = &approval.Request{}
	err := tx.QueryRow(ctx, `select request from fabric.ballot where tenant = $1 and action = $2`, tx.tenant, approval.ReviewID(id)).Scan(out.Review)
	return out, err
}

// Standing returns what has changed about people.
func (p Actions) Standing(ctx context.Context, tenant string) (approval.Standing, error) {
	var out approval.Standing
	err := p.db.withTenant(ctx, tenant, func(tx *tenantTx) error {
		var err error
		out, err = tx.standing(ctx, "")
		return err
	})
	return out, err
}

// A grantedRow is a delegation and when it was revoked.
type grantedRow struct {
	Granted   approval.Granted
	RevokedAt *time.Time
}

// standing reads with the given lock, so that it holds until the commit.
// Delegations that have expired long ago are of no vote that still waits.
func (tx *tenantTx) standing(ctx context.Context, lock string) (approval.Standing, error) {
	var out approval.Standing
	var rows []grantedRow
	var keys []struct {
		Key     artifact.Digest
		Revoked bool
	}
	var b pgx.Batch
	queue(&b, &keys, pgx.RowToStructByPos, `select key, revoked_at is not null from fabric.approver where tenant = $1 order by key`+lock, tx.tenant)
	queue(&b, &rows, pgx.RowToStructByPos[grantedRow], `select granted, revoked_at from fabric.delegation
		where tenant = $1 and expires_at > now() - interval '60 days' order by id`+lock, tx.tenant)
	b.Queue(`select count(*), count(*) filter (where due_at < now()) from fabric.ballot where tenant = $1 and review_of <> '' and outcome = 'pending'`, tx.tenant).
		QueryRow(func(row pgx.Row) error { return row.Scan(&out.Reviews, &out.Overdue) })
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return out, err
	}
	for _, k := range keys {
		if k.Revoked {
			out.Revoked = append(out.Revoked, k.Key)
		}
	}
	for _, r := range rows {
		if r.RevokedAt != nil {
			r.Granted.RevokedAt = *r.RevokedAt
		}
		out.Delegations = append(out.Delegations, r.Granted)
	}
	return out, nil
}

// Trainer returns who asked for the run that made a version.
func (p Actions) Trainer(ctx context.Context, tenant, model string, number int) (string, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, pgx.RowTo[string], `
		select coalesce(r.requester, '') from fabric.model_version v left join fabric.run r on r.tenant = v.tenant and r.id = v.run
		where v.tenant = $1 and v.model = $2 and v.number = $3`, tenant, model, number)
	return one(found, err, activities.ErrNotFound)
}
