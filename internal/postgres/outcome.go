package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// RecordOutcome ends an action once, and moves what an applied one moves, in
// the same transaction. ErrNotFound without the action; ErrRefused when the
// plan does not say what an applied action of its kind needs.
func (p Actions) RecordOutcome(ctx context.Context, in contract.OutcomeInput, plan promotion.Plan) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		var previous string
		var simulated bool
		err := tx.QueryRow(ctx, `select state, simulated from fabric.action where tenant = $1 and id = $2 and kind = $3 for update`,
			in.Tenant, in.Action, in.Kind).Scan(&previous, &simulated)
		if err != nil {
			return absent(err, fmt.Errorf("%s %s: %w", in.Kind, in.Action, activities.ErrNotFound))
		}
		if previous != "planned" && previous != "started" {
			return nil // it ended before; the first end stands
		}
		evidence := in.Evidence
		if evidence == nil {
			evidence = []contract.Evidence{}
		}
		_, err = tx.Exec(ctx, `
			update fabric.action set state = $3, cause = $4, snapshot = $5, evidence = $6, bundle = $7, ended_at = now(),
				plan = case when kind = 'tuning' and plan_digest is null and $8 <> '' then jsonb_build_object('digest', $8::text, 'mediaType', $9::text) else plan end
			where tenant = $1 and id = $2`, in.Tenant, in.Action, in.Outcome, clean(in.Cause), in.Snapshot, evidence, in.Bundle, string(in.Plan), artifact.MediaTypePlan)
		if err != nil {
			return err
		}
		if in.Outcome == contract.Applied {
			if err := tx.move(ctx, in, plan); err != nil {
				return err
			}
		}
		leaf := endLeaf(in.Kind, in.Action, in.Outcome)
		leaf.Tenant, leaf.TraceID, leaf.Simulated = in.Tenant, in.TraceID, simulated
		leaf.Digest, leaf.Statement, leaf.Previous = in.Plan, in.Bundle.Digest, previous
		tx.leaf(leaf)
		return nil
	})
}

// move changes the index of record to what the data plane now runs.
func (tx *tenantTx) move(ctx context.Context, in contract.OutcomeInput, plan promotion.Plan) error {
	switch {
	case in.Kind == api.KindPromotion && plan.Version != nil:
		_, err := tx.Exec(ctx, upsertChampion, in.Tenant, plan.ModelID, plan.Environment, plan.Version.Number, in.Action)
		if err != nil {
			return err
		}
		return tx.moveChampion(ctx, in, plan)
	case in.Kind == promotion.KindRestore && plan.Restore != nil:
		return tx.moveRestored(ctx, in)
	case in.Kind == api.KindPolicy && plan.Policy != nil:
		return tx.movePolicy(ctx, in, *plan.Policy)
	case in.Kind == api.KindTuning && plan.Tuning != nil:
		var b pgx.Batch
		b.Queue(`insert into fabric.model (tenant, id) values ($1, $2) on conflict do nothing`, in.Tenant, plan.ModelID)
		for _, one := range plan.Tuning.All() {
			b.Queue(`update fabric.model set tuned = tuned || jsonb_build_object($3::text, $4::text) where tenant = $1 and id = $2`,
				in.Tenant, plan.ModelID, one.What, one.To)
		}
		return tx.SendBatch(ctx, &b).Close()
	}
	return fmt.Errorf("applied %s %s has a plan for something else: %w", in.Kind, in.Action, activities.ErrRefused)
}

// movePolicy keeps the document that was rolled out. The plan travels as JSON,
// which leaves its bytes compact; their digest is what was signed.
func (tx *tenantTx) movePolicy(ctx context.Context, in contract.OutcomeInput, raw json.RawMessage) error {
	var compact bytes.Buffer
	var doc policy.Document
	if err := json.Compact(&compact, raw); err != nil {
		return fmt.Errorf("policy of %s: %w: %w", in.Action, activities.ErrRefused, err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("policy of %s: %w: %w", in.Action, activities.ErrRefused, err)
	}
	_, err := tx.Exec(ctx, `insert into fabric.policy_revision (tenant, revision, digest, document, action) values ($1, $2, $3, $4, $5)`,
		in.Tenant, doc.Revision, artifact.DigestOf(compact.Bytes()), compact.String(), in.Action)
	if code(err) == uniqueViolation {
		return fmt.Errorf("policy revision %d: %w", doc.Revision, activities.ErrStale)
	}
	return err
}

// Policies returns the policy revisions that were rolled out, newest first.
// They hold for the whole fabric, so every tenant's are among them.
func (p Actions) Policies(ctx context.Context, page api.Page) ([]api.PolicyRevision, error) {
	var below *int64
	if page.After != "" {
		n, err := strconv.ParseInt(page.After, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("no revision %q: %w", clean(page.After), api.ErrNotFound)
		}
		below = &n
	}
	rows, err := p.db.system.Query(ctx, `
		select revision, digest, document, action, created_at from fabric.policy_revision
		where $1::bigint is null or revision < $1 order by revision desc, tenant collate "C" limit $2`, below, page.Limit)
	if err != nil {
		return nil, fault(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.PolicyRevision])
	return found, fault(err)
}

// Trials returns the closed runs of a model, oldest first.
func (p Actions) Trials(ctx context.Context, tenant, model string) ([]activities.Trial, error) {
	found, err := p.db.trials(ctx, tenant, model)
	out := make([]activities.Trial, len(found))
	for i, t := range found {
		out[i] = activities.Trial{Run: t.Run, Params: t.Params, Metrics: t.Metrics, Status: t.Status}
	}
	return out, err
}

// Tuned returns the training parameters that tunings set for a model,
// parameter to decimal text; none for a model that is not known.
func (p Actions) Tuned(ctx context.Context, tenant, model string) (map[string]string, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, pgx.RowTo[map[string]string],
		`select tuned from fabric.model where tenant = $1 and id = $2`, tenant, model)
	if err != nil || len(found) == 0 {
		return map[string]string{}, err
	}
	return found[0], nil
}
