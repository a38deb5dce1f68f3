package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/round"
)

// OpenStage opens the first stage of the group, once, and wakes its sites. A
// stage that is there is left as it is. ErrNotFound without the round,
// ErrRefused when the round has ended: no site shall work for nothing.
func (p Rounds) OpenStage(ctx context.Context, in contract.RegionInput, stage round.Stage, deadline time.Time) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		// The lock on the round makes its end come before this or after it.
		tag, err := tx.Exec(ctx, `
			insert into fabric.stage (tenant, run, number, stage, region, kind, model, manifest, signature, sites, trace_id, deadline)
			select r.tenant, r.run, r.number, $4, $5, $6, $7, $8, $9, $10, $11, $12
			from fabric.round r where r.tenant = $1 and r.run = $2 and r.number = $3 and r.status = 'open' for share
			on conflict (tenant, run, number, stage, region) do nothing`,
			in.Tenant, in.Run, in.Number, stage.Or(), in.Region, in.Kind, in.ModelID, in.Manifest, in.Signature, in.Sites, in.TraceID, deadline)
		if err != nil {
			return err
		}
		ref := contract.StageRef{Subject: in.Subject, Run: in.Run, Number: in.Number, Region: in.Region, Stage: stage}
		if tag.RowsAffected() == 0 {
			if err := tx.opened(ctx, ref); err != nil {
				return err
			}
		}
		if err := tx.wakeGroup(ctx, ref); err != nil || tag.RowsAffected() == 0 {
			return err
		}
		leaf := openedLeaf(ref)
		leaf.Digest, leaf.Statement = in.Manifest.Digest, in.Signature.Digest
		return tx.leafOfRun(ctx, in.Run, leaf)
	})
}

// opened tells "done before" from "never": ErrNotFound without the round, and
// ErrRefused when the stage is not there although the round is.
func (tx *tenantTx) opened(ctx context.Context, ref contract.StageRef) error {
	var stage, there bool
	err := tx.QueryRow(ctx, `
		select exists (select from fabric.stage where tenant = $1 and run = $2 and number = $3 and stage = $4 and region = $5),
			exists (select from fabric.round where tenant = $1 and run = $2 and number = $3)`,
		ref.Tenant, ref.Run, ref.Number, ref.Stage.Or(), ref.Region).Scan(&stage, &there)
	switch {
	case err != nil || stage:
		return err
	case !there:
		return fmt.Errorf("%s: %w", roundSubject(ref.Run, ref.Number), activities.ErrNotFound)
	}
	return fmt.Errorf("stage %s may not open now: %w", topicOf(ref), activities.ErrRefused)
}

// wakeGroup wakes the group's sites where they wait, which is by their own
// region: a group may gather sites of several.
func (tx *tenantTx) wakeGroup(ctx context.Context, ref contract.StageRef) error {
	rows, err := tx.Query(ctx, `select distinct case when home = '' then region else home end from fabric.cohort
		where tenant = $1 and run = $2 and number = $3 and region = $4`, ref.Tenant, ref.Run, ref.Number, ref.Region)
	if err != nil {
		return err
	}
	homes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, home := range homes {
		tx.notify(channelWork, home)
	}
	return err
}

// openedLeaf says that a stage was opened. State names the group, and the
// stage where there is more than one.
func openedLeaf(ref contract.StageRef) audit.Leaf {
	leaf := subjectLeaf(ref.Subject, "stage.opened", roundSubject(ref.Run, ref.Number))
	leaf.State = stageName(ref)
	return leaf
}

func stageName(ref contract.StageRef) string {
	if ref.Stage.Or() == round.StageUpdate {
		return ref.Region
	}
	return ref.Region + "/" + string(ref.Stage)
}

// StageCounts counts the submissions of the stage. ErrNotFound before it was opened.
func (p Rounds) StageCounts(ctx context.Context, ref contract.StageRef) (round.Counts, error) {
	p.db.hub.look(topicOf(ref)) // before the count, so that what arrives after it wakes the next wait
	counts, err := queryTenant(ctx, p.db.app, ref.Tenant, pgx.RowToStructByPos[round.Counts], `
		select st.sites, count(s.site) filter (where s.reason = '' and not `+halted+`), count(s.site) filter (where s.reason <> '' and not `+halted+`) + (`+haltedSites+`)
		from fabric.stage st
		left join fabric.submission s on s.tenant = st.tenant and s.run = st.run and s.number = st.number and s.stage = st.stage and s.region = st.region
		where st.tenant = $1 and st.run = $2 and st.number = $3 and st.stage = $5 and st.region = $4
		group by st.tenant, st.run, st.number, st.stage, st.region, st.sites`, ref.Tenant, ref.Run, ref.Number, ref.Region, ref.Stage.Or())
	return one(counts, err, fmt.Errorf("stage %s: %w", topicOf(ref), activities.ErrNotFound))
}

// StageChanged returns when a submission may have arrived since the last
// StageCounts, or after wait; at times earlier than either.
func (p Rounds) StageChanged(ctx context.Context, ref contract.StageRef, wait time.Duration) error {
	_, err := p.db.hub.wait(ctx, p.db.hub.stand(topicOf(ref)), wait)
	return err
}

// CloseStage refuses further submissions and returns those that came. The
// update waits for submissions whose transaction holds the row, and those that
// come later find it closed: none is lost between.
func (p Rounds) CloseStage(ctx context.Context, ref contract.StageRef) ([]activities.Submission, error) {
	var found []activities.Submission
	err := p.db.withTenant(ctx, ref.Tenant, func(tx *tenantTx) error {
		if _, err := tx.Exec(ctx, queueForStage+stageLock, ref.Tenant, stageTopic(ref)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `update fabric.stage set status = 'closed', closed_at = now()
			where tenant = $1 and run = $2 and number = $3 and stage = $5 and region = $4 and status = 'open'`,
			ref.Tenant, ref.Run, ref.Number, ref.Region, ref.Stage.Or())
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			err := tx.mustExist(ctx, `select from fabric.stage where tenant = $1 and run = $2 and number = $3 and stage = $5 and region = $4`,
				ref.Tenant, ref.Run, ref.Number, ref.Region, ref.Stage.Or())
			if err != nil {
				return fmt.Errorf("stage %s: %w", topicOf(ref), err)
			}
		}
		rows, err := tx.Query(ctx, `
			select site_tenant, site, update, metrics, message, case when `+halted+` then '`+haltedReason+`' else reason end, base_round from fabric.submission s
			where tenant = $1 and run = $2 and number = $3 and stage = $5 and region = $4
			order by site_tenant collate "C", site collate "C"`, ref.Tenant, ref.Run, ref.Number, ref.Region, ref.Stage.Or())
		if err != nil {
			return err
		}
		if found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[activities.Submission]); err != nil || tag.RowsAffected() == 0 {
			return err
		}
		var accepted int
		for _, s := range found {
			if s.Reason == "" {
				accepted++
			}
		}
		leaf := subjectLeaf(ref.Subject, "stage.closed", roundSubject(ref.Run, ref.Number))
		leaf.Previous = stageName(ref)
		leaf.State = fmt.Sprintf("%s: %d accepted, %d rejected", stageName(ref), accepted, len(found)-accepted)
		return tx.leafOfRun(ctx, ref.Run, leaf)
	})
	return found, err
}

func topicOf(ref contract.StageRef) string {
	return channelStage + ":" + stageTopic(ref)
}
