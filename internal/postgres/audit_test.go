package postgres

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/logkey"
)

func leafN(i int) audit.Leaf {
	return audit.Leaf{Kind: "test", Tenant: fmt.Sprint("t", i%3), Actor: "ann", Subject: fmt.Sprint("thing/", i)}
}

func newLogKey(t testing.TB) *logkey.Key {
	t.Helper()
	key, err := logkey.Generate(filepath.Join(t.TempDir(), "log.key"), "fabric.example/log")
	require.NoError(t, err)
	return key
}

// signing gives a database the log's key.
func signing(key *logkey.Key) func(*Options) {
	return func(o *Options) { o.Origin, o.LogKey = key.Origin(), key }
}

// appendN appends n leaves, ten a transaction.
func appendN(t testing.TB, db *DB, n int) {
	t.Helper()
	for i := 0; i < n; i += 10 {
		require.NoError(t, db.withSystem(t.Context(), func(tx *systemTx) error {
			for j := i; j < min(n, i+10); j++ {
				tx.leaf(leafN(j))
			}
			return nil
		}))
	}
}

func hash(t testing.TB, d artifact.Digest) audit.Hash {
	t.Helper()
	raw, err := hex.DecodeString(d.Hex())
	require.NoError(t, err)
	return audit.Hash(raw)
}

func hashes(t testing.TB, digests []artifact.Digest) (out []audit.Hash) {
	t.Helper()
	for _, d := range digests {
		out = append(out, hash(t, d))
	}
	return out
}

// What the API serves is enough for a stranger: leaves, proofs and signed
// checkpoints verify with the domain's functions alone.
func TestAuditLogProves(t *testing.T) {
	t.Parallel()
	const size = 37
	key := newLogKey(t)
	db, _ := open(t, signing(key))
	ctx, log := t.Context(), db.AuditLog()
	empty, err := log.Checkpoint(ctx)
	require.NoError(t, err)
	require.Zero(t, empty.Size)
	_, err = log.Proof(ctx, 0, 0)
	require.ErrorIs(t, err, api.ErrNotFound)

	roots := []audit.Hash{hash(t, empty.Root)}
	for i := range size {
		require.NoError(t, db.Ledger().Append(ctx, leafN(i)))
		point, err := log.Checkpoint(ctx)
		require.NoError(t, err)
		opened, err := key.Open(point.Note)
		require.NoError(t, err)
		require.Equal(t, hash(t, point.Root), opened.Root)
		roots = append(roots, opened.Root)
	}
	leaves, err := log.Leaves(ctx, 5, 10)
	require.NoError(t, err)
	require.Len(t, leaves, 10)
	require.EqualValues(t, 5, leaves[0].Index)
	leaf, err := audit.Decode(leaves[0].Leaf)
	require.NoError(t, err)
	require.Equal(t, "thing/5", leaf.Subject)
	require.Equal(t, leaves[0].Tenant, leaf.Tenant)

	for _, at := range []int64{1, 2, 31, 32, 33, size} {
		for index := range at {
			proof, err := log.Proof(ctx, index, at)
			require.NoError(t, err)
			require.Equal(t, roots[at], hash(t, proof.Root))
			require.NoError(t, audit.VerifyInclusion(index, at, hash(t, proof.Hash), hashes(t, proof.Hashes), roots[at]))
		}
		for old := range at + 1 {
			step, err := log.Consistency(ctx, old, at)
			require.NoError(t, err)
			require.Equal(t, []audit.Hash{roots[old], roots[at]}, hashes(t, []artifact.Digest{step.FromRoot, step.ToRoot}))
			require.NoError(t, audit.VerifyConsistency(old, at, roots[old], roots[at], hashes(t, step.Hashes)))
		}
	}
	newest, err := log.Proof(ctx, 3, 0)
	require.NoError(t, err)
	require.EqualValues(t, size, newest.Size)
	for _, bad := range [][2]int64{{-1, 0}, {size, 0}, {5, 5}, {0, size + 1}, {0, -1}} {
		_, err := log.Proof(ctx, bad[0], bad[1])
		require.ErrorIs(t, err, api.ErrNotFound, "%v", bad)
	}
	_, err = log.Consistency(ctx, 4, size+1)
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = log.Consistency(ctx, 4, 3)
	require.ErrorIs(t, err, api.ErrNotFound)
	require.NoError(t, log.VerifyAll(ctx, audit.Checkpoint{Size: 12, Root: roots[12]}, audit.Checkpoint{Size: 0, Root: roots[0]}))
	require.ErrorIs(t, log.VerifyAll(ctx, audit.Checkpoint{Size: 12, Root: roots[13]}), ErrTampered)
	require.ErrorIs(t, log.VerifyAll(ctx, audit.Checkpoint{Size: size + 1, Root: roots[13]}), ErrTampered, "a log that lost leaves that were committed to")
}

// Pages of a tenant's own leaves are those leaves, each once, in order, in both
// directions, however few of them there are in what one call looks through.
func TestAuditLogPagesATenantsOwn(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx, log := t.Context(), db.AuditLog()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 1))
	const size = 200
	own := map[string][]int64{"none": nil}
	require.NoError(t, db.withSystem(ctx, func(tx *systemTx) error {
		for i := range int64(size) {
			tenant := []string{"rare", "much", "much", "much", "much", "much", "much", "much"}[draw.IntN(8)]
			if i >= 150 {
				tenant = "much" // a page of the newest leaves has none of the other's
			}
			own[tenant] = append(own[tenant], i)
			tx.leaf(audit.Leaf{Kind: "test", Tenant: tenant, Actor: "ann", Subject: fmt.Sprint("thing/", i)})
		}
		return nil
	}))
	for tenant, want := range own {
		for _, within := range []int64{1, 7, 40, 1 << 40} {
			for _, limit := range []int{1, 3, 50} {
				var up, down []int64
				for from := int64(0); ; {
					found, next, err := log.own(ctx, tenant, from, 0, limit, within)
					require.NoError(t, err)
					require.LessOrEqual(t, len(found), limit)
					for _, e := range found {
						require.Equal(t, tenant, e.Tenant)
						require.NotEmpty(t, e.Leaf)
						up = append(up, e.Index)
					}
					if next == 0 {
						break
					}
					require.Greater(t, next, from)
					require.LessOrEqual(t, next-from, within)
					from = next
				}
				for before := int64(1) << 53; ; {
					found, next, err := log.own(ctx, tenant, 0, before, limit, within)
					require.NoError(t, err)
					for _, e := range found {
						down = append(down, e.Index)
					}
					if next == 0 {
						break
					}
					require.Less(t, next, before)
					before = next
				}
				slices.Reverse(down)
				require.Equal(t, want, up, "%s upwards, %d of %d", tenant, limit, within)
				require.Equal(t, want, down, "%s downwards, %d of %d", tenant, limit, within)
			}
		}
	}
	// The newest page finds what is behind 50 leaves of others.
	found, next, err := log.Own(ctx, "rare", 0, size, 50)
	require.NoError(t, err)
	require.Len(t, found, min(50, len(own["rare"])))
	require.Equal(t, own["rare"][len(own["rare"])-1], found[0].Index)
	require.Zero(t, next)
	require.NoError(t, db.withSystem(ctx, func(tx *systemTx) error {
		for i := range nearby {
			tx.leaf(audit.Leaf{Kind: "test", Tenant: "much", Actor: "ann", Subject: fmt.Sprint("later/", i)})
		}
		return nil
	}))
	far, next, err := log.Own(ctx, "rare", 0, 1<<53, 50)
	require.NoError(t, err)
	require.Equal(t, found, far, "nobody else's leaves hide them")
	require.Zero(t, next)
	bounded, _, err := log.Own(ctx, "rare", 20, 100, 50)
	require.NoError(t, err)
	for _, e := range bounded {
		require.True(t, e.Index >= 20 && e.Index < 100)
	}
}

// A transaction that fails leaves no leaf, and no gap.
func TestRollbackLeavesNoLeaf(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	failed := errors.New("failed")
	together(40, func(i int) {
		err := db.withTenant(ctx, "t1", func(tx *tenantTx) error {
			tx.leaf(audit.Leaf{Kind: "test", Tenant: "t1", Subject: fmt.Sprint(i)})
			if i%2 == 0 {
				// As when something fails after the log was written.
				if err := db.append(ctx, tx, tx.leaves); err != nil {
					return err
				}
				return failed
			}
			return nil
		})
		if (i%2 == 0) != errors.Is(err, failed) {
			t.Errorf("%d: %v", i, err)
		}
	})
	point, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 20, point.Size)
	require.NoError(t, db.AuditLog().VerifyAll(ctx))
}

// A superuser can switch every trigger off. Each way to use that is found.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	const other = `{"actor":"eve","at":"2026-11-22T09:00:00Z","kind":"test","subject":"x","tenant":"t1","v":1}`
	tests := []struct{ name, sql string }{
		{"a changed body", `update fabric.audit_leaf set body = '` + other + `', tenant = 't1' where idx = 7`},
		{"a changed body with its hash", `update fabric.audit_leaf set body = '` + other + `', tenant = 't1', hash = sha256('\x00'::bytea || '` + other + `'::bytea) where idx = 7`},
		{"a body in another form", `update fabric.audit_leaf set body = convert_to(replace(convert_from(body, 'UTF8'), ':', ': '), 'UTF8') where idx = 7`},
		{"a leaf given to another tenant", `update fabric.audit_leaf set tenant = 't9' where idx = 7`},
		{"a removed leaf", `delete from fabric.audit_leaf where idx = 7`},
		{"a removed last leaf", `delete from fabric.audit_leaf where idx = (select max(idx) from fabric.audit_leaf)`},
		{"an added leaf", `insert into fabric.audit_leaf select max(idx) + 1, 't1', sha256('\x00'::bytea || '` + other + `'::bytea), '` + other + `'::bytea from fabric.audit_leaf`},
		{"a leaf before the first", `insert into fabric.audit_leaf select -1, 't1', sha256('\x00'::bytea || '` + other + `'::bytea), '` + other + `'::bytea`},
		{"two leaves exchanged", `update fabric.audit_leaf set idx = case idx when 7 then 1000008 else 1000007 end where idx in (7, 8); update fabric.audit_leaf set idx = idx - 1000000 where idx > 1000000`},
		{"a changed node", `update fabric.audit_node set hash = sha256('x') where level = 2 and idx = 1`},
		{"a removed node", `delete from fabric.audit_node where level = 1 and idx = 3`},
		{"an added node", `insert into fabric.audit_node values (1, 5000, sha256('x'))`},
		{"a changed root", `update fabric.audit_state set root = sha256('x')`},
		{"a changed frontier", `update fabric.audit_state set frontier[1] = sha256('x')`},
		{"the head of an earlier log", `update fabric.audit_state set size = 1024, frontier = frontier[1:1], root = frontier[1]`},
		{"the signature of another head", `update fabric.audit_state set note = replace(note, E'\n1100\n', E'\n1101\n')`},
		{"a lost head", `delete from fabric.audit_state`},
		{"everything removed", `delete from fabric.audit_leaf; delete from fabric.audit_node`},
	}
	db, dsn := open(t, signing(newLogKey(t)))
	appendN(t, db, 1100) // more than a page of the verifier
	kept, err := db.AuditLog().Checkpoint(t.Context())
	require.NoError(t, err)
	commitment := audit.Checkpoint{Size: kept.Size, Root: hash(t, kept.Root)}
	require.NoError(t, db.AuditLog().VerifyAll(t.Context(), commitment))
	conn := admin(t, dsn)
	run := func(sql string) error {
		_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		return err
	}
	require.NoError(t, run(`create table public.l as table fabric.audit_leaf; create table public.n as table fabric.audit_node; create table public.s as table fabric.audit_state;
		alter table fabric.audit_leaf drop constraint audit_leaf_idx_check, drop constraint audit_leaf_check, drop constraint audit_leaf_check1`))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, insufficientPrivilege, code(func() error {
				if strings.HasPrefix(tt.sql, "insert") {
					return run(`update fabric.audit_leaf set idx = idx`)
				}
				return run(tt.sql)
			}()), "the triggers hold even the superuser, until they are switched off")
			require.NoError(t, run(`set session_replication_role = replica; `+tt.sql))
			require.ErrorIs(t, db.AuditLog().VerifyAll(t.Context(), commitment), ErrTampered)
			require.NoError(t, run(`delete from fabric.audit_leaf; delete from fabric.audit_node; delete from fabric.audit_state;
				insert into fabric.audit_leaf table public.l; insert into fabric.audit_node table public.n; insert into fabric.audit_state table public.s;
				set session_replication_role = origin`))
			require.NoError(t, db.AuditLog().VerifyAll(t.Context(), commitment))
		})
	}
}

// Leaves of three tenants, many at once, in single and in shared
// transactions: one number each, no gap, one tree.
func TestAppendTogether(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	together(60, func(i int) {
		var err error
		if i%3 == 0 {
			err = db.withSystem(ctx, func(tx *systemTx) error { tx.leaf(leafN(i)); tx.leaf(leafN(i)); return nil })
		} else {
			tenant := fmt.Sprint("t", i%3)
			err = db.withTenant(ctx, tenant, func(tx *tenantTx) error { tx.leaf(leafN(i)); return nil })
		}
		if err != nil {
			t.Error(err)
		}
	})
	require.NoError(t, db.AuditLog().VerifyAll(ctx))
	rows, err := admin(t, dsn).Query(ctx, `select idx from fabric.audit_leaf order by idx`)
	require.NoError(t, err)
	indexes, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	require.Len(t, indexes, 80)
	require.EqualValues(t, 79, indexes[79])
}

func BenchmarkAppend(b *testing.B) {
	db, _ := open(b)
	for b.Loop() {
		require.NoError(b, db.Ledger().Append(b.Context(), leafN(1)))
	}
}

func BenchmarkVerifyAll(b *testing.B) {
	db, _ := open(b)
	appendN(b, db, 5000)
	for b.Loop() {
		require.NoError(b, db.AuditLog().VerifyAll(b.Context()))
	}
}
