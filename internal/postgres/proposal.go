package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/feedback"
)

// Proposals keeps what the policy loop proposed: [api.Proposals] and
// [activities.Proposals].
type Proposals struct{ db *DB }

// Proposals returns both ports.
func (db *DB) Proposals() Proposals { return Proposals{db} }

// Propose writes a proposal and its rollout, once by action.
func (p Proposals) Propose(ctx context.Context, in activities.Proposal) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		var there bool
		if err := tx.QueryRow(ctx, `select exists (select from fabric.proposal where tenant = $1 and action = $2)`, in.Tenant, in.Action).Scan(&there); err != nil || there {
			return err
		}
		// Two evaluations that come to the same at once meet at this lock.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, "proposal/"+in.Tenant+"/"+in.Template+"/"+in.Target); err != nil {
			return err
		}
		var open bool
		err := tx.QueryRow(ctx, `
			select exists (select from fabric.proposal p join fabric.action a on a.tenant = p.tenant and a.id = p.action
			where p.tenant = $1 and p.template = $2 and p.target = $3 and a.state in ('planned', 'started'))`, in.Tenant, in.Template, in.Target).Scan(&open)
		if err != nil {
			return err
		}
		if open {
			return fmt.Errorf("%s/%s: %w", in.Template, in.Target, activities.ErrConflictingProposal)
		}
		var b pgx.Batch
		b.Queue(`insert into fabric.action (tenant, id, kind, environment, requester, plan, risk, need, state, trace_id)
			values ($1, $2, $3, $4, $5, $6, $7, $8, 'started', $9)`,
			in.Tenant, in.Action, api.KindPolicy, in.Environment, clean(in.Requester), in.Plan, in.Risk, in.Need, in.TraceID)
		b.Queue(`insert into fabric.proposal (tenant, action, evaluation, template, target, from_value, to_value, direction, summary, predicate, bundle, proposed_at, expires_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			in.Tenant, in.Action, in.Evaluation, in.Template, in.Target, in.From, in.To, in.Direction, clean(in.Summary), string(in.Predicate), string(in.Bundle), in.ProposedAt, in.ExpiresAt)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		tx.leaf(audit.Leaf{Kind: "proposal.made", Tenant: in.Tenant, Actor: actorFabric, Subject: "proposal/" + in.Action,
			Digest: in.Predicate, Statement: in.Bundle, State: in.Direction, TraceID: in.TraceID})
		tx.leaf(audit.Leaf{Kind: "policy.started", Tenant: in.Tenant, Actor: clean(in.Requester), Subject: actionSubject(api.KindPolicy, in.Action),
			Digest: in.Plan.Digest, TraceID: in.TraceID})
		return nil
	})
}

const selectProposal = `
	select p.action, p.evaluation, p.template, p.target, p.from_value, p.to_value, p.direction, p.summary, p.predicate, p.bundle, p.proposed_at, p.expires_at,
		a.state, a.cause, a.risk, a.ended_at, coalesce((select b.outcome from fabric.ballot b where b.tenant = p.tenant and b.action = p.action), '')
	from fabric.proposal p join fabric.action a on a.tenant = p.tenant and a.id = p.action where `

// List returns proposals of the caller's tenant, newest first; the key is the
// time and the action.
func (p Proposals) List(ctx context.Context, caller api.Caller, page api.Page) ([]api.KeptProposal, error) {
	at, id, err := afterKey(page.After, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return nil, err
	}
	return readTenant(ctx, p.db, caller.Tenant, pgx.RowToStructByPos[api.KeptProposal],
		selectProposal+`p.tenant = $1 and (p.proposed_at, p.action) < ($2, $3) order by p.proposed_at desc, p.action desc limit $4`, caller.Tenant, at, id, page.Limit)
}

// Proposal returns a proposal of the caller's tenant. ErrNotFound.
func (p Proposals) Proposal(ctx context.Context, caller api.Caller, action string) (api.KeptProposal, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.KeptProposal], selectProposal+`p.tenant = $1 and p.action = $2`, caller.Tenant, action)
	return one(found, err, api.ErrNotFound)
}

// Regions returns how far a policy came in each region, in the order in which
// it was noted.
func (p Proposals) Regions(ctx context.Context, caller api.Caller, action string) ([]api.RegionState, error) {
	return readTenant(ctx, p.db, caller.Tenant, pgx.RowToStructByPos[api.RegionState], `
		select region, state, revision, policy, snapshot, why, at from fabric.policy_region where tenant = $1 and action = $2
		order by at, array_position(array['published', 'delivered', 'verified', 'active', 'halted', 'rolled-back'], state), region`, caller.Tenant, action)
}

// History returns the proposals since a time, oldest first.
func (p Proposals) History(ctx context.Context, tenant string, since time.Time) ([]feedback.Past, error) {
	return queryTenant(ctx, p.db.app, tenant, func(row pgx.CollectableRow) (feedback.Past, error) {
		var past feedback.Past
		var state, direction string
		var ended *time.Time
		var reverted bool
		err := row.Scan(&past.Template, &past.Target, &past.From, &past.To, &direction, &past.At, &state, &ended, &reverted)
		past.Loosens = direction == feedback.Loosen
		switch {
		case state == "planned" || state == "started":
			past.State = feedback.Open
		case state == contract.Applied:
			past.State = feedback.Applied
		case reverted:
			past.State = feedback.Reverted
		default:
			past.State = feedback.Refused
		}
		if ended != nil && past.State != feedback.Refused {
			past.Applied = *ended
		}
		return past, err
	}, `
		select p.template, p.target, p.from_value, p.to_value, p.direction, p.proposed_at, a.state, a.ended_at,
			exists (select from fabric.policy_region r where r.tenant = p.tenant and r.action = p.action and r.state = 'rolled-back')
		from fabric.proposal p join fabric.action a on a.tenant = p.tenant and a.id = p.action
		where p.tenant = $1 and p.proposed_at >= $2 order by p.proposed_at, p.action`, tenant, since)
}

// NoteRegion writes a state of a policy in a region, and those before it that
// its evidence covers, each once.
func (p Proposals) NoteRegion(ctx context.Context, in contract.RegionStateInput) error {
	states := []string{in.State}
	if in.State == contract.PolicyActive {
		states = []string{contract.PolicyDelivered, contract.PolicyVerified, contract.PolicyActive}
	}
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		for _, state := range states {
			snapshot := in.Snapshot
			switch {
			case state == contract.PolicyDelivered && in.Delivered > 0:
				snapshot = in.Delivered
			case state == contract.PolicyVerified && in.Verified > 0:
				snapshot = in.Verified
			}
			tag, err := tx.Exec(ctx, `insert into fabric.policy_region (tenant, action, region, state, revision, policy, snapshot, why)
				values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing`,
				in.Tenant, in.Action, in.Region, state, in.Revision, string(in.Policy), snapshot, clean(in.Words))
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				continue
			}
			tx.leaf(audit.Leaf{Kind: "policy." + state, Tenant: in.Tenant, Actor: actorFabric, Subject: fmt.Sprintf("policy/%s/%s", in.Action, in.Region),
				Digest: in.Policy, State: state, TraceID: in.TraceID})
		}
		return nil
	})
}

// Evaluate starts an evaluation that somebody asked for.
func (p Proposals) Evaluate(ctx context.Context, cmd api.Command, id string, start api.Start, reply api.Reply[string]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tx.leaf(leafOf(cmd.Caller, "feedback.asked", "feedback/"+id))
		tx.begin(cmd.Caller, start)
		return reply(id)
	})
}

// Observe writes telemetry that was reported. What was reported for a moment
// stays.
func (p Proposals) Observe(ctx context.Context, tenant string, observed []api.Observation) error {
	return p.db.withTenant(ctx, tenant, func(tx *tenantTx) error {
		var b pgx.Batch
		for _, o := range observed {
			b.Queue(`insert into fabric.observation (tenant, metric, target, at, value, total) values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
				tenant, o.Metric, o.Target, o.At, o.Value, o.Total)
		}
		return tx.SendBatch(ctx, &b).Close()
	})
}

// Windows returns what was reported of a metric in each span, and what the
// tenant's own rows say of it: of rounds, of sites, and of what routers decided.
func (p Proposals) Windows(ctx context.Context, tenant, metric string, spans []feedback.Span) (map[string][]feedback.Window, error) {
	out := feedback.History{}
	at := func(target string, i int) *feedback.Window { return out.At(target, spans, i) }
	share := slices.ContainsFunc(feedback.Templates(), func(t feedback.Template) bool { return t.Metric == metric && t.Test == feedback.Wilson })
	for i, span := range spans {
		type row struct {
			Target       string
			Value, Total float64
		}
		rows, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[row],
			`select target, value, total from fabric.observation where tenant = $1 and metric = $2 and at >= $3 and at < $4 order by target collate "C", at`, tenant, metric, span.From, span.To)
		if err != nil {
			return nil, err
		}
		if own := ownTelemetry(metric); own != "" {
			more, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[row], own, tenant, span.From, span.To)
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
		}
		for _, r := range rows {
			w := at(r.Target, i)
			if share {
				w.Hits, w.Total = w.Hits+r.Value, w.Total+r.Total
			} else {
				w.Values = append(w.Values, r.Value)
			}
		}
	}
	return out, nil
}
