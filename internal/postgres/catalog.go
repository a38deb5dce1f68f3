package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
)

// A Catalog keeps features and consent: [api.Catalog].
type Catalog struct{ db *DB }

// Catalog returns the port.
func (db *DB) Catalog() Catalog { return Catalog{db} }

// Kinds of consent event.
const (
	consentGranted   = "granted"
	consentRefused   = "refused"
	consentWithdrawn = "withdrawn"
)

// selectFeatures is the newest version of each feature with the consent in
// force; the caller adds what to select by.
const selectFeatures = `
	select f.tenant, f.id, f.version, f.schema, coalesce(f.fingerprint, ''), f.registered_at,
		c.seq, c.kind, c.purposes, c.grantees, c.at, given.at
	from (select distinct on (tenant collate "C", id collate "C") * from fabric.feature where %s order by tenant collate "C", id collate "C", version desc) f
	join lateral (select * from fabric.consent_event e where e.tenant = f.tenant and e.feature = f.id order by seq desc limit 1) c on true
	left join lateral (select at from fabric.consent_event e where e.tenant = f.tenant and e.feature = f.id and e.kind <> 'withdrawn'
		order by seq desc limit 1) given on true
	order by f.tenant collate "C", f.id collate "C"`

// A featureRow is a feature and the number and kind of its consent in force.
type featureRow struct {
	catalog.Feature
	seq  int
	kind string
}

func scanFeature(row pgx.CollectableRow) (featureRow, error) {
	var f featureRow
	var at time.Time
	var given *time.Time
	err := row.Scan(&f.Tenant, &f.ID, &f.Version, &f.Schema, &f.Fingerprint, &f.Registered,
		&f.seq, &f.kind, &f.Consent.Purposes, &f.Consent.Grantees, &at, &given)
	f.Consent.Granted = f.kind == consentGranted
	f.Consent.RecordedAt = at
	if f.kind == consentWithdrawn {
		f.Consent.WithdrawnAt = &at
		if given != nil {
			f.Consent.RecordedAt = *given
		}
	}
	return f, err
}

// Register writes a version when the feature has changed, and the consent.
func (c Catalog) Register(ctx context.Context, cmd api.Command, feature catalog.Feature, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		now, known, err := tx.lockFeature(ctx, feature.ID)
		if err != nil {
			return api.Answer{}, err
		}
		if !known || now.Fingerprint != feature.Fingerprint || !sameJSON(now.Schema, feature.Schema) {
			now.Version++
			_, err := tx.Exec(ctx, `insert into fabric.feature (tenant, id, version, schema, fingerprint, simulated) values ($1, $2, $3, $4, nullif($5::text, ''), $6)`,
				tx.tenant, feature.ID, now.Version, feature.Schema, string(feature.Fingerprint), cmd.Simulated)
			if err != nil {
				return api.Answer{}, err
			}
		}
		previous := now.kind
		now.kind = consentRefused
		grantees := nonNil(feature.Consent.Grantees)
		if feature.Consent.Granted {
			now.kind = consentGranted
			grantees = append([]string{tx.tenant}, grantees...)
		}
		slices.Sort(grantees)
		now.Consent.Purposes, now.Consent.Grantees = nonNil(feature.Consent.Purposes), slices.Compact(grantees)
		written, err := tx.consent(ctx, cmd, feature.ID, now)
		if err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "feature.registered", featureSubject(tx.tenant, feature.ID))
		leaf.Digest, leaf.Previous, leaf.State = feature.Fingerprint, previous, now.kind
		tx.leaf(leaf)
		return reply(written)
	})
}

// Withdraw ends the consent of a feature; twice is once.
func (c Catalog) Withdraw(ctx context.Context, cmd api.Command, feature string, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		now, known, err := tx.lockFeature(ctx, feature)
		if err != nil {
			return api.Answer{}, err
		}
		if !known {
			return api.Answer{}, api.ErrNotFound
		}
		if now.kind == consentWithdrawn {
			return reply(now.Feature)
		}
		leaf := leafOf(cmd.Caller, "consent.withdrawn", featureSubject(tx.tenant, feature))
		leaf.Digest, leaf.Previous, leaf.State = now.Fingerprint, now.kind, consentWithdrawn
		now.kind = consentWithdrawn
		written, err := tx.consent(ctx, cmd, feature, now)
		if err != nil {
			return api.Answer{}, err
		}
		tx.leaf(leaf)
		return reply(written)
	})
}

// lockFeature returns a feature as it is, and keeps others from changing it: a
// lock by name, because there is no row before the first version.
func (tx *tenantTx) lockFeature(ctx context.Context, id string) (featureRow, bool, error) {
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, featureSubject(tx.tenant, id)); err != nil {
		return featureRow{}, false, err
	}
	f, err := tx.feature(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return featureRow{}, false, nil
	}
	return f, err == nil, err
}

func (tx *tenantTx) feature(ctx context.Context, id string) (featureRow, error) {
	rows, err := tx.Query(ctx, fmt.Sprintf(selectFeatures, `tenant = $1 and id = $2`), tx.tenant, id)
	if err != nil {
		return featureRow{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanFeature)
}

// consent writes the event that follows the one in now, and returns the
// feature as it then is.
func (tx *tenantTx) consent(ctx context.Context, cmd api.Command, id string, now featureRow) (catalog.Feature, error) {
	_, err := tx.Exec(ctx, `insert into fabric.consent_event (tenant, feature, seq, version, kind, purposes, grantees, actor, simulated)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tx.tenant, id, now.seq+1, now.Version, now.kind, now.Consent.Purposes, now.Consent.Grantees, clean(cmd.Subject), cmd.Simulated)
	if err != nil {
		return catalog.Feature{}, err
	}
	written, err := tx.feature(ctx, id)
	return written.Feature, err
}

// Features returns the newest version of each feature of the caller's tenant.
func (c Catalog) Features(ctx context.Context, caller api.Caller, page api.Page) ([]catalog.Feature, error) {
	sql := fmt.Sprintf(selectFeatures, `tenant = $1 and id::text collate "C" > $2`) + ` limit $3`
	return readTenant(ctx, c.db, caller.Tenant, featureOf, sql, caller.Tenant, page.After, page.Limit)
}

// ConsentedFeatures returns the newest version of the features of the tenants,
// with consent as grantee sees it now.
func (c Catalog) ConsentedFeatures(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error) {
	return c.db.consented(ctx, grantee, tenants, features)
}

func (db *DB) consented(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error) {
	sql := fmt.Sprintf(selectFeatures, `tenant = any ($1::text[]) and (cardinality($2::text[]) = 0 or id = any ($2::text[]))`)
	rows, err := db.system.Query(ctx, sql, nonNil(tenants), nonNil(features))
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, featureOf)
	for i := range found {
		found[i].Consent = seenBy(grantee, found[i])
	}
	return found, fault(err)
}

// seenBy is the consent as far as it concerns grantee: whom else it was given
// to is not told.
func seenBy(grantee string, f catalog.Feature) catalog.Consent {
	c := f.Consent
	if grantee == f.Tenant {
		return c
	}
	if !c.Granted || !slices.Contains(c.Grantees, grantee) {
		return catalog.Consent{Purposes: []string{}, Grantees: []string{}, RecordedAt: c.RecordedAt, WithdrawnAt: c.WithdrawnAt}
	}
	c.Grantees = []string{f.Tenant, grantee}
	slices.Sort(c.Grantees)
	return c
}

func featureOf(row pgx.CollectableRow) (catalog.Feature, error) {
	f, err := scanFeature(row)
	return f.Feature, err
}

func featureSubject(tenant, id string) string { return "feature/" + tenant + "/" + id }

// sameJSON compares by value where there is a canonical form, else by bytes.
func sameJSON(a, b json.RawMessage) bool {
	ca, errA := artifact.Canonical(a)
	cb, errB := artifact.Canonical(b)
	if errA == nil && errB == nil {
		return bytes.Equal(ca, cb)
	}
	return bytes.Equal(a, b)
}
