package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// ErrRefused says that the fabric will not have this site: its token is wrong,
// its name is taken by another key, or its region is not served. Asking again
// would not help.
var ErrRefused = errors.New("the fabric refuses this site")

// enrol makes sure that there is a token to present. A renewal that fails while
// the old token is good is tried again later.
func (a *Agent) enrol(ctx context.Context) error {
	now := time.Now()
	if !a.id.due(now) {
		return nil
	}
	public, err := a.id.public()
	if err != nil {
		return err
	}
	first := len(a.id.trust) == 0
	enrolment, err := a.fabric.Enrol(ctx, a.opts.Token, v1.EnrolRequest{
		Tenant: a.opts.Tenant, Site: a.opts.Site, Region: a.opts.Region, PublicKey: public,
	})
	switch {
	case final(err):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case err != nil && a.id.usable(now):
		a.log.Warn("the token could not be renewed yet", slog.Any("error", err))
		return nil
	case err != nil:
		return err
	}
	if err := a.id.keep(enrolment); err != nil {
		return fmt.Errorf("enrolment: %w", err)
	}
	switch {
	case first:
		a.log.Warn("the fabric's signing keys were taken on trust and are pinned from now on; give FABRIC_TRUST_KEY to pin them yourself")
	case !a.id.knows(enrolment.TrustedKeys):
		a.log.Error("the fabric now signs with keys that are not pinned here; its orders will be refused",
			slog.String("state", a.opts.StateDir))
	}
	a.log.Info("enrolled", slog.Time("expires", enrolment.ExpiresAt))
	return nil
}
