package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/routing"
)

// TrafficBetween adds up the tens of seconds between from and to.
func (p Decisions) TrafficBetween(ctx context.Context, tenant, model string, version int, regions []string, from, to time.Time) ([]routing.Traffic, error) {
	return queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[routing.Traffic], `
		select environment, version, region, lineage, canary, sum(requests)::bigint, sum(answered)::bigint, sum(refused)::bigint, sum(failed)::bigint, sum(gone)::bigint,
			sum(latency_micros)::bigint, sum(latency_squares)::float8, sum(upstream_micros)::bigint
		from fabric.traffic
		where tenant = $1 and model = $2 and ($3 = 0 or version = $3) and (cardinality($4::text[]) = 0 or region = any ($4)) and at >= $5 and at < $6
		group by environment, version, region, lineage, canary order by environment collate "C", version, region collate "C", lineage collate "C", canary`,
		tenant, model, version, nonNil(regions), grain(from), grain(to))
}

// MirroredBetween adds up the copies that a version was sent. There are few of
// them, for as long as a shadow takes, and they have an index of their own.
func (p Decisions) MirroredBetween(ctx context.Context, tenant, model, environment string, version int, region string, from, to time.Time) (routing.Traffic, error) {
	rows, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[routing.Traffic], `
		select $3::text, $4::integer, $5::text, '', false, count(*), count(*) filter (where status < 400), count(*) filter (where status between 400 and 498),
			count(*) filter (where status >= 500), count(*) filter (where status = 499), coalesce(sum(latency_micros) filter (where status < 400), 0)::bigint,
			coalesce(sum(latency_micros::float8 * latency_micros) filter (where status < 400), 0), coalesce(sum(upstream_micros) filter (where status < 400), 0)::bigint
		from fabric.decision
		where tenant = $1 and model = $2 and environment = $3 and version = $4 and region = $5 and mirrored and at >= $6 and at < $7`,
		tenant, model, environment, version, region, grain(from), grain(to))
	if err != nil || len(rows) != 1 {
		return routing.Traffic{}, err
	}
	return rows[0], nil
}

// grain moves a time down to where a row of the traffic begins.
func grain(at time.Time) time.Time { return at.UTC().Truncate(activities.TrafficGrain) }
