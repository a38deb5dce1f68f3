package postgres

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/routing"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// answered is the n-th decision of a spool: version 2, the canary, in "eu".
func answered(n int64, change ...func(*api.Decision)) api.Decision {
	d := api.Decision{Sequence: n, ID: fmt.Sprintf("%032x-%016x", n, n), At: noon, Caller: "t2", Owner: "t1", Model: "m1", Environment: "production",
		Version: 2, Region: "eu", Endpoint: "eu-1", Lineage: "l1", Canary: true, Snapshot: 7, Policy: 1, Status: 200, LatencyMicros: 3000, UpstreamMicros: 2000}
	for _, fn := range change {
		fn(&d)
	}
	return d
}

func batch(router string, decisions ...api.Decision) api.DecisionBatch {
	return api.DecisionBatch{Router: strings.Repeat(router, 32), Region: "eu", Digest: digest(router), Decisions: decisions}
}

func TestDecisionsAreCountedOnce(t *testing.T) {
	db, dsn := open(t)
	p := db.Decisions()
	status := func(code int) func(*api.Decision) {
		return func(d *api.Decision) { d.Status, d.LatencyMicros = code, 9_000_000 }
	}
	first := batch("a", answered(1), answered(2, func(d *api.Decision) { d.LatencyMicros = 4000 }), answered(3, status(503)), answered(4, status(422)), answered(5, status(499)))
	for _, b := range []api.DecisionBatch{
		first, first, // sent again: the answer was lost
		batch("a", answered(4), answered(5), answered(6)), // cut elsewhere after a restart
		batch("a", answered(2)),
	} {
		_, err := p.Record(t.Context(), b)
		require.NoError(t, err)
	}
	next, err := p.Record(t.Context(), batch("a"))
	require.NoError(t, err)
	require.EqualValues(t, 7, next)

	got, err := p.TrafficBetween(t.Context(), "t1", "m1", 2, []string{"eu"}, noon, noon.Add(time.Second*10))
	require.NoError(t, err)
	require.Equal(t, []routing.Traffic{{Environment: "production", Version: 2, Region: "eu", Lineage: "l1", Canary: true, Requests: 6, Answered: 3, Refused: 1, Failed: 1, Gone: 1,
		LatencySum: 3000 + 4000 + 3000, LatencySquares: 9e6 + 16e6 + 9e6, UpstreamSum: 6000}}, got)
	require.Equal(t, 6, count(t, admin(t, dsn), `select count(*) from fabric.decision`))
	require.Equal(t, 2, count(t, admin(t, dsn), `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8') like '%decisions.recorded%'`), "one for each batch that brought something")
}

func TestTrafficIsAskedByVersionRegionAndTime(t *testing.T) {
	db, _ := open(t)
	p := db.Decisions()
	_, err := p.Record(t.Context(), batch("a",
		answered(1), answered(2, func(d *api.Decision) { d.Version, d.Canary = 1, false }),
		answered(3, func(d *api.Decision) { d.Region = "us" }), answered(4, func(d *api.Decision) { d.At = noon.Add(19 * time.Second) }),
		answered(5, func(d *api.Decision) { d.Owner = "t9" }), answered(6, func(d *api.Decision) { d.Model = "m2" }),
	))
	require.NoError(t, err)
	for _, tt := range []struct {
		name    string
		version int
		regions []string
		from    time.Duration
		to      time.Duration
		want    []string
	}{
		{"all of it", 0, nil, 0, time.Minute, []string{"1 eu 1", "2 eu 2", "2 us 1"}},
		{"a version", 1, nil, 0, time.Minute, []string{"1 eu 1"}},
		{"regions", 0, []string{"us", "asia"}, 0, time.Minute, []string{"2 us 1"}},
		{"the end is not part of it", 2, []string{"eu"}, 0, 10 * time.Second, []string{"2 eu 1"}},
		{"both ends go down to ten seconds", 2, []string{"eu"}, 19 * time.Second, 29 * time.Second, []string{"2 eu 1"}},
		{"windows that meet", 2, []string{"eu"}, -time.Minute, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := p.TrafficBetween(t.Context(), "t1", "m1", tt.version, tt.regions, noon.Add(tt.from), noon.Add(tt.to))
			require.NoError(t, err)
			var got []string
			for _, f := range found {
				got = append(got, fmt.Sprintf("%d %s %d", f.Version, f.Region, f.Requests))
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// A copy is kept as a decision and counted for the version that it was sent to,
// and is no traffic, no routing decision, no load of an endpoint.
func TestACopyIsNoTraffic(t *testing.T) {
	db, dsn := open(t)
	p := db.Decisions()
	copied := func(change ...func(*api.Decision)) func(*api.Decision) {
		return func(d *api.Decision) {
			d.Mirrored = true
			for _, fn := range change {
				fn(d)
			}
		}
	}
	b := batch("a",
		answered(1, func(d *api.Decision) { d.Version, d.Canary = 1, false }),
		answered(2, copied()), answered(3, copied(func(d *api.Decision) { d.LatencyMicros = 4000 })),
		answered(4, copied(func(d *api.Decision) { d.Status = 502 })), answered(5, copied(func(d *api.Decision) { d.Status = 422 })),
		answered(6, copied(func(d *api.Decision) { d.Region = "us" })), answered(7, copied(func(d *api.Decision) { d.Environment = "staging" })),
		answered(8, copied(func(d *api.Decision) { d.Version = 3 })), answered(9, copied(func(d *api.Decision) { d.At = noon.Add(time.Minute) })),
	)
	for range 2 { // sent again: the answer was lost
		_, err := p.Record(t.Context(), b)
		require.NoError(t, err)
	}
	conn := admin(t, dsn)
	require.Equal(t, 9, count(t, conn, `select count(*) from fabric.decision`))
	require.Equal(t, 1, count(t, conn, `select sum(requests)::int from fabric.traffic`))

	got, err := p.MirroredBetween(t.Context(), "t1", "m1", "production", 2, "eu", noon, noon.Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, routing.Traffic{Environment: "production", Version: 2, Region: "eu", Requests: 4, Answered: 2, Refused: 1, Failed: 1,
		LatencySum: 7000, LatencySquares: 9e6 + 16e6, UpstreamSum: 4000}, got)
	none, err := p.MirroredBetween(t.Context(), "t2", "m1", "production", 2, "eu", noon, noon.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, routing.Traffic{Environment: "production", Version: 2, Region: "eu"}, none, "another tenant's are not there")

	all, err := p.TrafficBetween(t.Context(), "t1", "m1", 0, nil, noon, noon.Add(time.Hour))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []any{1, int64(1)}, []any{all[0].Version, all[0].Requests})
	loads, err := p.Endpoints(t.Context(), "t1", noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Len(t, loads, 1)
	require.EqualValues(t, 1, loads[0].Calls)
	var plan string
	require.NoError(t, conn.QueryRow(t.Context(), `select indexdef from pg_indexes where indexname = 'decision_mirrored'`).Scan(&plan))
	require.Contains(t, plan, "WHERE mirrored")
}

func TestAGapIsRecordedWithItsCount(t *testing.T) {
	db, dsn := open(t)
	p := db.Decisions()
	for _, b := range []api.DecisionBatch{batch("a", answered(3), answered(4), answered(9)), batch("a", answered(5)), batch("b", answered(21))} {
		_, err := p.Record(t.Context(), b)
		require.NoError(t, err)
	}
	rows, err := admin(t, dsn).Query(t.Context(), `select left(router, 1) || ' ' || first || '+' || count from fabric.decision_gap order by 1`)
	require.NoError(t, err)
	var got []string
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		got = append(got, text)
	}
	require.Equal(t, []string{"a 1+2", "a 5+4", "b 1+20"}, got)
	spools, err := p.Spools(t.Context())
	require.NoError(t, err)
	require.Len(t, spools, 2)
	require.EqualValues(t, []int64{10, 6}, []int64{spools[0].Next, spools[0].Lost})
}

// Pieces of two spools arrive in any cut, twice and at once: each decision is
// counted once all the same.
func TestDecisionsArriveOnceInAnyPieces(t *testing.T) {
	db, dsn := open(t)
	p := db.Decisions()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	const each = 400
	var group sync.WaitGroup
	for _, router := range []string{"a", "b"} {
		for range 3 {
			cuts := []int64{1}
			for at := int64(1); at <= each; {
				at = min(each+1, at+1+random.Int64N(60))
				cuts = append(cuts, at)
			}
			group.Go(func() {
				for i := 1; i < len(cuts); i++ {
					b := batch(router)
					for n := max(1, cuts[i-1]-5); n < cuts[i]; n++ {
						b.Decisions = append(b.Decisions, answered(n, func(d *api.Decision) { d.ID = fmt.Sprintf("%s%031x-%016x", router, n, n) }))
					}
					if _, err := p.Record(t.Context(), b); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				}
			})
		}
	}
	group.Wait()
	require.Equal(t, 2*each, count(t, admin(t, dsn), `select count(*) from fabric.decision`), "seed %d", seed)
	require.Equal(t, 2*each, count(t, admin(t, dsn), `select sum(requests)::int from fabric.traffic`), "seed %d", seed)
	require.Zero(t, count(t, admin(t, dsn), `select count(*) from fabric.decision_gap`), "seed %d", seed)
}

func TestADecisionIsShownToWhomItConcerns(t *testing.T) {
	db, dsn := open(t)
	_, err := admin(t, dsn).Exec(t.Context(), `with m as (insert into fabric.model (tenant, id) values ('t1', 'm1') returning *)
		insert into fabric.model_version (tenant, model, number, repository, package, bundle) select tenant, id, 2, 'r', '{"digest":"d"}', '{}' from m`)
	require.NoError(t, err)
	want := answered(1)
	_, err = db.Decisions().Record(t.Context(), batch("a", want))
	require.NoError(t, err)
	want.Router = strings.Repeat("a", 32)
	for _, tenant := range []string{"", "t1", "t2"} {
		got, err := db.Decisions().Decision(t.Context(), tenant, want.ID)
		require.NoError(t, err, tenant)
		got.At = got.At.UTC()
		require.Equal(t, want, got)
	}
	for _, ask := range [][2]string{{"t3", want.ID}, {"t1", "0" + want.ID}} {
		_, err := db.Decisions().Decision(t.Context(), ask[0], ask[1])
		require.ErrorIs(t, err, api.ErrNotFound)
	}
}
