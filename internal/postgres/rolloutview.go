package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

// RolloutViews reads what rollouts saw and did: [api.Rollouts].
type RolloutViews struct{ db *DB }

// RolloutViews returns the port.
func (db *DB) RolloutViews() RolloutViews { return RolloutViews{db} }

// Facts returns the facts of a rollout.
func (p RolloutViews) Facts(ctx context.Context, caller api.Caller, action string) ([]canary.Fact, error) {
	return p.db.Rollouts().Facts(ctx, caller.Tenant, action)
}

// Load returns how many calls were answered since then, by region.
func (p RolloutViews) Load(ctx context.Context, caller api.Caller, model, environment string, since time.Time) (map[string]int64, error) {
	type row struct {
		Region   string
		Answered int64
	}
	rows, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[row], `
		select region, sum(answered)::bigint from fabric.traffic where tenant = $1 and model = $2 and environment = $3 and at >= $4 group by region`,
		caller.Tenant, model, environment, since.UTC())
	out := map[string]int64{}
	for _, r := range rows {
		out[r.Region] = r.Answered
	}
	return out, err
}

// Unproven returns why a version may not be promoted.
func (p RolloutViews) Unproven(ctx context.Context, caller api.Caller, model string, version int) (string, error) {
	return p.db.Rollouts().Unproven(ctx, caller.Tenant, model, version)
}

// RanAt returns what the data plane ran at a time. The actions of the tenant say
// which publications are about the model; the others are not looked at.
func (p RolloutViews) RanAt(ctx context.Context, caller api.Caller, model string, at time.Time) (api.Ran, error) {
	var out api.Ran
	var raw []byte
	err := p.db.system.QueryRow(ctx, `select snapshot, digest, at from fabric.snapshot where at <= $1 order by version desc limit 1`, at).Scan(&raw, &out.Digest, &out.At)
	if err != nil {
		return out, absent(fault(err), fmt.Errorf("a snapshot at %s: %w", at.UTC().Format(time.RFC3339), api.ErrNotFound))
	}
	if artifact.DigestOf(raw) != out.Digest {
		return out, fmt.Errorf("snapshot at %s is not what was signed", at.UTC().Format(time.RFC3339))
	}
	if err := json.Unmarshal(raw, &out.Snapshot); err != nil {
		return out, err
	}
	actions, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowTo[string],
		`select id from fabric.action where tenant = $1 and (kind = 'promotion' and model = $2 or kind = 'restore')`, caller.Tenant, model)
	if err != nil {
		return out, err
	}
	rows, err := p.db.system.Query(ctx, `select version, action, phase, at from fabric.snapshot where action = any ($1) and version <= $2 order by version desc`,
		nonNil(actions), out.Snapshot.Version)
	if err != nil {
		return out, fault(err)
	}
	out.Moves, err = pgx.CollectRows(rows, pgx.RowToStructByPos[api.Publication])
	return out, fault(err)
}
