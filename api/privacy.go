package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// Budgets keeps the privacy budgets of features.
type Budgets interface {
	// SetBudget writes the budget of a registered feature of cmd.Tenant; again
	// is the same. What was taken stays taken. ErrNotFound without the feature.
	// Leaf: budget.set, "feature/<tenant>/<id>", the limits before and after.
	SetBudget(ctx context.Context, cmd Command, budget privacy.Budget, reply Reply[Budget]) (Answer, error)
	// Budgets returns the budgets of the caller's tenant, by feature (the key).
	Budgets(ctx context.Context, caller Caller, page Page) ([]Budget, error)
	// Affordable says whether the request could be reserved now, and reserves
	// nothing: a [*privacy.RefusalError] when not. It crosses tenants on purpose.
	Affordable(ctx context.Context, r privacy.Request) error
}

// A Budget is a feature's budget and what is left of it. SetBy is empty for the
// default that the feature's first private round was given.
type Budget struct {
	privacy.Budget
	privacy.Balance
	SetBy string
	SetAt time.Time
}

// Privacy is what owners of data say about their budgets.
type Privacy struct {
	b       *Border
	budgets Budgets
}

// NewPrivacy returns the service.
func NewPrivacy(b *Border, p Ports) *Privacy { return &Privacy{b: b, budgets: p.Budgets} }

// Mount implements [Service].
func (s *Privacy) Mount(r gin.IRouter) {
	s.b.mount(r, "setPrivacyBudget", s.set)
	s.b.mount(r, "listPrivacyBudgets", s.list)
}

// set needs no key: the same budget twice is the same budget.
func (s *Privacy) set(c *gin.Context, k call) error {
	var in v1.PrivacyBudgetRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	budget := privacy.Budget{Tenant: k.Tenant, Feature: c.Param("feature"), EpsilonLimit: in.Epsilon, Delta: in.Delta}
	if budget.Delta == 0 {
		budget.Delta = privacy.DefaultDelta
	}
	if err := budget.Validate(); err != nil {
		return badParams.at("/epsilon", err.Error())
	}
	cmd := Command{Caller: k.Caller, Operation: k.op.id}
	answer, err := s.budgets.SetBudget(c.Request.Context(), cmd, budget, replying(http.StatusOK, func(b Budget) any {
		view := budgetView(b)
		view.Simulated = k.Simulated
		return view
	}))
	return s.b.done(c, answer, err)
}

func (s *Privacy) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.budgets.Budgets(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(b Budget) string { return b.Feature })
	return s.b.send(c, http.StatusOK, v1.PrivacyBudgetPage{Items: views(found, budgetView), Next: next, Simulated: k.Simulated})
}

func budgetView(b Budget) v1.PrivacyBudget {
	return v1.PrivacyBudget{
		Tenant:       b.Tenant,
		Feature:      b.Feature,
		EpsilonLimit: b.EpsilonLimit,
		Delta:        b.Delta,
		Spent:        finite(b.Spent),
		Reserved:     finite(b.Reserved),
		Left:         b.Left,
		Entries:      b.Entries,
		Default:      b.SetBy == "",
		SetBy:        b.SetBy,
		SetAt:        b.SetAt,
	}
}

// finite is the largest number of JSON that every reader takes for what no
// accountant bounds.
func finite(epsilon float64) float64 { return min(epsilon, math.MaxFloat32) }

// affordable refuses a run whose train rounds no budget covers together. It
// looks at the first of them, with the sites that are enrolled now; each round
// is charged for itself when it begins, and refused then if others were
// faster.
func (s *Admission) affordable(ctx context.Context, run Run, sites []site.Site) error {
	m := round.Manifest{Run: run.ID, Number: 1, Kind: round.Train, Tenant: run.Tenant, ModelID: run.ModelID, Params: run.Params}
	for _, tenant := range run.Tenants {
		for _, feature := range run.Params.Features {
			m.Features = append(m.Features, round.FeatureRef{Tenant: tenant, Feature: feature})
		}
	}
	if run.Params.Sampled(round.Train) {
		sites = round.Sample(sites, run.Params, round.SampleSeed(run.Params.Seed, 1))
	}
	seats := round.Plain(sites)
	if m.Secured = run.Params.Secure.Secured(len(sites)); m.Secured {
		seats = round.Secured(sites)
	}
	m.Cohort = round.Groups(seats)
	if err := payload.Check(m, artifact.DigestOf([]byte(contract.RunID(run.ID)))); err != nil {
		return badParams.at("/params/compression/bits", err.Error())
	}
	cost, err := privacy.Of(m, artifact.DigestOf([]byte(contract.RunID(run.ID))))
	if err != nil {
		return badParams.at("/params/privacy", err.Error())
	}
	if err := withinOwn(run.Params, cost); err != nil {
		return err
	}
	if err = s.budgets.Affordable(ctx, cost.Times(run.Params.Rounds)); err == nil {
		return nil
	}
	var refused *privacy.RefusalError
	if !errors.As(err, &refused) {
		return err
	}
	problem := budgetExhausted.at("/params/features/"+strconv.Itoa(slices.Index(run.Params.Features, refused.Feature)), refused.Error())
	problem.Detail = fmt.Sprintf("%d rounds: %v; the run was not started", run.Params.Rounds, refused)
	return problem
}

// withinOwn holds a run to the epsilon that its caller set for it.
func withinOwn(p round.Params, cost privacy.Request) error {
	if p.Privacy.MaxEpsilon == 0 {
		return nil
	}
	charge, err := dp.Epsilon(cost.Times(p.Rounds).Events, p.Privacy.Delta)
	if err != nil {
		return badParams.at("/params/privacy", err.Error())
	}
	if charge.Epsilon > p.Privacy.MaxEpsilon {
		return badParams.at("/params/privacy/max_epsilon", fmt.Sprintf("%d rounds cost %.3f at delta %g: fewer rounds, or more noise",
			p.Rounds, charge.Epsilon, p.Privacy.Delta))
	}
	return nil
}
