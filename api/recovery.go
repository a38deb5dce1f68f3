package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Recovery takes recovery points, shows them, and plans and starts the way back
// to one: part of I.1.5.
type Recovery struct {
	planner
	points Recoveries
}

// NewRecovery returns the service.
func NewRecovery(b *Border, p Ports) *Recovery {
	return &Recovery{planner: newPlanner(b, p), points: p.Recoveries}
}

// Mount implements [Service].
func (s *Recovery) Mount(r gin.IRouter) {
	s.b.mount(r, "takeRecoveryPoint", s.take)
	s.b.mount(r, "listRecoveryPoints", s.list)
	s.b.mount(r, "getRecoveryPoint", s.get)
	s.b.mount(r, "restoreRecoveryPoint", s.restore)
	s.b.mount(r, "getRestore", s.getRestore)
}

func (s *Recovery) take(c *gin.Context, k call) error {
	var in v1.RecoveryPointRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	action := "snap-" + s.b.opts.NewID()
	id := contract.PointID(action)
	start := Start{
		Workflow: contract.RecoveryPoint.Name, ID: id, Queue: contract.QueueControl,
		Input: contract.PointInput{
			Subject: contract.Subject{Tenant: k.Tenant, TraceID: k.TraceID}, Action: action, Actor: k.Subject, Reason: in.Reason,
		},
		Summary:    "recovery point of " + k.Tenant,
		Attributes: Attributes{Tenant: k.Tenant, Stage: "started"},
	}
	answer, err := s.points.Take(c.Request.Context(), k.command, action, start, replying(http.StatusAccepted, func(string) any {
		return v1.ActionAccepted{ID: action, WorkflowID: id, StatusURL: k.link("/recovery-points"), TraceID: k.TraceID, Simulated: k.Simulated}
	}))
	return s.b.done(c, answer, err)
}

func (s *Recovery) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	points, err := s.points.List(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	points, next := paged(p, points, func(r RecoveryPoint) string { return strconv.FormatInt(r.Sequence, 10) })
	return s.b.send(c, http.StatusOK, v1.RecoveryPointPage{Items: views(points, pointView), Next: next, Simulated: k.Simulated})
}

func pointView(r RecoveryPoint) v1.RecoveryPoint {
	return v1.RecoveryPoint{
		Sequence: r.Sequence, Digest: string(r.Digest), Previous: string(r.Previous), Action: r.Action, Snapshot: r.Snapshot, Items: r.Items,
		Reason: r.Reason, Actor: r.Actor, At: r.At,
	}
}

// get shows a point with its exact bytes and its signature, for a check with
// public tools.
func (s *Recovery) get(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	r, err := s.point(ctx, k, c)
	if err != nil {
		return err
	}
	text, err := read(ctx, s.blobs, r.Point.Digest, maxDocument)
	if err != nil {
		return err
	}
	bundle, err := read(ctx, s.blobs, r.Bundle.Digest, artifact.MaxBundle)
	if err != nil {
		return err
	}
	view := pointView(r)
	view.Point, view.Bundle, view.Simulated = v1.JSON(text), string(bundle), k.Simulated
	return s.b.send(c, http.StatusOK, view)
}

func (s *Recovery) point(ctx context.Context, k call, c *gin.Context) (RecoveryPoint, error) {
	sequence, err := strconv.ParseInt(c.Param("sequence"), 10, 64)
	if err != nil || sequence < 1 {
		return RecoveryPoint{}, notFound
	}
	return s.points.Get(ctx, k.Caller, sequence)
}

func (s *Recovery) restore(c *gin.Context, k call) error {
	var in v1.RestoreRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx := c.Request.Context()
	row, err := s.point(ctx, k, c)
	if err != nil {
		return err
	}
	if in.Apply {
		return s.apply(c, k, row, in.PlanDigest)
	}
	newest, err := s.points.Get(ctx, k.Caller, 0)
	if err != nil {
		return err
	}
	text, err := read(ctx, s.blobs, row.Point.Digest, maxDocument)
	if err != nil {
		return err
	}
	point, err := recovery.Parse(text)
	if err != nil {
		return fmt.Errorf("recovery point %d: %w", row.Sequence, err)
	}
	world, regions, err := s.world(ctx)
	if err != nil {
		return err
	}
	change, err := s.changes(ctx, point, world)
	if err != nil {
		return err
	}
	change.Tenant, change.Regions, change.Simulated = k.Tenant, regions, k.Simulated
	change.Restore = promotion.Restore{Sequence: row.Sequence, Point: row.Digest, Head: newest.Sequence}
	change.Observed = promotion.Observe(promotion.KindRestore, k.Tenant, "", promotion.Production, regions, world)
	plan, err := promotion.NewRestore(change)
	if err != nil {
		return planProblem(err)
	}
	answer, err := s.save(ctx, k, "restore-"+s.b.opts.NewID(), plan, world, fmt.Sprintf("POST /recovery-points/%d/restores again", row.Sequence))
	return s.b.done(c, answer, err)
}

// changes is what going back to a point would change, for people.
func (s *Recovery) changes(ctx context.Context, point recovery.Point, world routing.Snapshot) (promotion.Return, error) {
	out := promotion.Return{Changes: moved(point, world)}
	for _, p := range point.Policies {
		runs, ok := world.Policy(p.Region)
		if !ok {
			continue // the region is gone, and has no policy to go back to
		}
		text, err := read(ctx, s.blobs, p.Digest, maxDocument)
		if err != nil {
			return out, err
		}
		then, err := policy.Parse(text)
		if err != nil {
			return out, fmt.Errorf("policy of %s: %w", p.Region, err)
		}
		if policy.Same(runs, then) {
			continue
		}
		out.Policies = true
		why, loosens := policy.Loosens(runs, then)
		to := fmt.Sprintf("as of revision %d", p.Revision)
		if loosens {
			out.Loosens = true
			to += ", which protects less: " + why
		}
		out.Changes = append(out.Changes, promotion.Change{What: "policy of " + p.Region, From: fmt.Sprintf("revision %d", runs.Revision), To: to})
	}
	return out, nil
}

// moved is what happens to the routes of each model and environment, in the
// order of the point, and then of what goes.
func moved(point recovery.Point, world routing.Snapshot) []promotion.Change {
	now := make([]recovery.Route, 0, len(world.Routes))
	for _, r := range world.Routes {
		if r.Tenant == point.Tenant {
			now = append(now, recovery.Route{Model: r.Model, Environment: r.Environment, Version: r.Version, Regions: r.Regions, Callers: r.Callers, Simulated: r.Simulated})
		}
	}
	var out []promotion.Change
	done := map[string]bool{}
	for _, r := range slices.Concat(point.Routes, now) {
		what := r.Environment + " of " + r.Model
		if done[what] {
			continue
		}
		done[what] = true
		from, to := serves(now, r, false), serves(point.Routes, r, false)
		if from == to { // then it is the callers
			from, to = serves(now, r, true), serves(point.Routes, r, true)
		}
		if from != to {
			out = append(out, promotion.Change{What: what, From: from, To: to})
		}
	}
	return out
}

// serves says which versions of a route's model serve its environment, and
// where; in full, also for whom.
func serves(routes []recovery.Route, like recovery.Route, full bool) string {
	var all []string
	for _, r := range routes {
		if r.Model != like.Model || r.Environment != like.Environment {
			continue
		}
		text := fmt.Sprintf("version %d in %s", r.Version, strings.Join(r.Regions, ", "))
		if full {
			text += " for " + strings.Join(r.Callers, ", ")
			if r.Simulated {
				text += ", simulated"
			}
		}
		all = append(all, text)
	}
	return cmp.Or(strings.Join(all, "; "), "-")
}

// apply starts what was planned for this point.
func (s *Recovery) apply(c *gin.Context, k call, row RecoveryPoint, digest string) error {
	action, plan, err := s.planned(c.Request.Context(), k, promotion.KindRestore, digest)
	if err != nil {
		return err
	}
	if plan.Restore == nil || plan.Restore.Point != row.Digest || plan.Restore.Sequence != row.Sequence {
		return badPlan.at("/plan_digest", "is that of a plan for something else than this request asks for")
	}
	id, risk := contract.RestoreID(action.ID), int64(plan.Risk.Score)
	start := Start{
		Workflow: contract.Restore.Name, ID: id, Queue: contract.QueueControl,
		Input: contract.RestoreInput{
			Subject: contract.Subject{Tenant: k.Tenant, TraceID: k.TraceID}, Action: action.ID, Requester: k.Subject, Plan: action.Plan,
		},
		Summary:    fmt.Sprintf("restore %s to recovery point %d, risk %d", k.Tenant, row.Sequence, risk),
		Attributes: Attributes{Tenant: k.Tenant, Stage: "started", Risk: &risk},
	}
	answer, err := s.actions.Apply(c.Request.Context(), k.command, action.ID, start, replying(http.StatusAccepted, k.started(id, "/restores/")))
	return s.b.done(c, answer, err)
}

func (s *Recovery) getRestore(c *gin.Context, k call) error {
	id := c.Param("id")
	view, err := s.show(c.Request.Context(), k, promotion.KindRestore, id, contract.RestoreID(id))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, view)
}

// rollback plans, or starts, the way back to the version that served an
// environment before the one that does: a promotion of it.
func (s *Promotions) rollback(c *gin.Context, k call) error {
	var in v1.RollbackRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ask := v1.PromotionRequest{Environment: in.Environment, Regions: in.Regions, Apply: in.Apply, PlanDigest: in.PlanDigest}
	version, err := s.models.LastGood(c.Request.Context(), k.Caller, c.Param("id"), string(in.Environment))
	if errors.Is(err, ErrNotFound) {
		if _, err := s.models.ModelVersion(c.Request.Context(), k.Caller, c.Param("id"), 0); err != nil {
			return err // no model is another answer than a model that served nothing
		}
		return badPlan.because("no other version has served this environment: there is nothing to go back to")
	}
	if err != nil {
		return err
	}
	ask.Version = version
	if in.Apply {
		return s.apply(c, k, ask)
	}
	return s.plan(c, k, ask, "POST /models/"+c.Param("id")+"/rollbacks again")
}
