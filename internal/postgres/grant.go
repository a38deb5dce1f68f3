package postgres

import (
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

// Origins of a grant.
const (
	fromRegistration = "registration"
	fromGrant        = "grant"
	fromAccess       = "access"
)

const selectGrants = `
	select g.document, g.digest, g.bundle, g.own, g.recorded_at, coalesce(g.withdrawn_at, 'epoch'),
		(select count(*) from fabric.grant_use u where u.tenant = g.tenant and u.grant_id = g.id)
	from fabric.consent_grant g where `

func scanGrant(row pgx.CollectableRow) (consent.Record, error) {
	var r consent.Record
	var document string
	if err := row.Scan(&document, &r.Digest, &r.Bundle, &r.Own, &r.Recorded, &r.WithdrawnAt, &r.Used); err != nil {
		return r, err
	}
	r.WithdrawnAt = real(r.WithdrawnAt)
	var err error
	r.Grant, err = decodeGrant(document)
	return r, err
}

func decodeGrant(document string) (g consent.Grant, err error) {
	return g, json.Unmarshal([]byte(document), &g)
}

// real is a time that the query gave as the beginning of time when there was none.
func real(t time.Time) time.Time {
	if t.Unix() == 0 {
		return time.Time{}
	}
	return t
}

// Grants returns the grants of the tenants' features that grantee holds,
// withdrawn ones too: a refusal says why.
func (p Rounds) Grants(ctx context.Context, grantee string, tenants, features []string) ([]consent.Record, error) {
	rows, err := p.db.system.Query(ctx, selectGrants+`g.tenant = any ($1::text[]) and g.feature = any ($2::text[]) and g.grantee = $3 order by g.tenant, g.id`,
		nonNil(tenants), nonNil(features), grantee)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, scanGrant)
	return found, fault(err)
}

// KeepGrant writes who signed a grant, once, and returns what is written.
func (p Rounds) KeepGrant(ctx context.Context, tenant, id string, bundle artifact.Descriptor) (artifact.Descriptor, error) {
	var kept artifact.Descriptor
	err := p.db.withTenant(ctx, tenant, func(tx *tenantTx) error {
		_, err := tx.Exec(ctx, `update fabric.consent_grant set bundle = $3 where tenant = $1 and id = $2 and coalesce(bundle ->> 'digest', '') = ''`, tenant, id, bundle)
		if err != nil {
			return err
		}
		return absent(tx.QueryRow(ctx, `select bundle from fabric.consent_grant where tenant = $1 and id = $2`, tenant, id).Scan(&kept), api.ErrNotFound)
	})
	return kept, err
}

// Epochs returns the consent epoch of each tenant; 1 before the first grant.
func (p Rounds) Epochs(ctx context.Context, tenants []string) (map[string]int64, error) {
	rows, err := p.db.system.Query(ctx, `select t, coalesce(e.epoch, 1) from unnest($1::text[]) t left join fabric.consent_epoch e on e.tenant = t`, nonNil(tenants))
	if err != nil {
		return nil, fault(err)
	}
	epochs := map[string]int64{}
	var tenant string
	var epoch int64
	_, err = pgx.ForEachRow(rows, []any{&tenant, &epoch}, func() error {
		epochs[tenant] = epoch
		return nil
	})
	return epochs, fault(err)
}

// Foreign says whether another run of the tenant left these weights.
func (p Rounds) Foreign(ctx context.Context, tenant, run string, weights artifact.Digest) (bool, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, pgx.RowTo[bool],
		`select exists (select from fabric.round where tenant = $1 and run <> $2 and weights ->> 'digest' = $3)`, tenant, run, string(weights))
	if err != nil {
		return false, err
	}
	return found[0], nil
}

// errGone says that a grant ended while a round was planned under it. It passes:
// planned anew, the round is refused by name.
var errGone = errors.New("a grant was withdrawn meanwhile")

// begun writes that a round begins under grants. The locks on them make a
// withdrawal come before this, which is refused, or after it, which finds the
// round.
func (tx *tenantTx) begun(ctx context.Context, run string, number int, under []consent.Record) error {
	byTenant := map[string][]string{}
	for _, r := range under {
		if !slices.Contains(byTenant[r.Tenant], r.ID) {
			byTenant[r.Tenant] = append(byTenant[r.Tenant], r.ID)
		}
	}
	var tenants []string
	for tenant := range byTenant {
		tenants = append(tenants, tenant)
	}
	slices.Sort(tenants) // one order for all who lock
	owner := tx.tenant
	for _, tenant := range tenants {
		ids := byTenant[tenant]
		err := tx.as(ctx, tenant, func() error {
			rows, err := tx.Query(ctx, `select id from fabric.consent_grant where tenant = $1 and id = any ($2::text[]) and withdrawn_at is null order by id for share`, tenant, ids)
			if err != nil {
				return err
			}
			live, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			if len(live) != len(ids) {
				return fmt.Errorf("%s: %w", roundSubject(run, number), errGone)
			}
			_, err = tx.Exec(ctx, `insert into fabric.grant_use (tenant, grant_id, owner, run, number) select $1, unnest($2::text[]), $3, $4, $5`, tenant, ids, owner, run, number)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// epoch returns the tenant's consent epoch and keeps others from granting or
// withdrawing.
func (tx *tenantTx) epoch(ctx context.Context) (int64, error) {
	if _, err := tx.Exec(ctx, `insert into fabric.consent_epoch (tenant, epoch) values ($1, 1) on conflict do nothing`, tx.tenant); err != nil {
		return 0, err
	}
	var epoch int64
	err := tx.QueryRow(ctx, `select epoch from fabric.consent_epoch where tenant = $1 for update`, tx.tenant).Scan(&epoch)
	return epoch, err
}

// grant writes a grant: its id, its epoch and, unless it says so, its beginning
// are set here. Errors: [*consent.FieldError].
func (tx *tenantTx) grant(ctx context.Context, cmd api.Command, g consent.Grant, origin string) (consent.Record, error) {
	epoch, err := tx.epoch(ctx)
	if err != nil {
		return consent.Record{}, err
	}
	var count int
	var now time.Time
	if err := tx.QueryRow(ctx, `select count(*), now() from fabric.consent_grant where tenant = $1`, tx.tenant).Scan(&count, &now); err != nil {
		return consent.Record{}, err
	}
	g.Tenant, g.ID, g.Epoch = tx.tenant, fmt.Sprintf("g%06d", count+1), epoch
	if g.NotBefore.IsZero() {
		g.NotBefore = now
	}
	if g, err = g.Normal(); err != nil {
		return consent.Record{}, err
	}
	return tx.keepGrant(ctx, cmd, g, artifact.Descriptor{}, origin)
}

// keepGrant writes a grant as it is.
func (tx *tenantTx) keepGrant(ctx context.Context, cmd api.Command, g consent.Grant, bundle artifact.Descriptor, origin string) (consent.Record, error) {
	text, digest, err := g.Encode()
	if err != nil {
		return consent.Record{}, err
	}
	r := consent.Record{Grant: g, Digest: digest, Bundle: bundle, Own: bundle.Digest != ""}
	err = tx.QueryRow(ctx, `insert into fabric.consent_grant (tenant, id, feature, grantee, document, digest, bundle, origin, epoch, actor, simulated, own)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) returning recorded_at`,
		tx.tenant, g.ID, g.Feature, g.Grantee, string(text), digest, bundle, origin, g.Epoch, clean(cmd.Subject), cmd.Simulated, bundle.Digest != "").Scan(&r.Recorded)
	if code(err) == uniqueViolation {
		err = fmt.Errorf("grant %s: %w", g.ID, api.ErrConflict)
	}
	return r, err
}

// grants returns those of one feature of the tenant.
func (tx *tenantTx) grants(ctx context.Context, feature string) ([]consent.Record, error) {
	rows, err := tx.Query(ctx, selectGrants+`g.tenant = $1 and g.feature = $2 order by g.id`, tx.tenant, feature)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanGrant)
}

// Grant records what the caller's tenant allows. A grant that its own key has
// signed comes as it is, with its epoch and id; another is given them.
func (c Catalog) Grant(ctx context.Context, cmd api.Command, g consent.Grant, bundle artifact.Descriptor, reply api.Reply[consent.Record]) (api.Answer, error) {
	return c.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		_, known, err := tx.lockFeature(ctx, g.Feature)
		if err != nil {
			return api.Answer{}, err
		}
		if !known { // one that is only staged is not in use
			return api.Answer{}, fmt.Errorf("feature %s: %w", g.Feature, api.ErrNotFound)
		}
		var written consent.Record
		if bundle.Digest == "" {
			written, err = tx.grant(ctx, cmd, g, fromGrant)
		} else {
			var epoch int64
			if epoch, err = tx.epoch(ctx); err == nil && epoch != g.Epoch {
				return api.Answer{}, fmt.Errorf("the grant is of epoch %d, now it is %d: %w", g.Epoch, epoch, api.ErrStale)
			}
			if err == nil {
				written, err = tx.keepGrant(ctx, cmd, g, bundle, fromGrant)
			}
		}
		if err != nil {
			return api.Answer{}, err
		}
		if err := tx.event(ctx, cmd, g.Feature); err != nil {
			return api.Answer{}, err
		}
		leaf := leafOf(cmd.Caller, "consent.granted", featureSubject(tx.tenant, g.Feature))
		leaf.Digest, leaf.State = written.Digest, fmt.Sprintf("%s to %s, epoch %d", written.ID, g.Grantee, written.Epoch)
		tx.leaf(leaf)
		return reply(written)
	})
}

// ListGrants returns the grants of the caller's tenant by id, with its epoch.
func (c Catalog) ListGrants(ctx context.Context, caller api.Caller, feature string, page api.Page) ([]consent.Record, int64, error) {
	found, err := queryTenant(ctx, c.db.app, caller.Tenant, scanGrant,
		selectGrants+`g.tenant = $1 and ($4 = '' or g.feature = $4) and g.id::text collate "C" > $2 order by g.id collate "C" limit $3`,
		caller.Tenant, page.After, page.Limit, feature)
	if err != nil {
		return nil, 0, err
	}
	epochs, err := queryTenant(ctx, c.db.app, caller.Tenant, pgx.RowTo[int64], `select epoch from fabric.consent_epoch where tenant = $1`, caller.Tenant)
	if err != nil || len(epochs) == 0 {
		return found, 1, err
	}
	return found, epochs[0], nil
}

// event writes into the history of a feature what its grants amount to now. The
// caller holds [tenantTx.lockFeature].
func (tx *tenantTx) event(ctx context.Context, cmd api.Command, feature string) error {
	now, err := tx.feature(ctx, feature)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `insert into fabric.consent_event (tenant, feature, seq, version, kind, purposes, grantees, actor, simulated)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tx.tenant, feature, now.seq+1, now.Version, now.kind, nonNil(now.Consent.Purposes), nonNil(now.Consent.Grantees), clean(cmd.Subject), cmd.Simulated)
	return err
}

// regrant makes the grants of a registration what the tenant allows now: what
// it no longer names is withdrawn, what is new is granted, what stays stays.
func (tx *tenantTx) regrant(ctx context.Context, cmd api.Command, feature string, wish catalog.Consent) error {
	have, err := tx.grants(ctx, feature)
	if err != nil {
		return err
	}
	missing := map[string]bool{}
	if wish.Granted {
		for _, grantee := range append([]string{tx.tenant}, wish.Grantees...) {
			missing[grantee] = true
		}
	}
	var over []string
	for _, r := range have {
		if !r.WithdrawnAt.IsZero() {
			continue
		}
		origin := ""
		if err := tx.QueryRow(ctx, `select origin from fabric.consent_grant where tenant = $1 and id = $2`, tx.tenant, r.ID).Scan(&origin); err != nil {
			return err
		}
		switch {
		case origin != fromRegistration && wish.Granted: // given by itself, stays by itself
		case missing[r.Grantee] && slices.Equal(r.Actions, wish.Purposes):
			delete(missing, r.Grantee)
		default:
			over = append(over, r.Grantee)
		}
	}
	if len(over) > 0 {
		if _, err := tx.withdraw(ctx, cmd, feature, over, "registered anew without it"); err != nil {
			return err
		}
	}
	grantees := make([]string, 0, len(missing))
	for g := range missing {
		grantees = append(grantees, g)
	}
	slices.Sort(grantees)
	for _, grantee := range grantees {
		if _, err := tx.grant(ctx, cmd, consent.Grant{Feature: feature, Grantee: grantee, Actions: wish.Purposes}, fromRegistration); err != nil {
			return err
		}
	}
	return nil
}
