package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// Rounds keeps rounds, stages and what sites answered: [activities.Rounds].
// Stages are in stage.go.
type Rounds struct{ db *DB }

// Rounds returns the port.
func (db *DB) Rounds() Rounds { return Rounds{db} }

// ConsentedFeatures returns features with consent as grantee sees it now.
func (p Rounds) ConsentedFeatures(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error) {
	return p.db.consented(ctx, grantee, tenants, features)
}

// ActiveSites returns the enrolled sites of the tenants, by tenant and id.
func (p Rounds) ActiveSites(ctx context.Context, tenants []string) ([]site.Site, error) {
	return p.db.activeSites(ctx, tenants)
}

// BeginRound writes the round with its cohort once, and the run as running.
// ErrNotFound without the run, and a [*privacy.RefusalError] when a budget does
// not cover what it costs; then nothing is written. in.Base and in.State are
// what the sites will fetch.
func (p Rounds) BeginRound(ctx context.Context, in contract.RoundInput, manifest artifact.Descriptor, cohort []round.Seat, cost privacy.Request, under ...consent.Record) (artifact.Descriptor, error) {
	err := p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `insert into fabric.round (tenant, run, number, kind, manifest, base, state) values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
			in.Tenant, in.Run, in.Number, in.Kind, manifest, in.Base, in.State)
		if code(err) == foreignKeyViolation {
			return fmt.Errorf("run %s: %w", in.Run, activities.ErrNotFound)
		}
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return tx.QueryRow(ctx, `select manifest from fabric.round where tenant = $1 and run = $2 and number = $3`, in.Tenant, in.Run, in.Number).Scan(&manifest)
		}
		var tenants, sites, groups, hosts, homes []string
		for _, s := range cohort {
			tenants, sites = append(tenants, s.Tenant), append(sites, s.ID)
			groups, hosts, homes = append(groups, s.Group), append(hosts, s.Host), append(homes, s.Region)
		}
		var b pgx.Batch
		b.Queue(`insert into fabric.cohort (tenant, run, number, site_tenant, site, region, host, home)
			select $1, $2, $3, * from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[])`, in.Tenant, in.Run, in.Number, tenants, sites, groups, hosts, homes)
		b.Queue(`update fabric.run set status = 'running' where tenant = $1 and id = $2 and status = 'accepted'`, in.Tenant, in.Run)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		if err := tx.begun(ctx, in.Run, in.Number, under); err != nil {
			return err
		}
		if err := p.db.reserve(ctx, tx, in, cost); err != nil {
			return err
		}
		leaf := subjectLeaf(in.Subject, "round.begun", roundSubject(in.Run, in.Number))
		leaf.Digest, leaf.State = manifest.Digest, "open"
		return tx.leafOfRun(ctx, in.Run, leaf)
	})
	return manifest, err
}

// Begun returns the manifest of a round that was begun, and its cohort by group.
func (p Rounds) Begun(ctx context.Context, tenant, run string, number int) (artifact.Descriptor, []round.Cohort, bool, error) {
	var manifests []artifact.Descriptor
	var cohort []round.Cohort
	var b pgx.Batch
	b.Queue(setTenant, tenant)
	queue(&b, &manifests, pgx.RowTo[artifact.Descriptor], `select manifest from fabric.round where tenant = $1 and run = $2 and number = $3`, tenant, run, number)
	queue(&b, &cohort, pgx.RowToStructByPos[round.Cohort], `
		select case when host = '' then region else host end, count(*), case when host in ('', region) then '' else region end from fabric.cohort
		where tenant = $1 and run = $2 and number = $3 group by region, host order by region collate "C"`, tenant, run, number)
	if tenant == "" {
		return artifact.Descriptor{}, nil, false, errNoTenant
	}
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return artifact.Descriptor{}, nil, false, fault(err)
	}
	if len(manifests) == 0 {
		return artifact.Descriptor{}, nil, false, nil
	}
	return manifests[0], cohort, true, nil
}

// CloseRound writes the end of a round once, and closes stages that a failure
// left open, so that no site works for nothing. What the round has reserved of
// privacy budgets is committed or refunded with it.
func (p Rounds) CloseRound(ctx context.Context, in contract.CloseRoundInput) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		status := "closed"
		if in.Cause != "" {
			status = "failed"
		}
		regions := in.Regions
		if regions == nil {
			regions = []contract.RegionResult{}
		}
		tag, err := tx.Exec(ctx, `
			update fabric.round set status = $4, cause = $5, weights = $6, metrics = $7, regions = $8, state_after = $9, provenance = $10, statement = $11, clip = $12, clip_after = $13, ended_at = now()
			where tenant = $1 and run = $2 and number = $3 and status = 'open'`,
			in.Tenant, in.Run, in.Number, status, clean(in.Cause), in.Weights, in.Metrics, regions, in.State, in.Provenance.Bundle, in.Provenance.Statement, in.Clip, in.NextClip)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return tx.mustExist(ctx, `select from fabric.round where tenant = $1 and run = $2 and number = $3`, in.Tenant, in.Run, in.Number)
		}
		var b pgx.Batch
		b.Queue(`update fabric.stage set status = 'closed', closed_at = now() where tenant = $1 and run = $2 and number = $3 and status = 'open'`,
			in.Tenant, in.Run, in.Number)
		if in.Metrics.Evaluated > 0 {
			b.Queue(`update fabric.run set metrics = $3 where tenant = $1 and id = $2 and ended_at is null`, in.Tenant, in.Run, in.Metrics)
		}
		if in.Version.Number > 0 {
			b.Queue(`update fabric.run set version = $3 where tenant = $1 and id = $2 and ended_at is null`, in.Tenant, in.Run, in.Version.Number)
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		if err := tx.settleRound(ctx, in.Run, in.Number); err != nil {
			return err
		}
		leaf := subjectLeaf(in.Subject, "round."+status, roundSubject(in.Run, in.Number))
		leaf.Digest, leaf.Statement, leaf.Previous, leaf.State = in.Weights.Digest, in.Provenance.Statement, "open", status
		return tx.leafOfRun(ctx, in.Run, leaf)
	})
}

// Answers returns what was taken in the stage that carries updates, by site,
// and when the round began.
func (p Rounds) Answers(ctx context.Context, tenant, run string, number int) ([]activities.Answer, time.Time, error) {
	var answers []activities.Answer
	var began []time.Time
	var b pgx.Batch
	b.Queue(setTenant, tenant)
	queue(&b, &began, pgx.RowTo[time.Time], `select started_at from fabric.round where tenant = $1 and run = $2 and number = $3`, tenant, run, number)
	queue(&b, &answers, pgx.RowToStructByPos[activities.Answer], `
		select region, site_tenant, site, coalesce(bundle ->> 'digest', '') from fabric.submission s
		where tenant = $1 and run = $2 and number = $3 and stage in ('update', 'mask') and reason = '' and not `+halted+`
		order by site_tenant collate "C", site collate "C"`, tenant, run, number)
	if tenant == "" {
		return nil, time.Time{}, errNoTenant
	}
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return nil, time.Time{}, fault(err)
	}
	if len(began) == 0 {
		return nil, time.Time{}, fmt.Errorf("round %d of run %s: %w", number, run, activities.ErrNotFound)
	}
	return answers, began[0], nil
}

// CloseRun writes the end of a run once. Rounds that it left open end with it.
func (p Rounds) CloseRun(ctx context.Context, in contract.CloseRunInput) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		var previous string
		err := tx.QueryRow(ctx, `select status from fabric.run where tenant = $1 and id = $2 for update`, in.Tenant, in.Run).Scan(&previous)
		if err != nil {
			return absent(err, fmt.Errorf("run %s: %w", in.Run, activities.ErrNotFound))
		}
		tag, err := tx.Exec(ctx, `
			update fabric.run set status = $3, cause = $4, rounds = $5, weights = $6, metrics = $7, version = $8, ended_at = now()
			where tenant = $1 and id = $2 and ended_at is null`,
			in.Tenant, in.Run, in.Status, clean(in.Cause), in.Rounds, in.Weights, in.Metrics, in.Version.Number)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		// Rounds first: the lock on them keeps new stages out.
		var ended []int
		var b pgx.Batch
		queue(&b, &ended, pgx.RowTo[int], `update fabric.round set status = 'failed', cause = 'the run ended', ended_at = now()
			where tenant = $1 and run = $2 and status = 'open' returning number`, in.Tenant, in.Run)
		b.Queue(`update fabric.stage set status = 'closed', closed_at = now() where tenant = $1 and run = $2 and status = 'open'`, in.Tenant, in.Run)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		for _, number := range ended {
			if err := tx.settleRound(ctx, in.Run, number); err != nil {
				return err
			}
		}
		leaf := subjectLeaf(in.Subject, "run."+in.Status, "run/"+in.Run)
		leaf.Digest, leaf.Previous, leaf.State = in.Weights.Digest, previous, in.Status
		return tx.leafOfRun(ctx, in.Run, leaf)
	})
}

// subjectLeaf is a leaf about what the fabric does for a tenant.
func subjectLeaf(s contract.Subject, kind, subject string) audit.Leaf {
	return audit.Leaf{Kind: kind, Tenant: s.Tenant, Actor: actorFabric, Subject: subject, TraceID: s.TraceID}
}

// leafOfRun adds a leaf that is marked as simulated when its run is.
func (tx *tenantTx) leafOfRun(ctx context.Context, run string, leaf audit.Leaf) error {
	err := tx.QueryRow(ctx, `select simulated from fabric.run where tenant = $1 and id = $2`, tx.tenant, run).Scan(&leaf.Simulated)
	if err != nil {
		return absent(err, fmt.Errorf("run %s: %w", run, activities.ErrNotFound))
	}
	tx.leaf(leaf)
	return nil
}

// mustExist tells "done before" from "never there".
func (tx *tenantTx) mustExist(ctx context.Context, sql string, args ...any) error {
	var there bool
	if err := tx.QueryRow(ctx, `select exists (`+sql+`)`, args...).Scan(&there); err != nil {
		return err
	}
	if !there {
		return activities.ErrNotFound
	}
	return nil
}
