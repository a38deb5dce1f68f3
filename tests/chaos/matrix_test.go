//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/tests/harness"
)

const (
	limit     = 3 * time.Minute // of one run, with four systems on two cores
	trainOnce = 1               // statistics, one train round, one that evaluates
	missing   = 1               // train round in which a site drops out
	quorum    = 4               // more than two thirds of five sites
	tooMany   = 3               // runs of a victim that may fail before it is given up
)

// TestMatrix kills the worker, the API, a site and PostgreSQL at every stage of
// a secured round, before and after the transaction that the stage is about
// has committed. It counts as failure: a run that does not complete within
// the limit, other weights than those of the undisturbed run, a site that is
// counted never or twice, and, over everything that the sites were ever sent,
// both kinds of share of one peer.
//
// FABRIC_MATRIX_RUNS is how many runs are disturbed (200 if absent), beside a
// twelfth as many in which a site has dropped out before. FABRIC_SEED chooses
// transaction, round and site. Each victim has a system of its own; they are
// killed side by side with -parallel 4.
func TestMatrix(t *testing.T) {
	n := seed(t)
	runs := 200
	if text := os.Getenv("FABRIC_MATRIX_RUNS"); text != "" {
		var err error
		runs, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	t.Logf("FABRIC_SEED=%d FABRIC_MATRIX_RUNS=%d", n, runs)
	var all results
	var rigs []*rig
	for i, victim := range matrixVictims() {
		random := rand.New(rand.NewPCG(n, uint64(i)))
		s := harness.Up(t, harness.State(t), harness.FreeBase(t))
		s.Consent(t)
		rigs = append(rigs, &rig{s: s, victim: victim, random: random, results: &all, runs: (runs + 3 - i) / 4})
	}
	t.Run("of", func(t *testing.T) {
		for _, r := range rigs {
			t.Run(r.victim, func(t *testing.T) {
				t.Parallel()
				r.run(t)
			})
		}
	})
	t.Logf("\n%s", all.table())
	for i, r := range rigs {
		if i > 0 && r.calm.ID != "" && rigs[i-1].calm.ID != "" { // -run may have chosen one
			require.Equal(t, rigs[i-1].calm.Weights, r.calm.Weights, "two systems, one model")
		}
	}
}

// A rig is one system and what is done to it.
type rig struct {
	s       *harness.System
	p       *trap
	victim  string
	random  *rand.Rand
	runs    int
	results *results
	calm    v1.Run // undisturbed
	short   v1.Run // undisturbed but for the site that dropped out
}

func (r *rig) run(t *testing.T) {
	r.p = layTrap(t, r.s)
	r.calm = harness.Watch(t, r.s.Lead(t), r.start(t, ""), limit, harness.Completed)
	r.whole(t, r.calm, "")
	var numbers []int
	for _, round := range r.calm.Rounds {
		numbers = append(numbers, round.Number)
	}
	t.Logf("undisturbed: %s, rounds %v, weights %s", r.calm.EndedAt.Sub(r.calm.CreatedAt), numbers, artifact.Digest(r.calm.Weights).Short())
	blows := drawn(r.random, r.victim, r.runs, numbers)
	if lost := (r.runs + 11) / 12; lost > 0 {
		id := r.start(t, lostSite())
		back := r.lose(t)
		r.p.disarm(t)
		r.p.row(t, `select 'set' from fabric.survivors where run = $1 and number = $2`, id, missing)
		back()
		r.short = harness.Watch(t, r.s.Lead(t), id, limit, harness.Completed)
		r.whole(t, r.short, lostSite())
		require.NotEqual(t, r.calm.Weights, r.short.Weights, "a site is missing")
		blows = append(blows, drawnLost(r.random, r.victim, lost, missing)...)
	}
	failed := 0
	for i, b := range blows {
		name := fmt.Sprintf("%03d %s %s %s", i, b.stage, b.moment, b.lost)
		ok := t.Run(strings.ReplaceAll(strings.TrimSpace(name), " ", "-"), func(t *testing.T) { r.strike(t, b) })
		if !ok {
			failed++
			r.recover(t)
		}
		require.Less(t, failed, tooMany, "too much is lost to go on")
	}
	wire, count := readWire(t, r.s, r.p)
	require.NoError(t, wire.check())
	require.Positive(t, count.given)
	require.Positive(t, count.answers)
	require.True(t, r.short.ID == "" || count.keys > 0, "no key was ever asked for: the checker had nothing to find")
	t.Logf("wire log: %d groups, %d requests to unmask given, %d made and never given, %d answers with %d shares of seeds and %d of keys; none of both kinds",
		count.groups, count.given, count.made, count.answers, count.seeds, count.keys)
	r.p.remove(t)
	verified(t, r.s)
}

// recover makes the rig fit for the next run after one that failed.
func (r *rig) recover(t *testing.T) {
	r.p.connect(t)
	r.p.disarm(t)
	for _, h := range tumour.Split() {
		_ = syscall.Kill(r.s.Child(t, "site-"+h.Site), syscall.SIGCONT)
	}
}

// start asks for a run once, however often it has to ask: what was killed last
// may not be back yet. Whoever drops out must be dispensable.
func (r *rig) start(t *testing.T, lost string) string {
	t.Helper()
	request := harness.Request(trainOnce)
	if lost != "" {
		request.Params.Quorum = quorum
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	lead := r.s.Lead(t)
	key := fmt.Sprintf("matrix-%d", time.Now().UnixNano())
	for {
		accepted, err := v1.Fetch[v1.RunAccepted](lead.StartRun(ctx, &v1.StartRunParams{IdempotencyKey: key}, request))
		if err == nil {
			return accepted.ID
		}
		require.NoError(t, ctx.Err(), "%v", err)
		time.Sleep(50 * time.Millisecond)
	}
}

// lose freezes a site while everybody is about to be asked for masked vectors,
// and returns what wakes it.
func (r *rig) lose(t *testing.T) (back func()) {
	t.Helper()
	at := spot{event: eventOpen, number: missing, stage: string(round.StageMask)}
	r.p.arm(t, at, before)
	r.p.sprung(t, at, before)
	pid := r.s.Child(t, "site-"+lostSite())
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	return func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) }
}

// strike disturbs one run and checks that nothing came of it.
func (r *rig) strike(t *testing.T, b blow) {
	began := time.Now()
	calm, back := r.calm, func() {}
	if b.lost == "" {
		if !b.early {
			r.p.arm(t, b.at, b.moment)
		}
	} else {
		calm = r.short
	}
	id := r.start(t, b.lost)
	if b.lost != "" {
		back = r.lose(t)
		r.p.disarm(t)
		if !b.early {
			r.p.arm(t, b.at, b.moment)
		}
	}
	var c catch
	if b.early {
		r.p.row(t, `select 'open' from fabric.stage where run = $1 and number = $2 and stage = $3`, id, b.at.number, b.at.stage)
		c.site = b.at.site
		time.Sleep(time.Duration(r.random.IntN(20)) * time.Millisecond)
	} else {
		c = r.p.sprung(t, b.at, b.moment)
	}
	name, pid := r.process(t, b, c)
	harness.Kill(t, pid)
	killed := time.Now()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 10*time.Second, 2*time.Millisecond, "kill -9 kills")
	back() // a site that was away comes back into the middle of it
	switch {
	case b.victim == killPostgres:
		r.p.connect(t)
		r.p.disarm(t)
	case !b.early:
		r.p.release(t, c, b.moment, b.victim != killSite)
	}

	run := harness.Watch(t, r.s.Lead(t), id, limit, harness.Completed)
	hit, recovered := struck(run, killed)
	t.Logf("%s killed %s %s%s, recovered after %.1f s in round %s, %.1f s in all", name, b.moment, b.at, early(b), recovered.Seconds(), hit, time.Since(began).Seconds())
	require.Equal(t, calm.Weights, run.Weights)
	require.Equal(t, calm.Metrics, run.Metrics)
	r.whole(t, run, b.lost)
	r.results.add(b, recovered)
}

func early(b blow) string {
	if b.early {
		return " (before it was sent)"
	}
	return ""
}

// process returns whom to kill: who wrote, or who asked for it.
func (r *rig) process(t *testing.T, b blow, c catch) (string, int) {
	t.Helper()
	name := b.victim
	switch {
	case b.victim == killPostgres:
		return "postmaster", r.s.Postmaster(t)
	case b.victim == killSite:
		name = "site-" + c.site
	case b.at.event == eventBegin || b.at.event == eventEnd:
		name = "worker-control"
	case b.victim == killWorker:
		host := r.p.row(t, `select coalesce(nullif(host, ''), region) from fabric.cohort where region = $1 order by run desc limit 1`, c.host)
		name = "worker-" + host
	}
	return name, r.s.Child(t, name)
}

// whole checks that every site is counted once in each stage of each round;
// of who dropped out, that it is counted in none after.
func (r *rig) whole(t *testing.T, run v1.Run, lost string) {
	t.Helper()
	sites := len(tumour.Split())
	require.Len(t, run.Rounds, len(r.calmOr(run).Rounds))
	for _, got := range run.Rounds {
		require.EqualValues(t, "closed", got.Status, "round %d", got.Number)
		want := sites
		if lost != "" && got.Number == missing {
			want--
		}
		accepted := 0
		for _, region := range got.Regions {
			require.Zero(t, region.Rejected, "round %d in %s: %s", got.Number, region.Region, region.Cause)
			accepted += region.Accepted
		}
		require.Equal(t, want, accepted, "round %d", got.Number)
	}
	rows, err := r.p.conn.Query(t.Context(), `
		select st.number, st.stage, st.status, st.sites,
			count(s.site) filter (where s.reason = ''), count(s.site) filter (where s.reason <> '')
		from fabric.stage st
		left join fabric.submission s on (s.tenant, s.run, s.number, s.stage, s.region) = (st.tenant, st.run, st.number, st.stage, st.region)
		where st.run = $1 group by 1, 2, 3, 4 order by 1, 2`, run.ID)
	require.NoError(t, err)
	type state struct {
		Number            int
		Stage, Status     string
		Sites             int
		Accepted, Refused int
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[state])
	require.NoError(t, err)
	require.Len(t, found, len(run.Rounds)*len(stages()), "%v", found)
	for _, st := range found {
		require.Equal(t, "closed", st.Status, "%v", st)
		require.Zero(t, st.Refused, "%v", st)
		asked, answered := sites, sites
		if lost != "" && st.Number == missing {
			switch round.Stage(st.Stage) {
			case round.StageMask:
				answered--
			case round.StageCheck, round.StageUnmask:
				asked, answered = sites-1, sites-1
			}
		}
		require.Equal(t, asked, st.Sites, "%v", st)
		if round.Stage(st.Stage) == round.StageUnmask { // a quorum is enough
			require.GreaterOrEqual(t, st.Accepted, quorum, "%v", st)
			require.LessOrEqual(t, st.Accepted, asked, "%v", st)
			continue
		}
		require.Equal(t, answered, st.Accepted, "%v", st)
	}
	sets := r.p.row(t, `select count(*)::text from fabric.survivors where run = $1`, run.ID)
	require.Equal(t, strconv.Itoa(len(run.Rounds)), sets, "one survivor set a round")
}

// calmOr is the undisturbed run, and before there is one the run itself.
func (r *rig) calmOr(run v1.Run) v1.Run {
	if r.calm.ID == "" {
		return run
	}
	return r.calm
}

// results are how long it took, by cell.
type results struct {
	mu   sync.Mutex
	took map[cell][]time.Duration
	lost []time.Duration
}

func (r *results) add(b blow, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.took == nil {
		r.took = map[cell][]time.Duration{}
	}
	if b.lost != "" {
		r.lost = append(r.lost, took)
		return
	}
	r.took[b.cell] = append(r.took[b.cell], took)
}

func (r *results) table() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "killed\tstage\tits commit\truns\trecovered p50\tmax")
	total := 0
	line := func(victim, stage, moment string, took []time.Duration) {
		total += len(took)
		if len(took) == 0 {
			return
		}
		slices.Sort(took)
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.1f s\t%.1f s\n", victim, stage, moment, len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
	for _, c := range cells() {
		line(c.victim, string(c.stage), c.moment, r.took[c])
	}
	line("any", "check, unmask", "after a dropout", r.lost)
	w.Flush()
	return text.String() + fmt.Sprintf("%d disturbed runs completed with the undisturbed run's weights, every site counted once", total)
}
