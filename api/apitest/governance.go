package apitest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/routing"
)

type models struct{ f *Fabric }

func (p models) Models(_ context.Context, caller api.Caller, page api.Page) ([]api.Model, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Model
	for _, m := range p.f.ModelRows {
		if m.Tenant == caller.Tenant {
			m.Versions = nil
			found = append(found, m)
		}
	}
	return after(found, page, func(m api.Model) string { return m.ID }, false), err
}

func (p models) Model(_ context.Context, caller api.Caller, id string) (api.Model, error) {
	leave, err := p.f.enter()
	defer leave()
	m, ok := p.f.ModelRows[name(caller.Tenant, id)]
	if err == nil && !ok {
		err = api.ErrNotFound
	}
	return m, err
}

func (p models) ModelVersion(ctx context.Context, caller api.Caller, id string, number int) (api.ModelVersion, error) {
	m, err := p.Model(ctx, caller, id)
	if err != nil {
		return api.ModelVersion{}, err
	}
	for _, v := range m.Versions { // newest first
		if number == 0 || v.Number == number {
			return v, nil
		}
	}
	return api.ModelVersion{}, api.ErrNotFound
}

func (p models) RegisterUpload(_ context.Context, cmd api.Command, v api.ModelVersion, reply api.Reply[api.ModelVersion]) (api.Answer, error) {
	return command(p.f, cmd, "model.uploaded", reply, func() (api.ModelVersion, error) {
		m, ok := p.f.ModelRows[name(cmd.Tenant, v.ModelID)]
		if !ok {
			m = api.Model{Tenant: cmd.Tenant, ID: v.ModelID, CreatedAt: Epoch}
		}
		for _, before := range m.Versions {
			if before.Package.Digest == v.Package.Digest {
				return before, nil
			}
		}
		m.Latest++
		v.Number = m.Latest
		m.Versions = append([]api.ModelVersion{v}, m.Versions...)
		p.f.ModelRows[name(cmd.Tenant, v.ModelID)] = m
		return v, nil
	})
}

func (p models) Aliases(ctx context.Context, caller api.Caller, model string, at time.Time) ([]api.Alias, error) {
	if _, err := p.Model(ctx, caller, model); err != nil {
		return nil, err
	}
	leave, err := p.f.enter()
	defer leave()
	heads := map[string]api.Alias{}
	for _, m := range p.f.AliasRows { // in the order of the moves
		if m.Tenant == caller.Tenant && m.ModelID == model && (at.IsZero() || !m.At.After(at)) {
			heads[m.Environment+" "+m.Alias] = m
		}
	}
	var found []api.Alias
	for _, key := range slices.Sorted(maps.Keys(heads)) {
		found = append(found, heads[key])
	}
	return found, err
}

func (p models) AliasMoves(_ context.Context, caller api.Caller, model string) ([]api.Alias, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Alias
	for _, m := range slices.Backward(p.f.AliasRows) {
		if m.Tenant == caller.Tenant && m.ModelID == model {
			found = append(found, m)
		}
	}
	return found, err
}

func (p models) MoveAlias(_ context.Context, cmd api.Command, move modelpack.Move, pkg artifact.Digest, bundle artifact.Descriptor, reply api.Reply[api.Alias]) (api.Answer, error) {
	return command(p.f, cmd, "alias.moved", reply, func() (api.Alias, error) {
		var head modelpack.Head
		for _, m := range p.f.AliasRows {
			if m.Tenant == cmd.Tenant && m.ModelID == move.Model && m.Environment == move.Environment && m.Alias == move.Alias {
				head = modelpack.Head{Sequence: m.Sequence, Version: m.Version, Package: m.Package}
			}
		}
		if err := move.Follows(head); err != nil {
			return api.Alias{}, err
		}
		moved := api.Alias{Tenant: cmd.Tenant, ModelID: move.Model, Environment: move.Environment, Alias: move.Alias, Sequence: move.Sequence,
			Version: move.Version, Package: pkg, Previous: move.Previous, Bundle: bundle, Actor: cmd.Subject, At: move.IssuedAt}
		p.f.AliasRows = append(p.f.AliasRows, moved)
		return moved, nil
	})
}

type actions struct{ f *Fabric }

func (p actions) SavePlan(_ context.Context, cmd api.Command, a api.Action, reply api.Reply[api.Action]) (api.Answer, error) {
	return command(p.f, cmd, a.Kind+".planned", reply, func() (api.Action, error) {
		for _, before := range p.f.ActionRows {
			if before.Tenant == a.Tenant && before.Kind == a.Kind && before.Plan.Digest == a.Plan.Digest && before.State == "planned" {
				return before, nil
			}
		}
		p.f.ActionRows[a.ID] = a
		return a, nil
	})
}

func (p actions) Planned(_ context.Context, caller api.Caller, kind string, plan artifact.Digest) (api.Action, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.Action{}, err
	}
	err = api.ErrNotFound
	for _, a := range p.f.ActionRows {
		if a.Tenant == caller.Tenant && a.Kind == kind && a.Plan.Digest == plan {
			if a.State == "planned" {
				return a, nil
			}
			err = api.ErrConflict
		}
	}
	return api.Action{}, err
}

func (p actions) Apply(_ context.Context, cmd api.Command, id string, start api.Start, reply api.Reply[api.Action]) (api.Answer, error) {
	return command(p.f, cmd, "action.started", reply, func() (api.Action, error) {
		a := p.f.ActionRows[id]
		if a.State != "planned" {
			return a, api.ErrConflict
		}
		a.State, a.Requester = "started", cmd.Subject
		p.f.ActionRows[id] = a
		p.f.Starts = append(p.f.Starts, start)
		return a, nil
	})
}

func (p actions) Begin(_ context.Context, cmd api.Command, a api.Action, start api.Start, reply api.Reply[api.Action]) (api.Answer, error) {
	return command(p.f, cmd, a.Kind+".started", reply, func() (api.Action, error) {
		p.f.ActionRows[a.ID] = a
		p.f.Starts = append(p.f.Starts, start)
		return a, nil
	})
}

func (p actions) Action(_ context.Context, caller api.Caller, kind, id string) (api.Action, error) {
	leave, err := p.f.enter()
	defer leave()
	a, ok := p.f.ActionRows[id]
	if err == nil && (!ok || a.Tenant != caller.Tenant || a.Kind != kind) {
		return api.Action{}, api.ErrNotFound
	}
	return a, err
}

func (p actions) Policies(_ context.Context, page api.Page) ([]api.PolicyRevision, error) {
	leave, err := p.f.enter()
	defer leave()
	before, parseErr := strconv.ParseInt(page.After, 10, 64)
	var found []api.PolicyRevision
	for _, r := range p.f.Revisions {
		if (parseErr != nil || r.Revision < before) && len(found) < page.Limit {
			found = append(found, r)
		}
	}
	return found, err
}

type approvals struct{ f *Fabric }

func (p approvals) Ballots(_ context.Context, caller api.Caller, filter api.BallotFilter, page api.Page) ([]approval.Ballot, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []approval.Ballot
	for _, b := range p.f.BallotRows {
		awaited := len(filter.Awaited) == 0 || slices.ContainsFunc(b.Awaited(), func(name string) bool { return slices.Contains(filter.Awaited, name) })
		if b.Request.Action.Tenant == caller.Tenant && awaited && (filter.State == "" || b.Outcome == filter.State) {
			found = append(found, b)
		}
	}
	return after(found, page, func(b approval.Ballot) string {
		return b.Request.OpenedAt.UTC().Format(time.RFC3339Nano) + "|" + b.Request.Action.ID
	}, true), err
}

func (p approvals) Ballot(_ context.Context, caller api.Caller, action string) (approval.Ballot, error) {
	leave, err := p.f.enter()
	defer leave()
	b, ok := p.f.BallotRows[action]
	if err == nil && (!ok || b.Request.Action.Tenant != caller.Tenant) {
		return approval.Ballot{}, api.ErrNotFound
	}
	return b, err
}

func (p approvals) Approvers(_ context.Context, tenant string) ([]approval.Approver, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Persons[tenant], err
}

func (p approvals) AddApprover(_ context.Context, cmd api.Command, a approval.Approver, reply api.Reply[approval.Approver]) (api.Answer, error) {
	return command(p.f, cmd, "approver.added", reply, func() (approval.Approver, error) {
		for _, before := range p.f.Persons[cmd.Tenant] {
			if before == a {
				return a, nil
			}
			if before.Name == a.Name || before.Key == a.Key {
				return a, api.ErrConflict
			}
		}
		p.f.Persons[cmd.Tenant] = append(p.f.Persons[cmd.Tenant], a)
		return a, nil
	})
}

func (p approvals) RevokeApprover(_ context.Context, cmd api.Command, name, _ string, reply api.Reply[approval.Approver]) (api.Answer, []string, error) {
	var touched []string
	answer, err := command(p.f, cmd, "approver.revoked", reply, func() (approval.Approver, error) {
		people := p.f.Persons[cmd.Tenant]
		i := slices.IndexFunc(people, func(a approval.Approver) bool { return a.Name == name })
		if i < 0 {
			return approval.Approver{}, api.ErrNotFound
		}
		gone := people[i]
		p.f.Persons[cmd.Tenant] = slices.Delete(slices.Clone(people), i, i+1)
		p.f.Stands.Revoked = append(p.f.Stands.Revoked, gone.Key)
		for id, b := range p.f.BallotRows {
			if len(p.f.Stands.Losses(b)) > 0 {
				touched = append(touched, id)
			}
		}
		return gone, nil
	})
	return answer, touched, err
}

func (p approvals) Standing(context.Context, string) (approval.Standing, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Stands, err
}

func (p approvals) Delegate(_ context.Context, cmd api.Command, g approval.Granted, reply api.Reply[approval.Granted]) (api.Answer, error) {
	return command(p.f, cmd, "delegation.granted", reply, func() (approval.Granted, error) {
		for _, before := range p.f.Stands.Delegations {
			if before.ID == g.ID {
				return before, nil
			}
			if before.From == g.From && before.Nonce == g.Nonce {
				return g, api.ErrConflict
			}
		}
		p.f.Stands.Delegations = append(p.f.Stands.Delegations, g)
		return g, nil
	})
}

func (p approvals) RevokeDelegation(_ context.Context, cmd api.Command, g approval.Granted, _ string, reply api.Reply[approval.Granted]) (api.Answer, []string, error) {
	answer, err := command(p.f, cmd, "delegation.revoked", reply, func() (approval.Granted, error) {
		for i, before := range p.f.Stands.Delegations {
			if before.ID == g.ID {
				p.f.Stands.Delegations[i].RevokedAt = g.IssuedAt
				return p.f.Stands.Delegations[i], nil
			}
		}
		return g, api.ErrConflict
	})
	return answer, nil, err
}

type workflows struct{ f *Fabric }

func (p workflows) Reconsider(_ context.Context, action string) error {
	leave, err := p.f.enter()
	defer leave()
	p.f.Reconsidered = append(p.f.Reconsidered, action)
	return err
}

func (p workflows) Vote(_ context.Context, action string, vote contract.SignedVote) (approval.Ballot, error) {
	leave, err := p.f.enter()
	defer leave()
	b := p.f.BallotRows[action]
	if err == nil && !b.Waits() {
		return b, api.ErrClosed
	}
	p.f.Votes = append(p.f.Votes, vote)
	return b, err
}

func (p workflows) StopRun(_ context.Context, run string, _ contract.StopRequest) error {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && p.f.RunRows[run].Status == "accepted" {
		return api.ErrNotFound // in the outbox still
	}
	p.f.Stops = append(p.f.Stops, run)
	return err
}

func (p workflows) StopStudy(_ context.Context, study string, _ contract.StopRequest) error {
	leave, err := p.f.enter()
	defer leave()
	p.f.Stops = append(p.f.Stops, study)
	return err
}

func (p workflows) PauseRun(_ context.Context, run string, pause contract.PauseRequest) error {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && p.f.RunRows[run].Status == "accepted" {
		return api.ErrNotFound // in the outbox still
	}
	p.f.Pauses = append(p.f.Pauses, pause)
	return err
}

type snapshots struct{ f *Fabric }

func (p snapshots) Latest(context.Context) (routing.Snapshot, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Snapshot, err
}

func (p snapshots) SignedAfter(ctx context.Context, after int64, wait time.Duration) (routing.Signed, int64, bool, error) {
	leave, err := p.f.enter()
	signed, version := p.f.Signed, p.f.Snapshot.Version
	leave()
	if err != nil || version > after {
		return signed, version, err == nil, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return routing.Signed{}, 0, false, ctx.Err()
	case <-timer.C:
		return routing.Signed{}, 0, false, nil
	}
}
