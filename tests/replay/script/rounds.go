package script

import (
	"context"
	"fmt"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Subject is whose work the script is.
func Subject() contract.Subject {
	return contract.Subject{Tenant: "consortium", ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}
}

// Params are those of a run of n train rounds over five sites.
func Params(n int) round.Params {
	return round.Params{
		Model:           round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 30, Classes: 2},
		Rounds:          n,
		Quorum:          3,
		QuorumRegions:   2,
		DeadlineSeconds: 60,
		Extensions:      1,
		LocalEpochs:     1,
		BatchSize:       16,
		LearningRate:    0.1,
		Seed:            1,
		Features:        []string{"wdbc"},
	}
}

// FiveSites is the cohort of the demo: five sites in three regions.
func FiveSites() []round.Cohort {
	return []round.Cohort{{Region: "apac", Sites: 1}, {Region: "eu", Sites: 2}, {Region: "us", Sites: 2}}
}

// Run starts a run of n train rounds.
func Run(id string, n int) contract.RunInput {
	return contract.RunInput{Subject: Subject(), Run: id, Tenants: []string{"h1", "h2"}, Params: Params(n)}
}

func (w *World) bindRounds(r worker.ActivityRegistry) {
	contract.PlanRound.Bind(r, func(_ context.Context, in contract.RoundInput) (contract.RoundPlan, error) {
		base := in.Base
		if base.Digest == "" {
			base = Blob("initial weights")
		}
		return contract.RoundPlan{Manifest: Blob(fmt.Sprintf("manifest %d", in.Number)), Base: base, Cohort: w.Cohort, Secured: w.Secured, State: in.State, Clip: clip(in)}, w.call("PlanRound", fmt.Sprint(in.Number))
	})
	contract.SignStatement.Bind(r, func(_ context.Context, in contract.SignInput) (contract.Signed, error) {
		err := w.call("SignStatement", "")
		w.mu.Lock()
		w.signed = append(w.signed, in)
		w.mu.Unlock()
		return contract.Signed{Bundle: Blob("bundle of " + string(in.Digest)), Statement: Blob("statement of " + in.Name).Digest}, err
	})
	contract.AttestRound.Bind(r, func(_ context.Context, in contract.AttestInput) (artifact.Descriptor, error) {
		err := w.call("AttestRound", fmt.Sprint(in.Number))
		w.mu.Lock()
		w.attested = append(w.attested, in)
		w.mu.Unlock()
		return Blob(fmt.Sprintf("where %d comes from", in.Number)), err
	})
	contract.OpenStage.Bind(r, func(_ context.Context, in contract.RegionInput) (contract.StageRef, error) {
		err := w.call("OpenStage", in.Region)
		w.mu.Lock()
		w.regions = append(w.regions, in)
		w.mu.Unlock()
		return contract.StageRef{Subject: in.Subject, Run: in.Run, Number: in.Number, Kind: in.Kind, Region: in.Region}, err
	})
	contract.AwaitStage.Bind(r, w.awaitStage)
	contract.AggregateRegion.Bind(r, func(_ context.Context, in contract.StageRef) (contract.RegionResult, error) {
		counts := w.counted(in.Region)
		return contract.RegionResult{
			Region:  in.Region,
			Counts:  counts,
			Partial: Blob("sum of " + in.Region),
			Metrics: round.Metrics{Examples: 90, Evaluated: 20, Correct: 19, LossMicros: 2_000_000},
		}, w.call("AggregateRegion", in.Region)
	})
	w.bindSecured(r)
	contract.CombineRegions.Bind(r, func(_ context.Context, in contract.CombineInput) (contract.Combined, error) {
		c := contract.Combined{Weights: Blob(fmt.Sprintf("weights after %d", in.Number)), Clip: in.Clip}
		if in.Params.Privacy.Adaptive.On() && in.Kind == round.Train {
			c.Clip++
		}
		for _, r := range in.Regions {
			if r.Cause != "" {
				return c, Final(contract.BadUpdate, r.Region+" delivered nothing and cannot be combined")
			}
			c.Metrics = c.Metrics.Add(r.Metrics)
		}
		if measured, ok := w.Measured[in.Number]; ok {
			c.Metrics = measured
		}
		if c.State = in.State; in.Params.Strategy.Stateful() && in.Kind == round.Train {
			c.State = Blob(fmt.Sprintf("%s and the state after %d", in.State.Digest, in.Number))
		}
		return c, w.call("CombineRegions", fmt.Sprint(in.Number))
	})
	contract.PushCandidate.Bind(r, func(_ context.Context, in contract.CandidateInput) (contract.Candidate, error) {
		return contract.Candidate{Repository: "models/consortium/m1", Package: Blob("package"), Predicate: Blob("predicate")}, w.call("PushCandidate", "")
	})
	contract.RegisterVersion.Bind(r, func(_ context.Context, in contract.RegisterInput) (contract.Version, error) {
		return contract.Version{Number: 4, Repository: in.Candidate.Repository, Package: in.Candidate.Package.Digest, Weights: in.Weights.Digest}, w.call("RegisterVersion", "")
	})
	contract.CloseRound.Bind(r, func(_ context.Context, in contract.CloseRoundInput) (contract.RoundResult, error) {
		err := w.call("CloseRound", fmt.Sprint(in.Number))
		w.mu.Lock()
		w.rounds = append(w.rounds, in)
		w.mu.Unlock()
		return contract.RoundResult{Number: in.Number, Base: in.Base, Weights: in.Weights, Metrics: in.Metrics, Version: in.Version, Cause: in.Cause, State: in.State, Clip: in.NextClip, Provenance: in.Provenance.Statement}, err
	})
	contract.CloseRun.Bind(r, func(_ context.Context, in contract.CloseRunInput) (contract.RunResult, error) {
		err := w.call("CloseRun", in.Status)
		w.mu.Lock()
		w.runs = append(w.runs, in)
		w.mu.Unlock()
		return in.RunResult, err
	})
}

// awaitStage answers with the next scripted counts of the region; without a
// script every site has answered.
func (w *World) awaitStage(_ context.Context, in contract.AwaitInput) (contract.StageCounts, error) {
	err := w.call("AwaitStage", in.Region)
	w.mu.Lock()
	w.waits[in.Region]++
	w.mu.Unlock()
	return contract.StageCounts{Counts: w.counted(in.Region)}, err
}

func (w *World) counted(region string) round.Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	if script := w.Counts[region]; len(script) > 0 {
		return script[min(max(w.waits[region]-1, 0), len(script)-1)]
	}
	for _, c := range w.Cohort {
		if c.Name() == region {
			return round.Counts{Selected: c.Sites, Accepted: c.Sites}
		}
	}
	return round.Counts{}
}

// clip is what a round clips to whose norm adapts.
func clip(in contract.RoundInput) float64 {
	switch {
	case !in.Params.Privacy.Adaptive.On():
		return 0
	case in.Clip == 0:
		return in.Params.Privacy.ClipNorm
	}
	return in.Clip
}
