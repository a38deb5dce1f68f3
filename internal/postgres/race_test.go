package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/routing"
)

// together runs n calls at once and returns when all are done.
func together(n int, call func(i int)) {
	var all sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		all.Go(func() { <-gate; call(i) })
	}
	close(gate)
	all.Wait()
}

// 20 keys, each sent 20 times at once: 20 runs, 20 outbox rows, 20 leaves, and
// every answer to a key is the same to the byte.
func TestIdempotencyRace(t *testing.T) {
	t.Parallel()
	const keys, copies = 20, 20
	db, dsn := open(t)
	var replays atomic.Int64
	var answers [keys]sync.Map
	together(keys*copies, func(i int) {
		key := i % keys
		// Each copy would make another run, as a handler that picks ids does.
		run := api.Run{ID: fmt.Sprintf("run-%d-%d", key, i), ModelID: "m1", Params: params()}
		answer, err := db.Runs().StartRun(t.Context(), command("t1", fmt.Sprint("key ", key), fmt.Sprint("body ", key)), run, api.Start{Workflow: "TrainingRun", ID: "run/" + run.ID, Queue: "control"}, reply)
		if err != nil {
			t.Errorf("key %d: %v", key, err)
			return
		}
		if answer.Replayed {
			replays.Add(1)
		}
		answers[key].Store(string(answer.Body), true)
	})
	for key := range keys {
		var different int
		answers[key].Range(func(any, any) bool { different++; return true })
		require.Equal(t, 1, different, "key %d", key)
	}
	require.EqualValues(t, keys*(copies-1), replays.Load())
	conn := admin(t, dsn)
	require.Equal(t, keys, count(t, conn, `select count(*) from fabric.run`))
	require.Equal(t, keys, count(t, conn, `select count(*) from fabric.outbox`))
	require.Equal(t, keys, count(t, conn, `select count(*) from fabric.audit_leaf`))
	require.Equal(t, keys, count(t, conn, `select count(*) from fabric.idempotency where status = 200`))
}

// A feature is registered again and granted at the same time, by many: each is
// done, and the history of its consent has an event of each.
func TestConsentRace(t *testing.T) {
	t.Parallel()
	const calls = 24
	db, dsn := open(t)
	feature := catalog.Feature{ID: "age", Schema: json.RawMessage(`{}`), Fingerprint: digest("age"), Consent: catalog.Consent{Granted: true, Purposes: []string{"train"}}}
	_, err := db.Catalog().Register(t.Context(), command("t1", "", ""), feature, reply)
	require.NoError(t, err)
	staged := catalog.Feature{ID: "us", Schema: json.RawMessage(`{}`), Fingerprint: digest("us"), Staged: true}
	_, err = db.Catalog().Register(t.Context(), command("t1", "", ""), staged, reply)
	require.NoError(t, err)
	_, err = db.Catalog().Grant(t.Context(), command("t1", "", ""), consent.Grant{Feature: "us", Grantee: "t2", Actions: []string{"train"}}, artifact.Descriptor{}, reply)
	require.ErrorIs(t, err, api.ErrNotFound, "nothing of it is in use that could be granted")
	var errs [calls]error
	together(calls, func(i int) {
		if i%2 == 0 {
			_, errs[i] = db.Catalog().Register(t.Context(), command("t1", "", ""), feature, reply)
			return
		}
		g := consent.Grant{Feature: "age", Grantee: fmt.Sprint("t", i+1), Actions: []string{"train"}}
		_, errs[i] = db.Catalog().Grant(t.Context(), command("t1", "", ""), g, artifact.Descriptor{}, reply)
	})
	require.NoError(t, errors.Join(errs[:]...))
	require.Equal(t, 1+calls, count(t, admin(t, dsn), `select max(seq) from fabric.consent_event`))
	// The owner, and those of the grants.
	require.Equal(t, 1+calls/2, count(t, admin(t, dsn), `select cardinality(grantees) from fabric.consent_event order by seq desc limit 1`))
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	keep := func(cmd api.Command, body string) (api.Answer, error) {
		return db.Idempotency().Keep(ctx, cmd, api.Answer{Status: 201, Body: json.RawMessage(body)})
	}
	first, err := keep(command("t1", "k", "body"), `{"a": 1}`)
	require.NoError(t, err)
	require.False(t, first.Replayed)

	again, err := keep(command("t1", "k", "body"), `{"a":2}`)
	require.NoError(t, err)
	require.Equal(t, api.Answer{Status: 201, Body: json.RawMessage(`{"a": 1}`), Replayed: true}, again, "the exact bytes of the first")
	_, err = keep(command("t1", "k", "another body"), `{}`)
	require.ErrorIs(t, err, api.ErrKeyReuse)
	other, err := keep(command("t2", "k", "another body"), `{"b":1}`)
	require.NoError(t, err)
	require.False(t, other.Replayed, "another tenant's key is another key")
	elsewhere := command("t1", "k", "another body")
	elsewhere.Operation = "other"
	other, err = keep(elsewhere, `{"c":1}`)
	require.NoError(t, err)
	require.False(t, other.Replayed, "another operation's key is another key")

	recalled, ok, err := db.Idempotency().Recall(ctx, command("t1", "k", "body"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, again, recalled)
	_, ok, err = db.Idempotency().Recall(ctx, command("t3", "k", "body"))
	require.NoError(t, err)
	require.False(t, ok)
	_, _, err = db.Idempotency().Recall(ctx, command("t1", "k", "another body"))
	require.ErrorIs(t, err, api.ErrKeyReuse)

	failed := errors.New("handler failed")
	_, err = db.command(ctx, command("t1", "fails", "body"), func(*tenantTx) (api.Answer, error) { return api.Answer{}, failed })
	require.ErrorIs(t, err, failed)
	after, err := keep(command("t1", "fails", "body"), `{}`)
	require.NoError(t, err)
	require.False(t, after.Replayed, "what was rolled back is not remembered")

	require.ErrorIs(t, db.Reap(ctx, time.Hour), errKeep)
	conn := admin(t, dsn)
	_, err = conn.Exec(ctx, `update fabric.idempotency set created_at = now() - interval '8 days' where tenant = 't2'`)
	require.NoError(t, err)
	require.NoError(t, db.Reap(ctx, 7*24*time.Hour))
	require.Equal(t, 0, count(t, conn, `select count(*) from fabric.idempotency where tenant = 't2'`))
	require.Equal(t, 3, count(t, conn, `select count(*) from fabric.idempotency where tenant = 't1'`))
}

// A key whose first transaction is still open after two seconds is in progress;
// when that one is rolled back, the next takes it.
func TestIdempotencyInProgress(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	inside, leave, left := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	letGo := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(letGo) // before the database closes, which waits for the transaction
	gone := errors.New("gone")
	go func() {
		_, err := db.command(ctx, command("t1", "k", "body"), func(*tenantTx) (api.Answer, error) {
			close(inside)
			<-leave
			return api.Answer{}, gone
		})
		left <- err
	}()
	<-inside
	start := time.Now()
	_, err := db.Idempotency().Keep(ctx, command("t1", "k", "body"), api.Answer{Status: 200})
	require.ErrorIs(t, err, api.ErrInProgress)
	require.InDelta(t, 2, time.Since(start).Seconds(), 1)
	_, err = db.Idempotency().Keep(ctx, command("t2", "k", "body"), api.Answer{Status: 200})
	require.NoError(t, err, "another tenant does not wait")
	letGo()
	require.ErrorIs(t, <-left, gone)
	answer, err := db.Idempotency().Keep(ctx, command("t1", "k", "body"), api.Answer{Status: 200})
	require.NoError(t, err)
	require.False(t, answer.Replayed)
}

// Sites submit while the stage closes. An answer is either in what CloseStage
// returned or refused as closed; both calls of CloseStage agree.
func TestCloseStageRace(t *testing.T) {
	t.Parallel()
	const sites, rounds = 24, 6
	db, _ := open(t)
	startRun(t, db, "owner", "run-1", "owner")
	cohort := enrol(t, db, "owner", "eu", sites)
	var late, in int
	for n := range rounds {
		ref := openRound(t, db, "owner", "run-1", n, cohort)
		var accepted sync.Map
		closed := make([][]activities.Submission, 2)
		together(sites+2, func(i int) {
			if i >= sites {
				time.Sleep(time.Duration(n*4) * time.Millisecond)
				var err error
				if closed[i-sites], err = db.Rounds().CloseStage(t.Context(), ref); err != nil {
					t.Error(err)
				}
				return
			}
			switch err := db.Sites().Submit(t.Context(), caller("owner"), answer(ref, cohort[i])); {
			case err == nil:
				accepted.Store(cohort[i].ID, true)
			case !errors.Is(err, api.ErrClosed):
				t.Error(err)
			}
		})
		require.Equal(t, closed[0], closed[1])
		want := 0
		accepted.Range(func(any, any) bool { want++; return true })
		require.Len(t, closed[0], want, "round %d", n)
		for _, s := range closed[0] {
			_, ok := accepted.Load(s.Site)
			require.True(t, ok, "round %d: %s is in the set and was told that it is not", n, s.Site)
		}
		in, late = in+want, late+sites-want
	}
	t.Logf("%d in, %d late", in, late)
	require.NotZero(t, in)
	require.NotZero(t, late)
	require.NoError(t, db.AuditLog().VerifyAll(t.Context()))
}

func signedSnapshot(t testing.TB, version int64, note string) (routing.Snapshot, routing.Signed) {
	t.Helper()
	s := routing.Snapshot{Version: version, Regions: []routing.Region{{Name: note}}}
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	return s, routing.Signed{Snapshot: raw, Bundle: json.RawMessage(`{"bundle":true}`)}
}

// Ten actions race for each version: one wins, nine are stale, none is lost
// and none is there twice.
func TestPublishRace(t *testing.T) {
	t.Parallel()
	const racers, versions = 10, 8
	db, dsn := open(t)
	for v := int64(1); v <= versions; v++ {
		var won, stale atomic.Int64
		together(racers, func(i int) {
			action := fmt.Sprintf("promote-%d-%d", v, i)
			snapshot, signed := signedSnapshot(t, v, action)
			switch err := db.Snapshots().Publish(t.Context(), action, "switch", snapshot, signed); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, activities.ErrStale):
				stale.Add(1)
			default:
				t.Error(err)
			}
		})
		require.EqualValues(t, 1, won.Load())
		require.EqualValues(t, racers-1, stale.Load())
	}
	latest, err := db.Snapshots().Latest(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, versions, latest.Version)
	require.Equal(t, versions, count(t, admin(t, dsn), `select count(*) from fabric.snapshot`))
	require.Equal(t, versions, count(t, admin(t, dsn), `select count(*) from fabric.audit_leaf`))
}

// The same action publishes a phase once, however often and at once it tries.
func TestPublishOnce(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	none, err := db.Snapshots().Latest(ctx)
	require.NoError(t, err)
	require.Zero(t, none.Version)
	_, _, ok, err := db.Snapshots().SignedAfter(ctx, 0, 0)
	require.NoError(t, err)
	require.False(t, ok)

	snapshot, signed := signedSnapshot(t, 1, "load")
	together(5, func(int) {
		if err := db.Snapshots().Publish(ctx, "promote-1", "load", snapshot, signed); err != nil {
			t.Error(err)
		}
	})
	require.Equal(t, 1, count(t, admin(t, dsn), `select count(*) from fabric.snapshot`))
	ref, ok, err := db.Snapshots().Published(ctx, "promote-1", "load")
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, ref.Version)
	_, ok, err = db.Snapshots().Published(ctx, "promote-1", "switch")
	require.NoError(t, err)
	require.False(t, ok)

	third, thirdSigned := signedSnapshot(t, 3, "a gap")
	require.ErrorIs(t, db.Snapshots().Publish(ctx, "promote-2", "load", third, thirdSigned), activities.ErrStale)
	require.ErrorIs(t, db.Snapshots().Publish(ctx, "promote-2", "load", third, signed), activities.ErrRefused)
	got, version, ok, err := db.Snapshots().SignedAfter(ctx, 0, 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, version)
	require.Equal(t, signed, got, "the exact bytes")
	at, err := db.Snapshots().At(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, snapshot, at)
	_, err = db.Snapshots().At(ctx, 2)
	require.ErrorIs(t, err, activities.ErrNotFound)
}
