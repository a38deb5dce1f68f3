package postgres

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// AcceptedAt returns when exactly this bundle was accepted with a version: the
// row is written in the transaction of its audit leaf, and never changes. It
// returns the zero time for a bundle that no version has.
func (p Versions) AcceptedAt(ctx context.Context, bundle artifact.Digest) (time.Time, error) {
	var at *time.Time
	err := p.db.system.QueryRow(ctx, `
		select min(at) from (
			select registered_at as at from fabric.model_version
			where bundle ->> 'digest' = $1 or files_bundle ->> 'digest' = $1 or signature ->> 'digest' = $1
			union all select checked_at from fabric.model_replica where bundle ->> 'digest' = $1
			union all select at from fabric.recovery_point where bundle ->> 'digest' = $1) as accepted`, string(bundle)).Scan(&at)
	if err != nil {
		return time.Time{}, fault(err)
	}
	if at == nil {
		return time.Time{}, nil
	}
	return at.UTC(), nil
}
