package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// loadWindow is the traffic that says how much of it a region has.
const loadWindow = 7 * 24 * time.Hour

// design returns the canary of a promotion: what was asked for, or in production
// the one that everybody gets, where there is something to compare with. once
// says that everybody at once was asked for in so many words.
func design(in v1.PromotionRequest, model string, observed promotion.Observed, wayBack bool) (d *canary.Design, once bool) {
	asked := in.Canary
	if asked.None {
		return nil, true
	}
	comparable := len(observed.Served) > 0 && !slices.Contains(observed.Served, 0) && !slices.Contains(observed.Served, in.Version)
	if !wanted(asked) && (string(in.Environment) != promotion.Production || wayBack || !comparable) {
		return nil, false
	}
	// The same plan in the same world is the same rollout, with the same callers
	// on the same side; planned again later, it is another.
	out := canary.Default(fmt.Sprintf("%s.%s.v%d.s%d", model, in.Environment, in.Version, observed.Snapshot))
	if len(asked.SharesBp) > 0 {
		out.SharesBP = asked.SharesBp
	}
	for _, set := range []struct {
		from int
		to   *int
	}{{asked.BakeSeconds, &out.BakeSeconds}, {asked.LookSeconds, &out.LookSeconds}, {asked.DeadlineSeconds, &out.DeadlineSeconds}} {
		if set.from > 0 {
			*set.to = set.from
		}
	}
	if asked.Answers > 0 {
		out.Required, out.Planned = int64(asked.Answers), 4*int64(asked.Answers)
	}
	if asked.PlannedAnswers > 0 {
		out.Planned = int64(asked.PlannedAnswers)
	}
	if asked.ShadowBp > 0 {
		out.Shadow = &canary.Shadow{ShareBP: asked.ShadowBp, Required: out.Required}
		if asked.ShadowAnswers > 0 {
			out.Shadow.Required = int64(asked.ShadowAnswers)
		}
	}
	if asked.AlphaBp > 0 {
		out.AlphaBP = int64(asked.AlphaBp)
	}
	for i := range out.Guardrails {
		margin := asked.ErrorMarginBp
		if out.Guardrails[i].Metric == canary.Latency {
			margin = asked.LatencyMarginBp
		}
		if margin > 0 {
			out.Guardrails[i].MarginBP = int64(margin)
		}
	}
	return &out, false
}

// refusedShadow returns what is wrong with a request for a shadow, or nil.
func refusedShadow(a v1.CanaryRequest) error {
	switch {
	case a.None && a.ShadowBp > 0:
		return invalidRequest.at("/canary/shadow_bp", "is the first step of a canary, and none was asked for")
	case a.ShadowAnswers > 0 && a.ShadowBp == 0:
		return invalidRequest.at("/canary/shadow_answers", "says how long a shadow is; shadow_bp says of how many requests")
	}
	return nil
}

// wanted says whether a canary was asked for, of whatever design.
func wanted(a v1.CanaryRequest) bool {
	return a.Usual || len(a.SharesBp) > 0 || a.BakeSeconds+a.LookSeconds+a.DeadlineSeconds+a.Answers+a.PlannedAnswers+a.AlphaBp+a.ErrorMarginBp+a.LatencyMarginBp+a.ShadowBp > 0
}

// rollout answers with where a promotion's rollout is, and what it saw.
func (s *Promotions) rollout(c *gin.Context, k call) error {
	ctx, id := c.Request.Context(), c.Param("id")
	action, err := s.actions.Action(ctx, k.Caller, KindPromotion, id)
	if err != nil {
		return err
	}
	facts, err := s.rollouts.Facts(ctx, k.Caller, id)
	if err != nil {
		return err
	}
	view := v1.Rollout{ID: id, State: action.State, Facts: []v1.RolloutFact{}, Looks: []v1.JSON{}, Simulated: k.Simulated}
	latest := map[int]int{} // index of the last look of each step
	for _, f := range facts {
		view.Facts = append(view.Facts, factView(f))
		switch f.Kind {
		case canary.FactStep:
			view.Step, view.Verdict = stepView(f.Step), ""
		case canary.FactLook:
			view.Verdict = v1.RolloutVerdict(f.Verdict)
			latest[f.Step.Number] = len(view.Facts) - 1
		case canary.FactPause:
			view.Paused = true
		case canary.FactResume:
			view.Paused = false
		}
	}
	for i, f := range facts {
		if f.Kind != canary.FactLook || latest[f.Step.Number] != i {
			continue
		}
		text, err := read(ctx, s.blobs, f.Look, maxDocument)
		if err != nil {
			return err
		}
		view.Looks = append(view.Looks, v1.JSON(text))
	}
	return s.b.send(c, http.StatusOK, view)
}

func stepView(s canary.Step) v1.RolloutStep {
	return v1.RolloutStep{Number: s.Number, Region: s.Region, ShareBp: s.ShareBP, MirrorBp: s.MirrorBP}
}

func factView(f canary.Fact) v1.RolloutFact {
	return v1.RolloutFact{
		Number: f.Number, Kind: v1.RolloutFactKind(f.Kind), At: f.At, Step: stepView(f.Step), Verdict: v1.RolloutVerdict(f.Verdict),
		Actor: f.Actor, Words: f.Words, Look: string(f.Look),
	}
}

// steer tells a rollout what a person asks. The workflow writes down who it was
// before it answers, so there is nothing to record here.
func (s *Promotions) steer(c *gin.Context, k call) error {
	var in v1.SteerRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx, id := c.Request.Context(), c.Param("id")
	action, err := s.actions.Action(ctx, k.Caller, KindPromotion, id)
	if err != nil {
		return err
	}
	if action.State != "started" {
		return notRunning.because("the promotion is " + action.State)
	}
	state, err := s.workflows.SteerRollout(ctx, id, string(k.command.KeyHash), contract.Steer{Actor: k.Subject, Do: string(in.Do), Reason: in.Reason})
	switch {
	case errors.Is(err, ErrNotFound):
		return notRunning.because("it has no rollout that runs: it waits for its approvers, or everybody gets the version at once")
	case errors.Is(err, ErrClosed):
		return notRunning.because("it is over, or not in a state in which that can be asked; look at it and ask again")
	case err != nil:
		return err
	}
	view := v1.RolloutState{Step: stepView(state.Step), Verdict: v1.RolloutVerdict(state.Verdict), Paused: state.Paused, Waits: state.Waits, Simulated: k.Simulated}
	return s.b.send(c, http.StatusOK, view)
}

// history answers with what a model answered at a time, and who had let it.
func (s *Promotions) history(c *gin.Context, k call) error {
	ctx, model := c.Request.Context(), c.Param("id")
	at := s.b.now()
	if text := c.Query("at"); text != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, text); err != nil {
			return invalidRequest.at("query:at", "must be a time of RFC 3339")
		}
	}
	if _, err := s.models.Model(ctx, k.Caller, model); err != nil {
		return err
	}
	ran, err := s.rollouts.RanAt(ctx, k.Caller, model, at)
	if err != nil {
		return err
	}
	view := v1.ModelHistory{
		At: at.UTC(), Snapshot: ran.Snapshot.Version, SnapshotDigest: string(ran.Digest), PublishedAt: ran.At, Serving: []v1.Serving{}, Simulated: k.Simulated,
	}
	seen := map[string]*v1.Mover{}
	add := func(environment, region string, version, share int, steps ...string) error {
		one := v1.Serving{Environment: v1.Environment(environment), Region: region, Version: version, ShareBp: share}
		for _, p := range ran.Snapshot.Packages {
			if p.Tenant == k.Tenant && p.Model == model && p.Version == version {
				one.Package = string(p.Manifest)
			}
		}
		if p, ok := mover(ran.Moves, region, steps); ok {
			if seen[p.Action] == nil {
				m, err := s.mover(ctx, k, p)
				if err != nil {
					return err
				}
				seen[p.Action] = &m
			}
			one.Mover = *seen[p.Action]
		}
		view.Serving = append(view.Serving, one)
		return nil
	}
	for _, r := range ran.Snapshot.Routes {
		if r.Tenant != k.Tenant || r.Model != model {
			continue
		}
		for _, region := range r.Regions {
			rest := canary.Whole
			if c, ok := ran.Snapshot.Challenger(k.Tenant, model, r.Environment); ok && slices.Contains(c.Regions, region) {
				rest -= c.Share
			}
			if err := add(r.Environment, region, r.Version, rest, contract.PhaseSwitch, contract.PhaseGive, contract.PhaseBack, "restore"); err != nil {
				return err
			}
		}
	}
	for _, r := range ran.Snapshot.Canaries {
		if r.Tenant != k.Tenant || r.Model != model || r.Mirror > 0 { // it answers nobody
			continue
		}
		for _, region := range r.Regions {
			if err := add(r.Environment, region, r.Version, r.Share, contract.PhaseCanary); err != nil {
				return err
			}
		}
	}
	return s.b.send(c, http.StatusOK, view)
}

// mover returns the newest publication of one of the phases in a region.
func mover(moves []Publication, region string, phases []string) (Publication, bool) {
	for _, p := range moves {
		parts := strings.Split(p.Step, "/")
		if !slices.Contains(phases, parts[0]) {
			continue
		}
		if parts[0] == "restore" || len(parts) > 1 && slices.Contains(strings.Split(parts[1], ","), region) {
			return p, true
		}
	}
	return Publication{}, false
}

// mover says who moved it, and who had agreed.
func (s *Promotions) mover(ctx context.Context, k call, p Publication) (v1.Mover, error) {
	out := v1.Mover{Action: p.Action, Step: p.Step, Snapshot: p.Snapshot, At: p.At, Approvals: []v1.MoverApproval{}}
	for _, kind := range []string{KindPromotion, promotion.KindRestore} {
		action, err := s.actions.Action(ctx, k.Caller, kind, p.Action)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		out.Requester, out.PlanDigest, out.Risk = action.Requester, string(action.Plan.Digest), action.Risk
	}
	for _, id := range []string{p.Action, contract.HalfID(p.Action)} {
		ballot, err := s.approvals.Ballot(ctx, k.Caller, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		for _, v := range ballot.Votes {
			out.Approvals = append(out.Approvals, v1.MoverApproval{Ballot: id, Approver: v.Approver, Role: v.Role, Says: v.Says(), Statement: string(v.Statement), At: v.At})
		}
	}
	return out, nil
}

// seen returns what the snapshot's regions answer with, for a plan.
func (s *Promotions) seen(ctx context.Context, k call, model, environment string, regions, wanted []string, world routing.Snapshot) (promotion.World, []string, error) {
	w := promotion.World{Regions: regions}
	var err error
	if w.Answers, err = s.rollouts.Load(ctx, k.Caller, model, environment, s.b.now().Add(-loadWindow)); err != nil {
		return w, nil, err
	}
	if len(wanted) == 0 {
		wanted = w.Quietest(regions)
	}
	w.Observed = promotion.Observe(promotion.KindPromotion, k.Tenant, model, environment, wanted, world)
	return w, wanted, nil
}
