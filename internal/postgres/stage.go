package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// OpenStage lets the region's sites see the round. Again, it may move the
// deadline back but not forward, and wakes the sites again. ErrNotFound
// without the round. A closed stage stays closed.
func (p Rounds) OpenStage(ctx context.Context, in contract.RegionInput, deadline time.Time) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		var fresh bool
		err := tx.QueryRow(ctx, `
			insert into fabric.stage (tenant, run, number, region, kind, model, manifest, signature, sites, trace_id, deadline)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			on conflict (tenant, run, number, stage, region) do update set deadline = greatest(stage.deadline, excluded.deadline)
			returning xmax = 0`,
			in.Tenant, in.Run, in.Number, in.Region, in.Kind, in.ModelID, in.Manifest, in.Signature, in.Sites, in.TraceID, deadline).Scan(&fresh)
		if code(err) == foreignKeyViolation {
			return fmt.Errorf("%s: %w", roundSubject(in.Run, in.Number), activities.ErrNotFound)
		}
		if err != nil {
			return err
		}
		tx.notify(channelWork, in.Region)
		if !fresh {
			return nil
		}
		leaf := subjectLeaf(in.Subject, "stage.opened", roundSubject(in.Run, in.Number))
		leaf.Digest, leaf.Statement, leaf.State = in.Manifest.Digest, in.Signature.Digest, in.Region
		return tx.leafOfRun(ctx, in.Run, leaf)
	})
}

// StageCounts counts the submissions of the stage. ErrNotFound before it was opened.
func (p Rounds) StageCounts(ctx context.Context, ref contract.StageRef) (round.Counts, error) {
	p.db.hub.look(topicOf(ref)) // before the count, so that what arrives after it wakes the next wait
	counts, err := queryTenant(ctx, p.db.app, ref.Tenant, pgx.RowToStructByPos[round.Counts], `
		select st.sites, count(s.site) filter (where s.reason = ''), count(s.site) filter (where s.reason <> '')
		from fabric.stage st
		left join fabric.submission s on s.tenant = st.tenant and s.run = st.run and s.number = st.number and s.stage = st.stage and s.region = st.region
		where st.tenant = $1 and st.run = $2 and st.number = $3 and st.stage = 'update' and st.region = $4
		group by st.sites`, ref.Tenant, ref.Run, ref.Number, ref.Region)
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
		if _, err := tx.Exec(ctx, queueForStage+stageLock, ref.Tenant, stageTopic(ref.Run, ref.Number, ref.Region)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `update fabric.stage set status = 'closed', closed_at = now()
			where tenant = $1 and run = $2 and number = $3 and stage = 'update' and region = $4 and status = 'open'`,
			ref.Tenant, ref.Run, ref.Number, ref.Region)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			err := tx.mustExist(ctx, `select from fabric.stage where tenant = $1 and run = $2 and number = $3 and stage = 'update' and region = $4`,
				ref.Tenant, ref.Run, ref.Number, ref.Region)
			if err != nil {
				return fmt.Errorf("stage %s: %w", topicOf(ref), err)
			}
		}
		rows, err := tx.Query(ctx, `
			select site_tenant, site, update, metrics, reason from fabric.submission
			where tenant = $1 and run = $2 and number = $3 and stage = 'update' and region = $4
			order by site_tenant collate "C", site collate "C"`, ref.Tenant, ref.Run, ref.Number, ref.Region)
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
		leaf.Previous = ref.Region
		leaf.State = fmt.Sprintf("%s: %d accepted, %d rejected", ref.Region, accepted, len(found)-accepted)
		return tx.leafOfRun(ctx, ref.Run, leaf)
	})
	return found, err
}

func topicOf(ref contract.StageRef) string {
	return channelStage + ":" + stageTopic(ref.Run, ref.Number, ref.Region)
}
