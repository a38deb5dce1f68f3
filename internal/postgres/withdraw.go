package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/consent"
)

// withdraw ends the grants of a feature to those grantees, to all when none is
// named, begins a new epoch, and starts the workflow that carries it
// everywhere. It returns the epoch, 0 when nothing stood. A grantee loses all
// its grants of the feature: sites count by epochs. Who calls it adds the leaf.
func (tx *tenantTx) withdraw(ctx context.Context, cmd api.Command, feature string, whose []string, reason string) (int64, error) {
	epoch, err := tx.epoch(ctx)
	if err != nil {
		return 0, err
	}
	have, err := tx.grants(ctx, feature)
	if err != nil {
		return 0, err
	}
	var ending, grantees []string
	for _, r := range have {
		if r.WithdrawnAt.IsZero() && (len(whose) == 0 || slices.Contains(whose, r.Grantee)) {
			ending, grantees = append(ending, r.ID), append(grantees, r.Grantee)
		}
	}
	if len(ending) == 0 {
		return 0, nil
	}
	slices.Sort(grantees)
	grantees = slices.Compact(grantees)
	epoch++
	var at time.Time
	err = tx.QueryRow(ctx, `
		with ended as (update fabric.consent_grant set withdrawn_at = statement_timestamp(), withdrawn_epoch = $3 where tenant = $1 and id = any ($2::text[]) returning 1),
			raised as (update fabric.consent_epoch set epoch = $3 where tenant = $1 returning 1)
		insert into fabric.withdrawal (tenant, epoch, feature, grants, grantees, reason, actor, asked_at, simulated, trace_id)
		select $1, $3, $4, $2, $5, $6, $7, statement_timestamp(), $8, $9 from (select count(*) from ended, raised) all_of_it returning asked_at`,
		tx.tenant, ending, epoch, feature, grantees, clean(reason), clean(cmd.Subject), cmd.Simulated, cmd.TraceID).Scan(&at)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `update fabric.access_request set state = $3, decided_by = $4, decided_for = $5, decided_at = now()
		where tenant = $1 and grant_id = any ($2::text[]) and state = 'PROVISIONED'`, tx.tenant, ending, consent.Revoked, clean(cmd.Subject), clean(reason)); err != nil {
		return 0, err
	}
	tx.begin(cmd.Caller, api.Start{
		Workflow: contract.ConsentWithdrawal.Name,
		ID:       contract.WithdrawalID(tx.tenant, epoch),
		Queue:    contract.QueueControl,
		Input: contract.WithdrawalInput{
			Subject: contract.Subject{Tenant: tx.tenant, TraceID: cmd.TraceID}, Epoch: epoch, Feature: feature,
		},
		Summary:    fmt.Sprintf("consent of %s to feature %s ends: epoch %d", tx.tenant, feature, epoch),
		Attributes: api.Attributes{Tenant: tx.tenant, Stage: "withdrawal"},
	})
	rows, err := tx.Query(ctx, `select distinct region from fabric.site where tenant = $1`, tx.tenant)
	if err != nil {
		return 0, err
	}
	regions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, region := range regions { // sites that wait are told
		tx.notify(channelWork, region)
	}
	return epoch, err
}

const selectWithdrawal = `
	select tenant, epoch, feature, grants, grantees, reason, asked_at, coalesce(reported_at, 'epoch'), report, markdown, bundle,
		undecided, decision, decided_by, decided_for, coalesce(decided_at, 'epoch')
	from fabric.withdrawal where `

func scanWithdrawal(row pgx.CollectableRow) (api.Withdrawal, error) {
	var w api.Withdrawal
	err := row.Scan(&w.Tenant, &w.Epoch, &w.Feature, &w.Grants, &w.Grantees, &w.Reason, &w.AskedAt, &w.ReportedAt, &w.Report, &w.Markdown, &w.Bundle,
		&w.Undecided, &w.Decision, &w.DecidedBy, &w.DecidedFor, &w.DecidedAt)
	w.ReportedAt, w.DecidedAt = real(w.ReportedAt), real(w.DecidedAt)
	return w, err
}

// WithdrawGrants ends grants of a feature of the caller's tenant. ErrNotFound
// when none of them stands.
func (c Catalog) WithdrawGrants(ctx context.Context, cmd api.Command, feature string, whose []string, reason string, reply api.Reply[api.Withdrawal]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		before, known, err := tx.lockFeature(ctx, feature)
		if err != nil {
			return api.Answer{}, err
		}
		if !known {
			return api.Answer{}, api.ErrNotFound
		}
		epoch, err := tx.withdraw(ctx, cmd, feature, whose, reason)
		if err != nil {
			return api.Answer{}, err
		}
		if epoch == 0 {
			return api.Answer{}, fmt.Errorf("no grant of feature %s stands: %w", feature, api.ErrNotFound)
		}
		if err := tx.event(ctx, cmd, feature); err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "consent.withdrawn", featureSubject(tx.tenant, feature))
		leaf.Digest, leaf.Previous, leaf.State = before.Fingerprint, before.kind, fmt.Sprintf("%s, epoch %d", consentWithdrawn, epoch)
		tx.leaf(leaf)
		written, err := tx.withdrawal(ctx, epoch)
		if err != nil {
			return api.Answer{}, err
		}
		return reply(written)
	})
}

func (tx *tenantTx) withdrawal(ctx context.Context, epoch int64) (api.Withdrawal, error) {
	rows, err := tx.Query(ctx, selectWithdrawal+`tenant = $1 and epoch = $2`, tx.tenant, epoch)
	if err != nil {
		return api.Withdrawal{}, err
	}
	w, err := pgx.CollectExactlyOneRow(rows, scanWithdrawal)
	return w, absent(err, api.ErrNotFound)
}

// Withdrawal returns one of the caller's tenant.
func (c Catalog) Withdrawal(ctx context.Context, caller api.Caller, epoch int64) (api.Withdrawal, error) {
	found, err := queryTenant(ctx, c.db.app, caller.Tenant, scanWithdrawal, selectWithdrawal+`tenant = $1 and epoch = $2`, caller.Tenant, epoch)
	return one(found, err, api.ErrNotFound)
}

// Decide records what a person decided about what was learnt before a
// withdrawal, and what that makes of its taints. The first decision stays.
func (c Catalog) Decide(ctx context.Context, cmd api.Command, epoch int64, decision, reason string, reply api.Reply[api.Withdrawal]) (api.Answer, error) {
	answer, err := c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		w, err := tx.withdrawal(ctx, epoch)
		switch {
		case err != nil:
			return api.Answer{}, err
		case !w.Undecided || w.ReportedAt.IsZero():
			return api.Answer{}, fmt.Errorf("withdrawal %d leaves nothing to decide: %w", epoch, api.ErrClosed)
		case w.Decision != "" && w.Decision != decision:
			return api.Answer{}, fmt.Errorf("it was decided: %s: %w", w.Decision, api.ErrConflict)
		}
		if w.Decision == "" {
			_, err := tx.Exec(ctx, `update fabric.withdrawal set decision = $3, decided_by = $4, decided_for = $5, decided_at = now() where tenant = $1 and epoch = $2`,
				tx.tenant, epoch, decision, clean(cmd.Subject), clean(reason))
			if err != nil {
				return api.Answer{}, err
			}
			leaf := leafOf(cmd.Caller, "consent.decided", featureSubject(tx.tenant, w.Feature))
			leaf.Digest, leaf.Previous, leaf.State = w.Report.Digest, fmt.Sprint(epoch), decision
			tx.leaf(leaf)
		}
		if w, err = tx.withdrawal(ctx, epoch); err != nil {
			return api.Answer{}, err
		}
		return reply(w)
	})
	if err != nil {
		return answer, err
	}
	// The taints are rows of the runs' owners. A crash before this line leaves
	// versions blocked, and the same command again lifts them.
	_, err = c.db.system.Exec(ctx, `
		update fabric.round_taint t set decision = w.decision from fabric.withdrawal w
		where w.tenant = $1 and w.epoch = $2 and t.site_tenant = w.tenant and t.epoch = w.epoch`, cmd.Tenant, epoch)
	return answer, fault(err)
}

// Floors returns what the tenant's withdrawals have ended, for its sites, and
// its epoch.
func (p Sites) Floors(ctx context.Context, tenant string) ([]consent.Floor, int64, error) {
	floors, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[consent.Floor], `
		select feature, grantee, max(withdrawn_epoch) from fabric.consent_grant
		where tenant = $1 and withdrawn_epoch is not null group by feature, grantee order by feature collate "C", grantee collate "C"`, tenant)
	if err != nil {
		return nil, 0, err
	}
	epochs, err := queryTenant(ctx, p.db.app, tenant, pgx.RowTo[int64], `select epoch from fabric.consent_epoch where tenant = $1`, tenant)
	if err != nil || len(epochs) == 0 {
		return floors, 1, err
	}
	return floors, epochs[0], nil
}
