package postgres

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

const (
	cardRounds = 500            // of those runs, the latest
	cardWindow = 24 * time.Hour // of its traffic
	cardTrials = 200            // of its runs, the latest
)

// A cardRun is a run of a model, over yet or about to be.
type cardRun struct {
	Run     string
	Params  round.Params
	Metrics round.Metrics
	Status  string
	Version int
	Regions []contract.RegionResult // of its last evaluation
}

// A cardRound is a round that is over.
type cardRound struct {
	Status  string
	Regions []contract.RegionResult
	Started time.Time
	Ended   time.Time
}

// CardFacts returns what the card of a subject is made of. A run that is not
// over is among the trials only if it is named; of a version's trials the one
// that made it is the last. Without such a version there are none.
func (db *DB) CardFacts(ctx context.Context, subject scorecard.Subject, open string) (scorecard.Facts, error) {
	facts := scorecard.Facts{Subject: subject, Operation: scorecard.Operation{DrillAge: -1}}
	if subject.Tenant == "" {
		return facts, errNoTenant
	}
	var runs []cardRun
	var rounds []cardRound
	var drills []*time.Time
	var traffic []routing.Traffic
	var b pgx.Batch
	b.Queue(setTenant, subject.Tenant)
	queue(&b, &runs, pgx.RowToStructByPos[cardRun], `
		select u.id, u.params, u.metrics, case when u.ended_at is null then 'completed' else u.status end, coalesce(v.number, 0), coalesce(r.regions, '[]'::json)
		from (select * from fabric.run where tenant = $1 and model = $2 and study = '' and (ended_at is not null or id = $3) order by ended_at desc nulls first, id collate "C" desc limit $4) u
		left join (select run, max(number) as number from fabric.model_version where tenant = $1 and model = $2 group by run) v on v.run = u.id
		left join lateral (select regions from fabric.round where tenant = u.tenant and run = u.id and kind = 'evaluate' and (status = 'closed' or u.ended_at is null) order by number desc limit 1) r on true
		order by u.ended_at desc nulls first, u.id collate "C" desc`,
		subject.Tenant, subject.Model, open, cardTrials)
	queue(&b, &rounds, pgx.RowToStructByPos[cardRound], `
		select r.status, r.regions, r.started_at, r.ended_at from fabric.round r
		join (select tenant, id from fabric.run where tenant = $1 and model = $2 and study = '' order by ended_at desc nulls first, id collate "C" desc limit $4) u on u.tenant = r.tenant and u.id = r.run
		where r.ended_at is not null order by r.ended_at desc limit $3`, subject.Tenant, subject.Model, cardRounds, cardTrials)
	queue(&b, &drills, pgx.RowTo[*time.Time], `
		select max(at) from fabric.alias_move m where tenant = $1 and model = $2 and alias = 'champion' and action <> ''
		and number < (select max(number) from fabric.alias_move o where o.tenant = m.tenant and o.model = m.model and o.environment = m.environment and o.alias = m.alias and o.sequence < m.sequence)`,
		subject.Tenant, subject.Model)
	if err := db.app.SendBatch(ctx, &b).Close(); err != nil {
		return facts, fault(err)
	}
	slices.Reverse(runs)
	for _, r := range runs {
		t := scorecard.Trial{Run: r.Run, Params: r.Params, Metrics: r.Metrics, Status: r.Status}
		if subject.Region != "" {
			t.Metrics = regional(r, subject.Region)
		}
		facts.Trials = append(facts.Trials, t)
		if subject.Version != 0 && r.Version == subject.Version {
			break
		}
	}
	if n := len(facts.Trials); subject.Version != 0 && (n == 0 || runs[n-1].Version != subject.Version) {
		facts.Trials = nil
	}
	slices.Reverse(rounds)
	for _, r := range rounds {
		facts.Operation.Rounds = append(facts.Operation.Rounds, happened(r, subject.Region))
	}
	now := time.Now()
	if len(drills) == 1 && drills[0] != nil {
		facts.Operation.DrillAge = now.Sub(*drills[0])
	}
	var regions []string
	if subject.Region != "" {
		regions = []string{subject.Region}
	}
	traffic, err := db.Decisions().TrafficBetween(ctx, subject.Tenant, subject.Model, subject.Version, regions, now.Add(-cardWindow), now.Add(time.Minute))
	if err != nil {
		return facts, err
	}
	for _, t := range traffic {
		facts.Operation.Requests += t.Answered + t.Failed
		facts.Operation.Errors += t.Failed
	}
	budgets, err := db.Budgets().Budgets(ctx, api.Caller{Tenant: subject.Tenant}, api.Page{Limit: cardTrials})
	for _, b := range budgets {
		facts.Spending = append(facts.Spending, scorecard.Spending{Feature: b.Budget.Feature, EpsilonMicros: micros(b.Balance.Spent), BudgetMicros: micros(b.Budget.EpsilonLimit)})
	}
	return facts, err
}

func micros(x float64) int64 { return int64(math.Ceil(x * 1e6)) }

// regional is what a run's evaluation measured in one region.
func regional(r cardRun, region string) round.Metrics {
	for _, g := range r.Regions {
		if g.Region == region && g.Cause == "" {
			m := g.Metrics
			if r.Params.Measurement.On() {
				m.Measured = g.Partial.Digest
			}
			return m
		}
	}
	return round.Metrics{}
}

// happened is a round as a region, or all of them, saw it.
func happened(r cardRound, region string) scorecard.RoundFact {
	f := scorecard.RoundFact{Completed: r.Status == "closed", Started: r.Started, Ended: r.Ended}
	for _, g := range r.Regions {
		if region != "" && g.Region != region {
			continue
		}
		f.Selected, f.Accepted = f.Selected+g.Counts.Selected, f.Accepted+g.Counts.Accepted
		f.Completed = f.Completed && (region == "" || g.Cause == "")
	}
	return f
}

// Facts returns what the card of a subject is made of: [api.Scorecards].
func (p Scorecards) Facts(ctx context.Context, caller api.Caller, subject scorecard.Subject) (scorecard.Facts, error) {
	subject.Tenant = caller.Tenant
	return p.db.CardFacts(ctx, subject, "")
}

// CardFacts returns what the card of a subject is made of: [activities.Scored].
func (p Rollouts) CardFacts(ctx context.Context, subject scorecard.Subject, run string) (scorecard.Facts, error) {
	return p.db.CardFacts(ctx, subject, run)
}
