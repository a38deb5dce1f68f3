package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/catalog"
)

// version returns the number of the version that a registration is: that of one
// with the same content and fingerprint, or the next. A version never changes;
// what is in use is an alias, which a staged registration leaves alone.
func (db *DB) version(ctx context.Context, tx *tenantTx, cmd api.Command, feature, now catalog.Feature, known bool) (int, error) {
	rows, err := tx.Query(ctx, `select version, schema, semantics::text, coalesce(fingerprint, '') from fabric.feature where tenant = $1 and id = $2 order by version desc`, tx.tenant, feature.ID)
	if err != nil {
		return 0, err
	}
	have, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (catalog.Feature, error) {
		var f catalog.Feature
		var semantics string
		err := row.Scan(&f.Version, &f.Schema, &semantics, &f.Fingerprint)
		f.Semantics = []byte(semantics)
		return f, err
	})
	if err != nil {
		return 0, err
	}
	semantics := feature.Semantics
	if len(semantics) == 0 {
		semantics = []byte("{}")
	}
	at := 0
	for _, v := range have {
		if v.Fingerprint == feature.Fingerprint && sameJSON(v.Schema, feature.Schema) && sameJSON(v.Semantics, semantics) {
			at = v.Version
			break
		}
	}
	if known && at != now.Version {
		if err := catalog.Compatible(now.Mode.And(feature.Mode), now, feature); err != nil {
			return 0, err
		}
		if !feature.Staged {
			if err := db.unused(ctx, tx.tenant, feature, now); err != nil {
				return 0, err
			}
		}
	}
	if at == 0 {
		at = 1
		if len(have) > 0 {
			at = have[0].Version + 1
		}
		_, err := tx.Exec(ctx, `insert into fabric.feature (tenant, id, version, schema, fingerprint, semantics, content, description, tags, staged, simulated)
			values ($1, $2, $3, $4, nullif($5::text, ''), $6, nullif($7::text, ''), $8, $9, $10, $11)`,
			tx.tenant, feature.ID, at, feature.Schema, string(feature.Fingerprint), string(semantics), string(feature.Content),
			clean(feature.Description), nonNil(feature.Tags), feature.Staged, cmd.Simulated)
		if err != nil {
			return 0, err
		}
	}
	if feature.Staged {
		return at, nil
	}
	return at, tx.promoteFeature(ctx, cmd, feature.ID, at, feature.Mode)
}

// unused refuses to change the schema of a feature under a run that goes on:
// its rounds would no longer read what the run began with. Whose runs they are
// is not for the tenant's own role to see.
func (db *DB) unused(ctx context.Context, tenant string, feature, now catalog.Feature) error {
	if sameJSON(feature.Schema, now.Schema) {
		return nil
	}
	rows, err := db.system.Query(ctx, `
		select distinct u.owner || '/' || u.run from fabric.grant_use u
		join fabric.consent_grant g on g.tenant = u.tenant and g.id = u.grant_id
		join fabric.run r on r.tenant = u.owner and r.id = u.run
		where u.tenant = $1 and g.feature = $2 and r.ended_at is null order by 1 limit 10`, tenant, feature.ID)
	if err != nil {
		return fault(err)
	}
	live, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(live) == 0 {
		return fault(err)
	}
	return &catalog.Breaks{Tenant: tenant, Feature: feature.ID, Runs: live, Err: catalog.ErrInUse}
}

// promoteFeature puts a version into use. An empty mode leaves the one there is.
func (tx *tenantTx) promoteFeature(ctx context.Context, cmd api.Command, feature string, version int, mode catalog.Mode) error {
	_, err := tx.Exec(ctx, `
		insert into fabric.feature_alias (tenant, feature, version, mode, actor) values ($1, $2, $3, coalesce(nullif($4, ''), 'none'), $5)
		on conflict (tenant, feature) do update set version = excluded.version, actor = excluded.actor, moved_at = now(),
			mode = case when $4 = '' then feature_alias.mode else excluded.mode end`,
		tx.tenant, feature, version, string(mode), clean(cmd.Subject))
	return err
}

// PromoteFeature puts a version that is there into use. ErrNotFound.
func (c Catalog) PromoteFeature(ctx context.Context, cmd api.Command, feature string, version int, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		now, known, err := tx.lockFeature(ctx, feature)
		if err != nil {
			return api.Answer{}, err
		}
		next := catalog.Feature{ID: feature}
		var semantics string
		err = tx.QueryRow(ctx, `select version, schema, semantics::text, coalesce(fingerprint, '') from fabric.feature where tenant = $1 and id = $2 and version = $3`,
			tx.tenant, feature, version).Scan(&next.Version, &next.Schema, &semantics, &next.Fingerprint)
		if err != nil {
			return api.Answer{}, absent(err, fmt.Errorf("version %d of feature %s: %w", version, feature, api.ErrNotFound))
		}
		next.Semantics = []byte(semantics)
		if known && now.Version != version {
			if err := catalog.Compatible(now.Mode, now.Feature, next); err != nil {
				return api.Answer{}, err
			}
			if err := c.db.unused(ctx, tx.tenant, next, now.Feature); err != nil {
				return api.Answer{}, err
			}
		}
		if err := tx.promoteFeature(ctx, cmd, feature, version, ""); err != nil {
			return api.Answer{}, err
		}
		if !known { // its first use: nobody was granted anything
			_, err := tx.Exec(ctx, `insert into fabric.consent_event (tenant, feature, seq, version, kind, actor, simulated) values ($1, $2, 1, $3, 'refused', $4, $5)`,
				tx.tenant, feature, version, clean(cmd.Subject), cmd.Simulated)
			if err != nil {
				return api.Answer{}, err
			}
		}
		written, err := tx.feature(ctx, feature)
		if err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "feature.promoted", featureSubject(tx.tenant, feature))
		leaf.Digest, leaf.Previous, leaf.State = next.Fingerprint, fmt.Sprint(now.Version), fmt.Sprint(version)
		tx.leaf(leaf)
		return reply(written.Feature)
	})
}

// FeatureVersions returns every version of a feature of the caller's tenant,
// the newest first, staged ones too.
func (c Catalog) FeatureVersions(ctx context.Context, caller api.Caller, feature string) ([]catalog.Feature, error) {
	found, err := queryTenant(ctx, c.db.app, caller.Tenant, func(row pgx.CollectableRow) (catalog.Feature, error) {
		f := catalog.Feature{Tenant: caller.Tenant, ID: feature}
		var semantics string
		var at time.Time
		err := row.Scan(&f.Version, &f.Schema, &semantics, &f.Fingerprint, &f.Content, &f.Description, &f.Tags, &f.Staged, &at)
		f.Semantics, f.Registered = []byte(semantics), at
		f.Consent = catalog.Consent{Purposes: []string{}, Grantees: []string{}, RecordedAt: at}
		return f, err
	}, `select v.version, v.schema, v.semantics::text, coalesce(v.fingerprint, ''), coalesce(v.content, ''), v.description, v.tags,
			a.version is distinct from v.version, v.registered_at
		from fabric.feature v left join fabric.feature_alias a on a.tenant = v.tenant and a.feature = v.id
		where v.tenant = $1 and v.id = $2 order by v.version desc limit 200`, caller.Tenant, feature)
	if err == nil && len(found) == 0 {
		err = api.ErrNotFound
	}
	return found, err
}
