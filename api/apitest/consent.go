package apitest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/lineage"
)

type consents struct{ f *Fabric }

func (p consents) Grant(_ context.Context, cmd api.Command, g consent.Grant, bundle artifact.Descriptor, reply api.Reply[consent.Record]) (api.Answer, error) {
	return command(p.f, cmd, "consent.granted", reply, func() (consent.Record, error) {
		if _, ok := p.f.Features[name(cmd.Tenant, g.Feature)]; !ok {
			return consent.Record{}, api.ErrNotFound
		}
		own := bundle.Digest != ""
		if !own {
			g.Tenant, g.ID, g.Epoch = cmd.Tenant, fmt.Sprintf("g%06d", len(p.f.Grants)+1), p.f.epoch(cmd.Tenant)
			if g.NotBefore.IsZero() {
				g.NotBefore = Epoch
			}
		}
		g, err := g.Normal()
		if err != nil {
			return consent.Record{}, err
		}
		_, digest, err := g.Encode()
		if err != nil {
			return consent.Record{}, err
		}
		r := consent.Record{Grant: g, Digest: digest, Bundle: bundle, Own: own, Recorded: Epoch}
		p.f.Grants = append(p.f.Grants, r)
		return r, nil
	})
}

// epoch is one more than the withdrawals of the tenant.
func (f *Fabric) epoch(tenant string) int64 {
	epoch := int64(1)
	for _, w := range f.Withdrawals {
		if w.Tenant == tenant {
			epoch++
		}
	}
	return epoch
}

func (p consents) ListGrants(_ context.Context, caller api.Caller, feature string, page api.Page) ([]consent.Record, int64, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []consent.Record
	for _, g := range p.f.Grants {
		if g.Tenant == caller.Tenant && (feature == "" || g.Feature == feature) {
			found = append(found, g)
		}
	}
	return after(found, page, func(g consent.Record) string { return g.ID }, false), p.f.epoch(caller.Tenant), err
}

// standing returns the places of the grants that a withdrawal would end.
func (f *Fabric) standing(tenant, feature string, grantees []string) (at []int) {
	for i, g := range f.Grants {
		if g.Tenant == tenant && g.Feature == feature && g.WithdrawnAt.IsZero() && (len(grantees) == 0 || slices.Contains(grantees, g.Grantee)) {
			at = append(at, i)
		}
	}
	return at
}

func (p consents) Preview(_ context.Context, caller api.Caller, feature string, grantees []string) (consent.Report, error) {
	leave, err := p.f.enter()
	defer leave()
	r := consent.Report{Tenant: caller.Tenant, Feature: feature, Epoch: p.f.epoch(caller.Tenant) + 1, Grants: []string{}, Grantees: []string{},
		Effects: []consent.Effect{}, Checkpoints: []consent.Checkpoint{}, Models: []consent.Model{}, WithdrawnAt: Epoch, WrittenAt: Epoch}
	for _, i := range p.f.standing(caller.Tenant, feature, grantees) {
		r.Grants, r.Grantees = append(r.Grants, p.f.Grants[i].ID), append(r.Grantees, p.f.Grants[i].Grantee)
	}
	if err == nil && len(r.Grants) == 0 {
		err = api.ErrNotFound
	}
	return r.Complete(), err
}

func (p consents) WithdrawGrants(_ context.Context, cmd api.Command, feature string, grantees []string, reason string, reply api.Reply[api.Withdrawal]) (api.Answer, error) {
	return command(p.f, cmd, "consent.withdrawn", reply, func() (api.Withdrawal, error) {
		w := api.Withdrawal{Tenant: cmd.Tenant, Epoch: p.f.epoch(cmd.Tenant) + 1, Feature: feature, Reason: reason, AskedAt: Epoch, Grants: []string{}, Grantees: []string{}}
		for _, i := range p.f.standing(cmd.Tenant, feature, grantees) {
			p.f.Grants[i].WithdrawnAt = Epoch
			w.Grants, w.Grantees = append(w.Grants, p.f.Grants[i].ID), append(w.Grantees, p.f.Grants[i].Grantee)
		}
		if len(w.Grants) == 0 {
			return w, api.ErrNotFound
		}
		p.f.Withdrawals = append(p.f.Withdrawals, w)
		return w, nil
	})
}

func (p consents) Withdrawal(_ context.Context, caller api.Caller, epoch int64) (api.Withdrawal, error) {
	leave, err := p.f.enter()
	defer leave()
	if at := p.f.withdrawal(caller.Tenant, epoch); err == nil && at >= 0 {
		return p.f.Withdrawals[at], nil
	}
	if err == nil {
		err = api.ErrNotFound
	}
	return api.Withdrawal{}, err
}

func (f *Fabric) withdrawal(tenant string, epoch int64) int {
	return slices.IndexFunc(f.Withdrawals, func(w api.Withdrawal) bool { return w.Tenant == tenant && w.Epoch == epoch })
}

func (p consents) Decide(_ context.Context, cmd api.Command, epoch int64, decision, reason string, reply api.Reply[api.Withdrawal]) (api.Answer, error) {
	return command(p.f, cmd, "consent.decided", reply, func() (api.Withdrawal, error) {
		at := p.f.withdrawal(cmd.Tenant, epoch)
		if at < 0 {
			return api.Withdrawal{}, api.ErrNotFound
		}
		w := &p.f.Withdrawals[at]
		switch {
		case !w.Undecided:
			return *w, api.ErrClosed
		case w.Decision != "" && w.Decision != decision:
			return *w, api.ErrConflict
		}
		w.Decision, w.DecidedBy, w.DecidedFor, w.DecidedAt = decision, cmd.Subject, reason, Epoch
		return *w, nil
	})
}

func (p consents) Cards(_ context.Context, caller api.Caller, words string, page api.Page) ([]api.Card, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Card
	for _, f := range p.f.Features {
		if words != "" && !strings.Contains(f.ID, words) && !strings.Contains(strings.ToLower(f.Description), words) {
			continue
		}
		access := "NONE"
		if f.Tenant == caller.Tenant {
			access = "OWNER"
		}
		found = append(found, api.Card{Tenant: f.Tenant, Feature: f.ID, Description: f.Description, Tags: f.Tags, Access: access})
	}
	return after(found, page, func(c api.Card) string { return c.Tenant + "/" + c.Feature }, false), err
}

func (p consents) RequestAccess(_ context.Context, cmd api.Command, in api.Access, reply api.Reply[api.Access]) (api.Answer, error) {
	return command(p.f, cmd, "access.requested", reply, func() (api.Access, error) {
		if _, ok := p.f.Features[name(in.Owner, in.Feature)]; !ok {
			return in, api.ErrNotFound
		}
		in.CreatedAt = Epoch
		p.f.Accesses = append(p.f.Accesses, in)
		return in, nil
	})
}

func (p consents) AccessRequests(_ context.Context, caller api.Caller) ([]api.Access, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Access
	for _, a := range p.f.Accesses {
		if a.Owner == caller.Tenant || a.Requester == caller.Tenant {
			found = append(found, a)
		}
	}
	return found, err
}

func (p consents) DecideAccess(_ context.Context, cmd api.Command, id string, event consent.AccessEvent, reason string, reply api.Reply[api.Access]) (api.Answer, error) {
	return command(p.f, cmd, "access.decided", reply, func() (api.Access, error) {
		at := slices.IndexFunc(p.f.Accesses, func(a api.Access) bool { return a.ID == id && a.Owner == cmd.Tenant })
		if at < 0 {
			return api.Access{}, api.ErrNotFound
		}
		next, err := p.f.Accesses[at].State.After(event)
		if err != nil {
			return api.Access{}, fmt.Errorf("%w: %w", err, api.ErrClosed)
		}
		p.f.Accesses[at].State, p.f.Accesses[at].DecidedFor, p.f.Accesses[at].DecidedAt = next, reason, Epoch
		return p.f.Accesses[at], nil
	})
}

func (p consents) FeatureVersions(_ context.Context, caller api.Caller, feature string) ([]catalog.Feature, error) {
	leave, err := p.f.enter()
	defer leave()
	f, ok := p.f.Features[name(caller.Tenant, feature)]
	if err == nil && !ok {
		err = api.ErrNotFound
	}
	return []catalog.Feature{f}, err
}

func (p consents) PromoteFeature(_ context.Context, cmd api.Command, feature string, version int, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return command(p.f, cmd, "feature.promoted", reply, func() (catalog.Feature, error) {
		f, ok := p.f.Features[name(cmd.Tenant, feature)]
		if !ok || f.Version != version {
			return f, api.ErrNotFound
		}
		return f, nil
	})
}

func (p consents) Lineage(_ context.Context, caller api.Caller, run string) ([]lineage.Round, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	r, err := p.f.run(caller.Tenant, run)
	var out []lineage.Round
	for _, one := range r.Rounds {
		out = append(out, lineage.Round{Tenant: r.Tenant, Model: r.ModelID, Run: r.ID, Number: one.Number, Kind: string(one.Kind), Status: one.Status,
			Cause: one.Cause, Weights: one.Weights, Manifest: one.Manifest, StartedAt: one.StartedAt})
	}
	return out, err
}
