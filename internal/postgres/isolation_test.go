package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
)

// A guarded is a tenant table as the catalogue describes it, with a row for
// two tenants made from its column types and checks.
type guarded struct {
	name    string
	columns []string          // that can be given a value
	values  map[string]string // SQL literal by column
	touch   string            // column that the app role may update, where it may not update all
	rights  map[string]string // role -> "SIUD", L to lock rows, T to update the column touch
}

// guardedTables reads every table with row-level security: a new table is in
// the matrix by itself.
func guardedTables(t *testing.T, conn *pgx.Conn) []guarded {
	t.Helper()
	rows, err := conn.Query(t.Context(), `select relname::text from`+tables+`and c.relrowsecurity order by relname`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEmpty(t, names)
	var out []guarded
	for _, name := range names {
		g := guarded{name: name, values: map[string]string{}, rights: map[string]string{}}
		rows, err := conn.Query(t.Context(), `select attname::text, format_type(coalesce(nullif(y.typbasetype, 0), a.atttypid), -1), format_type(a.atttypid, -1)
			from pg_attribute a join pg_type y on y.oid = a.atttypid
			where attrelid = ('fabric.' || $1)::regclass and attnum > 0 and attgenerated = '' and attidentity = '' order by attnum`, name)
		require.NoError(t, err)
		var column, base, typ string
		_, err = pgx.ForEachRow(rows, []any{&column, &base, &typ}, func() error {
			g.columns = append(g.columns, column)
			g.values[column] = literal(t, name, column, base, typ)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, conn.QueryRow(t.Context(), `select coalesce(min(attname::text collate "C") filter (where has_column_privilege($1, attrelid, attnum, 'UPDATE')), 'tenant')
			from pg_attribute where attrelid = ('fabric.' || $2)::regclass and attnum > 0 and attgenerated = ''`, roleApp, name).Scan(&g.touch))
		for _, role := range []string{roleApp, roleSystem} {
			var rights string
			require.NoError(t, conn.QueryRow(t.Context(), `select string_agg(case when has_table_privilege($1, ('fabric.' || $2)::regclass, p) then left(p, 1) else '' end, '')
					|| case when has_any_column_privilege($1, ('fabric.' || $2)::regclass, 'UPDATE') then 'L' else '' end
					|| case when has_column_privilege($1, ('fabric.' || $2)::regclass, $3, 'UPDATE') then 'T' else '' end
				from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p`, role, name, g.touch).Scan(&rights))
			g.rights[role] = rights
		}
		out = append(out, g)
	}
	return out
}

// words that some column's check asks for.
var words = map[string]string{
	"consent_event.kind": "granted", "round.kind": "train", "round.status": "open", "stage.kind": "train", "stage.status": "open", "stage.stage": "update",
	"submission.stage": "update", "stage_member.stage": "share", "survivors.stage": "mask", "run.status": "running", "model_alias.environment": "dev", "alias_move.environment": "dev", "action.kind": "policy", "action.state": "planned", "ballot.outcome": "approved", "ballot.request": `{"nonce":"x"}`,
	"policy_region.state": "active", "proposal.direction": "tighten", "verdict.input": "{}", "verdict.allowed": "true",
	"privacy_budget.delta": "0.00001", "privacy_entry.state": "reserved",
	"model_replica.state": "held", "recovery_point.previous": "",
	"decision.id": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "decision.status": "200", "token_revocation.token": "",
	"canary_fact.kind":     "look",
	"access_request.state": "PENDING", "consent_grant.document": "{}", "consent_grant.origin": "grant", "consent_grant.withdrawn_epoch": "2",
	"withdrawal.epoch": "2", "withdrawal.decision": "stop", "round_halt.stage": "update", "round_taint.decision": "", "feature_alias.mode": "none",
	"study.environment": "dev", "study.status": "running", "study_trial.state": "ACTIVE",
	"statistics.state": "waiting", "statistics.question": "{}", "statistics_answer.document": "{}",
}

// literal is a value that the column takes.
func literal(t *testing.T, table, column, base, typ string) string {
	t.Helper()
	if word, ok := words[table+"."+column]; ok {
		return "'" + word + "'"
	}
	if strings.HasPrefix(column, "ended_at") || strings.HasSuffix(column, "_at") && (column == "done_at" || column == "dead_at" || column == "closed_at") || column == "stop_asked" {
		return "null"
	}
	switch {
	case typ == "fabric.digest":
		return "'sha256:" + strings.Repeat("0", 64) + "'"
	case table == "policy_revision" && column == "document", table == "outbox" && column == "input":
		return "'{}'"
	case column == "package":
		return `'{"digest":"d"}'`
	case column == "refused" && base == "text":
		return "''"
	case base == "text":
		return "'x'"
	case strings.HasSuffix(base, "[]"):
		return "'{}'"
	case base == "boolean":
		return "true"
	case strings.HasPrefix(base, "json"):
		return "'{}'"
	case base == "double precision", base == "numeric":
		return "1"
	case base == "integer", base == "bigint", base == "smallint":
		return "1"
	case strings.HasPrefix(base, "timestamp"):
		return "now()"
	case base == "bytea":
		return "''"
	}
	t.Fatalf("no value for %s.%s of type %s", table, column, typ)
	return ""
}

// insert is an INSERT for the tenant.
func (g guarded) insert(tenant string) string {
	values := make([]string, len(g.columns))
	for i, c := range g.columns {
		values[i] = g.values[c]
		if c == "tenant" {
			values[i] = "'" + tenant + "'"
		}
		if g.name == "audit_leaf" { // its checks tie the columns together
			body := fmt.Sprintf(`convert_to('{"tenant":"%s"}', 'UTF8')`, tenant)
			values[i] = map[string]string{"idx": fmt.Sprint(len(tenant)*1000 + int(tenant[0])), "tenant": "'" + tenant + "'", "body": body, "hash": `sha256('\x00'::bytea || ` + body + `)`}[c]
		}
	}
	return fmt.Sprintf("insert into fabric.%s (%s) values (%s)", g.name, strings.Join(g.columns, ", "), strings.Join(values, ", "))
}

// An attempt is one operation of the matrix and what must come of it: rows
// touched, or a SQLSTATE.
type attempt struct {
	name string
	sql  func(g guarded) string
	// need is the right without which the answer is 42501, whatever else.
	need string
	// want by how the tenant is set: "own" is the tenant of the row "mine".
	want func(setting string) string
}

func rowsIf(ok bool, n int) string {
	if ok {
		return fmt.Sprint(n)
	}
	return "0"
}

// Rows of tenants "mine" and "theirs" are there. The tenant "fresh" has none.
var attempts = []attempt{
	{"select all", func(g guarded) string { return "select from fabric." + g.name }, "S", func(s string) string { return rowsIf(s == "mine" || s == "theirs", 1) }},
	{"select mine", func(g guarded) string { return "select from fabric." + g.name + " where tenant = 'mine'" }, "S", func(s string) string { return rowsIf(s == "mine", 1) }},
	{"insert fresh", func(g guarded) string { return g.insert("fresh") }, "I", func(s string) string {
		if s == "fresh" {
			return "1"
		}
		return insufficientPrivilege
	}},
	{"insert fresh, ignoring conflicts", func(g guarded) string { return g.insert("fresh") + " on conflict do nothing" }, "I", func(s string) string {
		if s == "fresh" {
			return "1"
		}
		return insufficientPrivilege
	}},
	{"insert fresh, returning", func(g guarded) string { return g.insert("fresh") + " returning tenant" }, "SI", func(s string) string {
		if s == "fresh" {
			return "1"
		}
		return insufficientPrivilege
	}},
	{"update mine", func(g guarded) string {
		return "update fabric." + g.name + " set tenant = tenant where tenant = 'mine'"
	}, "SU", func(s string) string { return rowsIf(s == "mine", 1) }},
	{"touch mine", func(g guarded) string {
		return fmt.Sprintf("update fabric.%s set %s = %[2]s where tenant = 'mine'", g.name, g.touch)
	}, "ST", func(s string) string { return rowsIf(s == "mine", 1) }},
	{"move mine to theirs", func(g guarded) string {
		return "update fabric." + g.name + " set tenant = 'elsewhere' where tenant = 'mine'"
	}, "SU", func(s string) string {
		if s == "mine" {
			return insufficientPrivilege
		}
		return "0"
	}},
	{"delete mine", func(g guarded) string { return "delete from fabric." + g.name + " where tenant = 'mine'" }, "SD", func(s string) string { return rowsIf(s == "mine", 1) }},
	{"lock mine", func(g guarded) string { return "select from fabric." + g.name + " where tenant = 'mine' for update" }, "SL", func(s string) string { return rowsIf(s == "mine", 1) }},
	{"truncate", func(g guarded) string { return "truncate fabric." + g.name }, "never", nil},
	{"switch it off", func(g guarded) string { return "alter table fabric." + g.name + " disable row level security" }, "never", nil},
}

// settings are what fabric.tenant may be: not set, empty, nonsense, SQL, a
// tenant.
var settings = []struct {
	name  string
	value *string
}{
	{"unset", nil}, {"empty", new(string)}, {"nonsense", ptr("no such tenant")}, {"sql", ptr("mine' or 'a'='a")}, {"pattern", ptr("%")},
	{"mine", ptr("mine")}, {"theirs", ptr("theirs")}, {"fresh", ptr("fresh")},
}

func ptr(s string) *string { return &s }

// TestIsolationMatrix: every table x operation x setting x role, in a
// transaction that is rolled back.
func TestIsolationMatrix(t *testing.T) {
	t.Parallel()
	conn := admin(t, pgtest.New(t, Migrate))
	exec := func(sql string) {
		_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		require.NoError(t, err, sql)
	}
	all := guardedTables(t, conn)
	exec(`set session_replication_role = replica`) // rows without their parents
	for _, g := range all {
		exec(g.insert("mine"))
		exec(g.insert("theirs"))
	}
	// Foreign keys and the triggers of what only grows stay off for the
	// matrix: it is about policies and grants, and must not pass for their sake.
	cells := 0
	for _, role := range []string{roleApp, roleSystem, roleOwner} {
		for _, g := range all {
			for _, setting := range settings {
				for _, a := range attempts {
					if role == roleOwner && a.need == "never" {
						continue // the owner may: it is who migrations run as
					}
					got := try(t, conn, role, setting.value, a.sql(g))
					want := expect(role, g, setting.name, a)
					require.Equal(t, want, got, "%s as %s with tenant %s: %s", g.name, role, setting.name, a.name)
					cells++
				}
			}
		}
	}
	t.Logf("%d cells over %d tables", cells, len(all))
}

// expect is the matrix in words. The app role is held by its grants, then by
// its tenant. The system role is held by its grants. The owner owns, and is
// held by FORCE: no policy is for it, so it sees and writes nothing.
func expect(role string, g guarded, setting string, a attempt) string {
	if role == roleOwner {
		if strings.HasPrefix(a.name, "insert") {
			return insufficientPrivilege
		}
		return "0"
	}
	for _, right := range a.need {
		if a.need == "never" || !strings.ContainsRune(g.rights[role], right) {
			return insufficientPrivilege
		}
	}
	if role == roleSystem {
		switch a.name {
		case "select all":
			return "2"
		}
		return "1"
	}
	return a.want(setting)
}

// try returns the rows touched or the SQLSTATE, and leaves nothing behind.
func try(t *testing.T, conn *pgx.Conn, role string, tenant *string, sql string) string {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	if tenant != nil {
		_, err = tx.Exec(t.Context(), setTenant, *tenant)
		require.NoError(t, err)
	}
	_, err = tx.Exec(t.Context(), "set local role "+role)
	require.NoError(t, err)
	tag, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeExec)
	if err != nil {
		require.NotEmpty(t, code(err), err)
		return code(err)
	}
	return fmt.Sprint(tag.RowsAffected())
}

// What the app role cannot do by any of these roads.
func TestNoWayAround(t *testing.T) {
	t.Parallel()
	login := admin(t, whole(t))
	_, err := login.Exec(t.Context(), `insert into fabric.run (tenant, id, model, tenants, params, requester) values ('t1', 'run-1', 'm1', '{}', '{}', 'ann')`)
	require.NoError(t, err)
	_, err = login.Exec(t.Context(), `set role fabric_app`)
	require.NoError(t, err)
	tests := []struct{ name, sql, want string }{
		{"switching row security off fails closed", `set row_security = off; select count(*) from fabric.run`, insufficientPrivilege},
		{"copying into a table", `copy fabric.run from stdin`, "0A000"},
		{"reading the audit log", `select body from fabric.audit_leaf`, insufficientPrivilege},
		{"reading what will start", `select input from fabric.outbox`, insufficientPrivilege},
		{"reading snapshots", `select snapshot from fabric.snapshot`, insufficientPrivilege},
		{"a leaf in another tenant's name", `select set_config('fabric.tenant', 't1', true); insert into fabric.audit_leaf (idx, tenant, hash, body)
			select 0, 't2', sha256('\x00'::bytea || b), b from convert_to('{"tenant":"t2"}', 'UTF8') b`, insufficientPrivilege},
		{"a leaf whose body names another tenant", `select set_config('fabric.tenant', 't1', true); insert into fabric.audit_leaf (idx, tenant, hash, body)
			select 0, 't1', sha256('\x00'::bytea || b), b from convert_to('{"tenant":"t2"}', 'UTF8') b`, "23514"},
		{"a leaf with another hash", `select set_config('fabric.tenant', 't1', true); insert into fabric.audit_leaf (idx, tenant, hash, body)
			select 0, 't1', sha256(b), b from convert_to('{"tenant":"t1"}', 'UTF8') b`, "23514"},
		{"turning the log back", `update fabric.audit_state set at = now()`, insufficientPrivilege},
		{"a start in another tenant's name", `select set_config('fabric.tenant', 't1', true);
			insert into fabric.outbox (tenant, workflow, workflow_id, queue, input) values ('t2', 'w', 'i', 'q', '{}')`, insufficientPrivilege},
		{"a round of another tenant's run", `select set_config('fabric.tenant', 't2', true); insert into fabric.round (tenant, run, number, kind, manifest)
			values ('t2', 'run-1', 0, 'train', '{}')`, foreignKeyViolation},
		{"a round in another tenant's run", `select set_config('fabric.tenant', 't2', true); insert into fabric.round (tenant, run, number, kind, manifest)
			values ('t1', 'run-1', 0, 'train', '{}')`, insufficientPrivilege},
		{"making a table", `create table fabric.mine (a int)`, insufficientPrivilege},
		{"making a temporary table", `create temporary table mine (a int)`, insufficientPrivilege},
		{"a tenant that is no name", `select set_config('fabric.tenant', 'T 1', true); insert into fabric.model (tenant, id) values ('T 1', 'm')`, "23514"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := login.PgConn().Exec(t.Context(), "begin;"+tt.sql).ReadAll()
			require.Equal(t, tt.want, code(err), "%v", err)
			_, err = login.PgConn().Exec(t.Context(), "rollback").ReadAll()
			require.NoError(t, err)
		})
	}
}
