package apitest

import (
	"context"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
)

// LastGood returns the version below the champion.
func (p models) LastGood(_ context.Context, caller api.Caller, model, environment string) (int, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return 0, err
	}
	if n := p.f.ModelRows[caller.Tenant+"/"+model].Champions[environment]; n > 1 {
		return n - 1, nil
	}
	return 0, api.ErrNotFound
}

// Served says whether a version is the champion or below it.
func (p models) Served(_ context.Context, caller api.Caller, model, environment string, version int) (bool, error) {
	leave, err := p.f.enter()
	defer leave()
	return version <= p.f.ModelRows[caller.Tenant+"/"+model].Champions[environment], err
}

type replicas struct{ f *Fabric }

// Held returns what a test has set.
func (p replicas) Held(_ context.Context, caller api.Caller, model string, version int) ([]api.Replica, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Copies[caller.Tenant+"/"+model+"/"+strconv.Itoa(version)], err
}

// Replicate notes what was asked for.
func (p replicas) Replicate(_ context.Context, cmd api.Command, model string, version int, regions []string, reply api.Reply[[]string]) (api.Answer, error) {
	return command(p.f, cmd, "model.replication-asked", reply, func() ([]string, error) {
		key := cmd.Tenant + "/" + model + "/" + strconv.Itoa(version)
		for _, r := range regions {
			p.f.Asked = append(p.f.Asked, key+" "+r)
		}
		return regions, nil
	})
}

type recoveries struct{ f *Fabric }

// List returns the points of the tenant, newest first.
func (p recoveries) List(_ context.Context, caller api.Caller, page api.Page) ([]api.RecoveryPoint, error) {
	leave, err := p.f.enter()
	defer leave()
	var out []api.RecoveryPoint
	for _, r := range slices.Backward(p.f.Points[caller.Tenant]) {
		if below, bad := strconv.ParseInt(page.After, 10, 64); (bad != nil || r.Sequence < below) && len(out) < page.Limit {
			out = append(out, r)
		}
	}
	return out, err
}

// Get returns a point; 0 is the newest.
func (p recoveries) Get(_ context.Context, caller api.Caller, sequence int64) (api.RecoveryPoint, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.RecoveryPoint{}, err
	}
	all := p.f.Points[caller.Tenant]
	if sequence == 0 {
		sequence = int64(len(all))
	}
	if sequence < 1 || sequence > int64(len(all)) {
		return api.RecoveryPoint{}, api.ErrNotFound
	}
	return all[sequence-1], nil
}

// Take notes the start.
func (p recoveries) Take(_ context.Context, cmd api.Command, action string, start api.Start, reply api.Reply[string]) (api.Answer, error) {
	return command(p.f, cmd, "recovery.asked", reply, func() (string, error) {
		if start.Workflow != contract.RecoveryPoint.Name {
			return "", api.ErrConflict
		}
		p.f.Starts = append(p.f.Starts, start)
		return action, nil
	})
}
