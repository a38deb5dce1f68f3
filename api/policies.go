package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Policies plans and starts policy rollouts: part of the policy feedback loop,
// I.1.5. A policy governs production wherever it runs.
type Policies struct {
	planner
}

// NewPolicies returns the service.
func NewPolicies(b *Border, p Ports) *Policies { return &Policies{planner: newPlanner(b, p)} }

// Mount implements [Service].
func (s *Policies) Mount(r gin.IRouter) {
	s.b.mount(r, "listPolicies", s.list)
	s.b.mount(r, "proposePolicy", s.propose)
	s.b.mount(r, "getRollout", s.get)
}

func (s *Policies) list(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	p, err := page(c)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseInt(p.After, 10, 64); p.After != "" && err != nil {
		return invalidRequest.at("query:cursor", "is none that a page gave")
	}
	revisions, err := s.actions.Policies(ctx, p)
	if err != nil {
		return err
	}
	latest, err := s.snapshots.Latest(ctx)
	if err != nil {
		return err
	}
	revisions, next := paged(p, revisions, func(r PolicyRevision) string { return strconv.FormatInt(r.Revision, 10) })
	out := v1.PolicyPage{Items: views(revisions, revisionView), Regions: []v1.PolicyRegion{}, Next: next, Simulated: k.Simulated}
	for _, r := range latest.Regions {
		out.Regions = append(out.Regions, v1.PolicyRegion{Region: r.Name, Revision: r.Policy, Digest: string(r.PolicyDigest)})
	}
	return s.b.send(c, http.StatusOK, out)
}

func revisionView(r PolicyRevision) v1.PolicyRevision {
	return v1.PolicyRevision{
		Revision: r.Revision, Digest: string(r.Digest), Document: r.Document, Action: r.Action, CreatedAt: r.CreatedAt,
	}
}

func (s *Policies) propose(c *gin.Context, k call) error {
	var in v1.PolicyProposal
	if err := decode(k.body, &in); err != nil {
		return err
	}
	document, err := documentOf(in.Document)
	if err != nil {
		return err
	}
	if in.Apply {
		return s.apply(c, k, in, document)
	}
	ctx := c.Request.Context()
	world, served, err := s.world(ctx)
	if err != nil {
		return err
	}
	var guard *promotion.Guard
	if in.Guard.Metric != "" {
		g := guardOf(in.Guard)
		if err := g.Check(); err != nil {
			return badPlan.at("/guard", err.Error())
		}
		guard = &g
	}
	plan, err := promotion.NewPlan(promotion.Desire{
		Kind: promotion.KindPolicy, Tenant: k.Tenant, Environment: promotion.Production, Regions: in.Regions,
		Policy: &document, Guard: guard, Simulated: k.Simulated,
	}, promotion.World{
		Observed: promotion.Observe(promotion.KindPolicy, k.Tenant, "", promotion.Production, served, world),
		Regions:  served,
		Policy:   inForce(world, served),
	})
	if err != nil {
		return planProblem(err)
	}
	answer, err := s.save(ctx, k, "policy-"+s.b.opts.NewID(), plan, world, "POST /policies/proposals again")
	return s.b.done(c, answer, err)
}

// documentOf turns a request's document, which has the same JSON, into the
// domain's.
func documentOf(in v1.PolicyDocument) (policy.Document, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return policy.Document{}, err
	}
	document, err := policy.Parse(text)
	if err != nil {
		return policy.Document{}, planProblem(err)
	}
	return document, nil
}

func (s *Policies) apply(c *gin.Context, k call, in v1.PolicyProposal, document policy.Document) error {
	ctx := c.Request.Context()
	action, plan, err := s.planned(ctx, k, KindPolicy, in.PlanDigest)
	if err != nil {
		return err
	}
	want, err := document.Encode()
	if err != nil {
		return err
	}
	planned, _, err := plan.Document()
	if err != nil {
		return err
	}
	got, err := planned.Encode()
	if err != nil {
		return err
	}
	if string(want) != string(got) || len(in.Regions) > 0 && !slices.Equal(in.Regions, plan.Regions) {
		return badPlan.at("/plan_digest", "is that of a plan for something else than this request asks for")
	}
	id, risk := contract.RolloutID(action.ID), int64(plan.Risk.Score)
	start := Start{
		Workflow: contract.PolicyRollout.Name, ID: id, Queue: contract.QueueControl,
		Input: contract.RolloutInput{
			Subject: contract.Subject{Tenant: k.Tenant, TraceID: k.TraceID},
			Action:  action.ID, Requester: k.Subject, Plan: action.Plan,
		},
		Summary:    fmt.Sprintf("policy revision %d to %s, risk %d", document.Revision, some(plan.Regions), risk),
		Attributes: Attributes{Tenant: k.Tenant, Stage: "started", Risk: &risk},
	}
	answer, err := s.actions.Apply(ctx, k.command, action.ID, start, replying(http.StatusAccepted, k.started(id, "/policies/rollouts/")))
	return s.b.done(c, answer, err)
}

func (s *Policies) get(c *gin.Context, k call) error {
	id := c.Param("id")
	view, err := s.show(c.Request.Context(), k, KindPolicy, id, contract.RolloutID(id))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, view)
}
