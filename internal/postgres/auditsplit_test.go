package postgres

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/logkey"
	"github.com/atom-fabric/fabric/internal/witness"
)

// seen is a database's log as a region's witness reads it.
type seen struct {
	t   *testing.T
	log AuditLog
}

func (s seen) Checkpoint(ctx context.Context) (string, error) {
	point, err := s.log.Checkpoint(ctx)
	return point.Note, err
}

func (s seen) Step(ctx context.Context, from, to int64) (audit.Step, error) {
	step, err := s.log.Consistency(ctx, from, to)
	if err != nil {
		return audit.Step{}, witness.ErrBehind
	}
	return audit.Step{Root: hash(s.t, step.FromRoot), Hashes: hashes(s.t, step.Hashes)}, nil
}

// other is another region's witness in this process.
type other struct{ w **witness.Witness }

func (o other) Report(context.Context) (witness.Report, error) { return (*o.w).Report(), nil }

func watch(t *testing.T, region string, key *logkey.Key, db *DB, peers map[string]witness.Peer) *witness.Witness {
	t.Helper()
	w, err := witness.New(witness.Options{Region: region, Verifier: key.Verifier(), Log: seen{t, db.AuditLog()}, Peers: peers,
		Dir: t.TempDir(), Every: time.Minute, Journal: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now})
	require.NoError(t, err)
	return w
}

// A database that is copied and goes on as two, with one key: each signs, each
// verifies, and the regions that see one each find out.
func TestADatabaseThatWentTwoWaysIsFound(t *testing.T) {
	t.Parallel()
	key, ctx := newLogKey(t), t.Context()
	first, _ := open(t, signing(key))
	appendN(t, first, 13)
	second, _ := open(t, signing(key))
	past, err := first.AuditLog().Leaves(ctx, 0, 100)
	require.NoError(t, err)
	entries := make([]entry, len(past))
	for i, p := range past {
		entries[i] = entry{p.Tenant, p.Leaf, audit.LeafHash(p.Leaf)}
	}
	require.NoError(t, begin(ctx, second.system, func(*pgx.Batch) {}, func(tx pgx.Tx) error {
		_, err := second.extend(ctx, tx, audit.Tree{}, entries)
		return err
	}))
	var eu, us *witness.Witness
	eu = watch(t, "eu", key, first, map[string]witness.Peer{"us": other{&us}})
	us = watch(t, "us", key, second, map[string]witness.Peer{"eu": other{&eu}})
	for range 2 {
		require.NoError(t, eu.Look(ctx))
		require.NoError(t, us.Look(ctx))
	}
	appendN(t, first, 5)
	appendN(t, second, 9)
	require.NoError(t, first.AuditLog().VerifyAll(ctx), "each alone is in order")
	require.NoError(t, second.AuditLog().VerifyAll(ctx))
	var errs [2]error
	for range 2 {
		errs = [2]error{eu.Look(ctx), us.Look(ctx)}
	}
	for i, w := range []*witness.Witness{eu, us} {
		require.ErrorIs(t, errs[i], audit.ErrSplit)
		require.ErrorIs(t, w.Check(ctx), audit.ErrSplit)
		require.NoError(t, w.Report().Split.Check(key.Verifier()))
	}
}
