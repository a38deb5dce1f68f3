package api

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Promotions plans and starts promotions: part of I.1.3.
type Promotions struct {
	planner
	models Models
}

// NewPromotions returns the service.
func NewPromotions(b *Border, p Ports) *Promotions {
	return &Promotions{planner: newPlanner(b, p), models: p.Models}
}

// Mount implements [Service].
func (s *Promotions) Mount(r gin.IRouter) {
	s.b.mount(r, "promoteModel", s.promote)
	s.b.mount(r, "getPromotion", s.get)
}

func (s *Promotions) promote(c *gin.Context, k call) error {
	var in v1.PromotionRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if in.Apply {
		return s.apply(c, k, in)
	}
	ctx, model := c.Request.Context(), c.Param("id")
	version, err := s.models.ModelVersion(ctx, k.Caller, model, in.Version)
	if err != nil {
		return err
	}
	if version.Simulated && in.Environment == promotion.Production {
		return simulationRefused.because("the version was made for a simulated caller, and never serves production")
	}
	world, served, err := s.world(ctx)
	if err != nil {
		return err
	}
	regions := in.Regions
	if len(regions) == 0 {
		regions = served
	}
	plan, err := promotion.NewPlan(promotion.Desire{
		Kind: promotion.KindPromotion, Tenant: k.Tenant, ModelID: model, Environment: string(in.Environment), Regions: regions,
		Version: &promotion.Version{
			Number: version.Number, Repository: version.Repository, Package: version.Package.Digest,
			Weights: version.Weights.Digest, Bundle: version.Bundle.Digest,
		},
		Simulated: k.Simulated,
	}, promotion.World{
		Observed:  promotion.Observe(promotion.KindPromotion, k.Tenant, model, string(in.Environment), regions, world),
		Regions:   served,
		Evaluated: version.Metrics.Evaluated,
	})
	if err != nil {
		return planProblem(err)
	}
	answer, err := s.save(ctx, k, "promote-"+s.b.opts.NewID(), plan, world, "POST /models/"+model+"/promotions again")
	return s.b.done(c, answer, err)
}

// apply starts what was planned: the request must ask for the same thing as
// the plan whose digest it names.
func (s *Promotions) apply(c *gin.Context, k call, in v1.PromotionRequest) error {
	ctx, model := c.Request.Context(), c.Param("id")
	action, plan, err := s.planned(ctx, k, KindPromotion, in.PlanDigest)
	if err != nil {
		return err
	}
	same := plan.Version != nil && plan.Version.Number == in.Version && plan.ModelID == model &&
		plan.Environment == string(in.Environment) && (len(in.Regions) == 0 || slices.Equal(in.Regions, plan.Regions))
	if !same {
		return badPlan.at("/plan_digest", "is that of a plan for something else than this request asks for")
	}
	id, risk := contract.PromotionID(action.ID), int64(plan.Risk.Score)
	start := Start{
		Workflow: contract.ModelPromotion.Name, ID: id, Queue: contract.QueueControl,
		Input: contract.PromotionInput{
			Subject: contract.Subject{Tenant: k.Tenant, ModelID: model, TraceID: k.TraceID},
			Action:  action.ID, Requester: k.Subject, Plan: action.Plan,
		},
		Summary:    fmt.Sprintf("promote %s version %d to %s, risk %d", model, plan.Version.Number, plan.Environment, risk),
		Attributes: Attributes{Tenant: k.Tenant, Model: model, Stage: "started", Risk: &risk},
	}
	answer, err := s.actions.Apply(ctx, k.command, action.ID, start, replying(http.StatusAccepted, k.started(id, "/promotions/")))
	return s.b.done(c, answer, err)
}

func (s *Promotions) get(c *gin.Context, k call) error {
	id := c.Param("id")
	view, err := s.show(c.Request.Context(), k, KindPromotion, id, contract.PromotionID(id))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, view)
}
