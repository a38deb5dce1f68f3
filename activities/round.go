package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
)

// Why a round cannot begin.
var (
	ErrConsent = errors.New("features may not be used")
	ErrSites   = errors.New("too few sites or regions take part")
)

// A Round begins and ends rounds and runs.
type Round struct {
	Blobs      Blobs
	Rounds     Rounds
	Signer     Signer // of grants, in the name of tenants that the API has authenticated
	Now        func() time.Time
	Simulation bool // what is trained here is marked, and production refuses it
	// Snapshots hold the policy in force, which may keep sites out; nil keeps none.
	Snapshots Snapshots
}

// PlanRound decides what a round will do and writes it down once: the consent
// of every feature, the sites that take part and how they are grouped, the
// weights and the state that it starts from.
// Idempotent: the first plan that was written is the plan; a second run
// returns it, even if sites have enrolled or consent was given meanwhile.
// Heartbeats while it writes the first weights.
// Final: [contract.NoConsent] naming the features, [contract.NoSites],
// [contract.NoBudget] naming what is left.
func (r *Round) PlanRound(ctx context.Context, in contract.RoundInput) (contract.RoundPlan, error) {
	begun, _, ok, err := r.Rounds.Begun(ctx, in.Tenant, in.Run, in.Number)
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	if ok {
		return r.plan(ctx, in, begun)
	}
	features, err := r.consented(ctx, in)
	if err != nil {
		return contract.RoundPlan{}, err
	}
	sites, err := r.Rounds.ActiveSites(ctx, in.Tenants)
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	if sites, err = r.unquarantined(ctx, sites); err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	who, err := seated(in, sites)
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	if in.Base.Digest == "" {
		// A crash after this line leaves a blob that the next run puts again.
		in.Base, err = keepWritten(ctx, r.Blobs, func(dst io.Writer) error {
			return model.WriteInitial(beating{ctx, dst}, in.Params.Model, in.Params.Seed, in.Params.Bounds)
		})
		if err != nil {
			return contract.RoundPlan{}, about(in.Run, in.Number, err)
		}
	}
	starts, err := r.starts(ctx, in)
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	order := round.Manifest{
		Run:        in.Run,
		Number:     in.Number,
		Kind:       in.Kind,
		Tenant:     in.Tenant,
		ModelID:    in.ModelID,
		Base:       in.Base,
		Params:     in.Params,
		Features:   features,
		Cohort:     who.cohort,
		CohortRoot: round.CohortRoot(who.sites),
		Simulation: r.Simulation,
		TraceID:    in.TraceID,
		Secured:    who.secured,
		State:      in.State,
		Clip:       clipOf(in),
		SampleSeed: who.seed,
		Enrolled:   len(sites),
		Starts:     starts,
	}
	under, err := r.under(ctx, in, &order, who.seats)
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	manifest, err := keep(ctx, r.Blobs, artifact.MediaTypeManifest, order)
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	if err := payload.Check(order, manifest.Digest); err != nil {
		return contract.RoundPlan{}, permanent(contract.BadPlan, about(in.Run, in.Number, err))
	}
	cost, err := privacy.Of(order, manifest.Digest)
	if err != nil {
		return contract.RoundPlan{}, permanent(contract.BadPlan, about(in.Run, in.Number, err))
	}
	// Until here nothing but blobs exists. If we crash after the next line, the
	// round is found begun, with this manifest and what it costs.
	begun, err = r.Rounds.BeginRound(ctx, in, manifest, who.seats, cost, under...)
	var refusal *privacy.RefusalError
	if errors.As(err, &refusal) {
		return contract.RoundPlan{}, permanent(contract.NoBudget, about(in.Run, in.Number, err))
	}
	if err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, settled(err))
	}
	return r.plan(ctx, in, begun)
}

// plan reads what was written: it may be the manifest of an earlier run.
func (r *Round) plan(ctx context.Context, in contract.RoundInput, begun artifact.Descriptor) (contract.RoundPlan, error) {
	var manifest round.Manifest
	if err := decode(ctx, r.Blobs, begun.Digest, contract.BadPlan, &manifest); err != nil {
		return contract.RoundPlan{}, about(in.Run, in.Number, err)
	}
	return contract.RoundPlan{
		Manifest: begun, Base: manifest.Base, Cohort: manifest.Cohort, Secured: manifest.Secured, State: manifest.State, Clip: manifest.Clip,
	}, nil
}

// consented returns the features of every tenant by tenant and id, or says
// which of them may not be used. A run takes statistics, trains and evaluates,
// so it must be allowed all three: it never begins what it could not go on with.
func (r *Round) consented(ctx context.Context, in contract.RoundInput) ([]round.FeatureRef, error) {
	known, err := r.Rounds.ConsentedFeatures(ctx, in.Tenant, in.Tenants, in.Params.Features)
	if err != nil {
		return nil, about(in.Run, in.Number, err)
	}
	var refused []string
	for _, refusal := range catalog.Refusals(known, in.Tenant, in.Tenants, in.Params.Features, catalog.Purposes()...) {
		refused = append(refused, refusal.Error())
	}
	if len(in.Params.Features) == 0 {
		refused = append(refused, "no feature is named")
	}
	if len(refused) > 0 {
		err := fmt.Errorf("%w: %s", ErrConsent, strings.Join(refused, "; "))
		return nil, permanent(contract.NoConsent, about(in.Run, in.Number, err))
	}
	refs := make([]round.FeatureRef, 0, len(known))
	for _, f := range known {
		refs = append(refs, round.FeatureRef{Tenant: f.Tenant, Feature: f.ID, Fingerprint: f.Fingerprint})
	}
	slices.SortFunc(refs, func(a, b round.FeatureRef) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Feature, b.Feature))
	})
	return refs, nil
}

// CloseRound writes the end of a round. Idempotent: written once.
func (r *Round) CloseRound(ctx context.Context, in contract.CloseRoundInput) (contract.RoundResult, error) {
	if err := r.Rounds.CloseRound(ctx, in); err != nil {
		return contract.RoundResult{}, about(in.Run, in.Number, settled(err))
	}
	return contract.RoundResult{
		Number:  in.Number,
		Base:    in.Base,
		Weights: in.Weights,
		Metrics: in.Metrics,
		Version: in.Version,
		Cause:   in.Cause,
		State:   in.State,
		Clip:    in.NextClip,

		Provenance: in.Provenance.Statement,
	}, nil
}

// clipOf returns the norm of a round whose norm adapts: what the round before
// has left, or what the run begins with.
func clipOf(in contract.RoundInput) float64 {
	if !in.Params.Privacy.Adaptive.On() {
		return 0
	}
	return cmp.Or(in.Clip, in.Params.Privacy.ClipNorm)
}

// CloseRun writes the end of a run. Idempotent: written once.
func (r *Round) CloseRun(ctx context.Context, in contract.CloseRunInput) (contract.RunResult, error) {
	if err := r.Rounds.CloseRun(ctx, in); err != nil {
		return contract.RunResult{}, within(settled(err), "run %s", in.Run)
	}
	return in.RunResult, nil
}
