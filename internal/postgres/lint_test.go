package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
)

// The tables without row-level security: nothing in them is one tenant's.
// Grants alone guard them.
const systemTables = `('schema_version', 'snapshot', 'audit_node', 'audit_state', 'router_spool', 'decision_gap')`

// The tables with a tenant that is not what they are known by: the app role
// writes to them and cannot read.
const numberedTables = `('outbox', 'audit_leaf')`

// What only grows, and for whom not even the owner makes an exception.
const growing = `('consent_event', 'submission', 'stage_member', 'survivors', 'model_version', 'vote', 'policy_revision', 'snapshot', 'audit_leaf', 'audit_node', 'decision_gap', 'token_revocation', 'plan_grant', 'canary_fact', 'version_card', 'grant_use', 'round_halt', 'study_run', 'statistics_answer')`

const tables = ` pg_class c where c.relnamespace = 'fabric'::regnamespace and c.relkind in ('r', 'p') `

// A check is a query whose every row is a defect, and a defect to plant: the
// check that does not find it checks nothing.
var checks = []struct{ name, sql, plant string }{
	{"row-level security is on and forced",
		`select c.relname from` + tables + `and c.relname not in ` + systemTables + ` and not (c.relrowsecurity and c.relforcerowsecurity)`,
		`alter table fabric.run no force row level security`},
	{"a new table is not forgotten",
		`select c.relname from` + tables + `and c.relname not in ` + systemTables + ` and not c.relrowsecurity`,
		`create table fabric.leak (tenant fabric.name not null primary key)`},
	{"a partition is guarded like its parent",
		`select c.relname from` + tables + `and c.relispartition and not c.relforcerowsecurity`,
		`create table fabric.parts (tenant text) partition by list (tenant); create table fabric.part1 partition of fabric.parts default`},
	{"each role has one policy over all operations, with USING and CHECK",
		`select c.relname || ' ' || r from` + strings.Replace(tables, "pg_class c", "pg_class c cross join unnest(array['fabric_app', 'fabric_system']) r", 1) +
			`and c.relrowsecurity and 1 <> (select count(*) from pg_policy p where p.polrelid = c.oid and p.polroles = array[r::regrole::oid]
				and p.polcmd = '*' and p.polpermissive and p.polqual is not null and p.polwithcheck is not null)`,
		`create policy more on fabric.run to fabric_app using (true) with check (true)`},
	{"no policy is for others",
		`select p.polname from pg_policy p join` + strings.Replace(tables, "where", "on c.oid = p.polrelid and", 1) +
			`and p.polroles not in (array['fabric_app'::regrole::oid], array['fabric_system'::regrole::oid])`,
		`create policy everybody on fabric.run to public using (true)`},
	{"the tenant's policy is the tenant, looked up once per query",
		`select c.relname || '.' || p.polname from pg_policy p join` + strings.Replace(tables, "where", "on c.oid = p.polrelid and", 1) +
			`and p.polroles = array['fabric_app'::regrole::oid] and not (
				regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\s+', ' ', 'g') ~ '^\(\(tenant\)::text = \( SELECT fabric.tenant\(\) AS tenant\)\)$|^\(tenant = \( SELECT fabric.tenant\(\) AS tenant\)\)$'
				and pg_get_expr(p.polqual, p.polrelid) = pg_get_expr(p.polwithcheck, p.polrelid))`,
		`alter policy tenant on fabric.run using (tenant = fabric.tenant())`},
	{"the tenant column is there and not null",
		`select c.relname from` + tables + `and c.relrowsecurity and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and a.attnotnull)`,
		`alter table fabric.audit_leaf alter column tenant drop not null`},
	{"every key and index begins with the tenant",
		`select i.indexrelid::regclass::text from pg_index i join` + strings.Replace(tables, "where", "on c.oid = i.indrelid and", 1) +
			`and c.relrowsecurity and c.relname not in ` + numberedTables + ` and i.indkey[0] is distinct from
			(select a.attnum from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant')`,
		`create unique index oracle on fabric.approver (key)`},
	{"every foreign key begins with the tenant on both sides",
		`select k.conname from pg_constraint k join` + strings.Replace(tables, "where", "on c.oid = k.conrelid and", 1) + `and k.contype = 'f'
			and not exists (select from pg_attribute a, pg_attribute b where a.attrelid = k.conrelid and a.attnum = k.conkey[1] and a.attname = 'tenant'
				and b.attrelid = k.confrelid and b.attnum = k.confkey[1] and b.attname = 'tenant')`,
		`create table fabric.leaked (plan_digest text primary key); alter table fabric.action add constraint across foreign key (plan_digest) references fabric.leaked (plan_digest)`},
	{"no function runs with its owner's rights",
		`select proname::text from pg_proc where pronamespace = 'fabric'::regnamespace and prosecdef`,
		`create function fabric.all_runs() returns setof fabric.run language sql security definer as 'select * from fabric.run'`},
	{"views read with the reader's rights",
		`select relname::text from pg_class where relnamespace = 'fabric'::regnamespace and relkind = 'v' and not coalesce(reloptions @> array['security_invoker=true'], false)`,
		`create view fabric.every_run as select * from fabric.run`},
	{"no materialised views",
		`select relname::text from pg_class where relnamespace = 'fabric'::regnamespace and relkind = 'm'`,
		`create materialized view fabric.runs as select * from fabric.run`},
	{"roles can do nothing special",
		`select rolname::text from pg_roles where rolname in ('fabric_owner', 'fabric_app', 'fabric_system') and
			(rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolcanlogin or rolinherit)`,
		`alter role fabric_app bypassrls`},
	{"roles are members of nothing",
		`select member::regrole::text from pg_auth_members where member in ('fabric_owner'::regrole, 'fabric_app'::regrole, 'fabric_system'::regrole)`,
		`grant fabric_owner to fabric_app`},
	{"no right beyond reading and writing rows",
		`select c.relname || ' ' || a.privilege_type from` + strings.Replace(tables, "pg_class c", "pg_class c cross join aclexplode(c.relacl) a", 1) +
			`and a.grantee <> c.relowner and (a.privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
				or a.grantee not in ('fabric_app'::regrole, 'fabric_system'::regrole) or a.is_grantable)`,
		`grant truncate on fabric.run to fabric_app`},
	{"nobody else may touch a table",
		`select c.relname::text from` + strings.Replace(tables, "pg_class c", "pg_class c cross join aclexplode(c.relacl) a", 1) + `and a.grantee = 0`,
		`grant select on fabric.schema_version to public`},
	{"what only grows cannot be changed by right",
		`select c.relname || ' ' || a.privilege_type from` + strings.Replace(tables, "pg_class c", "pg_class c cross join aclexplode(c.relacl) a", 1) +
			`and a.grantee <> c.relowner and c.relname in ` + growing + ` and a.privilege_type not in ('SELECT', 'INSERT')`,
		`grant update on fabric.audit_leaf to fabric_system`},
	{"what only grows cannot be changed by anybody",
		`select c.relname::text from` + tables + `and c.relname in ` + growing + ` and not exists (select from pg_trigger t
			where t.tgrelid = c.oid and t.tgfoid = 'fabric.refuse_change'::regproc and t.tgenabled = 'O' and t.tgtype = 2 | 8 | 16 | 32)`,
		`alter table fabric.vote disable trigger only_grows`},
	{"the app role cannot read what is the system's",
		`select t from unnest(array['snapshot', 'outbox', 'audit_leaf', 'audit_node']) t where has_any_column_privilege('fabric_app', 'fabric.' || t, 'SELECT')`,
		`grant select (body) on fabric.audit_leaf to fabric_app`},
	{"the app role deletes nothing",
		`select c.relname::text from` + tables + `and has_table_privilege('fabric_app', c.oid, 'DELETE')`,
		`grant delete on fabric.idempotency to fabric_app`},
	{"one role owns everything",
		`select relname::text from pg_class where relnamespace = 'fabric'::regnamespace and relowner <> 'fabric_owner'::regrole
			union select proname::text from pg_proc where pronamespace = 'fabric'::regnamespace and proowner <> 'fabric_owner'::regrole`,
		`alter function fabric.tenant() owner to postgres`},
	{"nobody makes objects",
		`select n.nspname || ' ' || r from pg_namespace n, unnest(array['fabric_app', 'fabric_system', 'public']) r where n.nspname in ('fabric', 'public') and
			case r when 'public' then exists (select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) where grantee = 0) else has_schema_privilege(r, n.oid, 'CREATE') end`,
		`grant create on schema fabric to fabric_app`},
	{"nobody else may make temporary tables",
		`select 'public' from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
			where d.datname = current_database() and a.grantee = 0 and a.privilege_type = 'TEMPORARY'`,
		`do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$`},
	{"no enums, whose equality is not leakproof",
		`select typname::text from pg_type where typnamespace = 'fabric'::regnamespace and typtype = 'e'`,
		`create type fabric.colour as enum ('red')`},
	{"every table, view and column says what it is",
		`select c.relname || coalesce('.' || a.attname, '') from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind = 'r'
			where c.relnamespace = 'fabric'::regnamespace and c.relkind in ('r', 'v') and (obj_description(c.oid, 'pg_class') is null
				or (c.relkind = 'r' and col_description(c.oid, a.attnum) is null))`,
		`alter table fabric.run add column secret text`},
}

// whole migrates a database in place. A copy of a template lacks the rights on
// the database itself, which CREATE DATABASE does not copy.
func whole(t *testing.T) string {
	t.Helper()
	dsn := pgtest.New(t, nil)
	require.NoError(t, Migrate(t.Context(), dsn))
	return dsn
}

func lint(t *testing.T, tx pgx.Tx, i int) []string {
	t.Helper()
	rows, err := tx.Query(t.Context(), checks[i].sql)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return found
}

func TestCatalogueLint(t *testing.T) {
	t.Parallel()
	conn := admin(t, whole(t))
	for i, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			defer func() { _ = tx.Rollback(t.Context()) }()
			require.Empty(t, lint(t, tx, i))
			_, err = tx.Conn().PgConn().Exec(t.Context(), check.plant).ReadAll()
			require.NoError(t, err)
			require.NotEmpty(t, lint(t, tx, i), "planted and not found: %s", check.plant)
		})
	}
}
