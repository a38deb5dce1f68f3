package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/site"
)

// Sites keeps the sites: [api.Sites]. What they are asked is in work.go.
type Sites struct{ db *DB }

// Sites returns the port.
func (db *DB) Sites() Sites { return Sites{db} }

const selectSite = `select tenant, id, region, public_key, enrolled_at, seen_at from fabric.site where `

func scanSite(row pgx.CollectableRow) (site.Site, error) {
	var s site.Site
	err := row.Scan(&s.Tenant, &s.ID, &s.Region, &s.PublicKey, &s.EnrolledAt, &s.SeenAt)
	return s, err
}

// Enrol writes the site once. Another key or region under its name, or its key
// under another name, is a conflict: a site is known by its key, and moving it
// to another region would move the border that its updates may cross.
func (p Sites) Enrol(ctx context.Context, caller api.Caller, s site.Site) (site.Site, error) {
	public, err := artifact.ParsePublicKey([]byte(s.PublicKey))
	if err != nil {
		return site.Site{}, err
	}
	key := artifact.KeyID(public)
	var written site.Site
	err = p.db.withTenant(ctx, s.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `insert into fabric.site (tenant, id, region, public_key, key) values ($1, $2, $3, $4, $5) on conflict (tenant, id) do nothing`,
			s.Tenant, s.ID, s.Region, s.PublicKey, key)
		if code(err) == uniqueViolation {
			return fmt.Errorf("the key of %s is another site's: %w", s.ID, api.ErrConflict)
		}
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectSite+`tenant = $1 and id = $2 and key = $3 and region = $4`, s.Tenant, s.ID, key, s.Region)
		if err != nil {
			return err
		}
		if written, err = pgx.CollectExactlyOneRow(rows, scanSite); err != nil {
			return absent(err, fmt.Errorf("site %s has another key or region: %w", s.ID, api.ErrConflict))
		}
		if tag.RowsAffected() == 1 {
			leaf := leafOf(caller, "site.enrolled", "site/"+s.Tenant+"/"+s.ID)
			leaf.Tenant, leaf.Digest = s.Tenant, key
			tx.leaf(leaf)
		}
		return nil
	})
	return written, err
}

// Site returns an enrolled site.
func (p Sites) Site(ctx context.Context, tenant, id string) (site.Site, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, scanSite, selectSite+`tenant = $1 and id = $2`, tenant, id)
	return one(found, err, api.ErrNotFound)
}

// Sites returns the sites of the caller's tenant, by id.
func (p Sites) Sites(ctx context.Context, caller api.Caller, page api.Page) ([]site.Site, error) {
	return readTenant(ctx, p.db, caller.Tenant, scanSite,
		selectSite+`tenant = $1 and id::text collate "C" > $2 order by id collate "C" limit $3`, caller.Tenant, page.After, page.Limit)
}

// ActiveSites returns the enrolled sites of the tenants, by tenant and id.
func (p Sites) ActiveSites(ctx context.Context, tenants []string) ([]site.Site, error) {
	return p.db.activeSites(ctx, tenants)
}

func (db *DB) activeSites(ctx context.Context, tenants []string) ([]site.Site, error) {
	rows, err := db.system.Query(ctx, selectSite+`tenant = any ($1::text[]) order by tenant collate "C", id collate "C"`, nonNil(tenants))
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, scanSite)
	return found, fault(err)
}

// seen notes that the site polled, to within five seconds, and returns its region.
func (db *DB) seen(ctx context.Context, tenant, id string) (region string, err error) {
	err = db.withSystem(ctx, func(tx *systemTx) error {
		var at time.Time
		err := tx.QueryRow(ctx, `select region, seen_at from fabric.site where tenant = $1 and id = $2`, tenant, id).Scan(&region, &at)
		if err != nil {
			return absent(err, api.ErrNotFound)
		}
		if db.clock().Sub(at) < 5*time.Second {
			return nil
		}
		_, err = tx.Exec(ctx, `update fabric.site set seen_at = now() where tenant = $1 and id = $2`, tenant, id)
		return err
	})
	return region, err
}
