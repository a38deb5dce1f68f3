package apitest

import (
	"context"
	"slices"

	"github.com/atom-fabric/fabric/api"
)

type decisions struct{ f *Fabric }

func (p decisions) Record(_ context.Context, batch api.DecisionBatch) (int64, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return 0, err
	}
	next := int64(1)
	for _, d := range p.f.Decided {
		if d.Router == batch.Router {
			next = max(next, d.Sequence+1)
		}
	}
	for _, d := range batch.Decisions {
		if d.Sequence >= next {
			d.Router = batch.Router
			p.f.Decided, next = append(p.f.Decided, d), d.Sequence+1
		}
	}
	return next, nil
}

func (p decisions) Decision(_ context.Context, tenant, id string) (api.Decision, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.Decision{}, err
	}
	i := slices.IndexFunc(p.f.Decided, func(d api.Decision) bool {
		return d.ID == id && (tenant == "" || d.Owner == tenant || d.Caller == tenant)
	})
	if i < 0 {
		return api.Decision{}, api.ErrNotFound
	}
	return p.f.Decided[i], nil
}

func (p decisions) Spools(context.Context) ([]api.DecisionSpool, error) {
	leave, err := p.f.enter()
	defer leave()
	return nil, err
}

type revocations struct{ f *Fabric }

func (p revocations) Revoke(_ context.Context, cmd api.Command, r api.Revocation, reply api.Reply[api.Revocation]) (api.Answer, error) {
	return command(p.f, cmd, "token.revoked", reply, func() (api.Revocation, error) {
		if len(p.f.Revoked) >= api.MaxRevocations {
			return r, api.ErrConflict
		}
		r.Actor, r.RevokedAt = cmd.Subject, Epoch
		p.f.Revoked = append(p.f.Revoked, r)
		return r, nil
	})
}

func (p revocations) Revocations(_ context.Context, caller api.Caller, page api.Page) ([]api.Revocation, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	var out []api.Revocation
	for _, r := range slices.Backward(p.f.Revoked) {
		if r.Tenant == caller.Tenant && (page.After == "" || r.ID < page.After) && len(out) < page.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}
