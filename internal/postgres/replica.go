package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atom-fabric/fabric/api"
)

// replicas answers lists while they are fresh. How stale one is, is bounded
// without any clock but ours and without heartbeat rows: we note where the
// primary's log ended and when we asked. A replica that has replayed up to
// there holds everything that was committed before we asked.
type replicas struct {
	pools  []*pgxpool.Pool
	bound  []atomic.Int64 // per pool: monotonic nanoseconds since start up to which it is complete; below 0: unusable
	start  time.Time
	window time.Duration
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu   sync.Mutex
	ring [64]sample // of the primary, oldest overwritten
	next int
}

// A sample says that the primary's log had reached lsn at some moment after at.
type sample struct {
	at  time.Duration // since start
	lsn int64
}

// openReplicas starts to watch the replicas; it does not wait for them: one
// that is away costs nothing but its help.
func openReplicas(ctx context.Context, opts Options, primary *pgxpool.Pool) (*replicas, error) {
	r := &replicas{bound: make([]atomic.Int64, len(opts.ReplicaDSNs)), start: time.Now(), window: opts.ReplicaWindow, stop: func() {}}
	for i, dsn := range opts.ReplicaDSNs {
		r.bound[i].Store(-1)
		pool, err := lazyPool(ctx, opts, dsn)
		if err != nil {
			r.close()
			return nil, err
		}
		r.pools = append(r.pools, pool)
	}
	if len(r.pools) == 0 {
		return r, nil
	}
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.done.Go(func() { r.every(ctx, func(ctx context.Context) { r.sample(ctx, primary) }) })
	for i := range r.pools {
		r.done.Go(func() { r.every(ctx, func(ctx context.Context) { r.look(ctx, i) }) })
	}
	return r, nil
}

func (r *replicas) close() {
	r.stop()
	r.done.Wait()
	for _, p := range r.pools {
		p.Close()
	}
}

// every runs fn eight times a window. One run may take a window at most.
func (r *replicas) every(ctx context.Context, fn func(context.Context)) {
	tick := time.NewTicker(max(r.window/8, time.Millisecond))
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, max(r.window, time.Second))
		fn(bounded)
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sample notes where the primary is. The moment is taken before the question.
// Insert position, not write: with synchronous_commit off a commit is visible
// before it is written.
func (r *replicas) sample(ctx context.Context, primary *pgxpool.Pool) {
	s := sample{at: time.Since(r.start)}
	if err := primary.QueryRow(ctx, `select pg_current_wal_insert_lsn() - '0/0'::pg_lsn`).Scan(&s.lsn); err != nil {
		return // the bounds of all replicas grow until it answers
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next%len(r.ring)] = s
	r.next++
}

// look asks a replica how far it is. A server that has become a primary is no
// replica any more.
func (r *replicas) look(ctx context.Context, i int) {
	var standby bool
	var lsn int64
	err := r.pools[i].QueryRow(ctx, `select pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)`).Scan(&standby, &lsn)
	if err != nil || !standby {
		r.bound[i].Store(-1)
		return
	}
	if at, ok := r.complete(lsn); ok {
		r.bound[i].Store(int64(at))
	}
}

// complete returns the newest moment at which the primary was not past lsn.
func (r *replicas) complete(lsn int64) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var at time.Duration
	found := false
	for i := max(0, r.next-len(r.ring)); i < r.next; i++ {
		if s := r.ring[i%len(r.ring)]; s.lsn <= lsn && (!found || s.at > at) {
			at, found = s.at, true
		}
	}
	return at, found
}

// fresh returns a replica that lacks nothing older than the window, or nil.
func (r *replicas) fresh(ctx context.Context) *pgxpool.Pool {
	if ctx.Err() != nil {
		return nil
	}
	now := time.Since(r.start)
	for i := range r.pools {
		if at := r.bound[i].Load(); at >= 0 && now-time.Duration(at) <= r.window {
			return r.pools[i]
		}
	}
	return nil
}

// elsewhere says whether the primary may answer what a replica did not: it is
// away, or cancelled the query because replay could not wait for it.
func (r *replicas) elsewhere(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "57014" || errors.Is(err, api.ErrUnavailable)
	}
	return errors.Is(err, api.ErrUnavailable)
}

// ReplicaLag returns, for each replica, how old its answers may be: up to the
// window it is asked, beyond it the primary is. Below zero for one that is away
// or is no replica.
func (db *DB) ReplicaLag() []time.Duration {
	lag := make([]time.Duration, len(db.replicas.pools))
	now := time.Since(db.replicas.start)
	for i := range lag {
		if lag[i] = -1; db.replicas.bound[i].Load() >= 0 {
			lag[i] = now - time.Duration(db.replicas.bound[i].Load())
		}
	}
	return lag
}
