package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/round"
)

// What follows is about submissions s and stages st of a group that a
// withdrawal has reached. A halt is written while its stage is not closed, and
// counts from that stage on: a stage that is closed says the same for ever.
const (
	inOrder = ` when 'share' then 2 when 'mask' then 3 when 'check' then 4 when 'unmask' then 5 else 1 end`

	halted = `exists (select from fabric.round_halt h where h.tenant = s.tenant and h.run = s.run and h.number = s.number and h.region = s.region
		and h.site_tenant = s.site_tenant and h.step <= case s.stage` + inOrder + `)`
	haltedSite = `exists (select from fabric.round_halt h where h.tenant = st.tenant and h.run = st.run and h.number = st.number and h.region = st.region
		and h.site_tenant = $1 and h.step <= case st.stage` + inOrder + `)`
	// Those who are asked in a stage and whose answer no longer counts.
	haltedSites = `select count(*) from fabric.round_halt h
		join (select c.site_tenant, c.site from fabric.cohort c where c.tenant = st.tenant and c.run = st.run and c.number = st.number and c.region = st.region
				and st.stage in ('update', 'advertise')
			union all select m.site_tenant, m.site from fabric.stage_member m where m.tenant = st.tenant and m.run = st.run and m.number = st.number
				and m.stage = st.stage and m.region = st.region) asked on asked.site_tenant = h.site_tenant
		where h.tenant = st.tenant and h.run = st.run and h.number = st.number and h.region = st.region and h.step <= case st.stage` + inOrder
)

// haltedReason is what is said of an answer that no longer counts.
const haltedReason = "its tenant has withdrawn consent: the answer is of an older consent epoch"

// everyStage returns the stages in their order, the two that begin a group first.
func everyStage() []round.Stage {
	return []round.Stage{round.StageUpdate, round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}
}

// Halted returns the tenants that are left out of a group, at whatever stage.
func (p Rounds) Halted(ctx context.Context, ref contract.StageRef) ([]string, error) {
	return queryTenant(ctx, p.db.app, ref.Tenant, pgx.RowTo[string],
		`select site_tenant from fabric.round_halt where tenant = $1 and run = $2 and number = $3 and region = $4 order by site_tenant`,
		ref.Tenant, ref.Run, ref.Number, ref.Region)
}

// consented refuses an answer whose tenant has withdrawn what the round was
// planned under, also before the workflow has got there.
func (tx *systemTx) consented(ctx context.Context, s api.Submission) error {
	var gone bool
	err := tx.QueryRow(ctx, `
		select exists (select from fabric.grant_use u join fabric.consent_grant g on g.tenant = u.tenant and g.id = u.grant_id
			where u.tenant = $1 and u.owner = $2 and u.run = $3 and u.number = $4 and g.withdrawn_at is not null)`,
		s.Tenant, s.Stage.Tenant, s.Stage.Run, s.Stage.Number).Scan(&gone)
	if err == nil && gone {
		err = fmt.Errorf("round %s/%d: consent was withdrawn: %w", s.Stage.Run, s.Stage.Number, api.ErrClosed)
	}
	return err
}

func (db *DB) epochOf(ctx context.Context, tenant string) (epoch int64, err error) {
	err = db.system.QueryRow(ctx, `select coalesce((select epoch from fabric.consent_epoch where tenant = $1), 1)`, tenant).Scan(&epoch)
	return epoch, fault(err)
}

// Consents carries withdrawals to what they reach: [activities.Consents]. It
// works as the system: rounds belong to others than those who withdraw.
type Consents struct{ db *DB }

// Consents returns the port.
func (db *DB) Consents() Consents { return Consents{db} }

// A usedRound is a round that was begun under grants that ended.
type usedRound struct {
	Owner, Run string
	Number     int
	Model      string
	Status     string
}

// Enforce leaves the tenant out of every group of a running round that has not
// added its updates, and marks as tainted the rounds that have. Run twice, it
// finds what it did.
func (p Consents) Enforce(ctx context.Context, tenant string, epoch int64) ([]consent.Effect, error) {
	rows, err := p.db.system.Query(ctx, `
		select distinct u.owner, u.run, u.number, n.model, r.status from fabric.withdrawal w
		join fabric.grant_use u on u.tenant = w.tenant and u.grant_id = any (w.grants)
		join fabric.round r on r.tenant = u.owner and r.run = u.run and r.number = u.number
		join fabric.run n on n.tenant = u.owner and n.id = u.run
		where w.tenant = $1 and w.epoch = $2 order by 1, 2, 3`, tenant, epoch)
	if err != nil {
		return nil, fault(err)
	}
	used, err := pgx.CollectRows(rows, pgx.RowToStructByPos[usedRound])
	if err != nil {
		return nil, fault(err)
	}
	slices.SortStableFunc(used, func(a, b usedRound) int { return urgency(a) - urgency(b) })
	for _, u := range used {
		if err := p.db.withSystem(ctx, func(tx *systemTx) error { return tx.reach(ctx, tenant, epoch, u) }); err != nil {
			return nil, err
		}
	}
	return p.effects(ctx, tenant, epoch)
}

// urgency puts rounds that run before those that are over: seconds count there.
func urgency(u usedRound) int {
	if u.Status == "open" {
		return 0
	}
	return 1
}

// reach is one round's part of a withdrawal.
func (tx *systemTx) reach(ctx context.Context, tenant string, epoch int64, u usedRound) error {
	switch u.Status {
	case "failed":
		return nil // nothing was learnt
	case "closed":
		return tx.taint(ctx, tenant, epoch, u, "", 0)
	}
	rows, err := tx.Query(ctx, `select region, count(*) from fabric.cohort where tenant = $1 and run = $2 and number = $3 and site_tenant = $4 group by region order by region`,
		u.Owner, u.Run, u.Number, tenant)
	if err != nil {
		return err
	}
	type seats struct {
		Region string
		Sites  int
	}
	groups, err := pgx.CollectRows(rows, pgx.RowToStructByPos[seats])
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := tx.halt(ctx, tenant, epoch, u, g.Region, g.Sites); err != nil {
			return err
		}
	}
	return nil
}

// halt leaves the tenant out of one group, from the first stage on that is not
// closed. Whoever closes a stage holds its lock, so that this comes wholly
// before it or wholly after it.
func (tx *systemTx) halt(ctx context.Context, tenant string, epoch int64, u usedRound, region string, sites int) error {
	ref := contract.StageRef{Run: u.Run, Number: u.Number, Region: region}
	for _, s := range everyStage() {
		ref.Stage = s
		if _, err := tx.Exec(ctx, queueForStage+stageLock, u.Owner, stageTopic(ref)); err != nil {
			return err
		}
	}
	var stage round.Stage
	var status string
	err := tx.QueryRow(ctx, `select stage, status from fabric.stage where tenant = $1 and run = $2 and number = $3 and region = $4
		order by case stage`+inOrder+` desc limit 1`, u.Owner, u.Run, u.Number, region).Scan(&stage, &status)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // it will not see the round at all
		stage = round.StageUpdate
	case err != nil:
		return err
	case status == "closed":
		next, more := stage.Following()
		if stage == round.StageUpdate || !more {
			return tx.taint(ctx, tenant, epoch, u, region, sites)
		}
		stage = next
	}
	tag, err := tx.Exec(ctx, `
		insert into fabric.round_halt (tenant, run, number, region, site_tenant, epoch, stage, step, sites, submitted)
		select $1::text, $2::text, $3::int, $4::text, $5::text, $6::bigint, $7::text, case $7::text`+inOrder+`, $8::int, (select count(*) from fabric.submission s
			where s.tenant = $1::text and s.run = $2::text and s.number = $3::int and s.region = $4::text and s.site_tenant = $5::text and s.stage in ('update', 'mask') and s.reason = '')
		on conflict do nothing`, u.Owner, u.Run, u.Number, region, tenant, epoch, stage, sites)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	leaf := subjectLeaf(contract.Subject{Tenant: u.Owner}, "consent.enforced", roundSubject(u.Run, u.Number))
	leaf.State = fmt.Sprintf("%s left out of %s from %s on, epoch %d", tenant, region, stage, epoch)
	tx.leaf(leaf)
	ref.Stage = stage
	tx.notify(channelStage, stageTopic(ref))
	return nil
}

// taint marks a round whose weights hold what was withdrawn.
func (tx *systemTx) taint(ctx context.Context, tenant string, epoch int64, u usedRound, region string, sites int) error {
	tag, err := tx.Exec(ctx, `insert into fabric.round_taint (tenant, run, number, site_tenant, epoch, region, sites) values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
		u.Owner, u.Run, u.Number, tenant, epoch, region, sites)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	leaf := subjectLeaf(contract.Subject{Tenant: u.Owner}, "consent.tainted", roundSubject(u.Run, u.Number))
	leaf.State = fmt.Sprintf("its weights learnt from %s, which withdrew consent in epoch %d", tenant, epoch)
	tx.leaf(leaf)
	return nil
}

// effects reads what a withdrawal did.
func (p Consents) effects(ctx context.Context, tenant string, epoch int64) ([]consent.Effect, error) {
	rows, err := p.db.system.Query(ctx, `
		select h.tenant, h.run, h.number, n.model, h.region, h.stage,
			case when h.step >= 4 then 'stopped' when h.submitted > 0 then 'dropped' else 'canceled' end, h.sites, h.at
		from fabric.round_halt h join fabric.run n on n.tenant = h.tenant and n.id = h.run where h.site_tenant = $1 and h.epoch = $2
		union all
		select t.tenant, t.run, t.number, n.model, t.region, '', 'tainted', t.sites, t.at
		from fabric.round_taint t join fabric.run n on n.tenant = t.tenant and n.id = t.run where t.site_tenant = $1 and t.epoch = $2
		order by 1, 2, 3, 5`, tenant, epoch)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[consent.Effect])
	return found, fault(err)
}

// learnt is every round whose weights hold what rounds in the set seed have
// learnt: the same run's later ones, and runs that start from their weights.
const learnt = `
	with recursive learnt (tenant, run, number) as (
		select tenant, run, number from (%s) seed
		union
		select r.tenant, r.run, r.number from learnt l
		join fabric.round b on b.tenant = l.tenant and b.run = l.run and b.number = l.number
		join fabric.round r on r.tenant = b.tenant and (r.run = b.run and r.number > b.number
			or b.weights ->> 'digest' <> '' and r.base_digest = b.weights ->> 'digest')
	)`

// Reached returns what a withdrawal has reached by now, as far as rows know it.
func (p Consents) Reached(ctx context.Context, tenant string, epoch int64) (consent.Report, error) {
	r := consent.Report{Tenant: tenant, Epoch: epoch}
	err := p.db.system.QueryRow(ctx, `select feature, grants, grantees, reason, asked_at, now() from fabric.withdrawal where tenant = $1 and epoch = $2`, tenant, epoch).
		Scan(&r.Feature, &r.Grants, &r.Grantees, &r.Reason, &r.WithdrawnAt, &r.WrittenAt)
	if err != nil {
		return r, fault(absent(err, activities.ErrNotFound))
	}
	if r.Effects, err = p.effects(ctx, tenant, epoch); err != nil {
		return r, err
	}
	r.Checkpoints, r.Models, err = p.downstream(ctx, `select tenant, run, number from fabric.round_taint where site_tenant = $1 and epoch = $2`, tenant, epoch)
	if err != nil {
		return r, err
	}
	if r.Effects == nil {
		r.Effects = []consent.Effect{}
	}
	return r.Complete(), nil
}

// downstream is what weights and versions hold what the rounds of seed learnt.
func (p Consents) downstream(ctx context.Context, seed string, args ...any) (weights []consent.Checkpoint, models []consent.Model, err error) {
	weights, models = []consent.Checkpoint{}, []consent.Model{}
	with := fmt.Sprintf(learnt, seed)
	rows, err := p.db.system.Query(ctx, with+`
		select r.tenant, r.run, r.number, r.weights ->> 'digest', coalesce(clean.weights ->> 'digest', ''), coalesce(clean.number, 0)
		from learnt l join fabric.round r on r.tenant = l.tenant and r.run = l.run and r.number = l.number
		left join lateral (select c.number, c.weights from fabric.round c where c.tenant = r.tenant and c.run = r.run and c.status = 'closed'
			and c.weights ->> 'digest' <> '' and not exists (select from learnt x where x.tenant = c.tenant and x.run = c.run and x.number = c.number)
			order by c.number desc limit 1) clean on true
		where r.status = 'closed' and r.kind <> 'evaluate' and r.weights ->> 'digest' <> '' order by 1, 2, 3`, args...)
	if err != nil {
		return nil, nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[consent.Checkpoint])
	if err != nil {
		return nil, nil, fault(err)
	}
	weights = append(weights, found...)
	rows, err = p.db.system.Query(ctx, with+`
		select v.tenant, v.model, v.number, v.package_digest,
			coalesce((select array_agg(a.environment order by a.environment) from fabric.model_alias a where a.tenant = v.tenant and a.model = v.model and a.number = v.number), '{}')
		from fabric.model_version v where v.run <> '' and exists (select from learnt l where l.tenant = v.tenant and l.run = v.run and l.number <= v.round)
		order by 1, 2, 3`, args...)
	if err != nil {
		return nil, nil, fault(err)
	}
	versions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[consent.Model])
	return weights, append(models, versions...), fault(err)
}

// Preview returns what withdrawing would reach now, and does nothing.
func (c Catalog) Preview(ctx context.Context, caller api.Caller, feature string, whose []string) (consent.Report, error) {
	r := consent.Report{Tenant: caller.Tenant, Feature: feature, Grants: []string{}, Grantees: []string{}, Effects: []consent.Effect{}}
	epochs, err := c.db.epochOf(ctx, caller.Tenant)
	if err != nil {
		return r, err
	}
	r.Epoch = epochs + 1
	const ending = `g.tenant = $1 and g.feature = $2 and g.withdrawn_at is null and (cardinality($3::text[]) = 0 or g.grantee = any ($3::text[]))`
	err = c.db.system.QueryRow(ctx, `select coalesce(array_agg(g.id::text order by g.id), '{}'), coalesce(array_agg(distinct g.grantee::text), '{}'), now() from fabric.consent_grant g where `+ending,
		caller.Tenant, feature, nonNil(whose)).Scan(&r.Grants, &r.Grantees, &r.WithdrawnAt)
	if err != nil {
		return r, fault(err)
	}
	if len(r.Grants) == 0 {
		return r, fmt.Errorf("no grant of feature %s stands: %w", feature, api.ErrNotFound)
	}
	r.WrittenAt = r.WithdrawnAt
	rows, err := c.db.system.Query(ctx, `
		select distinct u.owner, u.run, u.number, n.model, coalesce(c.region, ''), coalesce(st.stage, ''),
			case when r.status = 'closed' or st.status = 'closed' and st.stage in ('update', 'unmask') then 'tainted'
				when st.stage in ('check', 'unmask') or st.stage = 'mask' and st.status = 'closed' then 'stopped'
				when exists (select from fabric.submission s where s.tenant = u.owner and s.run = u.run and s.number = u.number and s.region = c.region
					and s.site_tenant = $1 and s.stage in ('update', 'mask') and s.reason = '') then 'dropped' else 'canceled' end,
			coalesce(c.sites, 0)::int, now()
		from fabric.grant_use u
		join fabric.consent_grant g on g.tenant = u.tenant and g.id = u.grant_id
		join fabric.round r on r.tenant = u.owner and r.run = u.run and r.number = u.number and r.status <> 'failed'
		join fabric.run n on n.tenant = u.owner and n.id = u.run
		left join lateral (select region, count(*) as sites from fabric.cohort c where r.status = 'open' and c.tenant = u.owner and c.run = u.run and c.number = u.number
			and c.site_tenant = $1 group by region) c on true
		left join lateral (select stage, status from fabric.stage st where r.status = 'open' and st.tenant = u.owner and st.run = u.run and st.number = u.number and st.region = c.region
			order by case stage`+inOrder+` desc limit 1) st on true
		where `+ending+` and (r.status = 'closed' or c.region is not null) order by 1, 2, 3, 5`, caller.Tenant, feature, nonNil(whose))
	if err != nil {
		return r, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[consent.Effect])
	if err != nil {
		return r, fault(err)
	}
	r.Effects = append(r.Effects, found...)
	r.Checkpoints, r.Models, err = Consents(c).downstream(ctx, `select u.owner as tenant, u.run, u.number from fabric.grant_use u
		join fabric.consent_grant g on g.tenant = u.tenant and g.id = u.grant_id
		join fabric.round r on r.tenant = u.owner and r.run = u.run and r.number = u.number and r.status = 'closed'
		where `+ending, caller.Tenant, feature, nonNil(whose))
	if err != nil {
		return r, err
	}
	r = r.Complete()
	r.Latency = consent.Latency{}
	return r, nil
}

// RecordWithdrawal writes the report of a withdrawal, once.
func (p Consents) RecordWithdrawal(ctx context.Context, in contract.WithdrawalRecord) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `update fabric.withdrawal set report = $3, markdown = $4, bundle = $5, undecided = $6, reported_at = now()
			where tenant = $1 and epoch = $2 and reported_at is null`, in.Tenant, in.Epoch, in.Report, in.Markdown, in.Bundle, in.Undecided)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		w, err := tx.withdrawal(ctx, in.Epoch)
		if err != nil {
			return err
		}
		leaf := subjectLeaf(in.Subject, "consent.reported", featureSubject(in.Tenant, w.Feature))
		leaf.Digest, leaf.Statement, leaf.State = in.Report.Digest, in.Statement, fmt.Sprintf("epoch %d", in.Epoch)
		tx.leaf(leaf)
		return nil
	})
}

// Tainted says why a version may not be promoted: rounds in its lineage learnt
// from what was withdrawn, and nobody has decided that it stays. Empty: it may.
func (p Versions) Tainted(ctx context.Context, tenant, model string, number int) (string, error) {
	taints, err := p.db.taints(ctx, tenant, model, number)
	if err != nil || len(taints) == 0 {
		return "", err
	}
	for _, t := range taints {
		if t.Version == number && consent.Blocks(t.Decision) {
			return t.Words(), nil
		}
	}
	return "", nil
}

// taints returns what taints the versions of a model, all when number is 0.
func (db *DB) taints(ctx context.Context, tenant, model string, number int) ([]api.Taint, error) {
	rows, err := db.system.Query(ctx, `
		with recursive lineage (version, tenant, run, number) as (
			select v.number, r.tenant, r.run, r.number from fabric.model_version v
			join fabric.round r on r.tenant = v.tenant and r.run = v.run and r.number <= v.round
			where v.tenant = $1 and v.model = $2 and v.run <> '' and ($3 = 0 or v.number = $3)
			union
			select l.version, b.tenant, b.run, b.number from lineage l
			join fabric.round r on r.tenant = l.tenant and r.run = l.run and r.number = l.number
			join fabric.round e on e.tenant = r.tenant and r.base_digest <> '' and e.weights ->> 'digest' = r.base_digest and e.run <> r.run
			join fabric.round b on b.tenant = e.tenant and b.run = e.run and b.number <= e.number
		)
		select distinct l.version, t.site_tenant, w.feature, t.epoch, t.decision, min(t.run || '/' || t.number)
		from lineage l join fabric.round_taint t on t.tenant = l.tenant and t.run = l.run and t.number = l.number
		join fabric.withdrawal w on w.tenant = t.site_tenant and w.epoch = t.epoch
		group by 1, 2, 3, 4, 5 order by 1, 2, 4`, tenant, model, number)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.Taint])
	return found, fault(err)
}
