package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// Runs keeps training runs as their owners see them: [api.Runs].
type Runs struct{ db *DB }

// Runs returns the port.
func (db *DB) Runs() Runs { return Runs{db} }

const selectRun = `select id, tenant, model, tenants, params, requester, status, cause, metrics, coalesce(weights ->> 'digest', ''), version,
	created_at, ended_at, simulated, trace_id, paused and ended_at is null, rounds, study from fabric.run where `

func scanRun(row pgx.CollectableRow) (api.Run, error) {
	var r api.Run
	err := row.Scan(&r.ID, &r.Tenant, &r.ModelID, &r.Tenants, &r.Params, &r.Requester, &r.Status, &r.Cause, &r.Metrics, &r.Weights, &r.Version,
		&r.CreatedAt, &r.EndedAt, &r.Simulated, &r.TraceID, &r.Paused, &r.Done, &r.Study)
	return r, err
}

// StartRun writes the run as accepted with its start.
func (p Runs) StartRun(ctx context.Context, cmd api.Command, run api.Run, start api.Start, reply api.Reply[api.Run]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		rows, err := tx.Query(ctx, `
			with written as (
				insert into fabric.run (tenant, id, model, tenants, params, requester, simulated, trace_id) values ($1, $2, $3, $4, $5, $6, $7, $8)
				on conflict do nothing returning *)
			`+selectFrom(selectRun, "written")+`true`,
			tx.tenant, run.ID, run.ModelID, nonNil(run.Tenants), run.Params, clean(cmd.Subject), cmd.Simulated, cmd.TraceID)
		if err != nil {
			return api.Answer{}, err
		}
		written, err := pgx.CollectExactlyOneRow(rows, scanRun)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrConflict)
		}
		leaf := leafOf(cmd.Caller, "run.accepted", "run/"+run.ID)
		leaf.State = written.Status
		tx.leaf(leaf)
		tx.begin(cmd.Caller, start)
		return reply(written)
	})
}

// Runs returns runs without rounds, newest first.
func (p Runs) Runs(ctx context.Context, caller api.Caller, filter api.RunFilter, page api.Page) ([]api.Run, error) {
	return readTenant(ctx, p.db, caller.Tenant, scanRun,
		selectRun+`tenant = $1 and ($2 = '' or id::text collate "C" < $2) and ($4 = '' or status = $4) and ($5 = '' or model = $5)
			order by id collate "C" desc limit $3`, caller.Tenant, page.After, page.Limit, filter.Status, filter.Model)
}

// Run returns a run with its rounds, those that are open with what was counted
// so far. It is one round trip and one transaction, but three looks: a round
// that closes between them may show its end and no regions yet.
func (p Runs) Run(ctx context.Context, caller api.Caller, id string) (api.Run, error) {
	var runs []api.Run
	var rounds []api.Round
	var open []openRegion
	var b pgx.Batch
	b.Queue(setTenant, caller.Tenant)
	queue(&b, &open, pgx.RowToStructByPos[openRegion], `
		select st.number, st.region, st.sites, count(s.site) filter (where s.reason = ''), count(s.site) filter (where s.reason <> '')
		from fabric.stage st
		join fabric.round r on r.tenant = st.tenant and r.run = st.run and r.number = st.number and r.status = 'open'
		left join fabric.submission s on s.tenant = st.tenant and s.run = st.run and s.number = st.number and s.stage = st.stage and s.region = st.region
		where st.tenant = $1 and st.run = $2 and st.stage in ('update', 'advertise') group by st.number, st.region, st.sites order by st.region`, caller.Tenant, id)
	queue(&b, &rounds, scanRound, `
		select number, kind, status, cause, manifest ->> 'digest', coalesce(weights ->> 'digest', ''), metrics, regions, started_at, ended_at,
			coalesce(provenance ->> 'digest', ''), statement, clip
		from fabric.round where tenant = $1 and run = $2 order by number`, caller.Tenant, id)
	queue(&b, &runs, scanRun, selectRun+`tenant = $1 and id = $2`, caller.Tenant, id)
	if caller.Tenant == "" {
		return api.Run{}, errNoTenant
	}
	if err := p.db.app.SendBatch(ctx, &b).Close(); err != nil {
		return api.Run{}, fault(err)
	}
	run, err := one(runs, nil, api.ErrNotFound)
	if err != nil {
		return api.Run{}, err
	}
	for i := range rounds {
		for _, o := range open {
			if rounds[i].Status == "open" && o.Number == rounds[i].Number {
				rounds[i].Regions = append(rounds[i].Regions, api.RoundRegion{Region: o.Region,
					Counts: round.Counts{Selected: o.Selected, Accepted: o.Accepted, Rejected: o.Rejected}})
			}
		}
	}
	run.Rounds = rounds
	return run, nil
}

// An openRegion is a region of an open round.
type openRegion struct {
	Number                       int
	Region                       string
	Selected, Accepted, Rejected int
}

func scanRound(row pgx.CollectableRow) (api.Round, error) {
	var r api.Round
	var regions []contract.RegionResult
	err := row.Scan(&r.Number, &r.Kind, &r.Status, &r.Cause, &r.Manifest, &r.Weights, &r.Metrics, &regions, &r.StartedAt, &r.EndedAt, &r.Provenance, &r.Statement, &r.Clip)
	for _, g := range regions {
		r.Regions = append(r.Regions, api.RoundRegion{Region: g.Region, Counts: g.Counts, Dropped: g.Dropped, Cause: g.Cause})
	}
	return r, err
}

// Scorecards reads what scorecards are computed from: [api.Scorecards].
type Scorecards struct{ db *DB }

// Scorecards returns the port.
func (db *DB) Scorecards() Scorecards { return Scorecards{db} }

// Trials returns the closed runs of a model of the tenant, oldest first.
func (p Scorecards) Trials(ctx context.Context, caller api.Caller, model string) ([]api.Trial, error) {
	return p.db.trials(ctx, caller.Tenant, model)
}

func (db *DB) trials(ctx context.Context, tenant, model string) ([]api.Trial, error) {
	return readTenant(ctx, db, tenant, pgx.RowToStructByPos[api.Trial],
		`select run, params, metrics, status, ended_at from fabric.trial where tenant = $1 and model = $2 order by ended_at, run collate "C"`, tenant, model)
}
