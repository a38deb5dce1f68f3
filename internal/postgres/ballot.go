package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/audit"
)

// Approvals keeps ballots and approvers: [api.Approvals].
type Approvals struct{ db *DB }

// Approvals returns the port.
func (db *DB) Approvals() Approvals { return Approvals{db} }

// OpenBallot writes the request of its action once, and returns the one that
// stands: a second call made its own nonce, which nobody must see.
func (p Actions) OpenBallot(ctx context.Context, req approval.Request) (approval.Request, error) {
	stands := req
	err := p.db.withTenant(ctx, req.Action.Tenant, func(tx *tenantTx) error {
		ballot := approval.Ballot{Request: req, Votes: []approval.Vote{}, Refused: []approval.Vote{}, Outcome: approval.Pending}
		tag, err := tx.Exec(ctx, `insert into fabric.ballot (tenant, action, request, ballot, opened_at) values ($1, $2, $3, $4, $5) on conflict do nothing`,
			tx.tenant, req.Action.ID, req, ballot, req.OpenedAt)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			stands = approval.Request{} // lists of the first must not be mixed with ours
			return tx.QueryRow(ctx, `select request from fabric.ballot where tenant = $1 and action = $2`, tx.tenant, req.Action.ID).Scan(&stands)
		}
		leaf := ballotLeaf(req.Action, "ballot.opened", actorFabric)
		leaf.State = string(approval.Pending)
		tx.leaf(leaf)
		return nil
	})
	return stands, err
}

// RecordBallot brings the ballot up to date, with a leaf for every vote that
// has none yet. A ballot that is over stays as it ended; late votes are still
// written down. ErrNotFound before OpenBallot.
func (p Actions) RecordBallot(ctx context.Context, ballot approval.Ballot) error {
	action := ballot.Request.Action
	return p.db.withTenant(ctx, action.Tenant, func(tx *tenantTx) error {
		var outcome approval.Outcome
		err := tx.QueryRow(ctx, `select outcome from fabric.ballot where tenant = $1 and action = $2 for update`, tx.tenant, action.ID).Scan(&outcome)
		if err != nil {
			return absent(err, fmt.Errorf("ballot %s: %w", action.ID, activities.ErrNotFound))
		}
		for _, v := range ballot.Votes {
			v.Refused = ""
			if err := tx.vote(ctx, action, v); err != nil {
				return err
			}
		}
		for _, v := range ballot.Refused {
			if v.Refused == "" {
				v.Refused = "refused"
			}
			if err := tx.vote(ctx, action, v); err != nil {
				return err
			}
		}
		if outcome != approval.Pending {
			return nil
		}
		_, err = tx.Exec(ctx, `update fabric.ballot set outcome = $3, ballot = $4, closed_at = case when $3 = 'pending' then null else now() end
			where tenant = $1 and action = $2`, tx.tenant, action.ID, string(ballot.Outcome), ballot)
		if err != nil || ballot.Outcome == approval.Pending {
			return err
		}
		leaf := ballotLeaf(action, "ballot."+string(ballot.Outcome), actorFabric)
		leaf.Previous, leaf.State = string(outcome), string(ballot.Outcome)
		tx.leaf(leaf)
		return nil
	})
}

// vote writes a vote once as counted and once as not: a vote that is cast
// again is refused, and both are true. Its text may be a stranger's.
func (tx *tenantTx) vote(ctx context.Context, action approval.Action, v approval.Vote) error {
	tag, err := tx.Exec(ctx, `
		insert into fabric.vote (tenant, action, statement, counted, approver, role, key, approve, reason, refused, at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing`,
		tx.tenant, action.ID, clean(string(v.Statement)), v.Refused == "", clean(v.Approver), clean(v.Role), clean(string(v.Key)), v.Approve,
		clean(v.Reason), clean(v.Refused), v.At)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	leaf := ballotLeaf(action, "vote.counted", clean(v.Approver))
	leaf.Statement, leaf.State = v.Statement, "reject"
	if v.Approve {
		leaf.State = "approve"
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

// Ballots returns the ballots of the caller's tenant, newest first.
func (p Approvals) Ballots(ctx context.Context, caller api.Caller, state approval.Outcome, page api.Page) ([]approval.Ballot, error) {
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
	return readTenant(ctx, p.db, caller.Tenant, pgx.RowTo[approval.Ballot], `
		select ballot from fabric.ballot
		where tenant = $1 and ($2 = '' or outcome = $2) and ($3::timestamptz is null or (opened_at, action::text collate "C") < ($3, $4))
		order by opened_at desc, action collate "C" desc limit $5`, caller.Tenant, string(state), before, action, page.Limit)
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
	return queryTenant(ctx, db.app, tenant, pgx.RowToStructByPos[approval.Approver], selectApprover+`tenant = $1 order by name collate "C"`, tenant)
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
		rows, err := tx.Query(ctx, selectApprover+`tenant = $1 and name = $2 and key = $3`, tx.tenant, a.Name, a.Key)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[approval.Approver])
		if err != nil {
			return api.Answer{}, absent(err, fmt.Errorf("approver has another key, or the key another name: %w", api.ErrConflict))
		}
		if tag.RowsAffected() == 1 {
			leaf := leafOf(cmd.Caller, "approver.added", "approver/"+tx.tenant+"/"+a.Name)
			leaf.Digest, leaf.State = a.Key, a.Role
			tx.leaf(leaf)
		}
		return reply(written)
	})
}
