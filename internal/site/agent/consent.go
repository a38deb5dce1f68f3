package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrConsent says that no signed grant of the site's own tenant, that is in
// force and was not withdrawn, allows what an order asks for.
var ErrConsent = errors.New("the tenant has not consented to it")

// floorsFile keeps what the tenant's withdrawals have ended: an older order that
// is offered again finds the site knowing better.
const floorsFile = "consent.json"

// heed takes in what the fabric says of the tenant's withdrawals, and forgets
// nothing of what it said before. Nobody need sign it: it only takes away.
func (a *Agent) heed(told []v1.ConsentFloor) error {
	if len(told) == 0 {
		return nil
	}
	var more []consent.Floor
	for _, f := range told {
		more = append(more, consent.Floor{Feature: f.Feature, Grantee: f.Grantee, Epoch: f.Epoch})
	}
	raised := consent.Raise(a.id.floors, more)
	if slices.Equal(raised, a.id.floors) {
		return nil
	}
	a.log.Info("the tenant has withdrawn consent", "grants_below", raised)
	if err := writeJSON(a.id.path(floorsFile), raised); err != nil {
		return err
	}
	a.id.floors = raised
	return nil
}

// consented holds an order to the grants that came with it: those of the site's
// own tenant, by their signatures, with nobody to ask. It is asked before the
// site trains and before it sends what counts; a site whose vector is in a sum
// helps to open it.
// Errors: [ErrConsent], with what is missing and what to do.
func (a *Agent) consented(o order, pack string) error {
	if o.stage == round.StageCheck || o.stage == round.StageUnmask {
		return nil
	}
	grants, err := a.opts.granted(o, pack, a.id)
	if err != nil {
		return err
	}
	use, err := o.use(a.opts, time.Now())
	if err != nil {
		return err
	}
	for _, f := range o.Features {
		if f.Tenant != a.opts.Tenant {
			continue
		}
		if err := permits(grants, f.Feature, use, a.id.floors); err != nil {
			return fmt.Errorf("%w: %w", ErrConsent, err)
		}
	}
	return nil
}

// permits returns nil if one of the grants of the feature allows the use.
func permits(grants []consent.Grant, feature string, use consent.Use, floors []consent.Floor) error {
	var why error = &consent.Refusal{Feature: feature, Err: consent.ErrNone}
	for _, g := range grants {
		if g.Feature != feature {
			continue
		}
		if slices.ContainsFunc(floors, func(f consent.Floor) bool { return f.Below(g) }) {
			why = &consent.Refusal{Tenant: g.Tenant, Feature: feature, Grant: g.ID, Err: consent.ErrOldEpoch}
			continue
		}
		if why = g.Permits(use); why == nil {
			return nil
		}
	}
	return why
}

// granted returns the grants of the site's tenant that somebody has signed whom
// the operator believes: the keys of the tenant where there are any, else those
// that sign orders.
func (o Options) granted(m order, pack string, id *identity) ([]consent.Grant, error) {
	at := slices.IndexFunc(m.Consents, func(c round.TenantConsent) bool { return c.Tenant == o.Tenant })
	if at < 0 {
		return nil, fmt.Errorf("%w: the order names no grants of %s", ErrConsent, o.Tenant)
	}
	named := m.Consents[at]
	if artifact.DigestOf([]byte(pack)) != named.Grants {
		return nil, fmt.Errorf("%w: the grants are not those that the order names", ErrConsent)
	}
	bundles, err := consent.Unpack([]byte(pack))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConsent, err)
	}
	keys := id.trust
	if len(o.GrantKeys) > 0 {
		keys = o.GrantKeys
	}
	var grants []consent.Grant
	var refused error
	for _, bundle := range bundles {
		subject, err := consent.SubjectOf([]byte(bundle))
		if err != nil {
			refused = err
			continue
		}
		verified, err := artifact.VerifyBundle(keys, []byte(bundle), artifact.PredicateGrant, subject)
		if err != nil {
			refused = err
			continue
		}
		g, err := consent.Read(verified)
		if err == nil {
			g, err = g.Normal()
		}
		switch {
		case err != nil:
			refused = err
		case g.Tenant != o.Tenant || g.Epoch > named.Epoch:
			refused = fmt.Errorf("grant %s is of %s, epoch %d", g.ID, g.Tenant, g.Epoch)
		default:
			grants = append(grants, g)
		}
	}
	if len(grants) == 0 {
		if refused != nil {
			return nil, fmt.Errorf("%w: none of %d grants counts: %w", ErrConsent, len(bundles), refused)
		}
		return nil, fmt.Errorf("%w: the order comes without a grant", ErrConsent)
	}
	return grants, nil
}

// use is what the order does with the rows of this site.
func (o order) use(opts Options, now time.Time) (consent.Use, error) {
	u := consent.Use{Grantee: o.Tenant, Action: consent.ActionTrain, Purpose: o.Params.Purpose, Meets: o.Params.Meets, Regions: []string{opts.Region}, Now: now}
	switch o.Kind {
	case round.Statistics:
		u.Action = consent.ActionStats
	case round.Evaluate:
		u.Action = consent.ActionEvaluate
	}
	for _, c := range o.Cohort {
		if c.Name() == o.group {
			u.Cohort = c.Sites
			if c.Region != opts.Region {
				u.Regions = append(u.Regions, c.Region)
			}
		}
	}
	if !o.Secured || !o.Params.Privacy.On() || o.Kind != round.Train {
		return u, nil
	}
	form, err := payload.For(o.Manifest, o.digest, o.group)
	if err != nil {
		return u, err
	}
	event, private, err := form.Event()
	if err != nil || !private {
		return u, err
	}
	charge, err := dp.Epsilon([]dp.Event{event}, o.Params.Privacy.Delta)
	u.Private, u.Epsilon = true, charge.Epsilon
	return u, err
}
