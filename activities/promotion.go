package activities

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Why a plan cannot be applied.
var (
	ErrPlan       = errors.New("the plan is not the one of this action")
	ErrVersion    = errors.New("the plan's version is not the registered one")
	ErrOverdue    = errors.New("the review of a broken glass is overdue: nothing is loosened until it is signed off")
	ErrSimulation = errors.New("what was made in simulation never serves production")
	ErrTainted    = errors.New("the version is tainted")
)

// A Promotion checks plans and records how actions ended.
type Promotion struct {
	Blobs      Blobs
	Versions   Versions
	Registry   Registry
	Verifier   Verifier
	Snapshots  Snapshots
	Actions    Actions
	Grants     Grants
	Cards      Cards         // may be nil: no scorecards of versions are kept
	Simulation bool          // this deployment is one of simulation
	BallotTTL  time.Duration // how long approvers have
	Now        func() time.Time
}

// CheckPlan says whether a plan fits the world, how risky it is and who must
// agree. Where somebody must, the ballot's request is written, once: a second
// run, and the check after the vote, return the first one's nonce and times.
// It changes nothing else. Final: [contract.OldPlan] when the proposal that it
// came from has expired, [contract.StalePlan] when what the plan observed has
// moved, [contract.BadPackage] when its package does not verify now,
// [contract.BadPlan] when it could never be applied.
func (p *Promotion) CheckPlan(ctx context.Context, in contract.CheckInput) (contract.Checked, error) {
	checked, err := p.check(ctx, in)
	return checked, within(err, "action %s", in.Action)
}

func (p *Promotion) check(ctx context.Context, in contract.CheckInput) (contract.Checked, error) {
	var out contract.Checked
	if err := decode(ctx, p.Blobs, in.Plan.Digest, contract.BadPlan, &out.Plan); err != nil {
		return out, err
	}
	plan := out.Plan
	if plan.Kind != in.Kind || plan.Tenant != in.Tenant || plan.ModelID != in.ModelID {
		return out, permanent(contract.BadPlan, ErrPlan)
	}
	if plan.Simulated && plan.Environment == promotion.Production {
		return out, permanent(contract.BadPlan, ErrSimulation)
	}
	if err := plan.Fresh(p.Now()); err != nil {
		return out, permanent(contract.OldPlan, err)
	}
	world, err := p.Snapshots.Latest(ctx)
	if err != nil {
		return out, err
	}
	if err := plan.Holds(world); err != nil {
		return out, stale(err)
	}
	if err := p.subject(ctx, in, plan); err != nil {
		return out, err
	}
	out.Risk = plan.Risk.Score
	out.Request, err = p.request(ctx, in, plan, world)
	return out, err
}

// subject checks what the plan would bring about.
func (p *Promotion) subject(ctx context.Context, in contract.CheckInput, plan promotion.Plan) error {
	switch {
	case plan.Kind == promotion.KindPromotion && plan.Version != nil:
		return p.version(ctx, plan)
	case plan.Kind == promotion.KindPolicy && plan.Policy != nil:
		document, _, err := plan.Document()
		if err == nil && document.Revision <= plan.Observed.Policy {
			err = routing.ErrRevision
		}
		if err != nil {
			return permanent(contract.BadPlan, err)
		}
		return nil
	case plan.Kind == promotion.KindTuning && plan.Tuning != nil:
		return nil
	case plan.Kind == promotion.KindRestore && plan.Restore != nil:
		return nil // the workflow verifies the point before and after the ballot
	}
	return permanent(contract.BadPlan, fmt.Errorf("kind %q: %w", in.Kind, ErrPlan))
}

// version checks that the plan's version is registered as it says, and that
// its package is in the registry, signed as a package of this model. It was so
// when it was registered; what a registry holds now is what regions will pull.
func (p *Promotion) version(ctx context.Context, plan promotion.Plan) error {
	registered, _, err := p.Versions.Version(ctx, plan.Tenant, plan.ModelID, plan.Version.Number)
	if errors.Is(err, ErrNotFound) || err == nil && registered != *plan.Version {
		return permanent(contract.BadPlan, fmt.Errorf("version %d of %s: %w", plan.Version.Number, plan.ModelID, ErrVersion))
	}
	if err != nil {
		return err
	}
	why, err := p.Versions.Tainted(ctx, plan.Tenant, plan.ModelID, plan.Version.Number)
	if err != nil {
		return err
	}
	if why != "" {
		return permanent(contract.BadPlan, fmt.Errorf("version %d of %s: %w: %s", plan.Version.Number, plan.ModelID, ErrTainted, why))
	}
	said, err := checkPackage(ctx, p.Registry, p.Verifier, packageOf{
		Repository: registered.Repository,
		Package:    registered.Package,
		Weights:    registered.Weights,
		Tenant:     plan.Tenant,
		Model:      plan.ModelID,
	})
	if err != nil {
		return err
	}
	if said.Simulation && !p.Simulation && plan.Environment == promotion.Production {
		return permanent(contract.BadPackage, ErrSimulation)
	}
	return p.proven(ctx, plan)
}

// proven refuses a version whose scorecard fails, or says too little, in a
// dimension that matters. A way back is not judged: what is left must go.
func (p *Promotion) proven(ctx context.Context, plan promotion.Plan) error {
	if p.Cards == nil || plan.Rollback || plan.Environment == promotion.Dev {
		return nil
	}
	why, err := p.Cards.Unproven(ctx, plan.Tenant, plan.ModelID, plan.Version.Number)
	if err != nil {
		return err
	}
	if why != "" {
		return permanent(contract.BadPlan, fmt.Errorf("%w: %s", promotion.ErrUnproven, why))
	}
	return nil
}

// request opens the ballot where one is needed.
func (p *Promotion) request(ctx context.Context, in contract.CheckInput, plan promotion.Plan, world routing.Snapshot) (approval.Request, error) {
	req, err := p.ask(ctx, in, plan, world)
	if err != nil || req.Need == 0 {
		return req, err
	}
	return p.open(ctx, in, req)
}

// ask returns the request of a ballot, which is not opened.
func (p *Promotion) ask(ctx context.Context, in contract.CheckInput, plan promotion.Plan, world routing.Snapshot) (approval.Request, error) {
	asked, err := p.question(ctx, in, plan, world)
	if err != nil {
		return approval.Request{}, err
	}
	req, err := approval.NewRequest(asked)
	if errors.Is(err, approval.ErrOutdated) {
		return req, permanent(contract.OldPlan, promotion.ErrExpired)
	}
	if err != nil {
		return req, permanent(contract.BadPlan, err)
	}
	return req, nil
}

// question returns what a request is made of.
func (p *Promotion) question(ctx context.Context, in contract.CheckInput, plan promotion.Plan, world routing.Snapshot) (approval.Ask, error) {
	approvers, err := p.Actions.Approvers(ctx, in.Tenant)
	if err != nil {
		return approval.Ask{}, err
	}
	action := plan.Action(in.Action, in.Plan.Digest)
	// The nonce ties votes to this ballot alone. Only the first one written counts.
	rules := balloting(world, plan.Regions)
	ask := approval.Ask{
		Action: action, Requester: in.Requester, Threshold: world.Threshold(plan.Regions), Approvers: approvers, Rules: rules,
		Evidence: exhibits(in, plan, world), Nonce: rand.Text(), OpenedAt: p.Now().UTC(), TTL: p.BallotTTL,
		NotAfter: plan.ExpiresAt,
	}
	if plan.Proposal != "" {
		ask.Threshold = 0 // what the loop proposes needs somebody in production, however little it risks
	}
	if rules.BarTrainer && plan.Version != nil {
		trainer, err := p.Actions.Trainer(ctx, in.Tenant, plan.ModelID, plan.Version.Number)
		if err != nil {
			return approval.Ask{}, settled(err)
		}
		if trainer != "" {
			ask.Trainers = []string{trainer}
		}
	}
	return ask, nil
}

// open writes the ballot, or finds the one that was written.
func (p *Promotion) open(ctx context.Context, in contract.CheckInput, req approval.Request) (approval.Request, error) {
	standing, err := p.Actions.Standing(ctx, in.Tenant)
	if err != nil {
		return req, err
	}
	if standing.Overdue > 0 && req.Action.Loosens && !req.Action.Rollback {
		return req, permanent(contract.BadPlan, ErrOverdue)
	}
	// If we crash after this line, the ballot is found open, with its nonce.
	opened, err := p.Actions.OpenBallot(ctx, req)
	if err != nil {
		return req, settled(err)
	}
	if opened.Action.Plan != in.Plan.Digest {
		return opened, permanent(contract.BadPlan, fmt.Errorf("its ballot is about plan %s: %w", opened.Action.Plan.Short(), ErrPlan))
	}
	return opened, nil
}

// balloting returns the strictest of the regions' rules of approval.
func balloting(world routing.Snapshot, regions []string) approval.Rules {
	rules, first := approval.DefaultRules(), true
	for _, region := range regions {
		document, ok := world.Policy(region)
		switch {
		case !ok:
		case first:
			rules, first = document.Balloting(), false
		default:
			rules = rules.Stricter(document.Balloting())
		}
	}
	return rules
}

// exhibits names what an approver is to look at, by digest.
func exhibits(in contract.CheckInput, plan promotion.Plan, world routing.Snapshot) []approval.Exhibit {
	shown := []approval.Exhibit{{Name: "plan", Digest: in.Plan.Digest}}
	if v := plan.Version; v != nil {
		for _, e := range []approval.Exhibit{{Name: "package", Digest: v.Package}, {Name: "weights", Digest: v.Weights}, {Name: "bundle over the package", Digest: v.Bundle}} {
			if e.Digest != "" {
				shown = append(shown, e)
			}
		}
	}
	if plan.Observed.Package != "" {
		shown = append(shown, approval.Exhibit{Name: "package that serves now", Digest: plan.Observed.Package})
	}
	for _, region := range plan.Regions {
		document, ok := world.Policy(region)
		if !ok {
			continue
		}
		if text, err := document.Encode(); err == nil {
			shown = append(shown, approval.Exhibit{Name: "policy of " + region, Digest: artifact.DigestOf(text)})
		}
	}
	return shown
}

// RecordOutcome ends an action. Idempotent: ended once; a later end changes
// nothing.
func (p *Promotion) RecordOutcome(ctx context.Context, in contract.OutcomeInput) (contract.Nothing, error) {
	if in.Outcome == contract.Applied { // it moves what serves
		if err := kept(ctx, p.Grants, in.Grant); err != nil {
			return contract.Nothing{}, within(err, "action %s", in.Action)
		}
		if g := in.Grant; g.Tenant != in.Tenant || g.Action != in.Action || g.Kind != in.Kind || g.Plan != in.Plan {
			return contract.Nothing{}, permanent(contract.NoGrant, within(promotion.ErrGrant, "action %s", in.Action))
		}
	}
	var plan promotion.Plan
	if in.Plan != "" {
		if err := decode(ctx, p.Blobs, in.Plan, contract.BadPlan, &plan); err != nil {
			// An action that failed because its plan cannot be read ends all the same.
			if in.Outcome == contract.Applied || !final(err) {
				return contract.Nothing{}, within(err, "action %s", in.Action)
			}
		}
	}
	err := p.Actions.RecordOutcome(ctx, in, plan)
	return contract.Nothing{}, within(settled(err), "action %s", in.Action)
}

// stale makes what a plan's check said final.
func stale(err error) error {
	if errors.Is(err, promotion.ErrStale) {
		return permanent(contract.StalePlan, err)
	}
	return permanent(contract.BadPlan, err)
}
