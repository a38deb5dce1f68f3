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

// grain moves a time down to where a row of the traffic begins.
func grain(at time.Time) time.Time { return at.UTC().Truncate(activities.TrafficGrain) }
