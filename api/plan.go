package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// A planner makes plans and starts what was planned. Promotions and policies
// share it: both are a change of what the data plane runs.
type planner struct {
	b         *Border
	actions   Actions
	approvals Approvals
	snapshots Snapshots
	blobs     Blobs
}

func newPlanner(b *Border, p Ports) planner {
	return planner{b: b, actions: p.Actions, approvals: p.Approvals, snapshots: p.Snapshots, blobs: p.Blobs}
}

// world returns the newest snapshot and its regions in order.
func (p planner) world(ctx context.Context) (routing.Snapshot, []string, error) {
	s, err := p.snapshots.Latest(ctx)
	if err != nil {
		return s, nil, err
	}
	if s.Version == 0 {
		return s, nil, notReady.because("the data plane has no snapshot yet; a worker of the control queue publishes the first one")
	}
	regions := make([]string, 0, len(s.Regions))
	for _, r := range s.Regions {
		regions = append(regions, r.Name)
	}
	return s, regions, nil
}

// inForce returns the policy with the highest revision that a region runs.
func inForce(s routing.Snapshot, regions []string) policy.Document {
	var newest policy.Document
	for _, region := range regions {
		if d, ok := s.Policy(region); ok && d.Revision > newest.Revision {
			newest = d
		}
	}
	return newest
}

// save stores the plan under its digest and answers with it. Nothing else has
// changed then: dry-run is the default.
func (p planner) save(ctx context.Context, k call, id string, plan promotion.Plan, s routing.Snapshot, how string) (Answer, error) {
	text, err := artifact.Canonical(plan)
	if err != nil {
		return Answer{}, &Problem{Kind: badPlan, Detail: "the plan has no canonical form", Err: err}
	}
	blob, err := put(ctx, p.blobs, artifact.MediaTypePlan, text)
	if err != nil {
		return Answer{}, err
	}
	seats := approval.Required(plan.Action(id, blob.Digest), s.Threshold(plan.Regions))
	action := Action{
		ID: id, Kind: plan.Kind, Tenant: k.Tenant, ModelID: plan.ModelID, Environment: plan.Environment,
		Requester: k.Subject, Plan: blob, Risk: plan.Risk.Score, Need: len(seats), State: "planned",
		CreatedAt: p.b.now(), Simulated: k.Simulated, TraceID: k.TraceID,
	}
	return p.actions.SavePlan(ctx, k.command, action, replying(200, func(written Action) any {
		return v1.Planned{
			ID: written.ID, Kind: v1.PlannedKind(plan.Kind), PlanDigest: string(blob.Digest), Plan: v1.JSON(text),
			Risk: plan.Risk.Score, ApprovalsNeeded: len(seats), ApproverRoles: roles(seats), RiskParts: riskParts(plan.Risk),
			Next:      how + " with apply true and plan_digest " + string(blob.Digest),
			Simulated: k.Simulated,
		}
	}))
}

// roles lists every role that may fill one of the seats.
func roles(seats [][]string) []string {
	all := slices.Sorted(slices.Values(slices.Concat(seats...)))
	return append([]string{}, slices.Compact(all)...)
}

// planned returns the action that was planned with this digest, and its plan,
// if the world is still as the plan saw it.
func (p planner) planned(ctx context.Context, k call, kind, digest string) (Action, promotion.Plan, error) {
	var plan promotion.Plan
	if digest == "" {
		return Action{}, plan, badPlan.at("/plan_digest", "is required with apply; a request without apply gives it")
	}
	action, err := p.actions.Planned(ctx, k.Caller, kind, artifact.Digest(digest))
	if errors.Is(err, ErrNotFound) {
		return action, plan, planMissing.because("plan it first: the same request without apply answers with its plan_digest")
	}
	if err != nil {
		return action, plan, err
	}
	text, err := read(ctx, p.blobs, action.Plan.Digest, maxDocument)
	if err != nil {
		return action, plan, err
	}
	if err := artifact.DecodeStrict(text, &plan); err != nil {
		return action, plan, fmt.Errorf("plan of action %s: %w", action.ID, err)
	}
	if k.Simulated && plan.Environment == promotion.Production {
		return action, plan, simulationRefused.because(promotion.ErrSimulated.Error())
	}
	if err := plan.Fresh(p.b.now()); err != nil {
		return action, plan, planStale.because(err.Error())
	}
	s, _, err := p.world(ctx)
	if err != nil {
		return action, plan, err
	}
	if err := plan.Holds(s); err != nil {
		return action, plan, holdsProblem(err)
	}
	return action, plan, p.approvable(ctx, k, action, plan, s)
}

// holdsProblem says what has moved; the domain's words hold nothing foreign.
func holdsProblem(err error) error {
	var moved *promotion.StaleError
	if errors.As(err, &moved) {
		return planStale.because(fmt.Sprintf("%s was %s when it was planned and is %s; plan again", moved.What, moved.From, moved.To))
	}
	return err
}

// approvable refuses an action whose ballot could never pass: it would only
// wait until it expires.
func (p planner) approvable(ctx context.Context, k call, action Action, plan promotion.Plan, s routing.Snapshot) error {
	approvers, err := p.approvals.Approvers(ctx, k.Tenant)
	if err != nil {
		return err
	}
	gated := plan.Action(action.ID, action.Plan.Digest)
	req, err := approval.NewRequest(approval.Ask{
		Action: gated, Requester: k.Subject, Threshold: s.Threshold(plan.Regions), Approvers: approvers, OpenedAt: p.b.now(), TTL: approval.MaxTTL,
	})
	if errors.Is(err, approval.ErrNoApprovers) {
		return noApprovers.because(fmt.Sprintf(
			"%d approvals are needed from the roles %v, and not from the requester; enrol approvers with POST /approvers", req.Need, req.Roles))
	}
	return err
}

// started is what an apply answers with.
func (k call) started(workflowID, status string) func(Action) any {
	return func(a Action) any {
		return v1.ActionAccepted{
			ID: a.ID, WorkflowID: workflowID, StatusURL: k.link(status + a.ID), TraceID: a.TraceID, Simulated: k.Simulated,
		}
	}
}

// show answers with how an action stands, with its plan.
func (p planner) show(ctx context.Context, k call, kind, id, workflowID string) (v1.Action, error) {
	a, err := p.actions.Action(ctx, k.Caller, kind, id)
	if err != nil {
		return v1.Action{}, err
	}
	view := actionView(k, a, workflowID)
	if a.Plan.Digest != "" {
		text, err := read(ctx, p.blobs, a.Plan.Digest, maxDocument)
		if err != nil {
			return view, err
		}
		view.Plan = v1.JSON(text)
	}
	return view, nil
}

// actionView is an action without its plan.
func actionView(k call, a Action, workflowID string) v1.Action {
	view := v1.Action{
		ID: a.ID, Kind: v1.ActionKind(a.Kind), Tenant: a.Tenant, ModelID: a.ModelID, Environment: v1.Environment(a.Environment),
		Requester: a.Requester, PlanDigest: string(a.Plan.Digest), Risk: a.Risk, ApprovalsNeeded: a.Need, State: a.State,
		Cause: a.Cause, Snapshot: a.Snapshot.Version, Evidence: views(a.Evidence, evidenceView),
		CreatedAt: a.CreatedAt, EndedAt: moment(a.EndedAt), TraceID: a.TraceID, Simulated: a.Simulated,
	}
	if a.State != "planned" {
		view.WorkflowID = workflowID
		if a.Need > 0 {
			view.Approval = k.link("/approvals/" + a.ID)
		}
	}
	return view
}

func evidenceView(e contract.Evidence) v1.Evidence {
	return v1.Evidence{Region: e.Region, Snapshot: e.Snapshot, Package: string(e.Package), Policy: string(e.Policy)}
}

// planProblem says why no plan can be made, in the domain's words.
func planProblem(err error) error {
	var part *policy.DocumentError
	switch {
	case errors.As(err, &part):
		return badPlan.at("/document"+part.Pointer, part.Err.Error())
	case errors.Is(err, promotion.ErrSimulated):
		return simulationRefused.because(promotion.ErrSimulated.Error())
	case errors.Is(err, promotion.ErrRegions):
		return badPlan.at("/regions", promotion.ErrRegions.Error())
	}
	for _, why := range []error{promotion.ErrNoChange, promotion.ErrRevision, promotion.ErrEnvironment, promotion.ErrKind, promotion.ErrPoint,
		promotion.ErrBaseline, promotion.ErrWayBack, canary.ErrShares, canary.ErrTimes, canary.ErrSamples, canary.ErrAlpha, canary.ErrGuardrail, canary.ErrSteps, canary.ErrShadow} {
		if errors.Is(err, why) {
			return badPlan.because(why.Error())
		}
	}
	return err
}
