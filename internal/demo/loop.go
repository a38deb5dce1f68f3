package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// guard watches each region that stays open: five points more of failed calls
// are too many. It bakes for as long as twice the calls take that a share is
// judged by, at the pace at which they come on this machine; production's is half
// an hour.
func (g *Governance) guard() v1.PolicyGuard {
	bake := max(10, int(math.Ceil(2*feedback.MinTotal/g.pace)))
	return v1.PolicyGuard{Metric: "route_failed", MarginBP: 500, BakeSeconds: bake, LookSeconds: 3, DeadlineSeconds: 6 * bake, HaltSeconds: 30, AlphaBP: 500}
}

// propose has the loop evaluate, and shows what speaks for what it proposes.
func (g *Governance) propose(ctx context.Context) error {
	// As long as they need to be for all three to be of after the drift began, and
	// the baseline of before.
	long := max(window, (time.Since(g.began)/windows).Truncate(time.Second)+time.Second)
	accepted, err := v1.Fetch[v1.EvaluationAccepted](g.lead.EvaluatePolicy(ctx, &v1.EvaluatePolicyParams{}, v1.EvaluationRequest{
		WindowSeconds: int(long / time.Second), BaselineWindows: baseline, Environment: "production", Guard: g.guard(),
	}))
	if err != nil {
		return err
	}
	g.say("%s reads the last three windows of %s and %d before them", accepted.WorkflowID, long, baseline)
	err = until(ctx, 20*time.Second, "the loop proposes nothing", func(ctx context.Context) (bool, error) {
		page, err := v1.Fetch[v1.ProposalPage](g.lead.ListProposals(ctx, &v1.ListProposalsParams{}))
		if err != nil || len(page.Items) == 0 {
			return false, err
		}
		g.proposal, err = v1.Fetch[v1.Proposal](g.lead.GetProposal(ctx, page.Items[0].ID, &v1.GetProposalParams{}))
		return true, err
	})
	if err != nil {
		return err
	}
	said, err := g.said()
	if err != nil {
		return err
	}
	e := said.Evidence
	g.say("%s proposes: %s", g.proposal.ID, g.proposal.Summary)
	g.say("evidence: %s is worse by %.0f %% (%.0f %% counts) in each of %d windows; %s, p %.2g, q %.2g over a family of %d, n %d", e.Metric, 100*e.Effect, 100*e.Least, e.Windows, e.Test, e.P, e.Q, e.Family, e.N)
	for _, c := range e.Control {
		g.say("control: %s moved by %.0f %%", c.Target, 100*c.Effect)
	}
	g.say("it is a signed statement over policy revision %d, %s; a rollback brings back %s", said.Next.Revision, short(said.Next.Digest), short(said.Rollback))
	return holds(said.Template == "quarantine_region" && said.Target == drifting && said.Direction == feedback.Tighten && len(e.Control) == 2 && len(g.proposal.Bundle) > 0,
		"it proposes to %s %s of %s", said.Direction, said.Template, said.Target)
}

// said is what the signed statement says.
func (g *Governance) said() (feedback.Proposal, error) {
	var p feedback.Proposal
	return p, json.Unmarshal(g.proposal.Predicate, &p)
}

// replay shows every flip.
func (g *Governance) replay(context.Context) error {
	said, err := g.said()
	if err != nil {
		return err
	}
	r := said.Replay
	g.say("%d decisions again under revision %d and %d: %d would open, %d would close, %d undecided", r.Decisions, said.Previous.Revision, said.Next.Revision, r.Opened, r.Closed, r.Undecided)
	elsewhere := 0
	for _, f := range r.Flips {
		way := "allow -> deny"
		if f.Opens {
			way = "deny -> allow"
		}
		g.say("%s  %s of %s in %s for %s: %d, as %s: %s", way, f.Question, f.Tenant, f.Region, f.Purpose, f.Count, f.Example.ID, strings.Join(f.Example.Reasons, "; "))
		if f.Region != drifting {
			elsewhere += f.Count
		}
	}
	return holds(r.Opened == 0 && r.Closed > 0 && elsewhere == 0 && r.Undecided == 0, "%d flips elsewhere", elsewhere)
}

// sign shows that the change waits for people, and has them decide.
func (g *Governance) sign(ctx context.Context) error {
	id := g.proposal.ID
	ballot, err := g.ballot(ctx, id)
	if err != nil {
		return err
	}
	action, err := v1.Fetch[v1.Action](g.lead.GetRollout(ctx, id, &v1.GetRolloutParams{}))
	if err != nil {
		return err
	}
	g.say("risk %d of 100 asks for %d people; until they have signed nothing changes, and %s still answers", action.Risk, ballot.Need, drifting)
	if err := holds(action.State == "started" && ballot.Need > 0 && action.Requester == feedback.Requester, "it is %s, asked for by %s", action.State, action.Requester); err != nil {
		return err
	}
	answered, _, err := g.calls.invoke(ctx, drifting, drifting, 0, g.calls.rows[:1])
	if err := holds(err == nil && answered.Region == drifting, "%s does not answer before anybody agreed: %v", drifting, err); err != nil {
		return err
	}
	return g.approve(ctx, id)
}

// rollout follows the policy from region to region.
func (g *Governance) rollout(ctx context.Context) error {
	id, told := g.proposal.ID, 0
	var stages []v1.RolloutRegion
	err := until(ctx, 5*time.Minute, "the rollout does not end", func(ctx context.Context) (bool, error) {
		action, err := v1.Fetch[v1.Action](g.lead.GetRollout(ctx, id, &v1.GetRolloutParams{}))
		if err != nil {
			return false, err
		}
		found, err := v1.Fetch[v1.RolloutRegions](g.lead.ListRolloutRegions(ctx, id, &v1.ListRolloutRegionsParams{}))
		if err != nil {
			return false, err
		}
		stages = found.Items
		for ; told < len(stages); told++ {
			s := stages[told]
			g.say("%s  %-5s %-10s revision %d, snapshot %d %s", s.At.Format("15:04:05"), s.Region, s.State, s.Revision, s.Snapshot, s.Why)
		}
		if action.State == "started" || action.State == "planned" {
			return false, nil
		}
		g.say("%s: %s %s", id, action.State, action.Cause)
		return true, holds(action.State == "applied", "it ended %s: %s", action.State, action.Cause)
	})
	if err != nil {
		return err
	}
	if err := inOrder(stages); err != nil {
		return err
	}
	_, _, err = g.calls.invoke(ctx, drifting, drifting, 0, g.calls.rows[:1])
	var problem *v1.ProblemError
	if !errors.As(err, &problem) {
		return holds(false, "a call to %s was not refused: %v", drifting, err)
	}
	g.say("a call that asks for %s: %d %s, %s", drifting, problem.Status, problem.Code, problem.Detail)
	elsewhere, _, err := g.calls.invoke(ctx, drifting, "", 0, g.calls.rows[:1])
	if err != nil {
		return err
	}
	g.say("the same call without a wish is answered in %s", elsewhere.Region)
	return holds(problem.Status == http.StatusForbidden && elsewhere.Region != drifting, "%d, answered in %s", problem.Status, elsewhere.Region)
}

// inOrder fails unless each region was active before the next was published,
// the drifting one first.
func inOrder(stages []v1.RolloutRegion) error {
	var regions []string
	at := map[string]time.Time{}
	for _, s := range stages {
		if s.State == "published" {
			regions = append(regions, s.Region)
		}
		at[s.Region+" "+string(s.State)] = s.At
	}
	for i := 1; i < len(regions); i++ {
		if before, now := at[regions[i-1]+" active"], at[regions[i]+" published"]; before.IsZero() || now.Before(before) {
			return holds(false, "%s was published before %s was active", regions[i], regions[i-1])
		}
	}
	return holds(len(regions) == 3 && regions[0] == drifting && !at[regions[2]+" active"].IsZero(), "the regions were reached as %v", regions)
}

// regress trains a version that is larger than it has to be and promotes it. It
// answers as well and takes longer: the canary shows that, and nobody has to
// look.
func (g *Governance) regress(ctx context.Context) error {
	p := g.params()
	p.Model = v1.ModelSpec{Trainer: "mlp", Inputs: p.Model.Inputs, Hidden: 4096, Classes: p.Model.Classes}
	p.Rounds, p.Measurement = 1, v1.Measurement{}
	run, err := g.learn(ctx, p)
	if err != nil {
		return err
	}
	request := v1.PromotionRequest{Version: run.Version, Environment: "production", Regions: []string{trying}, Canary: v1.CanaryRequest{
		SharesBp: []int{4000, 10000}, BakeSeconds: 20, LookSeconds: 5, DeadlineSeconds: 240, Answers: 30, LatencyMarginBp: 5000,
	}}
	planned, err := v1.Fetch[v1.Planned](g.lead.PromoteModel(ctx, Model, &v1.PromoteModelParams{}, request))
	if err != nil {
		return err
	}
	var plan promotion.Plan
	if err := json.Unmarshal(planned.Plan, &plan); err != nil {
		return err
	}
	g.say("plan %s: %s; shares of %s %v, the mean latency may be up by half; all of it is approved with the plan", short(planned.PlanDigest), plan.Summary(), trying, plan.Canary.SharesBP)
	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](g.lead.PromoteModel(ctx, Model, &v1.PromoteModelParams{}, request))
	if err != nil {
		return err
	}
	g.rollback = accepted.ID
	if err := g.approve(ctx, accepted.ID); err != nil {
		return err
	}
	return g.wentBack(ctx, run.Version)
}

// wentBack follows the rollout until it is over, and shows what serves then.
func (g *Governance) wentBack(ctx context.Context, version int) error {
	told, steps := 0, 0
	var facts []v1.RolloutFact
	err := until(ctx, 6*time.Minute, "the rollout does not end", func(ctx context.Context) (bool, error) {
		action, err := v1.Fetch[v1.Action](g.lead.GetPromotion(ctx, g.rollback, &v1.GetPromotionParams{}))
		if err != nil {
			return false, err
		}
		r, err := v1.Fetch[v1.Rollout](g.lead.GetCanary(ctx, g.rollback, &v1.GetCanaryParams{}))
		var problem *v1.ProblemError
		if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
			return false, nil // nothing has happened yet
		}
		if err != nil {
			return false, err
		}
		for facts = r.Facts; told < len(facts); told++ {
			f := facts[told]
			g.say("%s  %s %s %s %s", f.At.Format("15:04:05"), f.Kind, f.Verdict, stepWords(f.Step), f.Words)
		}
		if action.State == "started" || action.State == "planned" {
			return false, nil
		}
		g.say("%s: %s, %s", g.rollback, action.State, action.Cause)
		return true, holds(action.State == "failed" && strings.Contains(action.Cause, fmt.Sprintf("switched back to version %d", g.first.Version)), "it ended %s: %s", action.State, action.Cause)
	})
	if err != nil {
		return err
	}
	for _, f := range facts {
		if f.Kind == "step" {
			steps++
		}
	}
	failed := slices.ContainsFunc(facts, func(f v1.RolloutFact) bool { return f.Kind == "look" && f.Verdict == "FAIL" })
	if err := holds(failed && steps == 1, "no look failed, or it went on: %d steps", steps); err != nil {
		return err
	}
	for i := range 40 { // whichever side a caller was on
		answer, _, err := g.calls.invoke(ctx, trying, trying, i, g.calls.rows[:1])
		if err != nil {
			return err
		}
		if err := holds(answer.Version == g.first.Version, "version %d answers in %s, not %d", answer.Version, trying, g.first.Version); err != nil {
			return err
		}
	}
	g.say("every caller in %s is answered by version %d again, and by %d no more; nobody had to look", trying, g.first.Version, version)
	return nil
}

func stepWords(s v1.RolloutStep) string {
	if s.Number == 0 {
		return ""
	}
	return fmt.Sprintf("step %d, %g %% of %s:", s.Number, float64(s.ShareBp)/100, s.Region)
}
