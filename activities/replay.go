package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// How far back, and at how many decisions at most, a replay looks.
const (
	replaySince = 7 * 24 * time.Hour
	replayMost  = 1_000_000
	replayBatch = 2_000
)

// ReplayDecisions decides what was logged in the last seven days again, under
// the policy in force and under a draft, and plans the draft's rollout. One
// decision that opens makes the change loosen, whatever its template. Idempotent
// as long as the world stands still: what it found is blobs, and the workflow
// goes on with one of them. Final: [contract.StalePlan] when the policy in force
// is another one than the draft is about.
func (f *Feedback) ReplayDecisions(ctx context.Context, in contract.ReplayInput) (contract.Replayed, error) {
	out, err := f.replay(ctx, in)
	return out, within(err, "draft of %s", in.Draft.Key)
}

func (f *Feedback) replay(ctx context.Context, in contract.ReplayInput) (contract.Replayed, error) {
	out := contract.Replayed{Draft: in.Draft}
	var proposal feedback.Proposal
	if err := decode(ctx, f.Blobs, in.Draft.Proposal.Digest, contract.BadPlan, &proposal); err != nil {
		return out, err
	}
	text, err := read(ctx, f.Blobs, in.Draft.Document.Digest)
	if err != nil {
		return out, err
	}
	next, err := policy.Parse(text)
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	world, err := f.Snapshots.Latest(ctx)
	if err != nil {
		return out, err
	}
	now, ok := inForce(world)
	if !ok || now.Revision != proposal.Previous.Revision {
		return out, permanent(contract.StalePlan, fmt.Errorf("revision %d is in force, and the draft is about %d: %w", now.Revision, proposal.Previous.Revision, promotion.ErrStale))
	}
	impact, err := f.Replayer.Replay(ctx, now, next, f.log(in.Tenant))
	if err != nil {
		return out, err
	}
	proposal = proposal.Replayed(impact)
	if out.Draft.Proposal, err = keep(ctx, f.Blobs, mediaTypeProposal, proposal); err != nil {
		return out, err
	}
	var regions []string
	for _, r := range world.Regions {
		regions = append(regions, r.Name)
	}
	guard := promotion.DefaultGuard()
	if in.Guard != nil {
		guard = *in.Guard
	}
	plan, err := promotion.NewPlan(promotion.Desire{
		Kind: promotion.KindPolicy, Tenant: in.Tenant, Environment: in.Environment, Regions: first(proposal.Target, regions),
		Policy: &next, Guard: &guard, Proposal: out.Draft.Proposal.Digest, ExpiresAt: proposal.ExpiresAt,
	}, promotion.World{
		Observed: promotion.Observe(promotion.KindPolicy, in.Tenant, "", in.Environment, regions, world), Regions: regions, Policy: now,
	})
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	plan.Risk.Loosens = plan.Risk.Loosens || proposal.Direction == feedback.Loosen
	if out.Plan, err = keep(ctx, f.Blobs, artifact.MediaTypePlan, plan); err != nil {
		return out, err
	}
	out.Action, out.Risk, out.Alone = "policy-"+out.Draft.Proposal.Digest.Hex()[:32], plan.Risk.Score, proposal.Alone()
	// As its ballot will ask: somebody in production, however little it risks.
	out.Need = len(approval.Required(plan.Action(out.Action, out.Plan.Digest), 0))
	out.Decisions, out.Opened, out.Closed = impact.Decisions, impact.Opened, impact.Closed
	out.Words = fmt.Sprintf("%s; of %d decisions %d would open and %d would close", proposal.Summary, impact.Decisions, impact.Opened, impact.Closed)
	return out, nil
}

// first puts the region that a change is about before the others: where it
// matters it is watched first.
func first(target string, regions []string) []string {
	if !slices.Contains(regions, target) {
		return regions
	}
	return append([]string{target}, slices.DeleteFunc(slices.Clone(regions), func(r string) bool { return r == target })...)
}

// log returns the decision log in batches.
func (f *Feedback) log(tenant string) func(context.Context) ([]policy.Decision, error) {
	after, read, since := "", 0, f.Now().Add(-replaySince)
	return func(ctx context.Context) ([]policy.Decision, error) {
		activity.RecordHeartbeat(ctx, read)
		if read >= replayMost {
			return nil, nil
		}
		found, last, err := f.Verdicts.Verdicts(ctx, tenant, since, after, replayBatch)
		after, read = last, read+len(found)
		return found, err
	}
}

// ProposePolicy keeps a signed proposal and starts its rollout as an action.
// Idempotent: once by action. A key that has an open one is refused, which is no
// failure: two evaluations came to the same.
func (f *Feedback) ProposePolicy(ctx context.Context, in contract.ProposeInput) (contract.Proposed, error) {
	r := in.Replayed
	var proposal feedback.Proposal
	if err := decode(ctx, f.Blobs, r.Draft.Proposal.Digest, contract.BadPlan, &proposal); err != nil {
		return contract.Proposed{}, within(err, "action %s", r.Action)
	}
	err := f.Proposals.Propose(ctx, Proposal{
		Proposal: proposal, Tenant: in.Tenant, TraceID: in.TraceID, Action: r.Action, Evaluation: in.Evaluation, Requester: in.Requester,
		Plan: r.Plan, Risk: r.Risk, Need: r.Need, Predicate: r.Draft.Proposal.Digest, Bundle: in.Bundle.Digest,
	})
	if errors.Is(err, ErrConflictingProposal) {
		return contract.Proposed{Action: r.Action, Refused: err.Error()}, nil
	}
	return contract.Proposed{Action: r.Action}, within(settled(err), "action %s", r.Action)
}

// NoteRegion writes what is known of a policy in a region. Idempotent: each
// state once. A region that was rolled back runs another document than the
// plan's: its revision is read from the snapshot that brought it.
func (f *Feedback) NoteRegion(ctx context.Context, in contract.RegionStateInput) (contract.Nothing, error) {
	if in.State == contract.PolicyRolledBack {
		then, err := f.Snapshots.At(ctx, in.Snapshot)
		if err != nil {
			return contract.Nothing{}, within(settled(err), "action %s", in.Action)
		}
		if r, ok := then.Region(in.Region); ok {
			in.Revision, in.Policy = r.Policy, r.PolicyDigest
		}
	}
	return contract.Nothing{}, within(settled(f.Proposals.NoteRegion(ctx, in)), "action %s: %s", in.Action, in.Region)
}
