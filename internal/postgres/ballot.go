package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/audit"
)

// OpenBallot writes the request of its action once, and returns the one that
// stands: a second call made its own nonce, which nobody must see.
func (p Actions) OpenBallot(ctx context.Context, req approval.Request) (approval.Request, error) {
	stands := req
	err := p.db.withTenant(ctx, req.Action.Tenant, func(tx *tenantTx) error {
		var err error
		stands, err = tx.openBallot(ctx, req)
		return err
	})
	return stands, err
}

func (tx *tenantTx) openBallot(ctx context.Context, req approval.Request) (approval.Request, error) {
	ballot := approval.Open(req)
	ballot.Outcome = approval.Pending
	tag, err := tx.Exec(ctx, `insert into fabric.ballot (tenant, action, request, ballot, opened_at, due_at) values ($1, $2, $3, $4, $5, $6)
		on conflict (tenant, action) do nothing`, tx.tenant, req.Action.ID, req, ballot, req.OpenedAt, req.Expires())
	if err != nil {
		return req, err
	}
	if tag.RowsAffected() == 0 {
		var stands approval.Request // lists of the first must not be mixed with ours
		err := tx.QueryRow(ctx, `select request from fabric.ballot where tenant = $1 and action = $2`, tx.tenant, req.Action.ID).Scan(&stands)
		return stands, err
	}
	leaf := ballotLeaf(req.Action, "ballot.opened", actorFabric)
	leaf.State = string(approval.Pending)
	if req.Review != "" {
		leaf.Kind, leaf.Actor = "review.opened", clean(req.Breaker)
	}
	tx.leaf(leaf)
	return req, tx.duties(ctx, ballot)
}

// RecordBallot brings the ballot up to date, with a leaf for every vote that
// has none yet. A ballot that is over stays as it ended, unless it was approved
// and has not begun; late votes are still written down. ErrNotFound before
// OpenBallot.
func (p Actions) RecordBallot(ctx context.Context, ballot approval.Ballot) error {
	action := ballot.Request.Action
	return p.db.withTenant(ctx, action.Tenant, func(tx *tenantTx) error {
		was, _, err := tx.lockBallot(ctx, action.ID)
		if err != nil {
			return err
		}
		return tx.keepBallot(ctx, was, ballot)
	})
}

// lockBallot returns the ballot as last recorded, for update, and who used it.
func (tx *tenantTx) lockBallot(ctx context.Context, action string) (approval.Ballot, string, error) {
	var was approval.Ballot
	var use string
	err := tx.QueryRow(ctx, `select ballot, begun_use from fabric.ballot where tenant = $1 and action = $2 for update`, tx.tenant, action).Scan(&was, &use)
	return was, use, absent(err, fmt.Errorf("ballot %s: %w", action, activities.ErrNotFound))
}

// keepBallot writes the votes of the ballot and, while it can still change, how
// it stands.
func (tx *tenantTx) keepBallot(ctx context.Context, was, ballot approval.Ballot) error {
	action := ballot.Request.Action
	for _, v := range slices.Concat(ballot.Votes, ballot.Withdrawn) {
		counted := v
		counted.Refused = "" // it was counted, whatever came after
		if err := tx.vote(ctx, action, counted); err != nil {
			return err
		}
	}
	for _, v := range slices.Concat(ballot.Withdrawn, ballot.Refused) {
		if v.Refused == "" {
			continue // the vote that took another back
		}
		if err := tx.vote(ctx, action, v); err != nil {
			return err
		}
	}
	if !was.Waits() {
		return nil
	}
	_, err := tx.Exec(ctx, `update fabric.ballot set outcome = $3, ballot = $4, closed_at = case when $3 = 'pending' then null else now() end
		where tenant = $1 and action = $2`, tx.tenant, action.ID, string(ballot.Outcome), ballot)
	if err != nil {
		return err
	}
	if err := tx.duties(ctx, ballot); err != nil {
		return err
	}
	if ballot.Escalated && !was.Escalated {
		leaf := ballotLeaf(action, "ballot.escalated", actorFabric)
		leaf.Previous, leaf.State = string(was.Outcome), string(ballot.Outcome)
		tx.leaf(leaf)
	}
	if ballot.Outcome != was.Outcome {
		leaf := ballotLeaf(action, "ballot."+string(ballot.Outcome), actorFabric)
		leaf.Previous, leaf.State = string(was.Outcome), string(ballot.Outcome)
		tx.leaf(leaf)
	}
	return nil
}

// duties draws whom the ballot waits for.
func (tx *tenantTx) duties(ctx context.Context, ballot approval.Ballot) error {
	req := ballot.Request
	awaited := ballot.Awaited()
	if awaited == nil {
		awaited = []string{}
	}
	var b pgx.Batch
	b.Queue(`update fabric.ballot_duty set due = false where tenant = $1 and action = $2 and due and approver <> all($3)`, tx.tenant, req.Action.ID, awaited)
	b.Queue(`insert into fabric.ballot_duty (tenant, action, approver, opened_at, due) select $1, $2, name, $4, true from unnest($3::text[]) name
		on conflict (tenant, action, approver) do update set due = true where not fabric.ballot_duty.due`, tx.tenant, req.Action.ID, awaited, req.OpenedAt)
	return tx.SendBatch(ctx, &b).Close()
}

// vote writes a vote once as counted and once as not: a vote that is cast
// again is refused, and both are true. Its text may be a stranger's.
func (tx *tenantTx) vote(ctx context.Context, action approval.Action, v approval.Vote) error {
	tag, err := tx.Exec(ctx, `
		insert into fabric.vote (tenant, action, statement, counted, approver, role, key, approve, reason, refused, at, decision, on_behalf, delegation, bundle)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) on conflict do nothing`,
		tx.tenant, action.ID, clean(string(v.Statement)), v.Refused == "", clean(v.Approver), clean(v.Role), clean(string(v.Key)), v.Approve,
		clean(v.Reason), clean(v.Refused), v.At, clean(v.Says()), clean(v.For), string(v.Delegation), string(v.Bundle))
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	leaf := ballotLeaf(action, "vote.counted", clean(v.Approver))
	leaf.Statement, leaf.State = v.Statement, clean(v.Says())
	if v.For != "" {
		leaf.State += " for " + clean(v.For)
	}
	if v.Refused != "" {
		leaf.Kind, leaf.State = "vote.refused", clean(v.Refused)
	}
	tx.leaf(leaf)
	return nil
}

func ballotLeaf(a approval.Action, kind, actor string) audit.Leaf {
	return audit.Leaf{Kind: kind, Tenant: a.Tenant, Actor: actor, Subject: "approval/" + a.ID, Digest: a.Plan}
}
