package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/routing"
)

// Revoke publishes the newest snapshot with the revocations that are in force.
// Idempotent: nothing is published when it has them all. ErrNotFound before there
// is a snapshot, without which no router answers anybody.
func (s *Snapshot) Revoke(ctx context.Context, active []routing.Revocation) error {
	for range races {
		latest, err := s.Snapshots.Latest(ctx)
		if err != nil {
			return within(err, "revoke")
		}
		next, changed := latest.Revoke(active, s.Now())
		if !changed {
			return nil
		}
		if latest.Version == 0 {
			return fmt.Errorf("revoke: no snapshot yet: %w", ErrNotFound)
		}
		signed, err := s.seal(ctx, next)
		if err != nil {
			return within(err, "revoke")
		}
		err = s.Snapshots.Publish(ctx, "revocation", fmt.Sprintf("tokens/%d", next.Version), next, signed)
		if err == nil || !errors.Is(err, ErrStale) { // else another process published, maybe the same
			return within(err, "revoke")
		}
	}
	return fmt.Errorf("revoke: %w", ErrStale)
}
