package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
)

// Budgets keeps privacy budgets and what rounds took from them: [api.Budgets].
type Budgets struct{ db *DB }

// Budgets returns the port.
func (db *DB) Budgets() Budgets { return Budgets{db} }

// selectEntries is the ledger's entries, equal ones counted: a run of thousands
// of rounds is a row or two.
const selectEntries = `select tenant, feature, state, count(*), events from fabric.privacy_entry
	where %s group by tenant, feature, state, events order by tenant collate "C", feature collate "C", state, events`

// An entryRow is an entry and whose it is.
type entryRow struct {
	privacy.Feature
	privacy.Entry
}

func scanEntry(row pgx.CollectableRow) (entryRow, error) {
	var e entryRow
	err := row.Scan(&e.Tenant, &e.Feature.Feature, &e.State, &e.Rounds, &e.Events)
	return e, err
}

const selectBudget = `select tenant, feature, epsilon_limit, delta, set_by, set_at from fabric.privacy_budget where `

func scanBudget(row pgx.CollectableRow) (api.Budget, error) {
	var b api.Budget
	err := row.Scan(&b.Tenant, &b.Feature, &b.EpsilonLimit, &b.Delta, &b.SetBy, &b.SetAt)
	return b, err
}

// ledger is the budget with those of the rows that are its entries.
func ledger(b privacy.Budget, rows []entryRow) privacy.Ledger {
	l := privacy.Ledger{Budget: b}
	for _, r := range rows {
		if r.Tenant == b.Tenant && r.Feature.Feature == b.Feature {
			l.Entries = append(l.Entries, r.Entry)
		}
	}
	return l
}

// as runs fn with another tenant set, in the same transaction: a round's
// owner charges the owners of the data. After an error the transaction is lost
// anyway, so the tenant is put back only without one.
func (tx *tenantTx) as(ctx context.Context, tenant string, fn func() error) error {
	if _, err := tx.Exec(ctx, setTenant, tenant); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, setTenant, tx.tenant)
	return err
}

// reserve takes what a round costs from the budget of each feature that it
// reads, or fails with a [*privacy.RefusalError]. The first private round of a
// feature without a budget gives it the default one. It is part of the
// transaction that writes the round, which is written once: a round has its
// entries, or it never began.
func (db *DB) reserve(ctx context.Context, tx *tenantTx, in contract.RoundInput, r privacy.Request) error {
	if !r.Exact && !r.Private() {
		return nil
	}
	var ledgers []privacy.Ledger
	for _, f := range r.Sorted() {
		err := tx.as(ctx, f.Tenant, func() error {
			l, ok, err := db.lock(ctx, tx, f, r.Private())
			if ok {
				ledgers = append(ledgers, l)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if _, err := privacy.Reserve(ledgers, r); err != nil {
		return fmt.Errorf("%s: %w", roundSubject(in.Run, in.Number), err)
	}
	if r.Exact {
		return nil // no feature of it has a budget
	}
	for _, f := range r.Sorted() {
		err := tx.as(ctx, f.Tenant, func() error {
			_, err := tx.Exec(ctx, `insert into fabric.privacy_entry (tenant, feature, owner, run, number, events) values ($1, $2, $3, $4, $5, $6)`,
				f.Tenant, f.Feature, in.Tenant, in.Run, in.Number, r.Events)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lock takes the budget of a feature for this transaction and reads its ledger
// after that: who comes second sees what the first has reserved.
func (db *DB) lock(ctx context.Context, tx *tenantTx, f privacy.Feature, create bool) (privacy.Ledger, bool, error) {
	var budgets []api.Budget
	var entries []entryRow
	var b pgx.Batch
	if create {
		b.Queue(`insert into fabric.privacy_budget (tenant, feature, epsilon_limit, delta) values ($1, $2, $3, $4) on conflict do nothing`,
			f.Tenant, f.Feature, db.epsilon, privacy.DefaultDelta)
	}
	queue(&b, &budgets, scanBudget, `update fabric.privacy_budget set reservations = reservations + 1 where tenant = $1 and feature = $2
		returning tenant, feature, epsilon_limit, delta, set_by, set_at`, f.Tenant, f.Feature)
	queue(&b, &entries, scanEntry, fmt.Sprintf(selectEntries, `tenant = $1 and feature = $2`), f.Tenant, f.Feature)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil || len(budgets) == 0 {
		return privacy.Ledger{}, false, err
	}
	return ledger(budgets[0].Budget, entries), true, nil
}

// settleRound commits what a round has reserved, or gives it back if nothing
// can have been learnt in it: no group of it was ever asked to unmask a sum,
// and no site's plain update was accepted. The round is over and its stages
// are closed by now, so neither can happen any more.
func (tx *tenantTx) settleRound(ctx context.Context, run string, number int) error {
	var learnt bool
	var tenants []string
	err := tx.QueryRow(ctx, `
		select r.tenants,
			exists (select from fabric.stage where tenant = $1 and run = $2 and number = $3 and stage = 'unmask')
			or exists (select from fabric.submission where tenant = $1 and run = $2 and number = $3 and stage = 'update' and reason = '')
		from fabric.run r where r.tenant = $1 and r.id = $2`, tx.tenant, run, number).Scan(&tenants, &learnt)
	if err != nil {
		return absent(err, fmt.Errorf("run %s: %w", run, api.ErrNotFound))
	}
	for _, tenant := range tenants {
		err := tx.as(ctx, tenant, func() error {
			_, err := tx.Exec(ctx, `update fabric.privacy_entry set state = $5, closed_at = now()
				where tenant = $1 and owner = $2 and run = $3 and number = $4 and state = 'reserved'`,
				tenant, tx.tenant, run, number, privacy.Reserved.Settled(learnt))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SetBudget writes the budget of a feature of the caller's tenant. What was
// taken stays taken: a limit below it leaves nothing.
func (p Budgets) SetBudget(ctx context.Context, cmd api.Command, budget privacy.Budget, reply api.Reply[api.Budget]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		if err := tx.mustExist(ctx, `select from fabric.feature where tenant = $1 and id = $2`, tx.tenant, budget.Feature); err != nil {
			return api.Answer{}, fmt.Errorf("feature %s: %w", budget.Feature, api.ErrNotFound)
		}
		var before []api.Budget
		var written []api.Budget
		var entries []entryRow
		var b pgx.Batch
		queue(&b, &before, scanBudget, selectBudget+`tenant = $1 and feature = $2 for update`, tx.tenant, budget.Feature)
		queue(&b, &written, scanBudget, `
			insert into fabric.privacy_budget as b (tenant, feature, epsilon_limit, delta, set_by) values ($1, $2, $3, $4, $5)
			on conflict (tenant, feature) do update set epsilon_limit = excluded.epsilon_limit, delta = excluded.delta, set_by = excluded.set_by, set_at = now()
			returning tenant, feature, epsilon_limit, delta, set_by, set_at`,
			tx.tenant, budget.Feature, budget.EpsilonLimit, budget.Delta, clean(cmd.Subject))
		queue(&b, &entries, scanEntry, fmt.Sprintf(selectEntries, `tenant = $1 and feature = $2`), tx.tenant, budget.Feature)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "budget.set", featureSubject(tx.tenant, budget.Feature))
		leaf.State = limitOf(budget)
		if len(before) > 0 {
			leaf.Previous = limitOf(before[0].Budget)
		}
		tx.leaf(leaf)
		now := written[0]
		now.Balance = ledger(now.Budget, entries).Balance()
		return reply(now)
	})
}

func limitOf(b privacy.Budget) string {
	return fmt.Sprintf("epsilon %g, delta %g", b.EpsilonLimit, b.Delta)
}

// Budgets returns the budgets of the caller's tenant with their balances, by feature.
func (p Budgets) Budgets(ctx context.Context, caller api.Caller, page api.Page) ([]api.Budget, error) {
	if caller.Tenant == "" {
		return nil, errNoTenant
	}
	var budgets []api.Budget
	var entries []entryRow
	const which = `tenant = $1 and feature::text collate "C" > $2 order by feature collate "C" limit $3`
	var b pgx.Batch
	b.Queue(setTenant, caller.Tenant)
	queue(&b, &budgets, scanBudget, selectBudget+which, caller.Tenant, page.After, page.Limit)
	queue(&b, &entries, scanEntry, fmt.Sprintf(selectEntries, `tenant = $1 and feature in (select feature from fabric.privacy_budget where `+which+`)`),
		caller.Tenant, page.After, page.Limit)
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fault(err)
	}
	for i := range budgets {
		budgets[i].Balance = ledger(budgets[i].Budget, entries).Balance()
	}
	return budgets, nil
}

// Affordable says whether the request could be reserved now, over tenants, and
// reserves nothing: a [*privacy.RefusalError] when not.
func (p Budgets) Affordable(ctx context.Context, r privacy.Request) error {
	var tenants, features []string
	for _, f := range r.Sorted() {
		tenants, features = append(tenants, f.Tenant), append(features, f.Feature)
	}
	const which = `(tenant::text, feature::text) in (select * from unnest($1::text[], $2::text[]))`
	var budgets []api.Budget
	var entries []entryRow
	var b pgx.Batch
	queue(&b, &budgets, scanBudget, selectBudget+which, nonNil(tenants), nonNil(features))
	queue(&b, &entries, scanEntry, fmt.Sprintf(selectEntries, which), nonNil(tenants), nonNil(features))
	if err := p.db.system.SendBatch(ctx, &b).Close(); err != nil {
		return fault(err)
	}
	var ledgers []privacy.Ledger
	for _, f := range r.Sorted() {
		known := false
		for _, have := range budgets {
			if have.Tenant == f.Tenant && have.Feature == f.Feature {
				ledgers, known = append(ledgers, ledger(have.Budget, entries)), true
			}
		}
		if !known && r.Private() { // it would be given the default
			ledgers = append(ledgers, privacy.Ledger{Budget: privacy.Budget{
				Tenant: f.Tenant, Feature: f.Feature, EpsilonLimit: p.db.epsilon, Delta: privacy.DefaultDelta}})
		}
	}
	_, err := privacy.Reserve(ledgers, r)
	return err
}
