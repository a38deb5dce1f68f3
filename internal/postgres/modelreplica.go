package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// stuck is when a replication that was asked for and has not ended may be asked
// for again: somebody has terminated it.
const stuck = time.Hour

// ModelReplicas is what each region holds: [activities.Replicas] and
// [api.Replicas].
type ModelReplicas struct{ db *DB }

// ModelReplicas returns both ports.
func (db *DB) ModelReplicas() ModelReplicas { return ModelReplicas{db} }

const selectReplica = `
	select r.region, r.state, r.cause, r.registry, r.attempt, r.layers, r.referrers, r.size_bytes, r.bundle, r.asked_at, r.checked_at,
		r.repository, v.package, v.weights
	from fabric.model_replica r join fabric.model_version v using (tenant, model, number)
	where r.tenant = $1 and r.model = $2 and r.number = $3 order by r.region collate "C"`

// A replicaRow is a row of selectReplica.
type replicaRow struct {
	Region     string
	State      string
	Cause      string
	Registry   string
	Attempt    int
	Layers     int
	Referrers  int
	SizeBytes  int64
	Bundle     artifact.Descriptor
	AskedAt    time.Time
	CheckedAt  *time.Time
	Repository string
	Package    artifact.Descriptor
	Weights    artifact.Descriptor
}

// Replicas returns what is known of a version, by region.
func (p ModelReplicas) Replicas(ctx context.Context, tenant, model string, version int) ([]activities.Replica, error) {
	if _, _, err := p.db.Versions().Version(ctx, tenant, model, version); err != nil {
		return nil, err
	}
	rows, err := queryTenant(ctx, p.db.app, tenant, pgx.RowToStructByPos[replicaRow], selectReplica, tenant, model, version)
	if err != nil {
		return nil, err
	}
	out := make([]activities.Replica, len(rows))
	for i, r := range rows {
		out[i] = activities.Replica{Region: r.Region, State: r.State, Cause: r.Cause, Registry: r.Registry, Package: r.Package.Digest,
			Weights: r.Weights.Digest, Bundle: r.Bundle, Referrers: r.Referrers, Input: contract.ReplicaInput{
				Subject: contract.Subject{Tenant: tenant, ModelID: model}, Region: r.Region, Version: version, Attempt: r.Attempt,
				Repository: r.Repository, Package: r.Package, Weights: r.Weights.Digest}}
	}
	return out, nil
}

// Held returns what is known of a version, for its owner.
func (p ModelReplicas) Held(ctx context.Context, caller api.Caller, model string, version int) ([]api.Replica, error) {
	rows, err := queryTenant(ctx, p.db.app, caller.Tenant, pgx.RowToStructByPos[replicaRow], selectReplica, caller.Tenant, model, version)
	if err != nil {
		return nil, err
	}
	out := make([]api.Replica, len(rows))
	for i, r := range rows {
		out[i] = api.Replica{Region: r.Region, State: r.State, Cause: r.Cause, Registry: r.Registry, Package: r.Package.Digest, Layers: r.Layers,
			Referrers: r.Referrers, SizeBytes: r.SizeBytes, Statement: r.Bundle.Digest, AskedAt: r.AskedAt, CheckedAt: r.CheckedAt}
	}
	return out, nil
}

// Replicate asks for a version in regions, again where it is held.
func (p ModelReplicas) Replicate(ctx context.Context, cmd api.Command, model string, version int, regions []string, reply api.Reply[[]string]) (api.Answer, error) {
	return p.db.command(ctx, cmd, func(tx *tenantTx) (api.Answer, error) {
		subject := contract.Subject{Tenant: tx.tenant, ModelID: model, TraceID: cmd.TraceID}
		started, err := tx.askReplicas(ctx, cmd.Caller, subject, version, regions, true)
		if err != nil {
			return api.Answer{}, absent(err, api.ErrNotFound)
		}
		leaf := leafOf(cmd.Caller, "model.replication-asked", fmt.Sprintf("model/%s/%s/%d", tx.tenant, model, version))
		tx.leaf(leaf)
		return reply(started)
	})
}

// Ask starts a replication to each of the regions in which none is under way.
func (p ModelReplicas) Ask(ctx context.Context, subject contract.Subject, version int, regions []string, again bool) error {
	return p.db.withTenant(ctx, subject.Tenant, func(tx *tenantTx) error {
		_, err := tx.askReplicas(ctx, api.Caller{Tenant: subject.Tenant, TraceID: subject.TraceID}, subject, version, regions, again)
		return absent(err, activities.ErrNotFound)
	})
}

// askReplicas writes the starts of replications and returns the regions that
// they are to. A region in which one is under way is left alone: there is one
// writer at a time. pgx.ErrNoRows without the version.
func (tx *tenantTx) askReplicas(ctx context.Context, caller api.Caller, subject contract.Subject, version int, regions []string, again bool) ([]string, error) {
	rows, err := tx.Query(ctx, selectVersion+`tenant = $1 and model = $2 and number = $3`, subject.Tenant, subject.ModelID, version)
	if err != nil {
		return nil, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[api.ModelVersion])
	if err != nil {
		return nil, err
	}
	started := []string{}
	for _, region := range regions {
		// Of two that ask at once, the second waits for the first's row, and finds
		// it asked for just now. A failure is asked for again by people only.
		var attempt int
		err := tx.QueryRow(ctx, `
			insert into fabric.model_replica as r (tenant, model, number, region, package, repository) values ($1, $2, $3, $4, $5, $6)
			on conflict (tenant, model, number, region) do update set attempt = r.attempt + 1, state = 'asked', cause = '', asked_at = now()
			where (r.state <> 'asked' and $7) or (r.state = 'asked' and r.asked_at < now() - make_interval(secs => $8))
			returning attempt`, subject.Tenant, subject.ModelID, version, region, string(v.Package.Digest), v.Repository, again, stuck.Seconds()).Scan(&attempt)
		if err == pgx.ErrNoRows { //nolint:errorlint // Scan returns it as it is
			continue
		}
		if err != nil {
			return nil, err
		}
		in := contract.ReplicaInput{Subject: subject, Region: region, Version: version, Attempt: attempt,
			Repository: v.Repository, Package: v.Package, Weights: v.Weights.Digest}
		tx.begin(caller, api.Start{
			Workflow: contract.Replication.Name, ID: contract.ReplicaID(v.Repository, v.Package.Digest, region, attempt), Queue: contract.QueueControl,
			Input: in, Summary: fmt.Sprintf("replicate %s version %d to %s", subject.ModelID, version, region),
			Attributes: api.Attributes{Tenant: subject.Tenant, Model: subject.ModelID, Stage: "started"},
		})
		started = append(started, region)
	}
	return started, nil
}

// RecordReplica ends an attempt, once. An attempt that is not the newest any
// more says nothing of what is there now.
func (p ModelReplicas) RecordReplica(ctx context.Context, in contract.ReplicaOutcome) error {
	return p.db.withTenant(ctx, in.Tenant, func(tx *tenantTx) error {
		bundle := in.Bundle
		if in.Outcome != contract.ReplicaHeld {
			bundle = artifact.Descriptor{}
		}
		tag, err := tx.Exec(ctx, `
			update fabric.model_replica set state = $5, cause = $6, registry = $7, layers = $8, referrers = $9, size_bytes = $10, bundle = $11, checked_at = now()
			where tenant = $1 and model = $2 and number = $3 and region = $4 and attempt = $12 and state = 'asked'`,
			in.Tenant, in.ModelID, in.Version, in.Region, in.Outcome, clean(in.Cause), clean(in.Inspected.Registry), in.Inspected.Layers,
			in.Inspected.Referrers, in.Inspected.SizeBytes, bundle, in.Attempt)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		leaf := audit.Leaf{Kind: "model.replica-" + in.Outcome, Tenant: in.Tenant, Actor: actorFabric, TraceID: in.TraceID,
			Subject: fmt.Sprintf("model/%s/%s/%d", in.Tenant, in.ModelID, in.Version), Digest: in.Package.Digest, Statement: bundle.Digest, State: in.Region}
		tx.leaf(leaf)
		return nil
	})
}
