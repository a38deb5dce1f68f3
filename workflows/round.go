package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// FederatedRound runs one round over every region of its cohort. A region that
// delivers nothing is a result with a cause; the round fails only below its
// quorum. However it ends, CloseRound records it.
func FederatedRound(ctx workflow.Context, in contract.RoundInput) (contract.RoundResult, error) {
	begin(ctx, in.Subject, string(in.Kind))
	f := &federated{in: in}
	err := f.run(ctx)

	end := contract.CloseRoundInput{
		Subject:  in.Subject,
		Run:      in.Run,
		Number:   in.Number,
		Kind:     in.Kind,
		Base:     f.plan.Base,
		Weights:  f.combined.Weights,
		Manifest: f.plan.Manifest,
		Metrics:  f.combined.Metrics,
		Version:  f.version,
		Regions:  f.regions,
		Cause:    words(err, contract.RoundFailed),
		State:    f.combined.State,
		Clip:     f.plan.Clip,
		NextClip: f.combined.Clip,

		Provenance: f.provenance,
	}
	done, cancel := closing(ctx)
	defer cancel()
	result, lost := contract.CloseRound.Execute(quick(done, "record the end of the round"), end)
	switch {
	case canceled(ctx, err):
		return result, err
	case err != nil:
		return result, explain(err, contract.RoundFailed).final()
	}
	return result, lost
}

// federated is the state of one round.
type federated struct {
	in       contract.RoundInput
	plan     contract.RoundPlan
	regions  []contract.RegionResult // as in the plan's cohort
	combined contract.Combined
	version  contract.Version

	provenance contract.Signed
}

func (f *federated) run(ctx workflow.Context) error {
	in := f.in
	var err error
	if f.plan, err = contract.PlanRound.Execute(compute(ctx, contract.QueueControl, "consent, cohort, manifest"), in); err != nil {
		return err
	}
	order, err := contract.SignStatement.Execute(signing(ctx, "the order to the sites"), contract.SignInput{
		Subject:       in.Subject,
		Name:          contract.RoundID(in.Run, in.Number),
		Digest:        f.plan.Manifest.Digest,
		PredicateType: artifact.PredicateRoundManifest,
	})
	if err != nil {
		return err
	}
	f.show(ctx, "regions are at work")
	if err := f.inRegions(ctx, order.Bundle); err != nil {
		return err
	}
	if err := f.quorum(); err != nil {
		return err
	}
	f.combined, err = contract.CombineRegions.Execute(compute(ctx, contract.QueueControl, "one sum of all regions"), contract.CombineInput{
		Subject: in.Subject,
		Run:     in.Run,
		Number:  in.Number,
		Kind:    in.Kind,
		Params:  in.Params,
		Base:    f.plan.Base,
		Regions: f.delivered(),
		State:   f.plan.State,
		Clip:    f.plan.Clip,
	})
	if err != nil {
		return err
	}
	f.show(ctx, measured(f.combined.Metrics))
	if err := f.attest(ctx); err != nil {
		return err
	}
	if !in.Publish {
		return nil
	}
	f.version, err = f.publish(ctx)
	return err
}

// inRegions starts every region and waits for all of them. Regions are started
// and collected in the plan's order.
func (f *federated) inRegions(ctx workflow.Context, signature artifact.Descriptor) error {
	in := f.in
	children := make([]workflow.ChildWorkflowFuture, len(f.plan.Cohort))
	for i, c := range f.plan.Cohort {
		name := fmt.Sprintf("%s round %d of %s in %s, %d sites", in.Kind, in.Number, in.ModelID, c.Name(), c.Sites)
		id := contract.RegionID(in.Run, in.Number, c.Name())
		limit := regionLimit(in.Params, c.Sites, f.plan.Secured)
		opts := child(ctx, id, contract.QueueRegion(c.Region), name, limit, labels(in.Subject, string(in.Kind)))
		children[i] = contract.RegionRound.Child(opts, contract.RegionInput{
			Subject:   in.Subject,
			Run:       in.Run,
			Number:    in.Number,
			Kind:      in.Kind,
			Region:    c.Name(),
			Sites:     c.Sites,
			Need:      round.Need(in.Params.Quorum, f.plan.Cohort, c.Name()),
			Params:    in.Params,
			Manifest:  f.plan.Manifest,
			Signature: signature,
			Host:      c.Region,
			Secured:   f.plan.Secured,
			Enough:    in.Params.Suffice(in.Kind, f.plan.Cohort, c.Name()),
		})
	}
	for i, c := range f.plan.Cohort {
		var result contract.RegionResult
		if err := children[i].Get(ctx, &result); err != nil {
			result = contract.RegionResult{
				Counts: round.Counts{Selected: c.Sites},
				Cause:  words(err, contract.RoundFailed),
			}
		}
		result.Region = c.Name()
		f.regions = append(f.regions, result)
	}
	return ctx.Err()
}

// regionLimit is when a group counts as lost.
func regionLimit(p round.Params, sites int, secured bool) time.Duration {
	deadlines := time.Duration(p.DeadlineSeconds*(1+p.Extensions)) * time.Second
	if secured {
		deadlines += time.Duration(p.Secure.StageSeconds*secureStages) * time.Second
	}
	return deadlines + regionSlack + time.Duration(sites)*perSite
}

// delivered returns the regions that have a sum, in the plan's order.
func (f *federated) delivered() []contract.RegionResult {
	var some []contract.RegionResult
	for _, r := range f.regions {
		if r.Cause == "" {
			some = append(some, r)
		}
	}
	return some
}

// quorum fails the round when too few delivered, and says what each region
// that did not had to say.
func (f *federated) quorum() error {
	err := round.Quorum(f.reachable(), f.hosts())
	if err == nil {
		return nil
	}
	why := []string{err.Error()}
	for _, r := range f.regions {
		if r.Cause != "" {
			why = append(why, r.Region+": "+r.Cause)
		}
	}
	return &failure{contract.NoQuorum, strings.Join(why, "; ")}
}

// hosts counts what was delivered, by the regions where it was summed.
func (f *federated) hosts() []round.Counts {
	var regions []string
	var counts []round.Counts
	for i, c := range f.plan.Cohort {
		r := f.regions[i]
		if r.Cause != "" {
			continue
		}
		at := slices.Index(regions, c.Region)
		if at < 0 {
			regions, counts = append(regions, c.Region), append(counts, r.Counts)
			continue
		}
		counts[at].Selected += r.Counts.Selected
		counts[at].Accepted += r.Counts.Accepted
		counts[at].Rejected += r.Counts.Rejected
	}
	return counts
}

// reachable returns the parameters with the quorum of regions that this
// round's groups can reach: the sites of small regions hide in one sum, and
// their regions were counted when the round was planned.
func (f *federated) reachable() round.Params {
	p := f.in.Params
	if f.plan.Secured {
		var regions []string
		for _, c := range f.plan.Cohort {
			if !slices.Contains(regions, c.Region) {
				regions = append(regions, c.Region)
			}
		}
		p.QuorumRegions = min(p.QuorumRegions, len(regions))
	}
	return p
}

// attest signs where the weights come from, before anybody else has them.
func (f *federated) attest(ctx workflow.Context) error {
	in := f.in
	predicate, err := contract.AttestRound.Execute(quick(ctx, "where the weights come from"), contract.AttestInput{
		Subject:  in.Subject,
		Run:      in.Run,
		Number:   in.Number,
		Manifest: f.plan.Manifest,
		Previous: in.Previous,
		Weights:  f.combined.Weights,
		State:    f.combined.State,
		Metrics:  f.combined.Metrics,
		Regions:  f.delivered(),
	})
	if err != nil {
		return err
	}
	f.provenance, err = contract.SignStatement.Execute(signing(ctx, "where the weights come from"), contract.SignInput{
		Subject:       in.Subject,
		Name:          contract.RoundID(in.Run, in.Number),
		Digest:        f.combined.Weights.Digest,
		PredicateType: artifact.PredicateRound,
		Predicate:     predicate,
	})
	return err
}

// publish makes the weights a version: pushed, signed, the signature attached
// and read back, then registered. Stopped at any line, nothing is a version.
func (f *federated) publish(ctx workflow.Context) (contract.Version, error) {
	in := f.in
	stage(ctx, "publish")
	candidate, err := contract.PushCandidate.Execute(pushing(ctx, "the candidate package"), contract.CandidateInput{
		Subject:  in.Subject,
		Run:      in.Run,
		Number:   in.Number,
		Params:   in.Params,
		Weights:  f.combined.Weights,
		Manifest: f.plan.Manifest,
		Metrics:  f.combined.Metrics,

		Provenance: f.provenance.Statement,
	})
	if err != nil {
		return contract.Version{}, err
	}
	signed, err := contract.SignStatement.Execute(signing(ctx, "the candidate package"), contract.SignInput{
		Subject:       in.Subject,
		Name:          candidate.Repository,
		Digest:        candidate.Package.Digest,
		PredicateType: artifact.PredicateModelPackage,
		Predicate:     candidate.Predicate,
		Also:          candidate.Also,
	})
	if err != nil {
		return contract.Version{}, err
	}
	_, err = contract.AttachSignature.Execute(registry(ctx, "attach and read back"), contract.AttachInput{
		Subject:       in.Subject,
		Repository:    candidate.Repository,
		Package:       candidate.Package,
		PredicateType: artifact.PredicateModelPackage,
		Bundle:        signed.Bundle,
	})
	if err != nil {
		return contract.Version{}, err
	}
	return contract.RegisterVersion.Execute(registry(ctx, "verify, then register"), contract.RegisterInput{
		Subject:   in.Subject,
		Run:       in.Run,
		Number:    in.Number,
		Candidate: candidate,
		Bundle:    signed.Bundle,
		Weights:   f.combined.Weights,
		Metrics:   f.combined.Metrics,
		Also:      signed.Also,
	})
}

func (f *federated) show(ctx workflow.Context, now string) {
	lines := []string{
		fmt.Sprintf("**%s round %d** of model %s (%s): %s", f.in.Kind, f.in.Number, f.in.ModelID, f.in.Tenant, now),
		"", "| region | sites asked | delivered | refused | |", "|---|---|---|---|---|",
	}
	for i, c := range f.plan.Cohort {
		var r contract.RegionResult
		if i < len(f.regions) {
			r = f.regions[i]
		}
		lines = append(lines, fmt.Sprintf("| %s | %d | %d | %d | %s |", c.Name(), c.Sites, r.Counts.Accepted, r.Counts.Rejected, r.Cause))
	}
	show(ctx, lines...)
}
