package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/logkey"
)

// Two processes, changes and audit-only appends all at once: one log, every
// leaf once, and the head signed.
func TestAppendsOfTwoProcesses(t *testing.T) {
	t.Parallel()
	key := newLogKey(t)
	one, dsn := open(t, signing(key))
	opts := Options{DSN: dsn}
	signing(key)(&opts)
	two, err := Open(t.Context(), opts)
	require.NoError(t, err)
	defer two.Close()
	ctx := t.Context()
	const each = 40
	together(8*each, func(i int) {
		db := []*DB{one, two}[i%2]
		leaf := audit.Leaf{Kind: "test", Tenant: "t1", Subject: fmt.Sprint("thing/", i)}
		var err error
		if i%4 < 3 {
			err = db.Ledger().Append(ctx, leaf)
		} else {
			err = db.withTenant(ctx, "t1", func(tx *tenantTx) error { tx.leaf(leaf); return nil })
		}
		if err != nil {
			t.Error(err)
		}
	})
	require.NoError(t, one.AuditLog().VerifyAll(ctx))
	seen := map[string]int{}
	for from := int64(0); from < 8*each; from += 200 {
		leaves, err := two.AuditLog().Leaves(ctx, from, 200)
		require.NoError(t, err)
		for _, l := range leaves {
			leaf, err := audit.Decode(l.Leaf)
			require.NoError(t, err)
			require.Len(t, leaf.Salt, 22)
			seen[leaf.Subject]++
		}
	}
	require.Len(t, seen, 8*each)
	point, err := two.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	opened, err := key.Open(point.Note)
	require.NoError(t, err)
	require.EqualValues(t, 8*each, opened.Size)
}

// A leaf that the database refuses fails alone.
func TestABadLeafDoesNotCostItsNeighbours(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	held := make(chan struct{})
	commit := db.group.commit
	var once sync.Once
	db.group.commit = func(ctx context.Context, entries []entry) error {
		once.Do(func() { <-held }) // until all others wait
		return commit(ctx, entries)
	}
	outcomes := make([]error, 12)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() {
			leaf := leafN(i)
			if i == 7 {
				leaf.Subject = "\x00" // text to us, and to no column of PostgreSQL's
			}
			outcomes[i] = db.Ledger().Append(ctx, leaf)
		})
	}
	require.Eventually(t, func() bool {
		db.group.mu.Lock()
		defer db.group.mu.Unlock()
		return len(db.group.waiting) >= len(outcomes)-2 // the first batch is out, of one or two
	}, 10*time.Second, time.Millisecond)
	close(held)
	wg.Wait()
	for i, err := range outcomes {
		if i == 7 {
			require.Error(t, err)
		} else {
			require.NoError(t, err, "leaf %d", i)
		}
	}
	point, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	require.EqualValues(t, len(outcomes)-1, point.Size)
	require.NoError(t, db.AuditLog().VerifyAll(ctx))
}

// Who gives up while waiting leaves no leaf and stops nobody, whichever place
// in the queue.
func TestGivingUpInTheQueue(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var mu sync.Mutex
	var got []string
	g := &appendGroup{commit: func(_ context.Context, entries []entry) error {
		<-release
		mu.Lock()
		defer mu.Unlock()
		for _, e := range entries {
			got = append(got, e.tenant)
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	outcome := map[string]error{}
	var wg sync.WaitGroup
	add := func(ctx context.Context, name string, waiting int) {
		wg.Go(func() {
			err := g.append(ctx, entry{tenant: name})
			mu.Lock()
			defer mu.Unlock()
			outcome[name] = err
		})
		require.Eventually(t, func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.led && len(g.waiting) == waiting }, 10*time.Second, time.Millisecond)
	}
	add(t.Context(), "leader", 0) // leads, and is out of the queue
	for i := range 6 {
		c := t.Context()
		if i%2 == 0 {
			c = ctx
		}
		add(c, fmt.Sprint("w", i), i+1)
	}
	cancel()
	require.Eventually(t, func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.waiting) == 3 }, 10*time.Second, time.Millisecond)
	close(release)
	wg.Wait()
	require.ElementsMatch(t, []string{"leader", "w1", "w3", "w5"}, got)
	for name, err := range outcome {
		gaveUp := name == "w0" || name == "w2" || name == "w4"
		require.Equal(t, gaveUp, errors.Is(err, context.Canceled), name)
	}
	require.NoError(t, g.append(t.Context(), entry{tenant: "later"}), "the queue goes on")

	// The one that was told to lead gives up at that moment.
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { _ = g.append(ctx, entry{tenant: "x"}) })
		wg.Go(cancel)
		wg.Go(func() { _ = g.append(t.Context(), entry{tenant: "y"}) })
		wg.Wait()
	}
}

// What a process without the key appended is signed when it is shown.
func TestTheHeadIsSignedWhenItIsShown(t *testing.T) {
	t.Parallel()
	keyless, dsn := open(t)
	key := newLogKey(t)
	ctx := t.Context()
	require.NoError(t, keyless.Ledger().Append(ctx, leafN(1)))
	unsigned, err := keyless.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	require.Empty(t, unsigned.Note)
	opts := Options{DSN: dsn}
	signing(key)(&opts)
	db, err := Open(ctx, opts)
	require.NoError(t, err)
	defer db.Close()
	for range 2 {
		point, err := db.AuditLog().Checkpoint(ctx)
		require.NoError(t, err)
		opened, err := key.Open(point.Note)
		require.NoError(t, err)
		require.EqualValues(t, 1, opened.Size)
		same, err := keyless.AuditLog().Checkpoint(ctx)
		require.NoError(t, err)
		require.Equal(t, point, same, "a process without the key shows what another has signed")
	}
	// A key that replaced the other signs the same head again.
	next := newLogKey(t)
	signing(next)(&opts)
	rotated, err := Open(ctx, opts)
	require.NoError(t, err)
	defer rotated.Close()
	point, err := rotated.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	_, err = next.Open(point.Note)
	require.NoError(t, err)
}

// A process never shows a head that contradicts what it has shown.
func TestAHeadThatWentBackIsNotShown(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, sql string }{
		{"set back", `delete from fabric.audit_leaf where idx >= 4; delete from fabric.audit_node where (idx + 1) << level > 4;
			update fabric.audit_state set size = 4, frontier = array[(select hash from fabric.audit_node where level = 2)], root = (select hash from fabric.audit_node where level = 2), note = ''`},
		{"another root", `update fabric.audit_state set root = sha256('x'), frontier = array[sha256('x')], note = ''`},
		{"a signature of another head", `update fabric.audit_state set note = replace(note, E'\n8\n', E'\n9\n')`},
		{"a frontier that is not the root's", `update fabric.audit_state set frontier = array[sha256('x')]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db, dsn := open(t, signing(newLogKey(t)))
			appendN(t, db, 8)
			require.NoError(t, db.AuditLog().Check(t.Context()))
			_, err := admin(t, dsn).PgConn().Exec(t.Context(), `set session_replication_role = replica; `+tt.sql).ReadAll()
			require.NoError(t, err)
			require.ErrorIs(t, db.AuditLog().Check(t.Context()), ErrTampered)
		})
	}
}

// The head may be given its signature once, and nothing else without a leaf.
func TestOnlyTheSignatureMayBeAdded(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	appendN(t, db, 4)
	conn := admin(t, dsn)
	for _, refused := range []string{
		`update fabric.audit_state set root = sha256('x'), note = 'n'`,
		`update fabric.audit_state set frontier = array[sha256('x')], note = 'n'`,
		`update fabric.audit_state set size = 2, note = 'n'`,
		`update fabric.audit_state set note = ''`,
	} {
		_, err := conn.Exec(t.Context(), refused)
		require.Equal(t, insufficientPrivilege, code(err), refused)
	}
	_, err := conn.Exec(t.Context(), `update fabric.audit_state set note = 'n'`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `update fabric.audit_state set note = 'other'`)
	require.Equal(t, insufficientPrivilege, code(err))
}

// No role of the fabric may change what is written; not even by mistake.
func TestTheRolesOnlyInsert(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	appendN(t, db, 4)
	conn := admin(t, dsn)
	for _, role := range []string{roleApp, roleSystem, "fabric_owner"} {
		for _, table := range []string{"audit_leaf", "audit_node", "audit_state"} {
			for _, verb := range []string{"update fabric.%s set hash = hash", "delete from fabric.%s", "truncate fabric.%s"} {
				sql := fmt.Sprintf(verb, table)
				if table == "audit_state" && verb[0] == 'u' {
					sql = `update fabric.audit_state set root = sha256('x')`
				}
				err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
					if _, err := tx.Exec(t.Context(), `set local role `+role); err != nil {
						return err
					}
					_, err := tx.Exec(t.Context(), sql)
					return err
				})
				require.Equal(t, insufficientPrivilege, code(err), "%s: %s: %v", role, sql, err)
			}
		}
	}
	require.NoError(t, db.AuditLog().VerifyAll(t.Context()))
}

var _ LogKey = (*logkey.Key)(nil)
