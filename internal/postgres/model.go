package postgres

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// Models keeps models for their owners: [api.Models].
type Models struct{ db *DB }

// Models returns the port.
func (db *DB) Models() Models { return Models{db} }

// Versions registers what rounds made: [activities.Versions].
type Versions struct{ db *DB }

// Versions returns the port.
func (db *DB) Versions() Versions { return Versions{db} }

const selectModel = `
	select m.tenant, m.id, m.versions, m.created_at,
		coalesce((select jsonb_object_agg(a.environment, a.number) from fabric.model_alias a where a.tenant = m.tenant and a.model = m.id and a.number is not null), '{}')
	from fabric.model m where `

func scanModel(row pgx.CollectableRow) (api.Model, error) {
	var m api.Model
	err := row.Scan(&m.Tenant, &m.ID, &m.Latest, &m.CreatedAt, &m.Champions)
	return m, err
}

const selectVersion = `select tenant, model, number, repository, package, weights, bundle, run, round, metrics, registered_at, simulated, files_bundle, signature from fabric.model_version where `

// Models returns the models of the caller's tenant without versions, by id.
func (p Models) Models(ctx context.Context, caller api.Caller, page api.Page) ([]api.Model, error) {
	return readTenant(ctx, p.db, caller.Tenant, scanModel,
		selectModel+`m.tenant = $1 and m.id::text collate "C" > $2 order by m.id collate "C" limit $3`, caller.Tenant, page.After, page.Limit)
}

// Model returns a model with its versions, newest first, at most 100.
func (p Models) Model(ctx context.Context, caller api.Caller, id string) (api.Model, error) {
	if caller.Tenant == "" {
		return api.Model{}, errNoTenant
	}
	var models []api.Model
	var versions []api.ModelVersion
	var b pgx.Batch
	b.Queue(setTenant, caller.Tenant)
	queue(&b, &models, scanModel, selectModel+`m.tenant = $1 and m.id = $2`, caller.Tenant, id)
	queue(&b, &versions, pgx.RowToStructByPos[api.ModelVersion], selectVersion+`tenant = $1 and model = $2 order by number desc limit 100`, caller.Tenant, id)
	err := p.db.app.SendBatch(ctx, &b).Close()
	model, err := one(models, fault(err), api.ErrNotFound)
	model.Versions = versions
	if err == nil {
		model.Taints, err = p.db.taints(ctx, caller.Tenant, id, 0)
	}
	return model, err
}

// ModelVersion returns a version; number 0 is the newest.
func (p Models) ModelVersion(ctx context.Context, caller api.Caller, id string, number int) (api.ModelVersion, error) {
	found, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[api.ModelVersion],
		selectVersion+`tenant = $1 and model = $2 and ($3 = 0 or number = $3) order by number desc limit 1`, caller.Tenant, id, number)
	return one(found, err, api.ErrNotFound)
}

// RegisterUpload gives an uploaded package the next number of its model, once
// per package: the second upload is answered with the first's version.
func (p Models) RegisterUpload(ctx context.Context, cmd api.Command, version api.ModelVersion, reply api.Reply[api.ModelVersion]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		version.Tenant, version.Simulated = tx.tenant, cmd.Simulated
		written, fresh, err := tx.register(ctx, version)
		if err != nil {
			return api.Answer{}, err
		}
		if fresh {
			leaf := leafOf(cmd.Caller, "model.uploaded", versionSubject(written))
			leaf.Digest, leaf.Statement = written.Package.Digest, written.Bundle.Digest
			tx.leaf(leaf)
		}
		return reply(written)
	})
}

// Register gives the package of a round the next number of its model, once.
func (p Versions) Register(ctx context.Context, in contract.RegisterInput) (contract.Version, error) {
	var out contract.Version
	err := p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		version := api.ModelVersion{Tenant: in.Tenant, ModelID: in.ModelID, Repository: in.Candidate.Repository, Package: in.Candidate.Package,
			Weights: in.Weights, Bundle: in.Bundle, Run: in.Run, Round: in.Number, Metrics: in.Metrics}
		version.FilesBundle, version.Signature = claimed(in, artifact.PredicateOMS), claimed(in, artifact.PredicateSign)
		err := tx.QueryRow(ctx, `select simulated from fabric.run where tenant = $1 and id = $2`, in.Tenant, in.Run).Scan(&version.Simulated)
		if err != nil {
			return absent(err, activities.ErrNotFound)
		}
		written, fresh, err := tx.register(ctx, version)
		if err != nil {
			return err
		}
		if fresh {
			leaf := subjectLeaf(in.Subject, "model.registered", versionSubject(written))
			leaf.Digest, leaf.Statement, leaf.Simulated = written.Package.Digest, written.Bundle.Digest, written.Simulated
			tx.leaf(leaf)
		}
		out = contract.Version{Number: written.Number, Repository: written.Repository, Package: written.Package.Digest, Weights: written.Weights.Digest}
		return nil
	})
	return out, err
}

// claimed returns the bundle of the candidate's claim of a type.
func claimed(in contract.RegisterInput, predicateType string) artifact.Descriptor {
	for i, claim := range in.Candidate.Also {
		if claim.PredicateType == predicateType && i < len(in.Also) {
			return in.Also[i]
		}
	}
	return artifact.Descriptor{}
}

// Version returns a registered version.
func (p Versions) Version(ctx context.Context, tenant, model string, number int) (promotion.Version, round.Metrics, error) {
	found, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[api.ModelVersion],
		selectVersion+`tenant = $1 and model = $2 and number = $3`, tenant, model, number)
	v, err := one(found, err, activities.ErrNotFound)
	return promotion.Version{Number: v.Number, Repository: v.Repository, Package: v.Package.Digest, Weights: v.Weights.Digest, Bundle: v.Bundle.Digest}, v.Metrics, err
}

// register writes a version, or returns the one that the package has. The
// model's row is locked, so numbers have no gap and no package two of them.
func (tx *tenantTx) register(ctx context.Context, v api.ModelVersion) (written api.ModelVersion, fresh bool, err error) {
	var b pgx.Batch
	b.Queue(`insert into fabric.model (tenant, id) values ($1, $2) on conflict do nothing`, v.Tenant, v.ModelID)
	b.Queue(`select from fabric.model where tenant = $1 and id = $2 for update`, v.Tenant, v.ModelID)
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return written, false, err
	}
	written, err = tx.versionOf(ctx, v.Tenant, v.ModelID, v.Package.Digest)
	if err == nil || !errors.Is(err, pgx.ErrNoRows) {
		return written, false, err
	}
	_, err = tx.Exec(ctx, `
		with next as (update fabric.model set versions = versions + 1 where tenant = $1 and id = $2 returning versions)
		insert into fabric.model_version (tenant, model, number, repository, package, weights, bundle, run, round, metrics, simulated, files_bundle, signature)
		select $1, $2, versions, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 from next`,
		v.Tenant, v.ModelID, v.Repository, v.Package, v.Weights, v.Bundle, v.Run, v.Round, v.Metrics, v.Simulated, v.FilesBundle, v.Signature)
	if err != nil {
		return written, false, err
	}
	written, err = tx.versionOf(ctx, v.Tenant, v.ModelID, v.Package.Digest)
	if err != nil || len(tx.regions) == 0 {
		return written, true, err
	}
	subject := contract.Subject{Tenant: v.Tenant, ModelID: v.ModelID}
	_, err = tx.askReplicas(ctx, api.Caller{Tenant: v.Tenant}, subject, written.Number, tx.regions, false)
	return written, true, err
}

func (tx *tenantTx) versionOf(ctx context.Context, tenant, model string, pkg artifact.Digest) (api.ModelVersion, error) {
	rows, err := tx.Query(ctx, selectVersion+`tenant = $1 and model = $2 and package_digest = $3`, tenant, model, string(pkg))
	if err != nil {
		return api.ModelVersion{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[api.ModelVersion])
}

func versionSubject(v api.ModelVersion) string {
	return "model/" + v.Tenant + "/" + v.ModelID + "/" + strconv.Itoa(v.Number)
}
