package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// Consents carries withdrawals to what they reach, over tenants.
type Consents interface {
	// Enforce leaves the tenant out of every group of a running round that has
	// not added its updates, marks the rounds that have as tainted, and returns
	// all that it ever did for this withdrawal. Twice is once.
	Enforce(ctx context.Context, tenant string, epoch int64) ([]consent.Effect, error)
	// Reached returns what the withdrawal has reached. ErrNotFound.
	Reached(ctx context.Context, tenant string, epoch int64) (consent.Report, error)
	// RecordWithdrawal writes its report, once.
	RecordWithdrawal(ctx context.Context, in contract.WithdrawalRecord) error
}

// A Consent does what a withdrawal needs.
type Consent struct {
	Blobs    Blobs
	Consents Consents
}

// EnforceWithdrawal takes effect in running rounds. Idempotent: what is written
// for a group is written once.
func (c *Consent) EnforceWithdrawal(ctx context.Context, in contract.WithdrawalInput) (contract.Enforced, error) {
	effects, err := c.Consents.Enforce(ctx, in.Tenant, in.Epoch)
	if err != nil {
		return contract.Enforced{}, within(err, "withdrawal %s/%d", in.Tenant, in.Epoch)
	}
	var out contract.Enforced
	for _, e := range effects {
		switch e.Action {
		case consent.Canceled:
			out.Canceled++
		case consent.Dropped:
			out.Dropped++
		case consent.Stopped:
			out.Stopped++
		case consent.Tainted:
			out.Tainted++
		}
	}
	return out, nil
}

// ReportWithdrawal writes down what the withdrawal has reached, for machines,
// for people and to be signed. Not recorded yet: a second run may know more,
// and the workflow goes on with one of them.
func (c *Consent) ReportWithdrawal(ctx context.Context, in contract.WithdrawalInput) (contract.WithdrawalRecord, error) {
	out := contract.WithdrawalRecord{Subject: in.Subject, Epoch: in.Epoch}
	report, err := c.Consents.Reached(ctx, in.Tenant, in.Epoch)
	if err != nil {
		return out, within(settled(err), "withdrawal %s/%d", in.Tenant, in.Epoch)
	}
	if out.Report, err = keep(ctx, c.Blobs, artifact.MediaTypePredicate, report); err != nil {
		return out, within(err, "withdrawal %s/%d", in.Tenant, in.Epoch)
	}
	out.Undecided = report.Undecided()
	out.Markdown, err = c.Blobs.Put(ctx, "text/markdown", strings.NewReader(report.Markdown()))
	return out, within(err, "withdrawal %s/%d", in.Tenant, in.Epoch)
}

// RecordWithdrawal records the signed report. Idempotent: the first one stays.
func (c *Consent) RecordWithdrawal(ctx context.Context, in contract.WithdrawalRecord) (contract.Nothing, error) {
	return contract.Nothing{}, within(settled(c.Consents.RecordWithdrawal(ctx, in)), "withdrawal %s/%d", in.Tenant, in.Epoch)
}

// under finds the grants that a round is planned under, has them signed where
// nobody has yet, and writes them into the order: a pack for the sites of each
// tenant, by its digest, and the tenant's epoch. A run takes statistics, trains
// and evaluates, so every grant allows all three.
// Final: [contract.NoConsent] naming every feature that no grant allows, why,
// and what to do.
func (r *Round) under(ctx context.Context, in contract.RoundInput, order *round.Manifest, seats []round.Seat) ([]consent.Record, error) {
	have, err := r.Rounds.Grants(ctx, in.Tenant, in.Tenants, in.Params.Features)
	if err != nil {
		return nil, err
	}
	epochs, err := r.Rounds.Epochs(ctx, in.Tenants)
	if err != nil {
		return nil, err
	}
	use, err := r.use(ctx, in, *order, have)
	if err != nil {
		return nil, err
	}
	var under []consent.Record
	var refused []string
	for _, f := range order.Features {
		one := use
		one.Regions, one.Cohort = partOf(seats, f.Tenant)
		chosen, err := consent.Choose(have, f.Tenant, f.Feature, one, actionOf(in.Kind), consent.ActionStats, consent.ActionTrain, consent.ActionEvaluate)
		if err != nil {
			refused = append(refused, err.Error())
			continue
		}
		under = append(under, chosen)
	}
	if len(refused) > 0 {
		return nil, permanent(contract.NoConsent, fmt.Errorf("%w: %s", ErrConsent, strings.Join(refused, "; ")))
	}
	for _, tenant := range slices.Sorted(slices.Values(in.Tenants)) {
		var bundles []string
		for i := range under {
			if under[i].Tenant != tenant {
				continue
			}
			signed, err := r.signed(ctx, &under[i])
			if err != nil {
				return nil, err
			}
			bundles = append(bundles, signed...)
		}
		pack, err := consent.Pack(bundles)
		if err != nil {
			return nil, permanent(contract.BadPlan, err)
		}
		kept, err := r.Blobs.Put(ctx, mediaTypeGrants, bytes.NewReader(pack))
		if err != nil {
			return nil, err
		}
		order.Consents = append(order.Consents, round.TenantConsent{Tenant: tenant, Epoch: epochs[tenant], Grants: kept.Digest})
	}
	return under, nil
}

// mediaTypeGrants is that of a pack of signed grants.
const mediaTypeGrants = "application/vnd.fabric.grants.v1+json"

// actionOf is what a round of this kind does.
func actionOf(kind round.Kind) string {
	switch kind {
	case round.Statistics:
		return consent.ActionStats
	case round.Evaluate:
		return consent.ActionEvaluate
	}
	return consent.ActionTrain
}

// use is what the round does, whoever takes part. A bound on epsilon concerns
// only the action of this round: the others are held to theirs.
func (r *Round) use(ctx context.Context, in contract.RoundInput, order round.Manifest, have []consent.Record) (consent.Use, error) {
	use := consent.Use{Grantee: in.Tenant, Purpose: in.Params.Purpose, Meets: in.Params.Meets, Now: r.now()}
	if in.Params.Privacy.On() {
		cost, err := privacy.Of(order, order.CohortRoot) // what it costs does not hang on the digest
		if err != nil {
			return use, permanent(contract.BadPlan, err)
		}
		use.Private = true
		if len(cost.Events) > 0 {
			charge, err := dp.Epsilon(cost.Events, in.Params.Privacy.Delta)
			if err != nil {
				return use, permanent(contract.BadPlan, err)
			}
			use.Epsilon = charge.Epsilon
		}
		if order.Kind == round.Statistics {
			use.Private = false // exact sums
		}
	}
	if in.Base.Digest != "" && slices.ContainsFunc(have, func(g consent.Record) bool { return g.Constraints.NoDerivative }) {
		foreign, err := r.Rounds.Foreign(ctx, in.Tenant, in.Run, in.Base.Digest)
		if err != nil {
			return use, err
		}
		use.Derived = foreign
	}
	return use, nil
}

func (r *Round) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// partOf returns where the sites of a tenant are and are summed, and over how
// few sites.
func partOf(seats []round.Seat, tenant string) (regions []string, cohort int) {
	sites := map[string]int{}
	for _, s := range seats {
		sites[s.Group]++
	}
	for _, s := range seats {
		if s.Tenant != tenant {
			continue
		}
		for _, region := range []string{s.Region, s.Host} {
			if region != "" && !slices.Contains(regions, region) {
				regions = append(regions, region)
			}
		}
		if cohort == 0 || sites[s.Group] < cohort {
			cohort = sites[s.Group]
		}
	}
	slices.Sort(regions)
	return regions, cohort
}

// signed returns the bundles of a grant: the tenant's own, if there is one, and
// the fabric's, for sites that were given no key of the tenant. A grant that
// the tenant gave by the API is signed here, in the fabric's name, the first
// time that a plan needs it. If we crash before it is kept, the next run signs
// it again: it says the same.
func (r *Round) signed(ctx context.Context, g *consent.Record) ([]string, error) {
	var bundles []string
	if g.Own {
		own, err := read(ctx, r.Blobs, g.Bundle.Digest)
		if err != nil {
			return nil, err
		}
		bundles = append(bundles, string(own))
	}
	if g.Own || g.Bundle.Digest == "" {
		statement, err := g.Statement()
		if err != nil {
			return nil, permanent(contract.BadPlan, err)
		}
		bundle, _, err := sign(ctx, r.Signer, statement)
		if err != nil {
			return nil, err
		}
		if g.Own {
			return append(bundles, string(bundle)), nil
		}
		kept, err := r.Blobs.Put(ctx, artifact.MediaTypeBundle, bytes.NewReader(bundle))
		if err != nil {
			return nil, err
		}
		if g.Bundle, err = r.Rounds.KeepGrant(ctx, g.Tenant, g.ID, kept); err != nil {
			return nil, settled(err)
		}
	}
	bundle, err := read(ctx, r.Blobs, g.Bundle.Digest)
	return []string{string(bundle)}, err
}

// ErrCommitted says that a tenant withdrew when its vectors were in the sum
// already, and nobody had opened it.
var ErrCommitted = errors.New("withdrew consent when its vectors were committed to: the sum is not opened")

// withdrawn says whose withdrawal keeps the sum over the survivors from being
// opened; empty when nobody's does. Those who withdrew before are not in it.
func (g *group) withdrawn(ctx context.Context, set secagg.SurvivorSet) (cause string, err error) {
	halted, err := g.rounds.Halted(ctx, g.ref)
	if err != nil || len(halted) == 0 {
		return "", err
	}
	sec, err := g.open(ctx)
	if err != nil {
		return "", err
	}
	for _, index := range set.Survivors {
		if tenant := sec.Member(index).Tenant; slices.Contains(halted, tenant) {
			return fmt.Sprintf("tenant %s %v", tenant, ErrCommitted), nil
		}
	}
	return "", nil
}
