package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/audit"
)

// Decisions is what routers decided: [api.Decisions] and [activities.Traffic].
type Decisions struct{ db *DB }

// Decisions returns both ports.
func (db *DB) Decisions() Decisions { return Decisions{db} }

// Record writes what of a batch has not arrived. The row of the spool is held
// from its first line on, so two senders of one spool, an old process and its
// successor, say, come one after the other, and the second finds everything
// done. Times are the routers'; a clock that is wrong spoils times, no counts.
func (p Decisions) Record(ctx context.Context, batch api.DecisionBatch) (int64, error) {
	var next int64
	err := p.db.withSystem(ctx, func(tx *systemTx) error {
		_, err := tx.Exec(ctx, `insert into fabric.router_spool (router, region, next) values ($1, $2, 1) on conflict do nothing`, batch.Router, clean(batch.Region))
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `select next from fabric.router_spool where router = $1 for update`, batch.Router).Scan(&next); err != nil {
			return err
		}
		fresh := slices.DeleteFunc(slices.Clone(batch.Decisions), func(d api.Decision) bool { return d.Sequence < next })
		if len(fresh) == 0 {
			return nil
		}
		if err := tx.decide(ctx, batch.Router, fresh); err != nil {
			return err
		}
		lost, err := tx.gaps(ctx, batch.Router, next, fresh)
		if err != nil {
			return err
		}
		next = fresh[len(fresh)-1].Sequence + 1
		_, err = tx.Exec(ctx, `update fabric.router_spool set next = $2, region = $3, lost = lost + $4, at = now() where router = $1`,
			batch.Router, next, clean(batch.Region), lost)
		tx.leaf(audit.Leaf{Kind: "decisions.recorded", Actor: actorFabric, Subject: "router/" + batch.Router, Digest: batch.Digest,
			State: fmt.Sprintf("%d-%d, %d lost", fresh[0].Sequence, next-1, lost)})
		return err
	})
	return next, fault(err)
}

// decide writes rows and adds what was new among them to the traffic, but for
// copies, which are nobody's calls. The rows
// of the traffic are locked in the order of their key: two routers that count
// for the same versions never wait for each other in a circle.
func (tx *systemTx) decide(ctx context.Context, router string, fresh []api.Decision) error {
	text, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		with written as (
			insert into fabric.decision (tenant, id, at, caller, model, environment, version, manifest, region, endpoint, lineage, canary, status, problem,
				latency_micros, upstream_micros, output, snapshot, policy, trace_id, key_id, header, simulated, mirrored, router, sequence)
			select owner, decision_id, at, tenant, model, environment, coalesce(version, 0), coalesce(manifest, ''), coalesce(region, ''), coalesce(endpoint, ''),
				coalesce(lineage, ''), coalesce(canary, false), status, coalesce(problem, ''), coalesce(latency_micros, 0), coalesce(upstream_micros, 0), coalesce(output, ''),
				snapshot, policy, trace_id, coalesce(key_id, ''), coalesce(header, ''), coalesce(simulated, false), coalesce(mirrored, false), $1, seq
			from json_to_recordset($2::json) as d (seq bigint, decision_id text, at timestamptz, tenant text, owner text, model text, environment text,
				version integer, manifest text, region text, endpoint text, lineage text, canary boolean, output text, snapshot bigint, policy bigint, trace_id text,
				status integer, problem text, latency_micros bigint, upstream_micros bigint, key_id text, header text, simulated boolean, mirrored boolean)
			on conflict do nothing
			returning tenant, model, environment, version, region, lineage, canary, at, status, latency_micros, upstream_micros, mirrored),
		added as (
			select tenant, model, environment, version, region, lineage, canary, date_bin('10 seconds', at, 'epoch') as bin, count(*) as requests,
				count(*) filter (where status < 400) as answered,
				count(*) filter (where status between 400 and 498) as refused,
				count(*) filter (where status >= 500) as failed,
				count(*) filter (where status = 499) as gone,
				coalesce(sum(latency_micros) filter (where status < 400), 0)::bigint as latency,
				coalesce(sum(latency_micros::numeric * latency_micros) filter (where status < 400), 0) as squares,
				coalesce(sum(upstream_micros) filter (where status < 400), 0)::bigint as upstream
			from written where not mirrored group by 1, 2, 3, 4, 5, 6, 7, 8)
		insert into fabric.traffic as t (tenant, model, environment, version, region, lineage, canary, at, requests, answered, refused, failed, gone, latency_micros, latency_squares, upstream_micros)
		select * from added order by tenant, model, environment, version, region, lineage, canary, bin
		on conflict (tenant, model, environment, version, region, lineage, canary, at) do update set
			requests = t.requests + excluded.requests, answered = t.answered + excluded.answered, refused = t.refused + excluded.refused,
			failed = t.failed + excluded.failed, gone = t.gone + excluded.gone, latency_micros = t.latency_micros + excluded.latency_micros,
			latency_squares = t.latency_squares + excluded.latency_squares, upstream_micros = t.upstream_micros + excluded.upstream_micros`, router, string(text))
	return err
}

// gaps writes the sequence numbers between next and the end of fresh that are
// missing, and returns how many there are.
func (tx *systemTx) gaps(ctx context.Context, router string, next int64, fresh []api.Decision) (int64, error) {
	lost := int64(0)
	for _, d := range fresh {
		if missing := d.Sequence - next; missing > 0 {
			_, err := tx.Exec(ctx, `insert into fabric.decision_gap (router, first, count) values ($1, $2, $3)`, router, next, missing)
			if err != nil {
				return 0, err
			}
			lost += missing
		}
		next = d.Sequence + 1
	}
	return lost, nil
}

// Decision returns one decision to whom it concerns.
func (p Decisions) Decision(ctx context.Context, tenant, id string) (api.Decision, error) {
	// Owners one by one: the key begins with the tenant.
	rows, err := p.db.system.Query(ctx, `
		select sequence, id, at, caller, d.tenant, model, environment, version, manifest, region, endpoint, lineage, canary, output, snapshot, policy,
			trace_id, status, problem, latency_micros, upstream_micros, key_id, header, simulated, mirrored, router
		from (select distinct tenant from fabric.model_version) owner join fabric.decision d on d.tenant = owner.tenant and d.id = $1
		where $2 = '' or d.tenant = $2 or d.caller = $2 limit 1`, id, tenant)
	if err != nil {
		return api.Decision{}, fault(err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[api.Decision])
	return d, fault(absent(err, api.ErrNotFound))
}

// Spools returns how far each router has arrived.
func (p Decisions) Spools(ctx context.Context) ([]api.DecisionSpool, error) {
	rows, err := p.db.system.Query(ctx, `select router, region, next, lost, at from fabric.router_spool order by router`)
	if err != nil {
		return nil, fault(err)
	}
	spools, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.DecisionSpool])
	return spools, fault(err)
}
