package apitest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api"
)

func (p runs) Progress(_ context.Context, caller api.Caller, run string) (api.RunProgress, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.RunProgress{}, err
	}
	r, err := p.f.run(caller.Tenant, run)
	if err != nil {
		return api.RunProgress{}, err
	}
	out := p.f.Progressed[run]
	out.Asked = r.Params
	return out, nil
}

func (p actions) Actions(_ context.Context, caller api.Caller, kind string, page api.Page) ([]api.Action, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	var found []api.Action
	for _, a := range p.f.ActionRows {
		if a.Tenant == caller.Tenant && a.Kind == kind {
			found = append(found, a)
		}
	}
	return after(found, page, api.ActionKey, true), nil
}

func (p auditLog) Search(_ context.Context, tenant, text string, from int64, limit int) ([]api.AuditEntry, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	found := []api.AuditEntry{}
	for _, e := range p.f.Entries {
		if e.Tenant == tenant && e.Index >= from && strings.Contains(strings.ToLower(string(e.Leaf)), strings.ToLower(text)) {
			found = append(found, e)
		}
	}
	return slices.Clip(found[:min(limit, len(found))]), nil
}

func (p auditLog) Own(_ context.Context, tenant string, from, before int64, limit int) ([]api.AuditEntry, int64, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return nil, 0, err
	}
	found := []api.AuditEntry{}
	for _, e := range p.f.Entries {
		if e.Tenant == tenant && e.Index >= from && (before == 0 || e.Index < before) {
			found = append(found, e)
		}
	}
	if before > 0 {
		slices.Reverse(found)
	}
	if len(found) <= limit {
		return found, 0, nil
	}
	next := found[limit-1].Index
	if before == 0 {
		next++
	}
	return slices.Clip(found[:limit]), next, nil
}

func (p decisions) Endpoints(_ context.Context, tenant string, _ time.Time) ([]api.EndpointLoad, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Endpoints[tenant], err
}
