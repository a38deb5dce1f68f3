package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// StudyViews keeps studies as their owners see them: [api.Studies].
type StudyViews struct{ db *DB }

// StudyViews returns the port.
func (db *DB) StudyViews() StudyViews { return StudyViews{db} }

const selectStudy = `
	select id, tenant, model, environment, requester, spec, prior, base, rounds, apply, status, cause, best, suggestion, created_at, ended_at, simulated, trace_id,
		(select count(*) from fabric.study_trial t where t.tenant = s.tenant and t.study = s.id),
		(select coalesce(sum(t.rounds), 0) from fabric.study_trial t where t.tenant = s.tenant and t.study = s.id)
	from fabric.study s where `

func scanStudy(row pgx.CollectableRow) (api.Study, error) {
	var s api.Study
	err := row.Scan(&s.ID, &s.Tenant, &s.ModelID, &s.Environment, &s.Requester, &s.Spec, &s.Prior, &s.Base, &s.Rounds, &s.Apply, &s.Status, &s.Cause,
		&s.Best, &s.Suggestion, &s.CreatedAt, &s.EndedAt, &s.Simulated, &s.TraceID, &s.Made, &s.Used)
	return s, err
}

// StartStudy writes the study as running with its start.
func (p StudyViews) StartStudy(ctx context.Context, cmd api.Command, study api.Study, start api.Start, reply api.Reply[api.Study]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, `
			insert into fabric.study (tenant, id, model, environment, requester, spec, prior, base, rounds, apply, simulated, trace_id)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing`,
			tx.tenant, study.ID, study.ModelID, study.Environment, clean(cmd.Subject), study.Spec, some(study.Prior), study.Base, study.Rounds, study.Apply,
			cmd.Simulated, cmd.TraceID)
		if err != nil {
			return api.Answer{}, err
		}
		if tag.RowsAffected() == 0 {
			return api.Answer{}, api.ErrConflict
		}
		written, err := tx.oneStudy(ctx, study.ID)
		if err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "study.accepted", studySubject(study.ID))
		leaf.State = written.Status
		tx.leaf(leaf)
		tx.begin(cmd.Caller, start)
		return reply(written)
	})
}

// RecordStudyStop notes that a stop was asked for; a second time, or after the
// end, changes nothing.
func (p StudyViews) RecordStudyStop(ctx context.Context, cmd api.Command, id string, reply api.Reply[api.Study]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		tag, err := tx.Exec(ctx, `update fabric.study set stop_asked = now() where tenant = $1 and id = $2 and stop_asked is null and ended_at is null`, tx.tenant, id)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := tx.oneStudy(ctx, id)
		if err != nil {
			return api.Answer{}, err
		}
		if tag.RowsAffected() == 1 {
			leaf := leafOf(cmd.Caller, "study.stop_requested", studySubject(id))
			leaf.Previous = tuning.StudyRunning
			tx.leaf(leaf)
		}
		return reply(written)
	})
}

func (tx *tenantTx) oneStudy(ctx context.Context, id string) (api.Study, error) {
	rows, err := tx.Query(ctx, selectStudy+`tenant = $1 and id = $2`, tx.tenant, id)
	if err != nil {
		return api.Study{}, err
	}
	study, err := pgx.CollectExactlyOneRow(rows, scanStudy)
	return study, absent(err, api.ErrNotFound)
}

// Studies returns studies without their trials, newest first.
func (p StudyViews) Studies(ctx context.Context, caller api.Caller, filter api.RunFilter, page api.Page) ([]api.Study, error) {
	return readTenant(ctx, p.db, caller.Tenant, scanStudy,
		selectStudy+`tenant = $1 and ($2 = '' or id::text collate "C" < $2) and ($4 = '' or status = $4) and ($5 = '' or model = $5)
			order by id collate "C" desc limit $3`, caller.Tenant, page.After, page.Limit, filter.Status, filter.Model)
}

// Study returns a study with its trials, their runs, and what these cost.
func (p StudyViews) Study(ctx context.Context, caller api.Caller, id string) (api.Study, error) {
	if caller.Tenant == "" {
		return api.Study{}, errNoTenant
	}
	var studies []api.Study
	var jobs []tuning.Job
	var runs []api.StudyRun
	var b pgx.Batch
	b.Queue(setTenant, caller.Tenant)
	queue(&b, &studies, scanStudy, selectStudy+`tenant = $1 and id = $2`, caller.Tenant, id)
	queue(&b, &jobs, scanJob, selectJobs, caller.Tenant, id)
	queue(&b, &runs, pgx.RowToStructByPos[api.StudyRun], `
		select s.number, s.repeat, s.run, r.status from fabric.study_run s join fabric.run r on r.tenant = s.tenant and r.id = s.run
		where s.tenant = $1 and s.study = $2 order by s.number, s.repeat`, caller.Tenant, id)
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return api.Study{}, fault(err)
	}
	study, err := one(studies, nil, api.ErrNotFound)
	if err != nil {
		return study, err
	}
	study.Jobs, study.Runs = jobs, runs
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.Run
	}
	study.Charges, err = p.db.charges(ctx, caller.Tenant, names, study.Base.Params.Privacy.Delta)
	return study, err
}
