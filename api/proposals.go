package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// replayMost bounds a replay that somebody waits for.
const replayMost = 200_000

// A Loop shows and drives the policy feedback loop, I.1.5: what the rules
// decided, what would be decided otherwise, what the loop proposes.
type Loop struct {
	planner
	verdicts  Verdicts
	replayer  Replayer
	proposals Proposals
	workflows Workflows
}

// NewLoop returns the service.
func NewLoop(b *Border, p Ports) *Loop {
	return &Loop{planner: newPlanner(b, p), verdicts: p.Verdicts, replayer: p.Replayer, proposals: p.Proposals, workflows: p.Workflows}
}

// Mount implements [Service].
func (s *Loop) Mount(r gin.IRouter) {
	s.b.mount(r, "listProposals", s.list)
	s.b.mount(r, "getProposal", s.get)
	s.b.mount(r, "listVerdicts", s.decisions)
	s.b.mount(r, "replayPolicy", s.replay)
	s.b.mount(r, "recordObservations", s.observe)
	s.b.mount(r, "evaluatePolicy", s.evaluate)
	s.b.mount(r, "steerPolicy", s.steer)
	s.b.mount(r, "listRolloutRegions", s.regions)
}

func (s *Loop) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.proposals.List(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(o KeptProposal) string { return o.ProposedAt.UTC().Format(time.RFC3339Nano) + "|" + o.Action })
	now := s.b.now()
	return s.b.send(c, http.StatusOK, v1.ProposalPage{Items: views(found, func(o KeptProposal) v1.Proposal { return k.proposalView(o.at(now)) }), Next: next, Simulated: k.Simulated})
}

// at returns the proposal as it stands: one that nobody decided on in time is
// expired, also before its ballot's timer has said so. What was approved in time
// goes on.
func (p KeptProposal) at(now time.Time) KeptProposal {
	if p.EndedAt == nil && p.Ballot == string(approval.Pending) && now.After(p.ExpiresAt) {
		p.State, p.Cause, p.Ballot = contract.Expired, promotion.ErrExpired.Error(), string(approval.Expired)
	}
	return p
}

func (k call) proposalView(p KeptProposal) v1.Proposal {
	return v1.Proposal{
		ID: p.Action, Template: p.Template, Target: p.Target, From: p.From, To: p.To, Direction: v1.ProposalDirection(p.Direction), Summary: p.Summary,
		PredicateDigest: string(p.Predicate), ProposedAt: p.ProposedAt, ExpiresAt: p.ExpiresAt, State: p.State, Cause: p.Cause, Risk: p.Risk,
		EndedAt: moment(p.EndedAt), Approval: p.Ballot, Rollout: k.link("/policies/rollouts/" + p.Action),
	}
}

// get answers with the proposal, the predicate that holds its evidence, the
// signed statement, and how far the policy came in each region.
func (s *Loop) get(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	p, err := s.proposals.Proposal(ctx, k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	view := k.proposalView(p.at(s.b.now()))
	text, err := read(ctx, s.blobs, p.Predicate, maxDocument)
	if err != nil {
		return err
	}
	view.Predicate = v1.JSON(text)
	if text, err = read(ctx, s.blobs, p.Bundle, maxDocument); err != nil {
		return err
	}
	view.Bundle = v1.JSON(text)
	return s.b.send(c, http.StatusOK, view)
}

func (s *Loop) regions(c *gin.Context, k call) error {
	ctx, id := c.Request.Context(), c.Param("id")
	if _, err := s.actions.Action(ctx, k.Caller, KindPolicy, id); err != nil {
		return err
	}
	found, err := s.proposals.Regions(ctx, k.Caller, id)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.RolloutRegions{Items: views(found, func(r RegionState) v1.RolloutRegion {
		return v1.RolloutRegion{Region: r.Region, State: v1.RolloutRegionState(r.State), Revision: r.Revision, Policy: string(r.Policy), Snapshot: r.Snapshot, Why: r.Why, At: r.At}
	}), Simulated: k.Simulated})
}

func (s *Loop) decisions(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.verdicts.List(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(d policy.Decision) string { return d.At.UTC().Format(time.RFC3339Nano) + "|" + d.ID })
	return s.b.send(c, http.StatusOK, v1.VerdictPage{Items: views(found, func(d policy.Decision) v1.Verdict {
		return v1.Verdict{
			ID: d.ID, At: d.At, TraceID: d.TraceID, Region: d.Region, Purpose: d.Purpose, Question: d.Question, Revision: d.Revision, Bundle: string(d.Bundle),
			Input: d.Input, Masked: d.Masked, Allowed: d.Allowed, Reasons: d.Reasons, Simulated: d.Simulated,
		}
	}), Next: next, Simulated: k.Simulated})
}

// replay decides what was logged again under a document and the policy in
// force. Nothing changes.
func (s *Loop) replay(c *gin.Context, k call) error {
	var in v1.ReplayRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	document, err := documentOf(in.Document)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	world, served, err := s.world(ctx)
	if err != nil {
		return err
	}
	days := in.Days
	if days == 0 {
		days = 7
	}
	after, seen, since := "", 0, s.b.now().Add(-time.Duration(days)*24*time.Hour)
	impact, err := s.replayer.Replay(ctx, inForce(world, served), document, func(ctx context.Context) ([]policy.Decision, error) {
		if seen >= replayMost {
			return nil, nil
		}
		found, last, err := s.verdicts.Verdicts(ctx, k.Tenant, since, after, 2_000)
		after, seen = last, seen+len(found)
		return found, err
	})
	if err != nil {
		return err
	}
	why, loosens := policy.Loosens(inForce(world, served), document)
	out := v1.ReplayResult{
		Decisions: impact.Decisions, Opened: impact.Opened, Closed: impact.Closed, Undecided: impact.Undecided, Drifted: impact.Drifted,
		Loosens: loosens || impact.Loosens(), Why: why, Simulated: k.Simulated,
		Flips: views(impact.Flips, func(f policy.Flip) v1.Flip {
			return v1.Flip{Question: f.Question, Tenant: f.Tenant, Region: f.Region, Purpose: f.Purpose, Opens: f.Opens, Count: f.Count,
				Example: v1.FlipExample{ID: f.Example.ID, TraceID: f.Example.TraceID, Input: f.Example.Input, Reasons: f.Example.Reasons}}
		}),
	}
	return s.b.send(c, http.StatusOK, out)
}

// observe takes telemetry of what no Prometheus sees.
func (s *Loop) observe(c *gin.Context, k call) error {
	var in v1.Observations
	if err := decode(k.body, &in); err != nil {
		return err
	}
	known := feedback.Metrics()
	observed := make([]Observation, len(in.Items))
	for i, o := range in.Items {
		if !slices.Contains(known, o.Metric) {
			return invalidRequest.at(fmt.Sprintf("/items/%d/metric", i), fmt.Sprintf("must be one of %v", known))
		}
		observed[i] = Observation{Metric: o.Metric, Target: o.Target, At: o.At, Value: o.Value, Total: o.Total}
	}
	if err := s.proposals.Observe(c.Request.Context(), k.Tenant, observed); err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Observed{Items: len(observed), Simulated: k.Simulated})
}

// evaluate asks for one evaluation of the loop now.
func (s *Loop) evaluate(c *gin.Context, k call) error {
	var in v1.EvaluationRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	input := contract.FeedbackInput{
		Subject:    contract.Subject{Tenant: k.Tenant, TraceID: k.TraceID},
		Evaluation: "evaluation-" + s.b.opts.NewID(), Environment: string(in.Environment), Seconds: in.WindowSeconds, Baseline: in.BaselineWindows,
		Requester: feedback.Requester, Shadow: in.Shadow || k.Simulated,
	}
	if input.Environment == "" {
		input.Environment = promotion.Production
	}
	if g := in.Guard; g.Metric != "" {
		guard := guardOf(g)
		if err := guard.Check(); err != nil {
			return invalidRequest.at("/guard", err.Error())
		}
		input.Guard = &guard
	}
	id := contract.FeedbackID(input.Evaluation)
	start := Start{
		Workflow: contract.Feedback.Name, ID: id, Queue: contract.QueueControl, Input: input,
		Summary: "evaluate the policy loop", Attributes: Attributes{Tenant: k.Tenant, Stage: "started"},
	}
	answer, err := s.proposals.Evaluate(c.Request.Context(), k.command, input.Evaluation, start, replying(http.StatusAccepted, func(string) any {
		return v1.EvaluationAccepted{ID: input.Evaluation, WorkflowID: id, StatusURL: k.link("/policies/proposals"), TraceID: k.TraceID, Simulated: k.Simulated}
	}))
	return s.b.done(c, answer, err)
}

func guardOf(g v1.PolicyGuard) promotion.Guard {
	return promotion.Guard{Metric: g.Metric, MarginBP: g.MarginBP, BakeSeconds: g.BakeSeconds, LookSeconds: g.LookSeconds,
		DeadlineSeconds: g.DeadlineSeconds, HaltSeconds: g.HaltSeconds, AlphaBP: g.AlphaBP}
}

// steer pauses, resumes or aborts a rollout that is being watched.
func (s *Loop) steer(c *gin.Context, k call) error {
	var in v1.PolicySteer
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx, id := c.Request.Context(), c.Param("id")
	if _, err := s.actions.Action(ctx, k.Caller, KindPolicy, id); err != nil {
		return err
	}
	if k.Simulated {
		return simulationRefused.because("a simulated caller may not steer a rollout")
	}
	state, err := s.workflows.SteerPolicy(ctx, id, string(k.command.KeyHash), contract.Steer{Actor: k.Subject, Do: string(in.Do), Reason: in.Reason})
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.PolicySteered{Region: state.Step.Region, Verdict: string(state.Verdict), Paused: state.Paused})
}
