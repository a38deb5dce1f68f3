package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Promotions plans and starts promotions: part of I.1.3.
type Promotions struct {
	planner
	models    Models
	rollouts  Rollouts
	workflows Workflows
}

// NewPromotions returns the service.
func NewPromotions(b *Border, p Ports) *Promotions {
	return &Promotions{planner: newPlanner(b, p), models: p.Models, rollouts: p.Rollouts, workflows: p.Workflows}
}

// Mount implements [Service].
func (s *Promotions) Mount(r gin.IRouter) {
	s.b.mount(r, "promoteModel", s.promote)
	s.b.mount(r, "getPromotion", s.get)
	s.b.mount(r, "listPromotions", s.list)
	s.b.mount(r, "getEvidence", s.evidence)
	s.b.mount(r, "rollbackModel", s.rollback)
	s.b.mount(r, "getCanary", s.rollout)
	s.b.mount(r, "steerCanary", s.steer)
	s.b.mount(r, "getModelHistory", s.history)
}

func (s *Promotions) promote(c *gin.Context, k call) error {
	var in v1.PromotionRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if in.Apply {
		return s.apply(c, k, in)
	}
	return s.plan(c, k, in, "POST /models/"+c.Param("id")+"/promotions again")
}

// plan saves what a promotion would do. A version that has served the
// environment before is a way back.
func (s *Promotions) plan(c *gin.Context, k call, in v1.PromotionRequest, how string) error {
	ctx, model := c.Request.Context(), c.Param("id")
	if err := refusedShadow(in.Canary); err != nil {
		return err
	}
	version, err := s.models.ModelVersion(ctx, k.Caller, model, in.Version)
	if err != nil {
		return err
	}
	if version.Simulated && in.Environment == promotion.Production {
		return simulationRefused.because("the version was made for a simulated caller, and never serves production")
	}
	before, err := s.models.Served(ctx, k.Caller, model, string(in.Environment), in.Version)
	if err != nil {
		return err
	}
	world, served, err := s.world(ctx)
	if err != nil {
		return err
	}
	if err := s.proven(ctx, k, in, model, before); err != nil {
		return err
	}
	saw, regions, err := s.seen(ctx, k, model, string(in.Environment), served, in.Regions, world)
	if err != nil {
		return err
	}
	saw.Evaluated, saw.Served = version.Metrics.Evaluated, before
	rollout, once := design(in, model, saw.Observed, before)
	plan, err := promotion.NewPlan(promotion.Desire{
		Kind: promotion.KindPromotion, Tenant: k.Tenant, ModelID: model, Environment: string(in.Environment), Regions: regions,
		Version: &promotion.Version{
			Number: version.Number, Repository: version.Repository, Package: version.Package.Digest,
			Weights: version.Weights.Digest, Bundle: version.Bundle.Digest,
		},
		Canary: rollout, AtOnce: once, Simulated: k.Simulated,
	}, saw)
	if err != nil {
		return planProblem(err)
	}
	answer, err := s.save(ctx, k, "promote-"+s.b.opts.NewID(), plan, world, how)
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
	if err := s.proven(ctx, k, in, model, plan.Rollback); err != nil {
		return err
	}
	if in.DryRun {
		return s.rehearse(c, k, action, plan)
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

// rehearse answers with what an apply has checked, and starts nothing.
func (s *Promotions) rehearse(c *gin.Context, k call, action Action, plan promotion.Plan) error {
	version, err := s.models.ModelVersion(c.Request.Context(), k.Caller, plan.ModelID, plan.Version.Number)
	if err != nil {
		return err
	}
	if version.Package.Digest != plan.Version.Package || version.Repository != plan.Version.Repository {
		return badPlan.because("the plan's version is not the registered one")
	}
	text, err := artifact.Canonical(plan)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Planned{
		ID: action.ID, Kind: v1.PlannedKind(plan.Kind), PlanDigest: string(action.Plan.Digest), Plan: v1.JSON(text), Risk: plan.Risk.Score,
		ApprovalsNeeded: action.Need, ApproverRoles: []string{}, RiskParts: riskParts(plan.Risk), Next: "the same request without dry_run does exactly this",
		Checked: []string{
			"what the plan observed runs still", "the version is registered with the plan's package", "no scorecard of the version is against it",
			"enough people are enrolled who may approve it",
		},
		Simulated: k.Simulated,
	})
}

// proven refuses a version whose scorecard is against it. A way back is not
// judged: what is left must go.
func (s *Promotions) proven(ctx context.Context, k call, in v1.PromotionRequest, model string, wayBack bool) error {
	if wayBack || string(in.Environment) == promotion.Dev {
		return nil
	}
	why, err := s.rollouts.Unproven(ctx, k.Caller, model, in.Version)
	if err != nil {
		return err
	}
	if why != "" {
		return badPlan.at("/version", promotion.ErrUnproven.Error()+": "+why)
	}
	return nil
}

// riskParts shows what each factor adds to a risk.
func riskParts(r promotion.Risk) []v1.RiskPart {
	return views(r.Contributions(), func(c promotion.Contribution) v1.RiskPart {
		return v1.RiskPart{Factor: c.Factor, Mille: c.Mille, Points: c.Points}
	})
}

func (s *Promotions) get(c *gin.Context, k call) error {
	id := c.Param("id")
	view, err := s.show(c.Request.Context(), k, KindPromotion, id, contract.PromotionID(id))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, view)
}

// evidence answers with the pack of a promotion, or the bundle over it.
func (s *Promotions) evidence(c *gin.Context, k call) error {
	action, err := s.actions.Action(c.Request.Context(), k.Caller, KindPromotion, c.Param("id"))
	if err != nil {
		return err
	}
	d, suffix := action.Pack, ".evidence.zip"
	if c.Query("part") == "bundle" {
		d, suffix = action.PackBundle, ".evidence.bundle.json"
	}
	switch {
	case d.Digest == "" && action.State == contract.Applied:
		return &Problem{Kind: notReady, Detail: "the evidence pack is being made", RetryAfter: 1}
	case d.Digest == "":
		return notFound.because("a promotion that was not applied has no evidence pack")
	}
	return s.b.serveBlob(c, s.blobs, d, action.ID+suffix)
}
