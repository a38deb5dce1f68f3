package activities

import (
	"context"
	"errors"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// someone is the risk from which somebody must agree in every environment; see
// [approval.Required].
const someone = 40

// MintGrant returns the grant of a plan whose approval was used, or that needs
// none. What it needs is computed again from the plan and the policies in
// force, and what people said is read where their votes are. Idempotent: an
// action has one grant. Final: [contract.NoGrant] when it may not run,
// [contract.OldPlan] when the proposal that it came from has expired meanwhile.
func (p *Promotion) MintGrant(ctx context.Context, in contract.MintInput) (promotion.Grant, error) {
	grant, err := p.mint(ctx, in.CheckInput)
	return grant, within(err, "action %s", in.Action)
}

func (p *Promotion) mint(ctx context.Context, in contract.CheckInput) (promotion.Grant, error) {
	var plan promotion.Plan
	if err := decode(ctx, p.Blobs, in.Plan.Digest, contract.BadPlan, &plan); err != nil {
		return promotion.Grant{}, err
	}
	if plan.Kind != in.Kind || plan.Tenant != in.Tenant || plan.ModelID != in.ModelID {
		return promotion.Grant{}, permanent(contract.BadPlan, ErrPlan)
	}
	world, err := p.Snapshots.Latest(ctx)
	if err != nil {
		return promotion.Grant{}, err
	}
	req, err := p.ask(ctx, in, plan, world)
	if err != nil {
		return promotion.Grant{}, err
	}
	want := promotion.Grant{Tenant: plan.Tenant, Kind: plan.Kind, Action: in.Action, Plan: in.Plan.Digest, Need: req.Need}
	if req.Need > 0 {
		opened, err := p.Actions.OpenBallot(ctx, req) // it is open: the one that stands is returned
		if err != nil {
			return promotion.Grant{}, settled(err)
		}
		want.Need, want.Nonce = opened.Need, artifact.DigestOf([]byte(opened.Nonce))
	}
	grant, err := promotion.NewGrant(want)
	if err != nil {
		return grant, permanent(contract.NoGrant, err)
	}
	grant, err = p.Grants.Mint(ctx, grant)
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrNotFound) {
		return grant, permanent(contract.NoGrant, err)
	}
	return grant, err
}

// AskAgain opens a ballot on the way of a rollout, over the same plan, and
// returns its request. Idempotent: a ballot is opened once. Final:
// [contract.StalePlan] when the rollout may not go on in this world.
func (p *Promotion) AskAgain(ctx context.Context, in contract.AskInput) (contract.Checked, error) {
	out, err := p.again(ctx, in)
	return out, within(err, "ballot %s", in.Ballot)
}

func (p *Promotion) again(ctx context.Context, in contract.AskInput) (contract.Checked, error) {
	var out contract.Checked
	if err := decode(ctx, p.Blobs, in.Plan.Digest, contract.BadPlan, &out.Plan); err != nil {
		return out, err
	}
	world, err := p.Snapshots.Latest(ctx)
	if err != nil {
		return out, err
	}
	if err := out.Plan.Climbs(world); err != nil {
		return out, stale(err)
	}
	asked, err := p.question(ctx, in.CheckInput, out.Plan, world)
	if err != nil {
		return out, err
	}
	asked.Action.ID, asked.Action.Summary = in.Ballot, in.Why+": "+asked.Action.Summary
	if in.Always {
		asked.Action.Risk = max(asked.Action.Risk, someone)
	}
	if in.Look != "" {
		asked.Evidence = append(asked.Evidence, approval.Exhibit{Name: "what the canary showed", Digest: in.Look})
	}
	out.Risk = asked.Action.Risk
	if out.Request, err = approval.NewRequest(asked); err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	if out.Request.Need == 0 {
		return out, nil
	}
	out.Request, err = p.Actions.OpenBallot(ctx, out.Request)
	return out, settled(err)
}

// granted returns nil when this plan of this action may be written now. A grant
// is believed because it was kept, not because it was sent.
func granted(ctx context.Context, grants Grants, grant promotion.Grant, tenant, action string, plan promotion.Plan) error {
	if err := grant.Permits(tenant, action, plan); err != nil {
		return permanent(contract.NoGrant, err)
	}
	return kept(ctx, grants, grant)
}

// kept returns nil when the grant is one that was minted.
func kept(ctx context.Context, grants Grants, grant promotion.Grant) error {
	if grant.ID == "" || grants == nil {
		return permanent(contract.NoGrant, promotion.ErrGrant)
	}
	err := grants.Granted(ctx, grant)
	if errors.Is(err, ErrRefused) {
		return permanent(contract.NoGrant, promotion.ErrGrant)
	}
	return err
}
