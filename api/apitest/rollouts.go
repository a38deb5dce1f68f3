package apitest

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
)

type rollouts struct{ f *Fabric }

func (p rollouts) Facts(_ context.Context, caller api.Caller, action string) ([]canary.Fact, error) {
	leave, err := p.f.enter()
	defer leave()
	if p.f.ActionRows[action].Tenant != caller.Tenant {
		return nil, err
	}
	return p.f.RolloutFacts[action], err
}

func (p rollouts) Load(context.Context, api.Caller, string, string, time.Time) (map[string]int64, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Load, err
}

func (p rollouts) Unproven(context.Context, api.Caller, string, int) (string, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Lacking, err
}

func (p rollouts) RanAt(_ context.Context, _ api.Caller, _ string, at time.Time) (api.Ran, error) {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && at.Before(p.f.Ran.At) {
		err = api.ErrNotFound
	}
	return p.f.Ran, err
}

func (p workflows) SteerRollout(_ context.Context, action, _ string, steer contract.Steer) (contract.CanaryState, error) {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && len(p.f.RolloutFacts[action]) == 0 {
		err = api.ErrNotFound
	}
	if err != nil {
		return contract.CanaryState{}, err
	}
	p.f.Steered = append(p.f.Steered, steer)
	return contract.CanaryState{Step: p.f.RolloutFacts[action][0].Step, Paused: steer.Do == contract.SteerPause}, nil
}
