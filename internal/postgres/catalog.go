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
	"github.com/atom-fabric/fabric/domain/consent"
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

// selectFeatures is the version in use of each feature with its grants; the
// caller adds what to select by.
const selectFeatures = `
	select f.tenant, f.id, f.version, f.schema, coalesce(f.fingerprint, ''), f.registered_at,
		f.semantics, coalesce(f.content, ''), f.description, f.tags, f.mode,
		coalesce(c.seq, 0), coalesce(c.at, f.registered_at), now(),
		(select coalesce(json_agg(json_build_object('grant', g.document::json, 'recorded', g.recorded_at, 'withdrawn', g.withdrawn_at)), '[]')
			from fabric.consent_grant g where g.tenant = f.tenant and g.feature = f.id)
	from (select v.*, a.mode from fabric.feature v join fabric.feature_alias a on a.tenant = v.tenant and a.feature = v.id and a.version = v.version
		where %s) f
	left join lateral (select * from fabric.consent_event e where e.tenant = f.tenant and e.feature = f.id order by seq desc limit 1) c on true
	order by f.tenant collate "C", f.id collate "C"`

// A featureRow is a feature with its grants, and the number of the event that
// said last what they amount to.
type featureRow struct {
	catalog.Feature
	seq    int
	kind   string
	event  time.Time
	now    time.Time
	grants []consent.Record
}

// as returns the consent of the feature as grantee is shown it; "" is the owner.
func (f featureRow) as(grantee string) catalog.Consent {
	c := consent.Derive(f.grants, grantee, f.now)
	if c.RecordedAt.IsZero() {
		c.RecordedAt = f.event
	}
	return c
}

func scanFeature(row pgx.CollectableRow) (featureRow, error) {
	var f featureRow
	var semantics, mode string
	var grants []struct {
		Grant     consent.Grant
		Recorded  time.Time
		Withdrawn *time.Time
	}
	err := row.Scan(&f.Tenant, &f.ID, &f.Version, &f.Schema, &f.Fingerprint, &f.Registered,
		&semantics, &f.Content, &f.Description, &f.Tags, &mode, &f.seq, &f.event, &f.now, &grants)
	for _, g := range grants {
		r := consent.Record{Grant: g.Grant, Recorded: g.Recorded}
		if g.Withdrawn != nil {
			r.WithdrawnAt = *g.Withdrawn
		}
		f.grants = append(f.grants, r)
	}
	if semantics != "{}" {
		f.Semantics = json.RawMessage(semantics)
	}
	f.Mode = catalog.Mode(mode)
	f.Consent = f.as("")
	switch {
	case f.Consent.Granted:
		f.kind = consentGranted
	case f.Consent.WithdrawnAt != nil:
		f.kind = consentWithdrawn
	default:
		f.kind = consentRefused
	}
	return f, err
}

// Register writes a version when the feature has changed, puts it into use
// unless it is staged, and makes the grants what the tenant allows now. What
// would break those who use the feature is refused: [*catalog.Breaks].
func (c Catalog) Register(ctx context.Context, cmd api.Command, feature catalog.Feature, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		now, known, err := tx.lockFeature(ctx, feature.ID)
		if err != nil {
			return api.Answer{}, err
		}
		previous := now.kind
		version, err := c.db.version(ctx, tx, cmd, feature, now.Feature, known)
		if err != nil {
			return api.Answer{}, err
		}
		if feature.Staged && !known { // nothing is in use yet that could be granted
			leaf := leafOf(cmd.Caller, "feature.staged", featureSubject(tx.tenant, feature.ID))
			leaf.Digest, leaf.State = feature.Fingerprint, fmt.Sprint(version)
			tx.leaf(leaf)
			feature.Tenant, feature.Version = tx.tenant, version
			feature.Consent = catalog.Consent{Purposes: []string{}, Grantees: []string{}}
			return reply(feature)
		}
		if !feature.Staged {
			if err := tx.regrant(ctx, cmd, feature.ID, feature.Consent); err != nil {
				return api.Answer{}, err
			}
			if err := tx.event(ctx, cmd, feature.ID); err != nil {
				return api.Answer{}, err
			}
		}
		written, err := tx.feature(ctx, feature.ID)
		if err != nil {
			return api.Answer{}, err
		}
		kind := "feature.registered"
		if feature.Staged {
			kind = "feature.staged"
		}
		leaf := leafOf(cmd.Caller, kind, featureSubject(tx.tenant, feature.ID))
		leaf.Digest, leaf.Previous, leaf.State = feature.Fingerprint, previous, written.kind
		tx.leaf(leaf)
		return reply(written.Feature)
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
		epoch, err := tx.withdraw(ctx, cmd, feature, nil, "")
		if err != nil {
			return api.Answer{}, err
		}
		if epoch == 0 {
			return reply(now.Feature)
		}
		leaf := leafOf(cmd.Caller, "consent.withdrawn", featureSubject(tx.tenant, feature))
		leaf.Digest, leaf.Previous, leaf.State = now.Fingerprint, now.kind, consentWithdrawn
		if err := tx.event(ctx, cmd, feature); err != nil {
			return api.Answer{}, err
		}
		tx.leaf(leaf)
		written, err := tx.feature(ctx, feature)
		if err != nil {
			return api.Answer{}, err
		}
		return reply(written.Feature)
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
	rows, err := tx.Query(ctx, fmt.Sprintf(selectFeatures, `v.tenant = $1 and v.id = $2`), tx.tenant, id)
	if err != nil {
		return featureRow{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanFeature)
}

// Features returns the newest version of each feature of the caller's tenant.
func (c Catalog) Features(ctx context.Context, caller api.Caller, page api.Page) ([]catalog.Feature, error) {
	sql := fmt.Sprintf(selectFeatures, `v.tenant = $1 and v.id::text collate "C" > $2`) + ` limit $3`
	return readTenant(ctx, c.db, caller.Tenant, featureOf, sql, caller.Tenant, page.After, page.Limit)
}

// ConsentedFeatures returns the newest version of the features of the tenants,
// with consent as grantee sees it now.
func (c Catalog) ConsentedFeatures(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error) {
	return c.db.consented(ctx, grantee, tenants, features)
}

func (db *DB) consented(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error) {
	sql := fmt.Sprintf(selectFeatures, `v.tenant = any ($1::text[]) and (cardinality($2::text[]) = 0 or v.id = any ($2::text[]))`)
	rows, err := db.system.Query(ctx, sql, nonNil(tenants), nonNil(features))
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, scanFeature)
	out := make([]catalog.Feature, len(found))
	for i, f := range found {
		out[i] = f.Feature
		out[i].Consent = seenBy(grantee, f)
	}
	return out, fault(err)
}

// seenBy is the consent as far as it concerns grantee: whom else it was given
// to is not told.
func seenBy(grantee string, f featureRow) catalog.Consent {
	c := f.as(grantee)
	if c.Granted && grantee != f.Tenant {
		c.Grantees = []string{f.Tenant, grantee}
		slices.Sort(c.Grantees)
	}
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
