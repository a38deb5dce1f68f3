package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/summary"
)

// Statistics keeps what is asked and published about versions of features:
// [api.Statistics] and [activities.Statistics].
type Statistics struct{ db *DB }

// Statistics returns the port.
func (db *DB) Statistics() Statistics { return Statistics{db} }

const selectStatistics = `
	select s.question, s.attempt, s.state, s.cause, s.seconds, s.document, s.bundle, s.release, s.asked_at, coalesce(s.deadline, 'epoch'), coalesce(s.ended_at, 'epoch'),
		(select count(*) from fabric.statistics_answer a where a.tenant = s.tenant and a.feature = s.feature and a.version = s.version and a.attempt = s.attempt)
	from fabric.statistics s where `

func scanStatistics(row pgx.CollectableRow) (api.FeatureStatistics, error) {
	var s api.FeatureStatistics
	var question string
	err := row.Scan(&question, &s.Attempt, &s.State, &s.Cause, &s.Seconds, &s.Document, &s.Bundle, &s.Release, &s.AskedAt, &s.Deadline, &s.EndedAt, &s.Answers)
	if err != nil {
		return s, err
	}
	s.Deadline, s.EndedAt = real(s.Deadline), real(s.EndedAt)
	return s, json.Unmarshal([]byte(question), &s.Question)
}

// AskStatistics checks, charges, writes and starts, in one transaction: after a
// crash at any line of it there is all of it or nothing, and who asks again is
// given what is there.
func (p Statistics) AskStatistics(ctx context.Context, cmd api.Command, wish api.StatisticsWish, reply api.Reply[api.FeatureStatistics]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		f, known, err := tx.lockFeature(ctx, wish.Feature)
		if err != nil {
			return api.Answer{}, err
		}
		if !known {
			return api.Answer{}, fmt.Errorf("feature %s: %w", wish.Feature, api.ErrNotFound)
		}
		there, err := tx.statistics(ctx, wish.Feature, f.Version)
		if err != nil {
			return api.Answer{}, err
		}
		if len(there) > 0 && there[0].State != summary.StateFailed {
			there[0].Before = true
			return reply(there[0])
		}
		q := summary.Question{
			Tenant: tx.tenant, Feature: wish.Feature, Version: f.Version, Content: f.Content,
			Bins: wish.Bins, Epsilon: wish.Epsilon, Purpose: wish.Purpose, Delta: privacy.DefaultDelta,
		}
		if q.Columns, err = summary.Columns(f.Schema, f.Semantics, wish.Columns); err != nil {
			return api.Answer{}, err
		}
		if err := q.Check(); err != nil {
			return api.Answer{}, err
		}
		have, err := tx.grants(ctx, wish.Feature)
		if err != nil {
			return api.Answer{}, err
		}
		rows, err := tx.Query(ctx, selectSite+`tenant = $1 order by id collate "C"`, tx.tenant)
		if err != nil {
			return api.Answer{}, err
		}
		sites, err := pgx.CollectRows(rows, scanSite)
		if err != nil {
			return api.Answer{}, err
		}
		if _, _, err := summary.Allowed(have, q, sites, p.db.clock()); err != nil {
			return api.Answer{}, err
		}
		attempt := len(there) + 1
		if q, err = p.charge(ctx, tx, q, attempt); err != nil {
			return api.Answer{}, err
		}
		text, _, err := q.Encode()
		if err != nil {
			return api.Answer{}, err
		}
		_, err = tx.Exec(ctx, `insert into fabric.statistics (tenant, feature, version, attempt, state, question, seconds, actor, simulated, trace_id)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			tx.tenant, wish.Feature, f.Version, attempt, summary.StateWaiting, string(text), wish.Seconds, clean(cmd.Subject), cmd.Simulated, cmd.TraceID)
		if err != nil {
			return api.Answer{}, err
		}
		tx.begin(cmd.Caller, api.Start{
			Workflow: contract.FeatureStatistics.Name,
			ID:       contract.StatisticsID(tx.tenant, wish.Feature, f.Version, attempt),
			Queue:    contract.QueueControl,
			Input: contract.StatisticsInput{
				Subject: contract.Subject{Tenant: tx.tenant, TraceID: cmd.TraceID}, Feature: wish.Feature, Version: f.Version, Attempt: attempt,
			},
			Summary:    fmt.Sprintf("statistics of feature %s of %s, version %d", wish.Feature, tx.tenant, f.Version),
			Attributes: api.Attributes{Tenant: tx.tenant, Stage: "statistics"},
		})
		leaf := leafOf(cmd.Caller, "statistics.asked", featureSubject(tx.tenant, wish.Feature))
		leaf.Digest, leaf.State = f.Content, fmt.Sprintf("version %d, attempt %d, epsilon %g, delta %g", f.Version, attempt, q.Epsilon, q.Delta)
		tx.leaf(leaf)
		if there, err = tx.statistics(ctx, wish.Feature, f.Version); err != nil {
			return api.Answer{}, err
		}
		return reply(there[0])
	})
}

// statistics returns the attempts for a version, the newest first.
func (tx *tenantTx) statistics(ctx context.Context, feature string, version int) ([]api.FeatureStatistics, error) {
	rows, err := tx.Query(ctx, selectStatistics+`s.tenant = $1 and s.feature = $2 and s.version = $3 order by s.attempt desc`, tx.tenant, feature, version)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanStatistics)
}

// statisticsRun is what the ledger names instead of a run. A run's id begins
// with "run-".
func statisticsRun(version int) string { return fmt.Sprintf("statistics-%d", version) }

// charge takes the epsilon of the question from the budget of its feature, which
// says at which delta.
func (p Statistics) charge(ctx context.Context, tx *tenantTx, q summary.Question, attempt int) (summary.Question, error) {
	f := privacy.Feature{Tenant: q.Tenant, Feature: q.Feature}
	ledger, _, err := p.db.lock(ctx, tx, f, true)
	if err != nil {
		return q, err
	}
	q.Delta = ledger.Delta
	if q, err = q.Noised(); err != nil {
		return q, err
	}
	events := []dp.Event{q.Event()}
	if _, err := privacy.Reserve([]privacy.Ledger{ledger}, privacy.Request{Features: []privacy.Feature{f}, Events: events}); err != nil {
		return q, fmt.Errorf("statistics of %s: %w", q.Feature, err)
	}
	_, err = tx.Exec(ctx, `insert into fabric.privacy_entry (tenant, feature, owner, run, number, events) values ($1, $2, $1, $3, $4, $5)`,
		q.Tenant, q.Feature, statisticsRun(q.Version), attempt, events)
	return q, err
}

// FeatureStatistics crosses tenants: whether a grant lets another tenant see
// what is published is looked up here, with nothing cached.
func (p Statistics) FeatureStatistics(ctx context.Context, caller api.Caller, owner, feature string, version int) (api.FeatureStatistics, error) {
	if version == 0 {
		err := p.db.system.QueryRow(ctx, `select version from fabric.feature_alias where tenant = $1 and feature = $2`, owner, feature).Scan(&version)
		if err != nil {
			return api.FeatureStatistics{}, fault(absent(err, api.ErrNotFound))
		}
	}
	const newest = `s.tenant = $1 and s.feature = $2 and s.version = $3 order by s.attempt desc limit 1`
	if owner == caller.Tenant {
		found, err := queryTenant(ctx, p.db.app, owner, scanStatistics, selectStatistics+newest, owner, feature, version)
		return one(found, err, api.ErrNotFound)
	}
	have, err := Rounds(p).Grants(ctx, caller.Tenant, []string{owner}, []string{feature})
	if err != nil {
		return api.FeatureStatistics{}, err
	}
	rows, err := p.db.system.Query(ctx, selectStatistics+newest, owner, feature, version)
	if err != nil {
		return api.FeatureStatistics{}, fault(err)
	}
	found, err := pgx.CollectRows(rows, scanStatistics)
	s, err := one(found, fault(err), api.ErrNotFound)
	if err != nil {
		return s, err
	}
	if s.State != summary.StatePublished || !summary.Visible(have, s.Question, caller.Tenant, p.db.clock()) {
		return api.FeatureStatistics{}, api.ErrNotFound
	}
	s.Question.Sites = nil
	return s, nil
}

// openQuestion holds what is open, is a site's, and that it has not answered.
const openQuestion = `s.tenant = $1 and s.state = 'open' and $2 = any (s.sites)`
const notAnswered = ` and not exists (select from fabric.statistics_answer a
	where a.tenant = s.tenant and a.feature = s.feature and a.version = s.version and a.attempt = s.attempt and a.site = $2)`

// news is what a site that waits is told at once: its tenant's consent epoch,
// and whether a question is open to it.
func (db *DB) news(ctx context.Context, tenant, site string) (epoch int64, asked bool, err error) {
	err = db.system.QueryRow(ctx, `select coalesce((select epoch from fabric.consent_epoch where tenant = $1), 1),
		exists (select from fabric.statistics s where `+openQuestion+notAnswered+`)`, tenant, site).Scan(&epoch, &asked)
	return epoch, asked, fault(err)
}

// Questions returns what waits for the site, by feature and version.
func (p Statistics) Questions(ctx context.Context, tenant, site string) ([]api.FeatureStatistics, error) {
	return queryTenant(ctx, p.db.app, tenant, scanStatistics,
		selectStatistics+openQuestion+notAnswered+` order by s.feature collate "C", s.version limit 100`, tenant, site)
}

// Question returns the one with that digest.
func (p Statistics) Question(ctx context.Context, tenant, site string, question artifact.Digest) (api.FeatureStatistics, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, scanStatistics,
		selectStatistics+`s.tenant = $1 and $2 = any (s.sites) and s.document ->> 'digest' = $3 order by s.attempt desc limit 1`, tenant, site, string(question))
	s, err := one(found, err, api.ErrNotFound)
	if err == nil && s.State != summary.StateOpen {
		err = fmt.Errorf("statistics of %s: %w", s.Question.Feature, api.ErrClosed)
	}
	return s, err
}

// AnswerQuestion writes an answer of a site of the tenant. The lock on the row
// makes it either part of what Shut returns, or refused.
func (p Statistics) AnswerQuestion(ctx context.Context, caller api.Caller, in api.SiteAnswer) error {
	q := in.Of.Question
	return p.db.withTenant(ctx, q.Tenant, func(tx *tenantTx) error {
		var state, kept string
		err := tx.QueryRow(ctx, `select state from fabric.statistics where tenant = $1 and feature = $2 and version = $3 and attempt = $4 for share`,
			q.Tenant, q.Feature, q.Version, in.Of.Attempt).Scan(&state)
		if err != nil {
			return absent(err, api.ErrNotFound)
		}
		insert := func() (int64, error) {
			if state != summary.StateOpen {
				return 0, nil
			}
			tag, err := tx.Exec(ctx, `insert into fabric.statistics_answer (tenant, feature, version, attempt, site, document, refused, statement, bundle)
				values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing`,
				q.Tenant, q.Feature, q.Version, in.Of.Attempt, in.Answer.Site, in.Text, in.Answer.Refused, in.Statement, in.Bundle)
			return tag.RowsAffected(), err
		}
		if written, err := insert(); err != nil || written == 1 {
			leaf := leafOf(caller, "statistics.answered", featureSubject(q.Tenant, q.Feature))
			leaf.Digest, leaf.Statement, leaf.State = in.Answer.Question, in.Statement, in.Answer.Site
			if in.Answer.Refused != "" {
				leaf.Kind, leaf.State = "statistics.declined", in.Answer.Site+": "+in.Answer.Refused
			}
			tx.leaf(leaf)
			tx.notify(channelStage, statisticsTopic(q.Tenant, q.Feature, q.Version, in.Of.Attempt))
			return err
		}
		err = tx.QueryRow(ctx, `select statement from fabric.statistics_answer where tenant = $1 and feature = $2 and version = $3 and attempt = $4 and site = $5`,
			q.Tenant, q.Feature, q.Version, in.Of.Attempt, in.Answer.Site).Scan(&kept)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("statistics of %s: %w", q.Feature, api.ErrClosed)
		case err != nil:
			return err
		case kept != string(in.Statement):
			return fmt.Errorf("site %s has answered otherwise: %w", in.Answer.Site, api.ErrConflict)
		}
		return nil
	})
}

// statisticsTopic is the payload of the notice that an answer came.
func statisticsTopic(tenant, feature string, version, attempt int) string {
	return contract.StatisticsID(tenant, feature, version, attempt)
}
