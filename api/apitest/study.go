package apitest

import (
	"context"

	"github.com/atom-fabric/fabric/api"
)

type studies struct{ f *Fabric }

func (p studies) StartStudy(_ context.Context, cmd api.Command, study api.Study, start api.Start, reply api.Reply[api.Study]) (api.Answer, error) {
	return command(p.f, cmd, "study.accepted", reply, func() (api.Study, error) {
		p.f.StudyRows[study.ID] = study
		p.f.Starts = append(p.f.Starts, start)
		return study, nil
	})
}

func (p studies) RecordStudyStop(_ context.Context, cmd api.Command, id string, reply api.Reply[api.Study]) (api.Answer, error) {
	return command(p.f, cmd, "study.stop_requested", reply, func() (api.Study, error) { return p.f.study(cmd.Tenant, id) })
}

func (p studies) Study(_ context.Context, caller api.Caller, id string) (api.Study, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.Study{}, err
	}
	return p.f.study(caller.Tenant, id)
}

func (p studies) Studies(_ context.Context, caller api.Caller, filter api.RunFilter, page api.Page) ([]api.Study, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Study
	for _, s := range p.f.StudyRows {
		if s.Tenant == caller.Tenant && (filter.Status == "" || s.Status == filter.Status) && (filter.Model == "" || s.ModelID == filter.Model) {
			s.Jobs, s.Runs = nil, nil
			found = append(found, s)
		}
	}
	return after(found, page, func(s api.Study) string { return s.ID }, true), err
}

func (f *Fabric) study(tenant, id string) (api.Study, error) {
	if s, ok := f.StudyRows[id]; ok && s.Tenant == tenant {
		return s, nil
	}
	return api.Study{}, api.ErrNotFound
}
