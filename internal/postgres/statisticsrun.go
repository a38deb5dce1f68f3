package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/summary"
)

// whose selects one attempt.
const whose = `tenant = $1 and feature = $2 and version = $3 and attempt = $4`

func keyOf(in contract.StatisticsInput, more ...any) []any {
	return append([]any{in.Tenant, in.Feature, in.Version, in.Attempt}, more...)
}

// Asking returns an attempt.
func (p Statistics) Asking(ctx context.Context, in contract.StatisticsInput) (activities.Asking, error) {
	found, err := queryTenant(ctx, p.db.app, in.Tenant, scanAsking, selectAsking, keyOf(in)...)
	return one(found, err, activities.ErrNotFound)
}

const selectAsking = `select question, seconds, document, bundle from fabric.statistics where ` + whose

func scanAsking(row pgx.CollectableRow) (activities.Asking, error) {
	var a activities.Asking
	var question string
	if err := row.Scan(&question, &a.Seconds, &a.Document, &a.Bundle); err != nil {
		return a, err
	}
	return a, json.Unmarshal([]byte(question), &a.Question)
}

// Open lets the sites of the question see it. The first one stays.
func (p Statistics) Open(ctx context.Context, in contract.StatisticsInput, offered activities.Asking) (activities.Asking, error) {
	text, _, err := offered.Question.Encode()
	if err != nil {
		return offered, err
	}
	var kept activities.Asking
	err = p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `update fabric.statistics set state = 'open', question = $5, sites = $6, document = $7, bundle = $8,
				deadline = clock_timestamp() + seconds * interval '1 second' where `+whose+` and state = 'waiting'`,
			keyOf(in, string(text), offered.Question.Sites, offered.Document, offered.Bundle)...)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectAsking, keyOf(in)...)
		if err != nil {
			return err
		}
		if kept, err = pgx.CollectExactlyOneRow(rows, scanAsking); err != nil {
			return absent(err, activities.ErrNotFound)
		}
		if kept.Document.Digest == "" { // it has ended without
			return fmt.Errorf("statistics of %s: %w", in.Feature, activities.ErrRefused)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		tx.leaf(p.leaf(in, "statistics.offered", kept.Document.Digest, fmt.Sprintf("%d sites", len(kept.Question.Sites))))
		rows, err = tx.Query(ctx, `select distinct region from fabric.site where tenant = $1 and id = any ($2::text[])`, in.Tenant, kept.Question.Sites)
		if err != nil {
			return err
		}
		regions, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, region := range regions { // sites that wait are told
			tx.notify(channelWork, region)
		}
		return err
	})
	return kept, err
}

func (p Statistics) leaf(in contract.StatisticsInput, kind string, digest artifact.Digest, state string) audit.Leaf {
	return audit.Leaf{Kind: kind, Tenant: in.Tenant, Actor: actorFabric, Subject: featureSubject(in.Tenant, in.Feature),
		Digest: digest, State: fmt.Sprintf("version %d, attempt %d: %s", in.Version, in.Attempt, clean(state)), TraceID: in.TraceID}
}

// Counts counts the answers.
func (p Statistics) Counts(ctx context.Context, in contract.StatisticsInput) (contract.StatisticsCounts, error) {
	found, err := queryTenant(ctx, p.db.app, in.Tenant, pgx.RowToStructByPos[contract.StatisticsCounts],
		`select count(*) filter (where refused = ''), count(*) filter (where refused <> '') from fabric.statistics_answer where `+whose, keyOf(in)...)
	return one(found, err, activities.ErrNotFound)
}

// Changed returns when an answer may have arrived since the last Counts, or
// after wait; at times earlier than either.
func (p Statistics) Changed(ctx context.Context, in contract.StatisticsInput, wait time.Duration) error {
	topic := channelStage + ":" + statisticsTopic(in.Tenant, in.Feature, in.Version, in.Attempt)
	_, err := p.db.hub.wait(ctx, p.db.hub.stand(topic), wait)
	return err
}

// Shut takes no more answers. The update waits for those whose transaction holds
// the row, and those that come later find it shut: none is lost between.
func (p Statistics) Shut(ctx context.Context, in contract.StatisticsInput) ([]summary.Answer, error) {
	var answers []summary.Answer
	err := p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		if err := tx.mustExist(ctx, `select from fabric.statistics where `+whose, keyOf(in)...); err != nil {
			return fmt.Errorf("statistics of %s: %w", in.Feature, err)
		}
		if _, err := tx.Exec(ctx, `update fabric.statistics set state = 'shut' where `+whose+` and state in ('waiting', 'open')`, keyOf(in)...); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select document from fabric.statistics_answer where `+whose+` order by site collate "C"`, keyOf(in)...)
		if err != nil {
			return err
		}
		answers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (summary.Answer, error) {
			var a summary.Answer
			var text string
			if err := row.Scan(&text); err != nil {
				return a, err
			}
			return a, json.Unmarshal([]byte(text), &a)
		})
		return err
	})
	return answers, err
}

// Conclude writes the end, once, and settles what was reserved with it.
func (p Statistics) Conclude(ctx context.Context, in contract.StatisticsInput, end contract.StatisticsResult, learnt bool) (contract.StatisticsResult, error) {
	var kept contract.StatisticsResult
	err := p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `update fabric.statistics set state = $5, cause = $6, release = $7, ended_at = now() where `+whose+` and state = 'shut'`,
			keyOf(in, end.State, clean(end.Cause), end.Release)...)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `select state, cause, release from fabric.statistics where `+whose, keyOf(in)...).Scan(&kept.State, &kept.Cause, &kept.Release)
		if err != nil {
			return absent(err, activities.ErrNotFound)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		settled := privacy.Reserved.Settled(learnt)
		_, err = tx.Exec(ctx, `update fabric.privacy_entry set state = $5, closed_at = now()
			where tenant = $1 and feature = $2 and owner = $1 and run = $3 and number = $4 and state = 'reserved'`,
			in.Tenant, in.Feature, statisticsRun(in.Version), in.Attempt, settled)
		if err != nil {
			return err
		}
		kind, said := "statistics.published", string(settled)
		if kept.State == summary.StateFailed {
			kind, said = "statistics.failed", string(settled)+", "+kept.Cause
		}
		tx.leaf(p.leaf(in, kind, kept.Release.Digest, said))
		return nil
	})
	return kept, err
}
