package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

func noised(z float64) []dp.Event {
	return []dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: z, SampleRate: 1}}
}

func reads(z float64, features ...privacy.Feature) privacy.Request {
	return privacy.Request{Features: features, Events: noised(z)}
}

var ward, icu, north = privacy.Feature{Tenant: "clinic", Feature: "ward"}, privacy.Feature{Tenant: "clinic", Feature: "icu"}, privacy.Feature{Tenant: "north", Feature: "ward"}

// beginRound begins a round of run-1 of the tenant "owner".
func beginRound(ctx context.Context, db *DB, number int, cost privacy.Request) error {
	in := contract.RoundInput{Subject: contract.Subject{Tenant: "owner", ModelID: "m1"}, Run: "run-1", Number: number, Kind: round.Train}
	_, err := db.Rounds().BeginRound(ctx, in, blob(fmt.Sprint("manifest", number)), nil, cost)
	return err
}

func closeRound(ctx context.Context, db *DB, number int, cause string) error {
	return db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: contract.Subject{Tenant: "owner", ModelID: "m1"}, Run: "run-1", Number: number, Kind: round.Train, Cause: cause})
}

// spendable sets a budget that is used up by n rounds with that noise, and not
// by n+1.
func spendable(t testing.TB, db *DB, f privacy.Feature, z float64, n int) privacy.Budget {
	t.Helper()
	charge, err := dp.Epsilon(privacy.Request{Events: noised(z)}.Times(n).Events, 1e-5)
	require.NoError(t, err)
	return setBudget(t, db, f, charge.Epsilon)
}

func setBudget(t testing.TB, db *DB, f privacy.Feature, limit float64) privacy.Budget {
	t.Helper()
	_, err := db.Catalog().Register(t.Context(), command(f.Tenant, "", f.Feature), catalog.Feature{Tenant: f.Tenant, ID: f.Feature, Schema: []byte("{}")}, reply)
	require.NoError(t, err)
	b := privacy.Budget{Tenant: f.Tenant, Feature: f.Feature, EpsilonLimit: limit, Delta: 1e-5}
	_, err = db.Budgets().SetBudget(t.Context(), command(f.Tenant, "", f.Feature), b, reply)
	require.NoError(t, err)
	return b
}

// balance is what the feature's owner sees.
func balance(t testing.TB, db *DB, f privacy.Feature) api.Budget {
	t.Helper()
	found, err := db.Budgets().Budgets(t.Context(), caller(f.Tenant), api.Page{Limit: 10})
	require.NoError(t, err)
	for _, b := range found {
		if b.Feature == f.Feature {
			return b
		}
	}
	return api.Budget{}
}

// charged is ε of the rows of the ledger, read around our code.
func charged(t testing.TB, conn *pgx.Conn, f privacy.Feature) (total float64, entries int) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `select events from fabric.privacy_entry where tenant = $1 and feature = $2 and state <> 'refunded'`, f.Tenant, f.Feature)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[[]dp.Event])
	require.NoError(t, err)
	var events []dp.Event
	for _, e := range all {
		events = append(events, e...)
	}
	charge, err := dp.Epsilon(events, 1e-5)
	require.NoError(t, err)
	return charge.Epsilon, len(all)
}

// 100 rounds of as many runs begin at once, and the budget is enough for
// exactly 37 of them: 37 begin, and the others leave nothing.
func TestConcurrentRoundsNeverOverspend(t *testing.T) {
	t.Parallel()
	const starters, enough = 100, 37
	db, dsn := open(t)
	startRun(t, db, "owner", "run-1", "clinic", "north")
	limit := spendable(t, db, ward, 3, enough)
	setBudget(t, db, north, 100)
	var begun, refused atomic.Int64
	together(starters, func(i int) {
		cost := reads(3, ward)
		if i%2 == 1 { // a set that overlaps is charged on what it shares
			cost = reads(3, north, ward)
		}
		switch err := beginRound(t.Context(), db, i, cost); {
		case err == nil:
			begun.Add(1)
		case errors.Is(err, privacy.ErrExhausted):
			refused.Add(1)
		default:
			t.Errorf("round %d: %v", i, err)
		}
	})
	require.EqualValues(t, enough, begun.Load())
	require.EqualValues(t, starters-enough, refused.Load())
	conn := admin(t, dsn)
	total, entries := charged(t, conn, ward)
	require.Equal(t, enough, entries)
	require.InDelta(t, limit.EpsilonLimit, total, 1e-9)
	require.Equal(t, enough, count(t, conn, `select count(*) from fabric.round`), "a refused round was written")
	b := balance(t, db, ward)
	require.InDelta(t, total, b.Spent+b.Reserved, 1e-9)
	require.InDelta(t, 0, b.Left, 1e-9)
	require.Equal(t, enough, b.Entries)
}

// The same while somebody kills the servers' processes of the connections, so
// that transactions end anywhere, their commits without an answer as well.
// Whoever gets no answer asks again, as Temporal does.
func TestKilledRoundsAreCountedOnce(t *testing.T) {
	t.Parallel()
	const starters, enough, most = 100, 41, 150
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	db, dsn := open(t)
	startRun(t, db, "owner", "run-1", "clinic")
	spendable(t, db, ward, 3, enough)
	spendable(t, db, icu, 3, starters)
	killer, watcher := admin(t, dsn), admin(t, dsn)
	var kills int
	done := make(chan struct{})
	var killing sync.WaitGroup
	killing.Go(func() {
		random := rand.New(rand.NewPCG(seed, 1))
		for kills < most {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(random.IntN(20)) * time.Millisecond):
			}
			var n int
			// The listener and the two of the test are spared; only those that work are hit.
			err := killer.QueryRow(t.Context(), `select count(*) filter (where pg_terminate_backend(pid)) from (
				select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'
					and (query like '%privacy_%' or query like '%audit_%' or query = 'commit' or query like '%fabric.round%') and usename is not null
					and pid <> $1 order by random() limit 1) as one`, watcher.PgConn().PID()).Scan(&n)
			if err != nil {
				t.Errorf("killer: %v", err)
				return
			}
			kills += n
		}
	})
	var begun, refused, retried atomic.Int64
	together(starters, func(i int) {
		for {
			err := beginRound(t.Context(), db, i, reads(3, icu, ward))
			switch {
			case err == nil:
				begun.Add(1)
				return
			case errors.Is(err, privacy.ErrExhausted):
				refused.Add(1)
				return
			}
			if retried.Add(1) > 20_000 {
				t.Errorf("round %d: %v", i, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	close(done)
	killing.Wait()
	t.Logf("%d kills, %d retries", kills, retried.Load())
	require.Positive(t, kills)
	require.EqualValues(t, enough, begun.Load())
	require.EqualValues(t, starters-enough, refused.Load())
	for _, f := range []privacy.Feature{ward, icu} {
		total, entries := charged(t, watcher, f)
		require.Equal(t, enough, entries)
		require.LessOrEqual(t, total, balance(t, db, f).EpsilonLimit+1e-9)
	}
	require.Zero(t, count(t, watcher, `select count(*) from fabric.round r
		where (select count(*) from fabric.privacy_entry e where e.owner = r.tenant and e.run = r.run and e.number = r.number and e.state = 'reserved') <> 2`),
		"a round that began without its entries")
	require.Equal(t, enough, count(t, watcher, `select count(*) from fabric.round`))
	require.NoError(t, db.AuditLog().VerifyAll(t.Context()))
}

// What the rows say of a round decides what its end does, once.
func TestTheEndOfARoundSettlesItsEntries(t *testing.T) {
	t.Parallel()
	answered := func(t *testing.T, db *DB, number int, cohort []site.Site, reason string) {
		ref := contract.StageRef{Subject: contract.Subject{Tenant: "owner", ModelID: "m1"}, Run: "run-1", Number: number, Kind: round.Train, Region: "eu"}
		s := answer(ref, cohort[0])
		if s.Reason = reason; reason != "" {
			s.Update = artifact.Descriptor{}
		}
		require.NoError(t, db.Sites().Submit(t.Context(), caller("clinic"), s))
	}
	tests := []struct {
		name  string
		stage string // that was opened
		say   func(t *testing.T, db *DB, number int, cohort []site.Site)
		cause string
		want  privacy.State
	}{
		{"nothing happened", "", nil, "no quorum", privacy.Refunded},
		{"nobody answered", "update", nil, "no quorum", privacy.Refunded},
		{"the only answer was refused", "update", func(t *testing.T, db *DB, n int, c []site.Site) { answered(t, db, n, c, "NaN") }, "no quorum", privacy.Refunded},
		{"a plain update came and the round failed", "update", func(t *testing.T, db *DB, n int, c []site.Site) { answered(t, db, n, c, "") }, "late", privacy.Committed},
		{"a plain update came", "update", func(t *testing.T, db *DB, n int, c []site.Site) { answered(t, db, n, c, "") }, "", privacy.Committed},
		{"masked vectors came and nobody was asked to unmask", "mask", nil, "no quorum", privacy.Refunded},
		{"somebody was asked to unmask", "unmask", nil, "no quorum", privacy.Committed},
		{"the round succeeded", "unmask", nil, "", privacy.Committed},
	}
	db, dsn := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "clinic", "north")
	cohort := enrol(t, db, "clinic", "eu", 1)
	conn := admin(t, dsn)
	states := func(number int) (all []privacy.State) {
		rows, err := conn.Query(ctx, `select distinct state from fabric.privacy_entry where number = $1`, number)
		require.NoError(t, err)
		all, err = pgx.CollectRows(rows, pgx.RowTo[privacy.State])
		require.NoError(t, err)
		return all
	}
	for number, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := contract.RoundInput{Subject: contract.Subject{Tenant: "owner", ModelID: "m1"}, Run: "run-1", Number: number, Kind: round.Train}
			_, err := db.Rounds().BeginRound(t.Context(), in, blob("m"), round.Plain(cohort), reads(20, ward, north))
			require.NoError(t, err)
			require.NoError(t, beginRound(t.Context(), db, number, reads(20, ward, north)), "begun twice is charged once")
			require.Equal(t, []privacy.State{privacy.Reserved}, states(number))
			if tt.stage != "" {
				_, err := conn.Exec(ctx, `insert into fabric.stage (tenant, run, number, stage, region, kind, model, manifest, signature, sites, deadline)
					values ('owner', 'run-1', $1, $2, 'eu', 'train', 'm1', '{}', '{}', 1, now() + interval '1 minute')`, number, tt.stage)
				require.NoError(t, err)
			}
			if tt.say != nil {
				tt.say(t, db, number, cohort)
			}
			require.NoError(t, closeRound(t.Context(), db, number, tt.cause))
			require.Equal(t, []privacy.State{tt.want}, states(number))
			// A second end, whatever it says and whatever the rows say by then, changes nothing.
			_, err = conn.Exec(ctx, `insert into fabric.stage (tenant, run, number, stage, region, kind, model, manifest, signature, sites, deadline)
				values ('owner', 'run-1', $1, 'unmask', 'us', 'train', 'm1', '{}', '{}', 1, now())`, number)
			require.NoError(t, err)
			require.NoError(t, closeRound(t.Context(), db, number, "another end"))
			require.Equal(t, []privacy.State{tt.want}, states(number))
		})
	}
	total, entries := charged(t, conn, ward)
	require.Equal(t, 4, entries)
	for _, f := range []privacy.Feature{ward, north} {
		b := balance(t, db, f)
		require.InDelta(t, total, b.Spent, 1e-9)
		require.Zero(t, b.Reserved)
	}
	require.NoError(t, beginRound(ctx, db, 100, reads(20, ward)))
	require.Positive(t, balance(t, db, ward).Reserved, "a round that is open, or crashed, counts")
	require.NoError(t, db.Rounds().CloseRun(ctx, contract.CloseRunInput{Subject: contract.Subject{Tenant: "owner"}, RunResult: contract.RunResult{Run: "run-1", Status: "failed"}}))
	require.Equal(t, []privacy.State{privacy.Refunded}, states(100), "the end of the run ends its rounds")
}

// A refusal in the last of several tenants takes nothing from the first.
func TestAllFeaturesOrNone(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "clinic", "north")
	setBudget(t, db, ward, 100)
	setBudget(t, db, north, 1)
	err := beginRound(ctx, db, 1, reads(1, ward, north))
	var refused *privacy.RefusalError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, north, privacy.Feature{Tenant: refused.Tenant, Feature: refused.Feature})
	require.Equal(t, 1.0, refused.Left)
	require.ErrorIs(t, db.Budgets().Affordable(ctx, reads(1, ward, north)), privacy.ErrExhausted)
	require.NoError(t, db.Budgets().Affordable(ctx, reads(1, ward)))
	require.ErrorIs(t, db.Budgets().Affordable(ctx, reads(30, ward, north).Times(1000)), privacy.ErrExhausted)
	conn := admin(t, dsn)
	require.Zero(t, count(t, conn, `select count(*) from fabric.privacy_entry`))
	require.Zero(t, count(t, conn, `select count(*) from fabric.round`))

	exact := privacy.Request{Features: []privacy.Feature{ward}, Exact: true}
	require.ErrorIs(t, beginRound(ctx, db, 1, exact), privacy.ErrExact)
	require.ErrorIs(t, db.Budgets().Affordable(ctx, exact), privacy.ErrExact)
	exact.Features = []privacy.Feature{icu}
	require.NoError(t, beginRound(ctx, db, 1, exact), "a feature without a budget is free")
	require.NoError(t, db.Budgets().Affordable(ctx, exact))
	require.Zero(t, balance(t, db, icu).EpsilonLimit)
	require.NoError(t, beginRound(ctx, db, 2, privacy.Request{Features: []privacy.Feature{ward, icu}}), "what costs nothing needs no budget")
	require.Zero(t, balance(t, db, icu).EpsilonLimit)
}

// The first private round gives a feature the default; its owner may set
// another, and what was taken stays taken.
func TestDefaultAndChangedBudget(t *testing.T) {
	t.Parallel()
	db, dsn := open(t, func(o *Options) { o.PrivacyEpsilon = 5 })
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "clinic")
	require.ErrorIs(t, db.Budgets().Affordable(ctx, reads(0.5, ward)), privacy.ErrExhausted)
	require.ErrorIs(t, beginRound(ctx, db, 1, reads(0.5, ward)), privacy.ErrExhausted)
	require.Zero(t, balance(t, db, ward).EpsilonLimit, "a refused round leaves no budget either")
	require.NoError(t, beginRound(ctx, db, 1, reads(2, ward)))
	b := balance(t, db, ward)
	require.Equal(t, privacy.Budget{Tenant: "clinic", Feature: "ward", EpsilonLimit: 5, Delta: 1e-5}, b.Budget)
	require.Empty(t, b.SetBy)
	require.Equal(t, 1, b.Entries)

	_, err := db.Budgets().SetBudget(ctx, command("clinic", "", ""), b.Budget, reply)
	require.ErrorIs(t, err, api.ErrNotFound, "a feature that is not registered")
	setBudget(t, db, ward, 0.1)
	lower := balance(t, db, ward)
	require.Equal(t, "ann", lower.SetBy)
	require.Zero(t, lower.Left)
	require.Equal(t, b.Reserved, lower.Reserved)
	require.ErrorIs(t, beginRound(ctx, db, 2, reads(100, ward)), privacy.ErrExhausted)
	require.Empty(t, balance(t, db, north), "another tenant's feature of the same name")
	_, err = db.Budgets().Budgets(ctx, api.Caller{}, api.Page{Limit: 1})
	require.ErrorIs(t, err, errNoTenant)

	conn := admin(t, dsn)
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb @>
		'{"kind": "budget.set", "tenant": "clinic", "subject": "feature/clinic/ward", "previous": "epsilon 5, delta 1e-05", "state": "epsilon 0.1, delta 1e-05"}'`))
	for _, change := range []string{
		`delete from fabric.privacy_entry`, `truncate fabric.privacy_entry`, `update fabric.privacy_entry set events = '[]'`,
		`update fabric.privacy_entry set state = 'refunded', closed_at = now(), events = '[]'`, `update fabric.privacy_entry set state = 'reserved'`,
	} {
		_, err := conn.Exec(ctx, change)
		require.Equal(t, insufficientPrivilege, code(err), "%s: %v", change, err)
	}
	require.NoError(t, closeRound(ctx, db, 1, "no quorum"))
	_, err = conn.Exec(ctx, `update fabric.privacy_entry set state = 'committed'`)
	require.Equal(t, insufficientPrivilege, code(err), "settled twice")
	require.ErrorIs(t, closeRound(ctx, db, 9, ""), activities.ErrNotFound)
}
