package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/privacy"
)

// A Censor counts what is open, over all tenants: [activities.Censor]. It
// remembers what it made of each budget, because the accountants are slow and
// ledgers change seldom.
type Censor struct {
	db *DB

	mu    sync.Mutex
	known map[privacy.Feature]weighed
}

// A weighed budget is a ledger as it was read and what came of it.
type weighed struct {
	ledger string
	left   float64 // share of the limit
	full   bool
}

// Censor returns the port.
func (db *DB) Censor() *Censor { return &Censor{db: db, known: map[privacy.Feature]weighed{}} }

const countRounds = `
	select (select count(*) from fabric.run where ended_at is null),
		count(distinct (r.tenant, r.run, r.number)),
		coalesce(extract(epoch from now() - min(r.started_at)), 0)::float8,
		coalesce(extract(epoch from now() - min(greatest(s.opened_at, heard.last)) filter (where s.sites > heard.sites)), 0)::float8,
		greatest(coalesce(extract(epoch from now() - min(s.deadline)), 0), 0)::float8,
		coalesce(sum(greatest(s.sites - heard.sites, 0)), 0)
	from fabric.round r
	left join fabric.stage s on s.tenant = r.tenant and s.run = r.run and s.number = r.number and s.status = 'open'
	left join lateral (
		select count(*) as sites, max(b.at) as last from fabric.submission b
		where b.tenant = s.tenant and b.run = s.run and b.number = s.number and b.stage = s.stage and b.region = s.region) heard on true
	where r.status = 'open'`

const countSites = `select count(*), count(*) filter (where seen_at < now() - interval '5 minutes') from fabric.site`

// A review stays open when it is overdue; nothing expires there.
const countBallots = `
	select count(*), greatest(coalesce(extract(epoch from min(due_at) filter (where review_of = '') - now()), 0), 0)::float8
	from fabric.ballot where outcome = 'pending'`

// A rollout that waits is looked at on, so looks are passed over. Before half of
// a region's answers it waits for a ballot, which is no fact.
const countRollouts = `
	select count(*) filter (where not ended), count(*) filter (where back), count(*) filter (where not ended and (last in ('hold', 'pause')
		or exists (select from fabric.ballot b where b.tenant = f.tenant and b.action = f.action || '-half' and b.outcome = 'pending')))
	from (select tenant, action, bool_or(kind = 'end') as ended, bool_or(kind = 'back') as back, (array_agg(kind order by number desc) filter (where kind <> 'look'))[1] as last
		from fabric.canary_fact group by tenant, action) f`

const countLeaves = `select size, (case when note = '' and size > 0 then extract(epoch from now() - at) else 0 end)::float8 from fabric.audit_state`

// Census counts in one round trip.
func (c *Censor) Census(ctx context.Context) (activities.Census, error) {
	var out activities.Census
	var oldest, silent, overdue, left, unsigned float64
	var ledgers []privacy.Ledger
	var once [][]bool // of each ledger's entries, those that nothing comes after: published statistics
	var b pgx.Batch
	one := func(sql string, into ...any) {
		b.Queue(sql).QueryRow(func(row pgx.Row) error { return row.Scan(into...) })
	}
	one(countRounds, &out.Runs, &out.Rounds, &oldest, &silent, &overdue, &out.MissingSites)
	one(countSites, &out.Sites, &out.SilentSites)
	one(countBallots, &out.Ballots, &left)
	one(countRollouts, &out.Rollouts, &out.WentBack, &out.HeldBack)
	one(countLeaves, &out.Leaves, &unsigned)
	b.Queue(`select b.tenant, b.feature, b.epsilon_limit, b.delta, e.state, count(*), e.events, e.run like 'statistics-%'
		from fabric.privacy_budget b join fabric.privacy_entry e on e.tenant = b.tenant and e.feature = b.feature
		group by b.tenant, b.feature, e.state, e.events, 8 order by b.tenant collate "C", b.feature collate "C", e.state, e.events, 8`).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var l privacy.Ledger
			var e privacy.Entry
			var statistics bool
			if err := rows.Scan(&l.Tenant, &l.Feature, &l.EpsilonLimit, &l.Delta, &e.State, &e.Rounds, &e.Events, &statistics); err != nil {
				return err
			}
			if n := len(ledgers); n == 0 || ledgers[n-1].Budget != l.Budget {
				ledgers, once = append(ledgers, l), append(once, nil)
			}
			last := len(ledgers) - 1
			ledgers[last].Entries, once[last] = append(ledgers[last].Entries, e), append(once[last], statistics)
		}
		return rows.Err()
	})
	if err := c.db.system.SendBatch(ctx, &b).Close(); err != nil {
		return activities.Census{}, fault(err)
	}
	out.OldestRound, out.SilentStage, out.OverdueStage = seconds(oldest), seconds(silent), seconds(overdue)
	out.BallotLeft, out.Unsigned = seconds(left), seconds(unsigned)
	out.BudgetLeast = 1
	for i, l := range ledgers {
		w, err := c.weigh(l, once[i])
		if err != nil {
			return activities.Census{}, err
		}
		out.Budgets++
		out.BudgetLeast = min(out.BudgetLeast, w.left)
		if w.full {
			out.Exhausted++
		}
	}
	return out, nil
}

// weigh says how a budget stands. It is exhausted when another round like the
// dearest one so far does not fit into it: whoever asks for that is refused,
// however much is left. What was published once is not asked for again.
func (c *Censor) weigh(l privacy.Ledger, once []bool) (weighed, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return weighed{}, err
	}
	of := privacy.Feature{Tenant: l.Tenant, Feature: l.Feature}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.known[of]; ok && w.ledger == string(text) {
		return w, nil
	}
	w := weighed{ledger: string(text), left: l.Balance().Left / l.EpsilonLimit}
	for i, e := range l.Entries {
		if once[i] {
			continue
		}
		_, err := privacy.Reserve([]privacy.Ledger{l}, privacy.Request{Features: []privacy.Feature{of}, Events: e.Events})
		w.full = w.full || errors.Is(err, privacy.ErrExhausted)
	}
	c.known[of] = w
	return w, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
