package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// OpenNext opens a stage after the first for its members, once, and wakes
// them; a later call changes nothing. What the stage before it was given for a
// manifest is given here too.
//
// ErrRefused when the stage before it still takes submissions, when the round
// has ended, and, for check and unmask, before the survivors are committed: a
// set that a site has seen is in the rows already. ErrNotFound without the
// round.
func (p Rounds) OpenNext(ctx context.Context, ref contract.StageRef, members []activities.Member, deadline time.Time) error {
	return p.db.withTenant(ctx, ref.Tenant, func(tx *tenantTx) error {
		before, ok := preceding(ref.Stage)
		if !ok {
			return fmt.Errorf("stage %s follows none: %w", topicOf(ref), activities.ErrRefused)
		}
		tag, err := tx.Exec(ctx, `
			insert into fabric.stage (tenant, run, number, stage, region, kind, model, manifest, signature, sites, trace_id, deadline)
			select st.tenant, st.run, st.number, $5, st.region, st.kind, st.model, st.manifest, st.signature, $7, st.trace_id, $8
			from fabric.stage st
			join fabric.round r on r.tenant = st.tenant and r.run = st.run and r.number = st.number and r.status = 'open'
			where st.tenant = $1 and st.run = $2 and st.number = $3 and st.region = $4 and st.stage = $6 and st.status = 'closed'
				and ($5 not in ('check', 'unmask') or exists (select from fabric.survivors v
					where v.tenant = st.tenant and v.run = st.run and v.number = st.number and v.region = st.region))
			for share of r
			on conflict (tenant, run, number, stage, region) do nothing`,
			ref.Tenant, ref.Run, ref.Number, ref.Region, ref.Stage, before, len(members), deadline)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			if err := tx.opened(ctx, ref); err != nil {
				return err
			}
			return tx.wakeGroup(ctx, ref)
		}
		var tenants, sites []string
		inboxes := make([]artifact.Descriptor, len(members))
		for i, m := range members {
			tenants, sites, inboxes[i] = append(tenants, m.Tenant), append(sites, m.Site), m.Inbox
		}
		_, err = tx.Exec(ctx, `
			insert into fabric.stage_member (tenant, run, number, stage, region, site_tenant, site, inbox)
			select $1, $2, $3, $4, $5, * from unnest($6::text[], $7::text[], $8::jsonb[])`,
			ref.Tenant, ref.Run, ref.Number, ref.Stage, ref.Region, nonNil(tenants), nonNil(sites), inboxes)
		if code(err) == foreignKeyViolation || code(err) == uniqueViolation {
			return fmt.Errorf("stage %s: a member is not of the cohort, or twice: %w", topicOf(ref), activities.ErrRefused)
		}
		if err != nil {
			return err
		}
		if err := tx.wakeGroup(ctx, ref); err != nil {
			return err
		}
		return tx.leafOfRun(ctx, ref.Run, openedLeaf(ref))
	})
}

// preceding returns the stage before s.
func preceding(s round.Stage) (round.Stage, bool) {
	at, ok := round.StageAdvertise, true
	for ok {
		next, more := at.Following()
		if more && next == s {
			return at, true
		}
		at, ok = next, more
	}
	return "", false
}

// Members returns whom the stage was opened for, by tenant and site.
func (p Rounds) Members(ctx context.Context, ref contract.StageRef) ([]activities.Member, error) {
	return queryTenant(ctx, p.db.app, ref.Tenant, pgx.RowToStructByPos[activities.Member], `
		select site_tenant, site, inbox from fabric.stage_member
		where tenant = $1 and run = $2 and number = $3 and stage = $4 and region = $5
		order by site_tenant collate "C", site collate "C"`, ref.Tenant, ref.Run, ref.Number, ref.Stage.Or(), ref.Region)
}

// CommitSurvivors writes the group's survivor set once, and returns the one
// that is written. ErrNotFound when there was no stage for masked vectors.
func (p Rounds) CommitSurvivors(ctx context.Context, ref contract.StageRef, set artifact.Descriptor) (artifact.Descriptor, error) {
	err := p.db.withTenant(ctx, ref.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `insert into fabric.survivors (tenant, run, number, region, set) values ($1, $2, $3, $4, $5) on conflict do nothing`,
			ref.Tenant, ref.Run, ref.Number, ref.Region, set)
		if code(err) == foreignKeyViolation {
			return fmt.Errorf("stage mask of %s: %w", topicOf(ref), activities.ErrNotFound)
		}
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return tx.QueryRow(ctx, selectSurvivors, ref.Tenant, ref.Run, ref.Number, ref.Region).Scan(&set)
		}
		leaf := subjectLeaf(ref.Subject, "survivors.committed", roundSubject(ref.Run, ref.Number))
		leaf.Digest, leaf.State = set.Digest, ref.Region
		return tx.leafOfRun(ctx, ref.Run, leaf)
	})
	return set, err
}

const selectSurvivors = `select set from fabric.survivors where tenant = $1 and run = $2 and number = $3 and region = $4`

// Survivors returns the set that was written.
func (p Rounds) Survivors(ctx context.Context, ref contract.StageRef) (artifact.Descriptor, bool, error) {
	found, err := queryTenant(ctx, p.db.app, ref.Tenant, pgx.RowTo[artifact.Descriptor], selectSurvivors, ref.Tenant, ref.Run, ref.Number, ref.Region)
	if err != nil || len(found) == 0 {
		return artifact.Descriptor{}, false, err
	}
	return found[0], true, nil
}
