package postgres

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
)

// TestTenantsNeverMeet plays random commands of three tenants, some at the
// same time and some that fail half way, over a pool of two connections, and
// compares what each tenant sees with a model of that tenant alone. A tenant
// that is left on a connection shows at once.
func TestTenantsNeverMeet(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t, Migrate)
	db, err := Open(t.Context(), Options{DSN: dsn, TenantConns: 2, SystemConns: 2})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	conn := admin(t, dsn)
	require.NoError(t, flag.Set("rapid.checks", "30"))       // the only rapid test here; about 30 steps each
	require.NoError(t, flag.Set("rapid.nofailfile", "true")) // tests write nothing into the tree
	game := 0
	rapid.Check(t, func(rt *rapid.T) {
		game++
		m := &machine{db: db, ctx: t.Context(), versions: map[string]map[string]int{}, consent: map[string]map[string]bool{}}
		for i := range 3 {
			tenant := fmt.Sprintf("t%d-%d", game, i)
			m.tenants = append(m.tenants, tenant)
			m.versions[tenant], m.consent[tenant] = map[string]int{}, map[string]bool{}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"register":     m.register,
			"withdraw":     m.withdraw,
			"fails":        m.fails,
			"all together": m.together,
			"":             m.check,
		})
		for _, tenant := range m.tenants {
			var events int
			require.NoError(rt, conn.QueryRow(t.Context(), `select count(*) from fabric.consent_event where tenant = $1`, tenant).Scan(&events))
			var leaves int
			require.NoError(rt, conn.QueryRow(t.Context(), `select count(*) from fabric.audit_leaf where tenant = $1`, tenant).Scan(&leaves))
			require.Equal(rt, events, leaves, "each consent has its leaf")
		}
	})
	require.NoError(t, db.AuditLog().VerifyAll(t.Context()))
}

type machine struct {
	db       *DB
	ctx      context.Context //nolint:containedctx // one test's
	tenants  []string
	versions map[string]map[string]int // tenant -> feature -> version
	consent  map[string]map[string]bool
}

var ids = []string{"age", "bmi"} // few, so that tenants use the same ones

func (m *machine) draw(rt *rapid.T) (tenant, id string) {
	return rapid.SampledFrom(m.tenants).Draw(rt, "tenant"), rapid.SampledFrom(ids).Draw(rt, "feature")
}

func (m *machine) put(tenant, id string, version int) error {
	_, err := m.db.Catalog().Register(m.ctx, command(tenant, "", ""), catalog.Feature{ID: id, Schema: fmt.Appendf(nil, `{"of":"%s","v":%d}`, tenant, version),
		Consent: catalog.Consent{Granted: true, Purposes: []string{"train"}}}, reply)
	return err
}

func (m *machine) register(rt *rapid.T) {
	tenant, id := m.draw(rt)
	m.versions[tenant][id]++
	m.consent[tenant][id] = true
	require.NoError(rt, m.put(tenant, id, m.versions[tenant][id]))
}

func (m *machine) withdraw(rt *rapid.T) {
	tenant, id := m.draw(rt)
	_, err := m.db.Catalog().Withdraw(m.ctx, command(tenant, "", ""), id, reply)
	if m.versions[tenant][id] == 0 {
		require.ErrorIs(rt, err, api.ErrNotFound, "another tenant's feature of the same name is none")
		return
	}
	require.NoError(rt, err)
	m.consent[tenant][id] = false
}

// fails rolls back, or is cut off, in the middle of a command.
func (m *machine) fails(rt *rapid.T) {
	tenant, id := m.draw(rt)
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	cut := rapid.Bool().Draw(rt, "cut off")
	failed := errors.New("failed")
	_, err := m.db.Catalog().Register(ctx, command(tenant, "", ""), catalog.Feature{ID: id, Schema: []byte(`{"never":true}`)}, func(catalog.Feature) (api.Answer, error) {
		if cut {
			cancel()
			return api.Answer{}, nil
		}
		return api.Answer{}, failed
	})
	require.Error(rt, err)
}

// together lets every tenant write at once, six over two connections.
func (m *machine) together(rt *rapid.T) {
	id := rapid.SampledFrom(ids).Draw(rt, "feature")
	errs := make([]error, 2*len(m.tenants))
	for _, tenant := range m.tenants {
		m.versions[tenant][id]++
		m.consent[tenant][id] = true
	}
	together(len(errs), func(i int) {
		tenant := m.tenants[i/2]
		if i%2 == 0 {
			errs[i] = m.put(tenant, id, m.versions[tenant][id])
			return
		}
		_, errs[i] = m.db.Catalog().Features(m.ctx, caller(tenant), api.Page{Limit: 10})
	})
	require.NoError(rt, errors.Join(errs...))
}

func (m *machine) check(rt *rapid.T) {
	for _, tenant := range m.tenants {
		features, err := m.db.Catalog().Features(m.ctx, caller(tenant), api.Page{Limit: 10})
		require.NoError(rt, err)
		var want []string
		for id, version := range m.versions[tenant] {
			want = append(want, fmt.Sprintf(`%s/%s v%d {"of":"%s","v":%d} %t`, tenant, id, version, tenant, version, m.consent[tenant][id]))
		}
		sort.Strings(want)
		var have []string
		for _, f := range features {
			have = append(have, fmt.Sprintf("%s/%s v%d %s %t", f.Tenant, f.ID, f.Version, f.Schema, f.Consent.Granted))
		}
		require.Equal(rt, want, have)
	}
}

// However a connection is left, it is given back as it was taken.
func TestConnectionsAreRestored(t *testing.T) {
	t.Parallel()
	db, _ := open(t, func(o *Options) { o.TenantConns = 1 })
	ctx := t.Context()
	startRun(t, db, "t1", "run-1")
	for name, sql := range map[string]string{
		"a tenant set for the session": `select set_config('fabric.tenant', 't1', false)`,
		"another role":                 `set role fabric_system`,
		"the login's role":             `reset role`,
		"row security off":             `set row_security = off`,
		"an open transaction":          `begin`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := db.app.Exec(ctx, sql)
			require.NoError(t, err)
			var role, security string
			var rows int
			require.NoError(t, db.app.QueryRow(ctx, `select current_user::text, current_setting('row_security'), (select count(*) from fabric.run)`).Scan(&role, &security, &rows))
			require.Equal(t, roleApp, role)
			require.Equal(t, "on", security)
			require.Zero(t, rows, "a row of t1 without a tenant")
		})
	}
	require.ErrorIs(t, db.withTenant(ctx, "", func(*tenantTx) error { return nil }), errNoTenant)
	_, err := db.Catalog().Features(ctx, api.Caller{}, api.Page{Limit: 1})
	require.ErrorIs(t, err, errNoTenant)
}

// A role that could pass by row-level security is refused at the door.
func TestOpenRefusesPowerfulRoles(t *testing.T) {
	t.Parallel()
	conn := admin(t, pgtest.New(t, Migrate))
	for _, role := range []string{"postgres", roleOwner} {
		err := become(t.Context(), conn, role)
		require.ErrorIs(t, err, ErrRole, role)
	}
	require.ErrorIs(t, become(t.Context(), conn, "nobody_knows"), ErrRole)
	require.NoError(t, become(t.Context(), conn, roleApp))
}
