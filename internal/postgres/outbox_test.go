package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
)

// A server that knows workflow ids, as Temporal does with REJECT_DUPLICATE.
type starts struct {
	sync.Mutex
	seen map[string]int
}

func (s *starts) start(id string) {
	s.Lock()
	defer s.Unlock()
	s.seen[id]++
}

// Four relays, a crash after every tenth start and before its commit: every
// workflow is started, none is left over.
func TestOutboxSurvivesCrashes(t *testing.T) {
	t.Parallel()
	const rows, relays = 120, 4
	db, dsn := open(t, func(o *Options) { o.SystemConns = relays + 1 })
	for i := range rows {
		startRun(t, db, "t1", fmt.Sprintf("run-%03d", i))
	}
	world := &starts{seen: map[string]int{}}
	var crashes, undone atomic.Int64
	together(relays, func(relay int) {
		rng := rand.New(rand.NewPCG(7, uint64(relay)))
		for {
			var started int64
			n, err := relayOnce(t.Context(), db, func(s activities.Start) (activities.Verdict, bool) {
				world.start(s.WorkflowID)
				started++
				return activities.Verdict{Done: true}, rng.IntN(10) == 0
			})
			switch {
			case errors.Is(err, errCrash):
				crashes.Add(1)
				undone.Add(started)
			case err != nil:
				t.Error(err)
				return
			case n == 0:
				return
			}
		}
	})
	t.Logf("%d crashes", crashes.Load())
	require.NotZero(t, crashes.Load())
	require.Len(t, world.seen, rows)
	total := 0
	for _, n := range world.seen {
		total += n
	}
	require.Equal(t, rows+int(undone.Load()), total, "only what a crash undid is started again")
	conn := admin(t, dsn)
	require.Equal(t, rows, count(t, conn, `select count(*) from fabric.outbox where done_at is not null`))
	backlog, err := db.Outbox().OutboxBacklog(t.Context())
	require.NoError(t, err)
	require.Zero(t, backlog)
}

var errCrash = errors.New("crash")

// relayOnce relays ten rows; when start says so, the relay dies after the start
// and before the commit, as a killed process does.
func relayOnce(ctx context.Context, db *DB, start func(activities.Start) (activities.Verdict, bool)) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			if crash, ok := r.(error); !ok || !errors.Is(crash, errCrash) {
				panic(r)
			}
			err = errCrash
		}
	}()
	return db.Outbox().Relay(ctx, 10, func(_ context.Context, s activities.Start) activities.Verdict {
		verdict, dies := start(s)
		if dies {
			panic(errCrash)
		}
		return verdict
	})
}

func TestOutboxVerdicts(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	cmd := command("t1", "", "")
	cmd.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	risk := int64(40)
	_, err := db.Runs().StartRun(ctx, cmd, api.Run{ID: "run-1", ModelID: "m1", Params: params()}, api.Start{Workflow: "TrainingRun", ID: "run/run-1", Queue: "control",
		Input: contract.RunInput{Run: "run-1"}, Summary: "train m1\x00", Attributes: api.Attributes{Tenant: "t1", Risk: &risk}}, reply)
	require.NoError(t, err)

	var seen []activities.Start
	relay := func(v activities.Verdict) int {
		n, err := db.Outbox().Relay(ctx, 10, func(_ context.Context, s activities.Start) activities.Verdict {
			seen = append(seen, s)
			return v
		})
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 1, relay(activities.Verdict{Counts: true, RetryIn: 40 * time.Millisecond, Cause: "queue is full"}))
	want, err := json.Marshal(contract.RunInput{Run: "run-1"})
	require.NoError(t, err)
	require.Equal(t, "TrainingRun", seen[0].Workflow)
	require.Equal(t, "run/run-1", seen[0].WorkflowID)
	require.JSONEq(t, string(want), string(seen[0].Input))
	require.JSONEq(t, `{"FabricTenant":"t1","FabricRisk":40}`, string(seen[0].Attributes))
	require.Equal(t, cmd.Traceparent, seen[0].Traceparent)
	require.Equal(t, "train m1?", seen[0].Summary)

	require.Equal(t, 0, relay(activities.Verdict{}), "not due yet")
	require.Eventually(t, func() bool { return relay(activities.Verdict{RetryIn: time.Hour}) == 1 }, time.Second, 10*time.Millisecond)
	require.Equal(t, 1, seen[1].Attempts, "an attempt that counted")
	conn := admin(t, dsn)
	_, err = conn.Exec(ctx, `update fabric.outbox set created_at = now() - interval '2 minutes'`)
	require.NoError(t, err)
	backlog, err := db.Outbox().OutboxBacklog(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, backlog.Waiting)
	require.InDelta(t, 120, backlog.Oldest.Seconds(), 10, "it waits since its command, also between two attempts")
	_, err = conn.Exec(ctx, `update fabric.outbox set next_at = now()`)
	require.NoError(t, err)
	require.Equal(t, 1, relay(activities.Verdict{Dead: true, Counts: true, Cause: "no such workflow"}))
	require.Equal(t, 1, seen[2].Attempts, "an attempt that did not count")
	require.Equal(t, 0, relay(activities.Verdict{Done: true}))
	backlog, err = db.Outbox().OutboxBacklog(ctx)
	require.NoError(t, err)
	require.Equal(t, activities.Backlog{Dead: 1}, backlog)

	require.ErrorIs(t, db.Outbox().Revive(ctx, seen[0].ID+1), api.ErrNotFound)
	require.NoError(t, db.Outbox().Revive(ctx, seen[0].ID))
	require.Equal(t, 1, relay(activities.Verdict{Done: true}))
	require.NoError(t, db.Reap(ctx, 24*time.Hour))
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.outbox`), "young rows stay")
}

// A relay that is told to stop keeps the verdicts that it has.
func TestOutboxKeepsVerdictsOnStop(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	for i := range 3 {
		startRun(t, db, "t1", fmt.Sprint("run-", i))
	}
	ctx, stop := context.WithCancel(t.Context())
	n, err := db.Outbox().Relay(ctx, 10, func(context.Context, activities.Start) activities.Verdict {
		stop()
		return activities.Verdict{Done: true}
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	backlog, err := db.Outbox().OutboxBacklog(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, backlog.Waiting)
}
