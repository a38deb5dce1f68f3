package apitest

import (
	"context"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/privacy"
)

type budgets struct{ f *Fabric }

func (p budgets) SetBudget(_ context.Context, cmd api.Command, budget privacy.Budget, reply api.Reply[api.Budget]) (api.Answer, error) {
	return command(p.f, cmd, "budget.set", reply, func() (api.Budget, error) {
		at := name(cmd.Tenant, budget.Feature)
		if _, ok := p.f.Features[at]; !ok {
			return api.Budget{}, api.ErrNotFound
		}
		ledger := p.f.Ledgers[at]
		ledger.Budget = budget
		p.f.Ledgers[at] = ledger
		return api.Budget{Budget: budget, Balance: ledger.Balance(), SetBy: cmd.Subject, SetAt: Epoch}, nil
	})
}

func (p budgets) Budgets(_ context.Context, caller api.Caller, page api.Page) ([]api.Budget, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Budget
	for _, l := range p.f.Ledgers {
		if l.Tenant == caller.Tenant {
			found = append(found, api.Budget{Budget: l.Budget, Balance: l.Balance(), SetAt: Epoch})
		}
	}
	return after(found, page, func(b api.Budget) string { return b.Feature }, false), err
}

func (p budgets) Affordable(_ context.Context, r privacy.Request) error {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return err
	}
	var ledgers []privacy.Ledger
	for _, f := range r.Sorted() {
		l, ok := p.f.Ledgers[name(f.Tenant, f.Feature)]
		if !ok && r.Private() {
			l.Budget = privacy.Budget{Tenant: f.Tenant, Feature: f.Feature, EpsilonLimit: privacy.DefaultEpsilon, Delta: privacy.DefaultDelta}
		}
		if ok || r.Private() {
			ledgers = append(ledgers, l)
		}
	}
	_, err = privacy.Reserve(ledgers, r)
	return err
}
