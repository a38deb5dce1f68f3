package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/round"
)

// What follows is a site's side of a stage. The stage belongs to the tenant
// that owns the run, the site to another: these statements run as the system,
// and every one of them goes through the cohort that names the site.

const selectWork = `
	select st.tenant, st.model, st.trace_id, st.run, st.number, st.kind, st.region, case when st.stage = 'update' then '' else st.stage end,
		st.manifest, st.signature, r.base, coalesce(m.inbox, '{}'), r.state, st.deadline, st.status
	from fabric.stage st
	join fabric.round r on r.tenant = st.tenant and r.run = st.run and r.number = st.number
	join fabric.cohort c on c.tenant = st.tenant and c.run = st.run and c.number = st.number and c.region = st.region
		and c.site_tenant = $1 and c.site = $2
	left join fabric.stage_member m on m.tenant = st.tenant and m.run = st.run and m.number = st.number and m.stage = st.stage
		and m.region = st.region and m.site_tenant = $1 and m.site = $2
	where (st.stage in ('update', 'advertise') or m.site is not null) and `

// A workRow is work and whether its stage still takes submissions.
type workRow struct {
	api.Work
	state  artifact.Descriptor // server's optimiser state
	status string
}

func scanWork(row pgx.CollectableRow) (workRow, error) {
	var w workRow
	s := &w.Work.Stage
	err := row.Scan(&s.Tenant, &s.ModelID, &s.TraceID, &s.Run, &s.Number, &s.Kind, &s.Region, &s.Stage,
		&w.Manifest, &w.Signature, &w.Base, &w.Inbox, &w.state, &w.Deadline, &w.status)
	return w, err
}

func (db *DB) work(ctx context.Context, where string, args ...any) ([]workRow, error) {
	rows, err := db.system.Query(ctx, selectWork+where, args...)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, scanWork)
	return found, fault(err)
}

// Work returns the open stages that wait for the site, as soon as there is one.
func (p Sites) Work(ctx context.Context, tenant, id string, wait time.Duration) ([]api.Work, error) {
	region, err := p.db.seen(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	wake, cancel := p.db.hub.subscribe(channelWork + ":" + region)
	defer cancel()
	var before int64
	for until := time.Now().Add(wait); ; {
		found, err := p.db.work(ctx, `st.status = 'open' and not exists (select from fabric.submission s
			where s.tenant = st.tenant and s.run = st.run and s.number = st.number and s.stage = st.stage and s.site_tenant = $1 and s.site = $2)
			and not `+haltedSite+`
			order by st.run collate "C", st.number`, tenant, id)
		if err != nil || len(found) > 0 || time.Until(until) <= 0 {
			return onlyWork(found), err
		}
		// A withdrawal of its tenant is news to a site that waits, too, and so is a
		// question about its rows.
		epoch, asked, err := p.db.news(ctx, tenant, id)
		if err != nil || asked || before > 0 && epoch > before {
			return onlyWork(found), err
		}
		before = epoch
		if _, err := p.db.hub.wait(ctx, wake, time.Until(until)); err != nil {
			return nil, err
		}
	}
}

// Runs returns the open runs that have asked the site in some round.
func (p Sites) Runs(ctx context.Context, tenant, id string) ([]api.OpenRun, error) {
	rows, err := p.db.system.Query(ctx, `
		select r.tenant, r.id from fabric.run r
		where r.ended_at is null and exists (select from fabric.cohort c where c.tenant = r.tenant and c.run = r.id and c.site_tenant = $1 and c.site = $2)
		order by r.tenant collate "C", r.id collate "C"`, tenant, id)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.OpenRun])
	return found, fault(err)
}

func onlyWork(rows []workRow) []api.Work {
	out := make([]api.Work, len(rows))
	for i, r := range rows {
		out[i] = r.Work
	}
	return out
}

// Stage returns an open stage of the site, answered or not.
func (p Sites) Stage(ctx context.Context, tenant, id, run string, number int, stage round.Stage) (api.Work, error) {
	found, err := p.db.work(ctx, `st.run = $3 and st.number = $4 and st.stage = $5`, tenant, id, run, number, stage.Or())
	open, err := one(found, err, api.ErrNotFound)
	if err != nil {
		return api.Work{}, err
	}
	if open.status != "open" {
		return api.Work{}, fmt.Errorf("stage %s of round %s/%d: %w", stage.Or(), run, number, api.ErrClosed)
	}
	return open.Work, nil
}

// Readable returns the descriptor of what an open stage of the site gives it:
// the base weights, the optimiser's state, its inbox.
func (p Sites) Readable(ctx context.Context, tenant, id string, digest artifact.Digest) (artifact.Descriptor, error) {
	found, err := p.db.work(ctx, `st.status = 'open' and $3 <> ''
		and (r.base_digest = $3 or r.state ->> 'digest' = $3 or m.inbox_digest = $3) limit 1`, tenant, id, string(digest))
	stage, err := one(found, err, api.ErrNotFound)
	for _, d := range []artifact.Descriptor{stage.Base, stage.state, stage.Inbox} {
		if err == nil && d.Digest == digest {
			return d, nil
		}
	}
	return artifact.Descriptor{}, err
}

// A stage's row lock alone would be unfair: those who share it pass by the one
// who waits to close, and thousands of sites that answer would keep the stage
// open. So both first queue for a lock that is handed out in order.
const (
	queueForStage = `select pg_advisory_xact_lock`
	stageLock     = `(hashtextextended($1 || '/' || $2, 1))`
)

// Submit writes the site's answer once. The row lock on the stage is what
// makes an answer either part of what CloseStage returns, or refused.
func (p Sites) Submit(ctx context.Context, caller api.Caller, s api.Submission) error {
	return p.db.withSystem(ctx, func(tx *systemTx) error {
		ref := s.Stage
		var status string
		if _, err := tx.Exec(ctx, queueForStage+`_shared`+stageLock, ref.Tenant, stageTopic(ref)); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			select st.status from fabric.stage st
			where st.tenant = $1 and st.run = $2 and st.number = $3 and st.stage = $7 and st.region = $4
				and exists (select from fabric.cohort c where c.tenant = st.tenant and c.run = st.run and c.number = st.number
					and c.region = st.region and c.site_tenant = $5 and c.site = $6)
				and (st.stage in ('update', 'advertise') or exists (select from fabric.stage_member m where m.tenant = st.tenant and m.run = st.run
					and m.number = st.number and m.stage = st.stage and m.region = st.region and m.site_tenant = $5 and m.site = $6))
			for share`, ref.Tenant, ref.Run, ref.Number, ref.Region, s.Tenant, s.Site, ref.Stage.Or()).Scan(&status)
		if err != nil {
			return absent(err, api.ErrNotFound)
		}
		if done, err := tx.answered(ctx, s); done || err != nil {
			return err
		}
		if status != "open" {
			return fmt.Errorf("round %s/%d: %w", ref.Run, ref.Number, api.ErrClosed)
		}
		if err := tx.consented(ctx, s); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			insert into fabric.submission (tenant, run, number, stage, region, site_tenant, site, update, metrics, message, bundle, statement, reason, base_round, norm)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, nullif($15::float8, 0)) on conflict do nothing`,
			ref.Tenant, ref.Run, ref.Number, ref.Stage.Or(), ref.Region, s.Tenant, s.Site, s.Update, s.Metrics, s.Message, s.Bundle, s.Statement, clean(s.Reason), s.From, s.Norm)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 { // the same site, at the same moment; or the same update, in another round
			done, err := tx.answered(ctx, s)
			if err == nil && !done {
				err = fmt.Errorf("site %s has sent what it learnt in round %d before: %w", s.Site, s.From, api.ErrConflict)
			}
			return err
		}
		leaf := audit.Leaf{Kind: "submission.accepted", Tenant: s.Tenant, Actor: clean(caller.Subject), Subject: roundSubject(ref.Run, ref.Number),
			Digest: s.Update.Digest, Statement: s.Statement, TraceID: ref.TraceID, Simulated: caller.Simulated}
		if s.Reason != "" {
			leaf.Kind, leaf.State = "submission.rejected", clean(s.Reason)
		}
		tx.leaf(leaf)
		tx.notify(channelStage, stageTopic(ref))
		return nil
	})
}

// answered says whether the site has answered with this very statement;
// another one is a conflict.
func (tx *systemTx) answered(ctx context.Context, s api.Submission) (bool, error) {
	rows, err := tx.Query(ctx, `select statement from fabric.submission
		where tenant = $1 and run = $2 and number = $3 and stage = $6 and site_tenant = $4 and site = $5`,
		s.Stage.Tenant, s.Stage.Run, s.Stage.Number, s.Tenant, s.Site, s.Stage.Stage.Or())
	if err != nil {
		return false, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(found) == 0 {
		return false, err
	}
	if found[0] != string(s.Statement) {
		return false, fmt.Errorf("site %s has answered otherwise: %w", s.Site, api.ErrConflict)
	}
	return true, nil
}

func roundSubject(run string, number int) string { return fmt.Sprintf("round/%s/%d", run, number) }

// stageTopic is the payload of a stage's notice.
func stageTopic(ref contract.StageRef) string {
	return fmt.Sprintf("%s/%d/%s/%s", ref.Run, ref.Number, ref.Region, ref.Stage.Or())
}
