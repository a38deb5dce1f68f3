//go:build bench

package postgres

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/pgserver"
)

// What the product promises on two cores.
const (
	oneByOne   = 1_500
	together64 = 20_000
	proofWorst = time.Millisecond
)

// durable starts a server with fsync on, as a product's: the figures of one
// without it would say nothing.
func durable(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "audit-bench")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	require.NoError(t, os.Chmod(root, 0o755))
	dir, err := pgserver.Place(root + "/pg")
	require.NoError(t, err)
	server, err := pgserver.Start(t.Context(), pgserver.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })
	dsn, err := pgserver.DSN(dir, "postgres", pgserver.Superuser)
	require.NoError(t, err)
	require.NoError(t, Migrate(t.Context(), dsn))
	return dsn
}

// rate runs fn by so many writers for a while, and returns how often a second.
// The best of three: what else the machine does can only slow it.
func rate(t *testing.T, writers int, fn func(writer int) error) float64 {
	t.Helper()
	best := 0.0
	for range 3 {
		var wg sync.WaitGroup
		counts := make([]int, writers)
		began := time.Now()
		until := began.Add(2 * time.Second)
		for w := range writers {
			wg.Go(func() {
				for time.Now().Before(until) {
					if err := fn(w); err != nil {
						t.Error(err)
						return
					}
					counts[w]++
				}
			})
		}
		wg.Wait()
		sum := 0
		for _, n := range counts {
			sum += n
		}
		best = max(best, float64(sum)/time.Since(began).Seconds())
	}
	return best
}

// TestAuditLoad measures appends against what the disk allows: the same number
// of writers, each with a plain INSERT that is synced.
func TestAuditLoad(t *testing.T) {
	dsn, key := durable(t), newLogKey(t)
	opts := Options{DSN: dsn, TenantConns: 24}
	signing(key)(&opts)
	db, err := Open(t.Context(), opts)
	require.NoError(t, err)
	defer db.Close()
	ctx := t.Context()
	cfg, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.MaxConns = 64
	plain, err := pgxpool.NewWithConfig(ctx, cfg)
	require.NoError(t, err)
	defer plain.Close()
	_, err = plain.Exec(ctx, `create table public.plain (id bigint generated always as identity primary key, body bytea not null)`)
	require.NoError(t, err)
	sample, err := db.encode(leafN(1))
	require.NoError(t, err)

	insert := func(int) error {
		_, err := plain.Exec(ctx, `insert into public.plain (body) values ($1)`, sample.body)
		return err
	}
	alone := func(int) error { return db.Ledger().Append(ctx, leafN(1)) }
	change := func(w int) error {
		return db.withTenant(ctx, "t1", func(tx *tenantTx) error {
			tx.leaf(audit.Leaf{Kind: "test", Tenant: "t1", Actor: "ann", Subject: fmt.Sprint("thing/", w)})
			return nil
		})
	}
	rows := []struct {
		what    string
		writers int
		do      func(int) error
		bound   float64
		got     float64
		limit   float64
	}{
		{"audit-only append", 1, alone, oneByOne, 0, 0},
		{"audit-only append", 16, alone, 0, 0, 0},
		{"audit-only append", 64, alone, together64, 0, 0},
		{"leaf in the transaction of a change", 1, change, 0, 0, 0},
		{"leaf in the transaction of a change", 64, change, 0, 0, 0},
	}
	for i := range rows {
		rows[i].limit = rate(t, rows[i].writers, insert)
		rows[i].got = rate(t, rows[i].writers, rows[i].do)
		t.Logf("%s, %d writers: %.0f/s, plain %.0f/s", rows[i].what, rows[i].writers, rows[i].got, rows[i].limit)
	}
	point, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	for point.Size < 100_000 {
		appendN(t, db, 10_000)
		point.Size += 10_000
	}
	point, err = db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	took := make([]time.Duration, 2000)
	for i := range took {
		began := time.Now()
		_, err := db.AuditLog().Proof(ctx, int64(i)*7919%point.Size, point.Size)
		took[i] = time.Since(began)
		require.NoError(t, err)
	}
	slices.Sort(took)
	require.NoError(t, db.AuditLog().VerifyAll(ctx))

	var b strings.Builder
	fmt.Fprintf(&b, "# The audit log\n\n- command: `make bench` (`go test -tags bench -count=1 -run TestAuditLoad ./internal/postgres`)\n- machine: %d cores of %s, %s\n",
		runtime.NumCPU(), runtime.GOARCH, runtime.Version())
	fmt.Fprintf(&b, "- PostgreSQL with fsync and synchronous_commit on, each append signs an Ed25519 checkpoint in its transaction; best of three runs of 2 s\n\n")
	fmt.Fprintf(&b, "| what | writers | a second | bound | plain synced INSERTs a second, same writers | ratio |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		bound := ""
		if r.bound > 0 {
			bound = fmt.Sprintf("%.0f", r.bound)
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %s | %.0f | %.2f |\n", r.what, r.writers, r.got, bound, r.limit, r.got/r.limit)
	}
	fmt.Fprintf(&b, "\nInclusion proof over %d leaves, from the database: median %d µs, 99th percentile %d µs, bound %d µs.\n\n", point.Size,
		took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds(), proofWorst.Microseconds())
	b.WriteString("Appends that belong to no other change share a transaction when they meet (docs/adr). A leaf of a change is written in\n" +
		"the change's own transaction, whose lock on the head ends with its commit: those are as many as the disk syncs one after the other.\n")
	require.NoError(t, os.WriteFile("../../reports/bench/audit.md", []byte(b.String()), 0o644))
	require.Less(t, took[len(took)/2], proofWorst)
	for _, r := range rows {
		require.GreaterOrEqual(t, r.got, r.bound, "%s, %d writers", r.what, r.writers)
	}
}
