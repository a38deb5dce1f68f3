package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/evidence"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Dossiers reads and keeps what is shown of promotions: [activities.Dossiers].
type Dossiers struct{ db *DB }

// Dossiers returns the port.
func (db *DB) Dossiers() Dossiers { return Dossiers{db} }

// A promoted is an applied promotion, with the run that made its version.
type promoted struct {
	Outcome  artifact.Digest
	Snapshot int64
	Ballot   *approval.Ballot
	Run      string
	Round    int
}

// Dossier returns what was written about a promotion that was applied, with
// the leaves that the tenant may see and the checkpoint that they are proved
// in. ErrNotFound.
func (p Dossiers) Dossier(ctx context.Context, tenant, action, model string, version int) (activities.Dossier, error) {
	var out activities.Dossier
	found, err := readTenant(ctx, p.db, tenant, pgx.RowToStructByPos[promoted], `
		select a.bundle ->> 'digest', (a.snapshot ->> 'version')::bigint, b.ballot, v.run, v.round
		from fabric.action a
		left join fabric.ballot b on b.tenant = a.tenant and b.action = a.id
		join fabric.model_version v on v.tenant = a.tenant and v.model = $5 and v.number = $6
		where a.tenant = $1 and a.id = $2 and a.kind = $3 and a.state = $4`,
		tenant, action, promotion.KindPromotion, contract.Applied, model, version)
	if err != nil {
		return out, err
	}
	if len(found) == 0 {
		return out, fmt.Errorf("applied promotion %s: %w", action, activities.ErrNotFound)
	}
	a := found[0]
	out.Outcome = a.Outcome
	if out.Serving, err = p.db.Snapshots().signed(ctx, a.Snapshot); err != nil {
		return out, err
	}
	if a.Ballot != nil && a.Ballot.Request.Need > 0 {
		if err := p.people(ctx, tenant, *a.Ballot, &out); err != nil {
			return out, err
		}
	}
	facts, err := p.db.Rollouts().Facts(ctx, tenant, action)
	if err != nil {
		return out, err
	}
	for _, f := range facts {
		if f.Kind == canary.FactEnd {
			out.Rollout = f.Look
		}
	}
	subjects := []string{
		"promotion/" + action, "approval/" + action, "snapshot/" + strconv.FormatInt(a.Snapshot, 10),
		fmt.Sprintf("model/%s/%s/%d", tenant, model, version),
	}
	if a.Run != "" {
		if out.Rounds, err = p.rounds(ctx, tenant, a.Run, a.Round); err != nil {
			return out, err
		}
		for number := range out.Rounds {
			subjects = append(subjects, roundSubject(a.Run, number))
		}
		features, err := readTenant(ctx, p.db, tenant, pgx.RowTo[string], `
			select f.id from fabric.run u, jsonb_array_elements_text(u.params -> 'features') n, fabric.feature f
			where u.tenant = $1 and u.id = $2 and f.tenant = $1 and f.id = n`, tenant, a.Run)
		if err != nil {
			return out, err
		}
		for _, id := range features {
			subjects = append(subjects, featureSubject(tenant, id))
		}
	}
	out.Note, out.Leaves, err = p.leaves(ctx, tenant, subjects)
	return out, err
}

// people adds the request and the bundles of the votes that count, and of the
// delegations that some of them rest on.
func (p Dossiers) people(ctx context.Context, tenant string, ballot approval.Ballot, out *activities.Dossier) error {
	out.Request = &ballot.Request
	var ids []string
	for _, v := range ballot.Votes {
		out.Votes = append(out.Votes, v.Bundle)
		if v.Delegation != "" {
			ids = append(ids, string(v.Delegation))
		}
	}
	var err error
	out.Delegated, err = readTenant(ctx, p.db, tenant, pgx.RowTo[artifact.Digest],
		`select granted ->> 'bundle' from fabric.delegation where tenant = $1 and id = any($2) order by id`, tenant, ids)
	return err
}

// rounds returns the bundle of every round up to the last.
func (p Dossiers) rounds(ctx context.Context, tenant, run string, last int) (map[int]artifact.Digest, error) {
	type row struct {
		Number int
		Bundle artifact.Digest
	}
	rows, err := readTenant(ctx, p.db, tenant, pgx.RowToStructByPos[row], `
		select number, provenance ->> 'digest' from fabric.round
		where tenant = $1 and run = $2 and number <= $3 and provenance ? 'digest'`, tenant, run, last)
	if err != nil {
		return nil, err
	}
	out := make(map[int]artifact.Digest, len(rows))
	for _, r := range rows {
		out[r.Number] = r.Bundle
	}
	return out, nil
}

// leaves returns the newest checkpoint and the leaves about the subjects, of the
// tenant or of nobody, each proved in it. A leaf's canonical text holds its
// subject in exactly one way, so that no index is needed to write leaves fast.
func (p Dossiers) leaves(ctx context.Context, tenant string, subjects []string) (string, []evidence.Proved, error) {
	log := p.db.AuditLog()
	head, err := log.Checkpoint(ctx)
	if err != nil {
		return "", nil, err
	}
	rows, err := p.db.system.Query(ctx, `
		select l.idx, convert_from(l.body, 'UTF8') from fabric.audit_leaf l
		where l.idx < $1 and l.tenant in ('', $2)
		  and substring(convert_from(l.body, 'UTF8') from '"subject":"([^"]*)"') = any($3) order by l.idx`, head.Size, tenant, subjects)
	if err != nil {
		return "", nil, fault(err)
	}
	proved, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (evidence.Proved, error) {
		var l evidence.Proved
		err := row.Scan(&l.Index, &l.Leaf)
		return l, err
	})
	if err != nil {
		return "", nil, fault(err)
	}
	nodes := func(places []audit.Place) ([]audit.Hash, error) { return log.nodes(ctx, places) }
	for i := range proved {
		if proved[i].Proof, err = audit.ProveInclusion(proved[i].Index, head.Size, nodes); err != nil {
			return "", nil, fault(err)
		}
	}
	return head.Note, proved, nil
}

// KeepPack writes the pack of a promotion, once.
func (p Dossiers) KeepPack(ctx context.Context, in contract.KeepInput) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		tag, err := tx.Exec(ctx, `update fabric.action set pack = $3, pack_bundle = $4 where tenant = $1 and id = $2 and not pack ? 'digest'`,
			in.Tenant, in.Action, in.Pack, in.Bundle)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return tx.mustExist(ctx, `select from fabric.action where tenant = $1 and id = $2`, in.Tenant, in.Action)
		}
		leaf := endLeaf(promotion.KindPromotion, in.Action, "evidenced")
		leaf.Tenant, leaf.TraceID, leaf.Digest, leaf.Statement = in.Tenant, in.TraceID, in.Pack.Digest, in.Bundle.Digest
		tx.leaf(leaf)
		return nil
	})
}
