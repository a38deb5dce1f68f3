package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
)

const (
	// The region of a group: bucket i of group eu is called eu.i.
	summedIn = `regexp_replace(s.region, '\.[0-9]+$', '')`
	// Who is not heard of before the deadline was not waited for: enough others
	// had answered.
	droppedOf = `case when s.closed_at >= s.deadline then greatest(s.sites - heard.answers, 0) else 0 end`
	ofStage   = `b.tenant = s.tenant and b.run = s.run and b.number = s.number and b.stage = s.stage and b.region = s.region`
)

// A stage's key stands for its row.
const selectClosedStages = `
	select s.closed_at, s.key, ` + summedIn + `, s.stage, s.seconds, s.sites, ` + droppedOf + `, heard.answers, heard.refused, heard.norms
	from (select * from (select *, concat_ws('/', tenant, run, number, stage, region) collate "C" as key, extract(epoch from closed_at - opened_at)::float8 as seconds
			from fabric.stage where status = 'closed' and closed_at >= $1) c
		where (c.closed_at, c.key) > ($1, $2) order by c.closed_at, c.key limit $3) s
	cross join lateral (
		select count(*) as answers, count(*) filter (where b.reason <> '') as refused, coalesce(array_agg(b.norm order by b.norm) filter (where b.norm is not null), '{}') as norms
		from fabric.submission b where ` + ofStage + `) heard
	order by s.closed_at, s.key`

// ClosedStages returns the stages that closed after a mark.
func (c *Censor) ClosedStages(ctx context.Context, after activities.Mark, most int) ([]activities.ClosedStage, error) {
	rows, err := c.db.system.Query(ctx, selectClosedStages, after.At, after.Key, most)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (activities.ClosedStage, error) {
		var s activities.ClosedStage
		err := row.Scan(&s.At, &s.Key, &s.Region, &s.Step, &s.Seconds, &s.Asked, &s.Dropped, &s.Answers, &s.Refused, &s.Norms)
		return s, err
	})
	if err != nil {
		return nil, fault(err)
	}
	return found, nil
}

// Rows of a tenant ($1) between two moments ($2, $3).
const (
	stagesBetween = `
		from fabric.stage s cross join lateral (select count(*) as answers from fabric.submission b where ` + ofStage + `) heard
		where s.tenant = $1 and s.status = 'closed' and s.closed_at >= $2 and s.closed_at < $3`
	answersBetween = ` from fabric.submission s where s.tenant = $1 and s.at >= $2 and s.at < $3`
)

// ownTelemetry returns how a metric of the policy loop is read from the tenant's
// own rows, as target, value and total; nothing for one that is in none.
func ownTelemetry(metric string) string {
	switch metric {
	case "round_dropout":
		return `select ` + summedIn + ` as target, sum(` + droppedOf + `)::float8, sum(s.sites)::float8` + stagesBetween + ` group by 1 order by 1`
	case "stage_seconds":
		return `select ` + summedIn + ` as target, extract(epoch from s.closed_at - s.opened_at)::float8, 0::float8` + stagesBetween + ` order by 1, s.closed_at`
	case "site_refused":
		return `select s.site_tenant || '/' || s.site as target, (count(*) filter (where s.reason <> ''))::float8, count(*)::float8` + answersBetween + ` group by 1 order by 1`
	case "update_norm":
		return `select ` + summedIn + ` as target, s.norm, 0::float8` + answersBetween + ` and s.norm is not null order by 1, s.at`
	case "route_failed":
		return `select region, sum(failed)::float8, sum(answered + failed)::float8 from fabric.traffic where tenant = $1 and region <> '' and at >= $2 and at < $3 group by region order by region collate "C"`
	}
	return ""
}
