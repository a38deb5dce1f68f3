package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Snapshots is the history of what the data plane runs: [activities.Snapshots]
// and [api.Snapshots].
type Snapshots struct{ db *DB }

// Snapshots returns both ports.
func (db *DB) Snapshots() Snapshots { return Snapshots{db} }

// Latest returns the newest snapshot; version 0 when there is none.
func (p Snapshots) Latest(ctx context.Context) (routing.Snapshot, error) {
	var raw []byte
	var latest routing.Snapshot
	err := p.db.system.QueryRow(ctx, `select snapshot from fabric.snapshot order by version desc limit 1`).Scan(&raw)
	if errors.Is(err, pgx.ErrNoRows) {
		return latest, nil
	}
	if err != nil {
		return latest, fault(err)
	}
	return latest, json.Unmarshal(raw, &latest)
}

// At returns the snapshot of a version, or ErrNotFound.
func (p Snapshots) At(ctx context.Context, version int64) (routing.Snapshot, error) {
	var raw []byte
	var snapshot routing.Snapshot
	err := p.db.system.QueryRow(ctx, `select snapshot from fabric.snapshot where version = $1`, version).Scan(&raw)
	if err != nil {
		return snapshot, absent(fault(err), fmt.Errorf("snapshot %d: %w", version, activities.ErrNotFound))
	}
	return snapshot, json.Unmarshal(raw, &snapshot)
}

// Publish stores a signed snapshot if its version is one above the newest.
// Two that race for a version meet at the primary key: one gets ErrStale. What
// action published in this phase already is a success and stays as it is.
// ErrRefused when the signed bytes are of another version than snapshot.
func (p Snapshots) Publish(ctx context.Context, action, phase string, snapshot routing.Snapshot, signed routing.Signed) error {
	var inside routing.Snapshot
	if err := json.Unmarshal(signed.Snapshot, &inside); err != nil || inside.Version != snapshot.Version {
		return fmt.Errorf("signed bytes are not snapshot %d: %w", snapshot.Version, activities.ErrRefused)
	}
	digest := artifact.DigestOf(signed.Snapshot)
	return p.db.withSystem(ctx, func(tx *systemTx) error {
		// The newest version is read by the insert itself: no row, no change.
		tag, err := tx.Exec(ctx, `
			insert into fabric.snapshot (version, action, phase, digest, snapshot, bundle)
			select $1, $2, $3, $4, $5, $6
			where $1 = 1 + (select coalesce(max(version), 0) from fabric.snapshot)
			on conflict do nothing`,
			snapshot.Version, action, phase, digest, []byte(signed.Snapshot), []byte(signed.Bundle))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			var there bool
			err := tx.QueryRow(ctx, `select exists (select from fabric.snapshot where action = $1 and phase = $2)`, action, phase).Scan(&there)
			if err == nil && !there {
				err = fmt.Errorf("snapshot %d is not the next: %w", snapshot.Version, activities.ErrStale)
			}
			return err
		}
		tx.notify(channelSnapshot, strconv.FormatInt(snapshot.Version, 10))
		tx.leaf(audit.Leaf{Kind: "snapshot.published", Actor: actorFabric, Subject: "snapshot/" + strconv.FormatInt(snapshot.Version, 10),
			Digest: digest, Statement: artifact.DigestOf(signed.Bundle), State: clean(action + " " + phase)})
		return nil
	})
}

// Published returns the snapshot that action published in a phase.
func (p Snapshots) Published(ctx context.Context, action, phase string) (contract.SnapshotRef, bool, error) {
	var ref contract.SnapshotRef
	err := p.db.system.QueryRow(ctx, `select version, digest from fabric.snapshot where action = $1 and phase = $2`, action, phase).Scan(&ref.Version, &ref.Digest)
	if errors.Is(err, pgx.ErrNoRows) {
		return ref, false, nil
	}
	return ref, err == nil, fault(err)
}

// signed returns a snapshot as it was published.
func (p Snapshots) signed(ctx context.Context, version int64) (routing.Signed, error) {
	var signed routing.Signed
	err := p.db.system.QueryRow(ctx, `select snapshot, bundle from fabric.snapshot where version = $1`, version).
		Scan((*[]byte)(&signed.Snapshot), (*[]byte)(&signed.Bundle))
	return signed, fault(absent(err, fmt.Errorf("snapshot %d: %w", version, activities.ErrNotFound)))
}

// Callers returns the tenants beside the owner that took part in a run of the
// model, by name.
func (p Snapshots) Callers(ctx context.Context, tenant, model string) ([]string, error) {
	return queryTenant(ctx, p.db.app, tenant, pgx.RowTo[string], `
		select distinct t collate "C" from fabric.run, unnest(tenants) t
		where tenant = $1 and model = $2 and status <> 'failed' and t <> $1 order by 1`, tenant, model)
}

// SignedAfter returns the newest signed snapshot when its version is above
// after, as soon as there is one, and false when wait is over.
func (p Snapshots) SignedAfter(ctx context.Context, after int64, wait time.Duration) (routing.Signed, int64, bool, error) {
	wake, cancel := p.db.hub.subscribe(channelSnapshot)
	defer cancel()
	for until := time.Now().Add(wait); ; {
		var signed routing.Signed
		var version int64
		err := p.db.system.QueryRow(ctx, `select version, snapshot, bundle from fabric.snapshot where version > $1 order by version desc limit 1`, after).
			Scan(&version, (*[]byte)(&signed.Snapshot), (*[]byte)(&signed.Bundle))
		if err == nil {
			return signed, version, true, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return routing.Signed{}, 0, false, fault(err)
		}
		left := time.Until(until)
		if left <= 0 {
			return routing.Signed{}, 0, false, nil
		}
		// A notice that is lost costs a second: that bounds how long a router runs on
		// what was replaced.
		if _, err := p.db.hub.wait(ctx, wake, min(left, time.Second)); err != nil {
			return routing.Signed{}, 0, false, err
		}
	}
}
