package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Verdicts is the decision log of the rules: [api.Verdicts] and
// [activities.Verdicts].
type Verdicts struct{ db *DB }

// Verdicts returns both ports.
func (db *DB) Verdicts() Verdicts { return Verdicts{db} }

// Record writes a decision, once by id.
func (p Verdicts) Record(ctx context.Context, d policy.Decision) error {
	return p.db.withTenant(ctx, d.Tenant, func(tx *tenantTx) error {
		_, err := tx.Exec(ctx, `
			insert into fabric.verdict (tenant, id, at, trace_id, region, purpose, question, revision, bundle, input, masked, allowed, reasons, simulated)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict do nothing`,
			d.Tenant, d.ID, d.At, d.TraceID, d.Region, d.Purpose, d.Question, d.Revision, string(d.Bundle), string(d.Input),
			nonNil(d.Masked), d.Allowed, cleaned(d.Reasons), d.Simulated)
		return err
	})
}

func cleaned(texts []string) []string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = clean(s)
	}
	return out
}

const selectVerdict = `select id, at, trace_id, tenant, region, purpose, question, revision, bundle, input::text, masked, allowed, reasons, simulated from fabric.verdict where `

func scanVerdict(row pgx.CollectableRow) (policy.Decision, error) {
	var d policy.Decision
	var input string
	err := row.Scan(&d.ID, &d.At, &d.TraceID, &d.Tenant, &d.Region, &d.Purpose, &d.Question, &d.Revision, &d.Bundle, &input, &d.Masked, &d.Allowed, &d.Reasons, &d.Simulated)
	d.Input = json.RawMessage(input)
	return d, err
}

// List returns decisions of the caller's tenant, newest first; the key is the
// time and the id.
func (p Verdicts) List(ctx context.Context, caller api.Caller, page api.Page) ([]policy.Decision, error) {
	at, id, err := afterKey(page.After, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return nil, err
	}
	return readTenant(ctx, p.db, caller.Tenant, scanVerdict, selectVerdict+`tenant = $1 and (at, id) < ($2, $3) order by at desc, id desc limit $4`, caller.Tenant, at, id, page.Limit)
}

// afterKey reads the key of a list by time and id.
func afterKey(key string, none time.Time) (time.Time, string, error) {
	if key == "" {
		return none, "", nil
	}
	text, id, ok := strings.Cut(key, "|")
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !ok {
		return none, "", fmt.Errorf("no key %q: %w", clean(key), api.ErrNotFound)
	}
	return at, id, nil
}

// Verdicts returns decisions since a time, oldest first. What routers decided
// comes after what the rules were asked, as questions about routing: kind is
// that of the endpoint by its name's beginning, as the topology names them.
func (p Verdicts) Verdicts(ctx context.Context, tenant string, since time.Time, after string, limit int) ([]policy.Decision, string, error) {
	stage, key, _ := strings.Cut(after, "#")
	if stage != "r" {
		at, id, err := afterKey(key, since)
		if err != nil {
			return nil, after, err
		}
		found, err := readTenant(ctx, p.db, tenant, scanVerdict, selectVerdict+`tenant = $1 and (at, id) > ($2, $3) order by at, id limit $4`, tenant, at, id, limit)
		if err != nil {
			return nil, after, err
		}
		if n := len(found); n > 0 {
			return found, "v#" + found[n-1].At.Format(time.RFC3339Nano) + "|" + found[n-1].ID, nil
		}
		key = ""
	}
	at, id, err := afterKey(key, since)
	if err != nil {
		return nil, after, err
	}
	found, err := readTenant(ctx, p.db, tenant, scanRouted, `
		select id, at, trace_id, caller, region, policy, simulated, model, case when endpoint like 'quantum-%' then 'quantum' else 'neural' end
		from fabric.decision where tenant = $1 and region <> '' and not mirrored and (at, id) > ($2, $3) order by at, id limit $4`, tenant, at, id, limit)
	if err != nil || len(found) == 0 {
		return nil, after, err
	}
	last := found[len(found)-1]
	return found, "r#" + last.At.Format(time.RFC3339Nano) + "|" + last.ID, nil
}

func scanRouted(row pgx.CollectableRow) (policy.Decision, error) {
	d := policy.Decision{Question: policy.AskRouting, Purpose: "serve", Allowed: true}
	var call policy.Call
	if err := row.Scan(&d.ID, &d.At, &d.TraceID, &d.Tenant, &d.Region, &d.Revision, &d.Simulated, &call.Model, &call.Kind); err != nil {
		return d, err
	}
	call.Tenant, call.Region = d.Tenant, d.Region
	var err error
	d.Input, err = json.Marshal(call)
	return d, err
}
