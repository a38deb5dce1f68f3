package apitest

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/policy"
)

type verdicts struct{ f *Fabric }

func (p verdicts) Record(_ context.Context, d policy.Decision) error {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && !slices.ContainsFunc(p.f.VerdictRows, func(o policy.Decision) bool { return o.ID == d.ID }) {
		p.f.VerdictRows = append(p.f.VerdictRows, d)
	}
	return err
}

func (p verdicts) List(_ context.Context, caller api.Caller, page api.Page) ([]policy.Decision, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []policy.Decision
	for _, d := range slices.Backward(p.f.VerdictRows) {
		key := d.At.UTC().Format(time.RFC3339Nano) + "|" + d.ID
		if d.Tenant == caller.Tenant && (page.After == "" || key < page.After) && len(found) < page.Limit {
			found = append(found, d)
		}
	}
	return found, err
}

func (p verdicts) Verdicts(_ context.Context, tenant string, since time.Time, after string, limit int) ([]policy.Decision, string, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []policy.Decision
	for _, d := range p.f.VerdictRows {
		if d.Tenant == tenant && !d.At.Before(since) && d.ID > after && len(found) < limit {
			found = append(found, d)
			after = d.ID
		}
	}
	return found, after, err
}

type proposals struct{ f *Fabric }

func (p proposals) List(_ context.Context, caller api.Caller, page api.Page) ([]api.KeptProposal, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.KeptProposal
	for _, k := range p.f.Proposed {
		if p.f.ActionRows[k.Action].Tenant == caller.Tenant && len(found) < page.Limit {
			found = append(found, k)
		}
	}
	return found, err
}

func (p proposals) Proposal(_ context.Context, caller api.Caller, action string) (api.KeptProposal, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.KeptProposal{}, err
	}
	i := slices.IndexFunc(p.f.Proposed, func(k api.KeptProposal) bool { return k.Action == action })
	if i < 0 || p.f.ActionRows[action].Tenant != caller.Tenant {
		return api.KeptProposal{}, api.ErrNotFound
	}
	return p.f.Proposed[i], nil
}

func (p proposals) Regions(_ context.Context, _ api.Caller, action string) ([]api.RegionState, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.RegionRows[action], err
}

func (p proposals) Observe(_ context.Context, _ string, observed []api.Observation) error {
	leave, err := p.f.enter()
	defer leave()
	if err == nil {
		p.f.Observed = append(p.f.Observed, observed...)
	}
	return err
}

func (p proposals) Evaluate(_ context.Context, cmd api.Command, id string, start api.Start, reply api.Reply[string]) (api.Answer, error) {
	return command(p.f, cmd, "feedback.asked", reply, func() (string, error) {
		p.f.Starts = append(p.f.Starts, start)
		return id, nil
	})
}

func (p workflows) SteerPolicy(_ context.Context, action, _ string, steer contract.Steer) (contract.CanaryState, error) {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && p.f.ActionRows[action].State != "started" {
		err = api.ErrNotFound
	}
	return contract.CanaryState{Paused: steer.Do == contract.SteerPause}, err
}

// A replayer decides calls by the documents themselves, and nothing else.
type replayer struct{}

func (replayer) Replay(ctx context.Context, from, to policy.Document, source func(context.Context) ([]policy.Decision, error)) (policy.Impact, error) {
	var tally policy.Tally
	for {
		batch, err := source(ctx)
		if err != nil || len(batch) == 0 {
			return tally.Impact(), err
		}
		for _, d := range batch {
			var c policy.Call
			if err := json.Unmarshal(d.Input, &c); err != nil {
				return policy.Impact{}, err
			}
			decide := func(under policy.Document) policy.Outcome {
				return policy.Outcome{Allowed: under.Permits(c.Tenant, c.Model, c.Region, c.Kind)}
			}
			tally.Add(d, decide(from), decide(to))
		}
	}
}

func (replayer) Pack(document policy.Document) ([]byte, error) { return document.Encode() }
