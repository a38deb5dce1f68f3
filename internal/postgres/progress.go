package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/round"
)

// mostWaiting is how many sites that have not answered are named a stage: a
// person reads no more, and a round of 10,000 has as many at its start.
const mostWaiting = 20

// Progress returns what the rounds of a run have received and cost. What other
// tenants' features are charged for it is in their rows, which the run's owner
// may know of: it asked for the noise. They are read as the system, by the owner.
func (p Runs) Progress(ctx context.Context, caller api.Caller, id string) (api.RunProgress, error) {
	if caller.Tenant == "" {
		return api.RunProgress{}, errNoTenant
	}
	var out api.RunProgress
	var found []round.Params
	var b pgx.Batch
	b.Queue(setTenant, caller.Tenant)
	queue(&b, &found, pgx.RowTo[round.Params], `select params from fabric.run where tenant = $1 and id = $2`, caller.Tenant, id)
	queue(&b, &out.Rounds, pgx.RowToStructByPos[api.RoundTraffic], `
		select number, count(*) filter (where reason = ''), count(*) filter (where reason <> ''),
			sum(coalesce((update ->> 'sizeBytes')::bigint, 0) + coalesce((message ->> 'sizeBytes')::bigint, 0))::bigint
		from fabric.submission where tenant = $1 and run = $2 group by number order by number`, caller.Tenant, id)
	queue(&b, &out.Stages, pgx.RowToStructByPos[api.StageProgress], `
		select st.number, st.region, st.stage, st.status, st.sites, heard.counts, heard.refused, st.opened_at, st.deadline,
			case when st.status = 'open' then coalesce(late.sites, '{}') else '{}' end
		from fabric.stage st
		join fabric.round r on r.tenant = st.tenant and r.run = st.run and r.number = st.number and r.status = 'open'
		left join lateral (
			select count(*) filter (where s.reason = '') as counts, count(*) filter (where s.reason <> '') as refused from fabric.submission s
			where s.tenant = st.tenant and s.run = st.run and s.number = st.number and s.stage = st.stage and s.region = st.region) heard on true
		left join lateral (
			select array_agg(site_tenant || '/' || site) as sites from (
				select c.site_tenant, c.site from fabric.cohort c
				where c.tenant = st.tenant and c.run = st.run and c.number = st.number and c.region = st.region
					and (st.stage in ('update', 'advertise') or exists (select from fabric.stage_member m where m.tenant = c.tenant and m.run = c.run
						and m.number = c.number and m.stage = st.stage and m.site_tenant = c.site_tenant and m.site = c.site))
					and not exists (select from fabric.submission s where s.tenant = c.tenant and s.run = c.run and s.number = c.number and s.stage = st.stage
						and s.site_tenant = c.site_tenant and s.site = c.site)
				order by c.site_tenant collate "C", c.site collate "C" limit $3) w) late on true
		where st.tenant = $1 and st.run = $2 order by st.number, st.region collate "C", st.opened_at, st.stage`, caller.Tenant, id, mostWaiting)
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return api.RunProgress{}, fault(err)
	}
	var err error
	if out.Asked, err = one(found, nil, api.ErrNotFound); err != nil {
		return api.RunProgress{}, err
	}
	rows, err := p.db.system.Query(ctx, `
		select tenant || '/' || feature, number, state = 'reserved', events from fabric.privacy_entry
		where owner = $1 and run = $2 and state <> 'refunded' order by tenant collate "C", feature collate "C", number`, caller.Tenant, id)
	if err != nil {
		return api.RunProgress{}, fault(err)
	}
	out.Costs, err = pgx.CollectRows(rows, pgx.RowToStructByPos[api.RoundCost])
	return out, fault(err)
}

// latestCalls bounds what percentiles are taken of.
const latestCalls = 20_000

// Endpoints returns how runtimes answered, of the latest calls since then.
func (p Decisions) Endpoints(ctx context.Context, tenant string, since time.Time) ([]api.EndpointLoad, error) {
	rows, err := p.db.system.Query(ctx, `
		with latest as (
			select coalesce(s.region, '') as origin, d.region, d.endpoint, d.status, d.ms, d.at
			from (select router, region, endpoint, status, latency_micros / 1000.0::float8 as ms, at from fabric.decision where tenant = $1 and not mirrored and at >= $2 order by at desc limit $3) d
			left join fabric.router_spool s on s.router = d.router
			where d.endpoint <> ''),
		answered as (
			select origin, region, endpoint, count(*) as calls, count(*) filter (where status >= 500) as failed,
				percentile_cont(array[0.5, 0.95, 0.99]) within group (order by ms) filter (where status < 400) as p, max(at) as last
			from latest group by 1, 2, 3)
		select origin, region, endpoint, calls, failed, coalesce(p[1], 0), coalesce(p[2], 0), coalesce(p[3], 0), last from answered order by region, origin, endpoint`, tenant, since.UTC(), latestCalls)
	if err != nil {
		return nil, fault(err)
	}
	loads, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.EndpointLoad])
	return loads, fault(err)
}

// Actions returns the tenant's actions of a kind, newest first.
func (p Actions) Actions(ctx context.Context, caller api.Caller, kind string, page api.Page) ([]api.Action, error) {
	at, id, err := api.ActionAfter(page.After)
	if err != nil {
		return nil, err
	}
	return readTenant(ctx, p.db, caller.Tenant, pgx.RowToStructByPos[api.Action], selectAction+`
		tenant = $1 and kind = $2 and ($3::timestamptz is null or (created_at, id::text collate "C") < ($3, $4 collate "C"))
		order by created_at desc, id::text collate "C" desc limit $5`, caller.Tenant, kind, at, id, page.Limit)
}
