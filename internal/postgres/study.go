package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// Studies keeps studies and their trials: [activities.Studies], and in
// studyview.go [api.Studies].
type Studies struct{ db *DB }

// Studies returns both ports.
func (db *DB) Studies() Studies { return Studies{db} }

const selectJobs = `
	select t.number, t.point, t.state, t.cause, t.measured, t.limits, t.rungs, t.ended, t.rounds,
		(select count(*) from fabric.study_run r where r.tenant = t.tenant and r.study = t.study and r.number = t.number)
	from fabric.study_trial t where t.tenant = $1 and t.study = $2 order by t.number`

func scanJob(row pgx.CollectableRow) (tuning.Job, error) {
	var j tuning.Job
	var point []float64
	err := row.Scan(&j.Number, &point, &j.State, &j.Cause, &j.Values, &j.Constraints, &j.Rungs, &j.Ended, &j.Rounds, &j.Begun)
	j.Point = point
	return j, err
}

func studySubject(id string) string { return "study/" + id }

// Study returns a study with its trials.
func (p Studies) Study(ctx context.Context, tenant, id string) (activities.Study, error) {
	if tenant == "" {
		return activities.Study{}, errNoTenant
	}
	var found []activities.Study
	var jobs []tuning.Job
	var b pgx.Batch
	b.Queue(setTenant, tenant)
	queue(&b, &found, func(row pgx.CollectableRow) (activities.Study, error) {
		var s activities.Study
		return s, row.Scan(&s.ID, &s.Environment, &s.Requester, &s.Simulated, &s.Apply, &s.Spec, &s.Prior, &s.Base, &s.Rounds)
	}, `select id, environment, requester, simulated, apply, spec, prior, base, rounds from fabric.study where tenant = $1 and id = $2`, tenant, id)
	queue(&b, &jobs, scanJob, selectJobs, tenant, id)
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return activities.Study{}, fault(err)
	}
	study, err := one(found, nil, activities.ErrNotFound)
	study.Jobs = jobs
	return study, err
}

// AddTrial writes a trial with its point, once by its number. ErrStale when
// another trial of the study has the point.
func (p Studies) AddTrial(ctx context.Context, ref contract.TrialRef, point tuning.Point) error {
	return p.db.withTenant(ctx, ref.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `insert into fabric.study_trial (tenant, study, number, point) values ($1, $2, $3, $4) on conflict do nothing`,
			ref.Tenant, ref.Study, ref.Number, []float64(point))
		if code(err) == foreignKeyViolation {
			return fmt.Errorf("study %s: %w", ref.Study, activities.ErrNotFound)
		}
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		var written bool
		err = tx.QueryRow(ctx, `select exists (select from fabric.study_trial where tenant = $1 and study = $2 and number = $3)`,
			ref.Tenant, ref.Study, ref.Number).Scan(&written)
		if err == nil && !written {
			err = fmt.Errorf("point of trial %d: %w", ref.Number, activities.ErrStale)
		}
		return err
	})
}

// BegunRun returns the run of a repeat, if one was begun.
func (p Studies) BegunRun(ctx context.Context, ref contract.TrialRef) (string, round.Params, bool, error) {
	type begun struct {
		Run    string
		Params round.Params
	}
	found, err := queryTenant(ctx, p.db.app, ref.Tenant, pgx.RowToStructByPos[begun], `
		select r.id, r.params from fabric.study_run s join fabric.run r on r.tenant = s.tenant and r.id = s.run
		where s.tenant = $1 and s.study = $2 and s.number = $3 and s.repeat = $4`, ref.Tenant, ref.Study, ref.Number, ref.Repeat)
	if err != nil || len(found) == 0 {
		return "", round.Params{}, false, err
	}
	return found[0].Run, found[0].Params, true, nil
}

// AddRun writes the run of a repeat as accepted, once by the repeat, and
// returns the id that is written. Who asked for the study asked for the run.
func (p Studies) AddRun(ctx context.Context, ref contract.TrialRef, run string, params round.Params) (string, error) {
	err := p.db.withTenant(ctx, ref.Tenant, func(tx *tenantTx) error {
		// Whoever writes runs of the study comes one after the other.
		var requester string
		var simulated bool
		var tenants []string
		err := tx.QueryRow(ctx, `select requester, simulated, array(select jsonb_array_elements_text(base -> 'tenants')) from fabric.study
			where tenant = $1 and id = $2 for update`, ref.Tenant, ref.Study).Scan(&requester, &simulated, &tenants)
		if err != nil {
			return absent(err, fmt.Errorf("study %s: %w", ref.Study, activities.ErrNotFound))
		}
		var written []string
		var b pgx.Batch
		queue(&b, &written, pgx.RowTo[string], `select run from fabric.study_run where tenant = $1 and study = $2 and number = $3 and repeat = $4`,
			ref.Tenant, ref.Study, ref.Number, ref.Repeat)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		if len(written) > 0 {
			run = written[0]
			return nil
		}
		b = pgx.Batch{}
		b.Queue(`insert into fabric.run (tenant, id, model, tenants, params, requester, simulated, trace_id, study) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			ref.Tenant, run, ref.ModelID, nonNil(tenants), params, requester, simulated, ref.TraceID, ref.Study)
		b.Queue(`insert into fabric.study_run (tenant, study, number, repeat, run) values ($1, $2, $3, $4, $5)`,
			ref.Tenant, ref.Study, ref.Number, ref.Repeat, run)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			if code(err) == foreignKeyViolation {
				return fmt.Errorf("trial %d of study %s: %w", ref.Number, ref.Study, activities.ErrNotFound)
			}
			return err
		}
		leaf := subjectLeaf(ref.Subject, "run.accepted", "run/"+run)
		leaf.State, leaf.Simulated = "accepted", simulated
		tx.leaf(leaf)
		return nil
	})
	return run, err
}

// SaveTrial writes what became of a trial, if so many of its runs were over
// before and it was not over itself; else ErrStale.
func (p Studies) SaveTrial(ctx context.Context, ref contract.TrialRef, before int, after tuning.Job) error {
	return p.db.withTenant(ctx, ref.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `
			update fabric.study_trial set state = $5, cause = $6, measured = $7, limits = $8, rungs = $9, ended = $10, rounds = $11,
				ended_at = case when $5 = 'ACTIVE' then null else now() end
			where tenant = $1 and study = $2 and number = $3 and ended = $4 and state = 'ACTIVE'`,
			ref.Tenant, ref.Study, ref.Number, before, after.State, clean(after.Cause), some(after.Values), some(after.Constraints), some(after.Rungs), after.Ended, after.Rounds)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("trial %d of study %s: %w", ref.Number, ref.Study, activities.ErrStale)
		}
		return err
	})
}

// some keeps NULL out of array columns.
func some[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}

// Facts returns how a run ended and what it cost. What other tenants' features
// are charged for it is read as the system, by the owner of the run.
func (p Studies) Facts(ctx context.Context, tenant, run string) (activities.RunFacts, error) {
	type row struct {
		activities.RunFacts
		params round.Params
	}
	found, err := queryTenant(ctx, p.db.app, tenant, func(r pgx.CollectableRow) (row, error) {
		var f row
		return f, r.Scan(&f.Status, &f.Cause, &f.Metrics, &f.RunFacts.Rounds, &f.params, &f.Uploaded)
	}, `
		select status, cause, metrics, rounds, params, (
			select coalesce(sum(coalesce((s.update ->> 'sizeBytes')::bigint, 0) + coalesce((s.message ->> 'sizeBytes')::bigint, 0)), 0)::bigint
			from fabric.submission s where s.tenant = r.tenant and s.run = r.id)
		from fabric.run r where tenant = $1 and id = $2`, tenant, run)
	facts, err := one(found, err, fmt.Errorf("run %s: %w", run, activities.ErrNotFound))
	if err != nil {
		return activities.RunFacts{}, err
	}
	facts.Charges, err = p.db.charges(ctx, tenant, []string{run}, facts.params.Privacy.Delta)
	return facts.RunFacts, err
}

// charges returns what runs of a tenant took from the budgets of features and
// keep, a ledger for each feature.
func (db *DB) charges(ctx context.Context, owner string, runs []string, delta float64) ([]privacy.Ledger, error) {
	if delta <= 0 {
		delta = privacy.DefaultDelta
	}
	rows, err := db.system.Query(ctx, `
		select tenant, feature, state, count(*), events from fabric.privacy_entry
		where owner = $1 and run = any ($2::text[]) and state <> 'refunded'
		group by tenant, feature, state, events order by tenant collate "C", feature collate "C", state, events`, owner, runs)
	if err != nil {
		return nil, fault(err)
	}
	entries, err := pgx.CollectRows(rows, scanEntry)
	if err != nil {
		return nil, fault(err)
	}
	var ledgers []privacy.Ledger
	for _, e := range entries {
		if n := len(ledgers); n == 0 || ledgers[n-1].Tenant != e.Tenant || ledgers[n-1].Feature != e.Feature.Feature {
			ledgers = append(ledgers, privacy.Ledger{Budget: privacy.Budget{Tenant: e.Tenant, Feature: e.Feature.Feature, EpsilonLimit: privacy.MaxEpsilon, Delta: delta}})
		}
		last := &ledgers[len(ledgers)-1]
		last.Entries = append(last.Entries, e.Entry)
	}
	return ledgers, nil
}

// CloseStudy writes the end of a study once, with that of its trials and runs
// that were left open. The tuning that carries it on is an action like any
// other, and is started with it or not at all.
func (p Studies) CloseStudy(ctx context.Context, in contract.CloseStudyInput, best int, tune *contract.TuneInput) (contract.StudyResult, error) {
	out := contract.StudyResult{Study: in.Study}
	err := p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		var requester string
		var simulated bool
		err := tx.QueryRow(ctx, `select status, requester, simulated from fabric.study where tenant = $1 and id = $2 for update`,
			in.Tenant, in.Study).Scan(&out.Status, &requester, &simulated)
		if err != nil {
			return absent(err, fmt.Errorf("study %s: %w", in.Study, activities.ErrNotFound))
		}
		if out.Status == tuning.StudyRunning {
			if err := tx.endStudy(ctx, in, best, tune, api.Caller{Tenant: in.Tenant, Subject: requester, Simulated: simulated, TraceID: in.TraceID}); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, `select status, cause, best, suggestion, (select count(*) from fabric.study_trial t where t.tenant = s.tenant and t.study = s.id)
			from fabric.study s where tenant = $1 and id = $2`, in.Tenant, in.Study).Scan(&out.Status, &out.Cause, &out.Best, &out.Suggestion, &out.Trials)
	})
	return out, err
}

func (tx *tenantTx) endStudy(ctx context.Context, in contract.CloseStudyInput, best int, tune *contract.TuneInput, caller api.Caller) error {
	suggestion := ""
	if tune != nil {
		suggestion = tune.Action
		action := api.Action{ID: tune.Action, Kind: promotion.KindTuning, ModelID: tune.ModelID, Environment: tune.Environment, State: "started"}
		written, err := tx.insertAction(ctx, api.Command{Caller: caller}, action)
		if err != nil {
			return absent(err, fmt.Errorf("tuning %s: %w", tune.Action, activities.ErrStale))
		}
		tx.actionLeaf(api.Command{Caller: caller}, written, "")
		tx.begin(caller, api.Start{
			Workflow: contract.AutoTune.Name, ID: contract.TuneID(tune.Action), Queue: contract.QueueControl, Input: *tune,
			Summary:    fmt.Sprintf("tune %s in %s by study %s", tune.ModelID, tune.Environment, in.Study),
			Attributes: api.Attributes{Tenant: in.Tenant, Model: tune.ModelID, Stage: "started"},
		})
	}
	var b pgx.Batch
	b.Queue(`update fabric.study set status = $3, cause = $4, best = $5, suggestion = $6, ended_at = now() where tenant = $1 and id = $2`,
		in.Tenant, in.Study, in.Status, clean(in.Cause), best, suggestion)
	b.Queue(`update fabric.study_trial set state = 'STOPPED', cause = 'the study ended', ended_at = now() where tenant = $1 and study = $2 and state = 'ACTIVE'`,
		in.Tenant, in.Study)
	b.Queue(`update fabric.run set status = 'stopped', cause = 'the study ended', ended_at = now() where tenant = $1 and study = $2 and status = 'accepted'`,
		in.Tenant, in.Study)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	leaf := subjectLeaf(in.Subject, "study."+in.Status, studySubject(in.Study))
	leaf.Previous, leaf.State, leaf.Simulated = tuning.StudyRunning, in.Status, caller.Simulated
	tx.leaf(leaf)
	return nil
}
