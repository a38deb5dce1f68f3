package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// mediaTypeCardReport is the type of a scorecard's blob.
const mediaTypeCardReport = "application/vnd.fabric.scorecard.v1+json"

// maxTrials is how many runs, the latest, a scorecard looks at.
const maxTrials = 200

// A Tuning judges the finished runs of a model and suggests what to try next.
type Tuning struct {
	Blobs     Blobs
	Actions   Actions
	Snapshots Snapshots
	Grants    Grants
	Studies   Studies
	Engine    tuning.Suggester // that chooses the trials of every study
}

// A Report is the blob of a scorecard: the card, and all that it and a
// suggestion are computed from, so that either can be computed again.
type Report struct {
	Tenant      string         `json:"tenant"`
	ModelID     string         `json:"modelId"`
	Environment string         `json:"environment"`
	Card        scorecard.Card `json:"card"`
	Trials      []TrialRow     `json:"trials"`
}

// A TrialRow is a finished run in a report.
type TrialRow struct {
	Run     string        `json:"run"`
	Params  round.Params  `json:"params"`
	Metrics round.Metrics `json:"metrics"`
	Status  string        `json:"status"`
}

// ComputeScorecard judges the model's finished runs. Idempotent: the same runs
// give the same card, stored by digest; a run that ended meanwhile gives
// another one, as it should.
func (t *Tuning) ComputeScorecard(ctx context.Context, in contract.TuneInput) (contract.Scorecard, error) {
	trials, err := t.Actions.Trials(ctx, in.Tenant, in.ModelID)
	if err != nil {
		return contract.Scorecard{}, within(err, "action %s", in.Action)
	}
	report := Report{Tenant: in.Tenant, ModelID: in.ModelID, Environment: in.Environment, Trials: []TrialRow{}}
	for _, trial := range trials[max(0, len(trials)-maxTrials):] {
		report.Trials = append(report.Trials, TrialRow(trial))
	}
	report.Card = scorecard.Compute(report.judged())
	card, err := keep(ctx, t.Blobs, mediaTypeCardReport, report)
	if err != nil {
		return contract.Scorecard{}, within(err, "action %s", in.Action)
	}
	return contract.Scorecard{
		Subject: in.Subject,
		Action:  in.Action,
		Card:    card,
		Score:   report.Card.Score,
		Status:  string(report.Card.Status),
		Study:   in.Study,
	}, nil
}

// Suggest makes a plan of one changed parameter, or says why there is none.
// Idempotent: it follows from the card's blob and the newest snapshot, and the
// plan is stored by digest.
func (t *Tuning) Suggest(ctx context.Context, in contract.Scorecard) (contract.Suggestion, error) {
	suggestion, err := t.suggest(ctx, in)
	return suggestion, within(err, "action %s", in.Action)
}

func (t *Tuning) suggest(ctx context.Context, in contract.Scorecard) (contract.Suggestion, error) {
	var report Report
	if err := decode(ctx, t.Blobs, in.Card.Digest, contract.BadPlan, &report); err != nil {
		return contract.Suggestion{}, err
	}
	proposal, reason, ok, err := t.propose(ctx, in, report)
	if err != nil {
		return contract.Suggestion{}, err
	}
	if !ok {
		return contract.Suggestion{Reason: reason}, nil
	}
	world, err := t.Snapshots.Latest(ctx)
	if err != nil {
		return contract.Suggestion{}, err
	}
	var regions []string
	for _, r := range world.Regions {
		regions = append(regions, r.Name)
	}
	plan, err := promotion.NewPlan(promotion.Desire{
		Kind:        promotion.KindTuning,
		Tenant:      report.Tenant,
		ModelID:     report.ModelID,
		Environment: report.Environment,
		Tuning:      &proposal,
	}, promotion.World{
		Observed: promotion.Observe(promotion.KindTuning, report.Tenant, report.ModelID, report.Environment, regions, world),
		Regions:  regions,
	})
	switch {
	case errors.Is(err, promotion.ErrNoChange):
		return contract.Suggestion{Reason: reason}, nil
	case err != nil:
		return contract.Suggestion{}, permanent(contract.BadPlan, err)
	}
	kept, err := keep(ctx, t.Blobs, artifact.MediaTypePlan, plan)
	if err != nil {
		return contract.Suggestion{}, err
	}
	return contract.Suggestion{Plan: kept, Reason: reason}, nil
}

// propose returns what the best trial of a study changes, or what one suggestion
// over the finished runs of the model does.
func (t *Tuning) propose(ctx context.Context, in contract.Scorecard, report Report) (promotion.Tuning, string, bool, error) {
	if in.Study == "" {
		proposal, reason, ok, err := tuning.Propose(report.judged(), t.Engine)
		if err != nil {
			err = permanent(contract.BadPlan, err) // a function of the report: it would fail again
		}
		return proposal, reason, ok, err
	}
	study, err := t.Studies.Study(ctx, in.Tenant, in.Study)
	if err != nil {
		return promotion.Tuning{}, "", false, settled(err)
	}
	best, found := study.best()
	if !found {
		return promotion.Tuning{}, fmt.Sprintf("study %s has no trial that succeeded and keeps its constraints", in.Study), false, nil
	}
	changes := study.Spec.Changes(study.Base.Params, best.Point)
	if changes == nil {
		return promotion.Tuning{}, fmt.Sprintf("trial %d of study %s is best, which is what the study began with", best.Number, in.Study), false, nil
	}
	return *changes, fmt.Sprintf("trial %d of study %s, the best of %d", best.Number, in.Study, len(study.Jobs)), true, nil
}

// ApplySuggestion records the suggestion as applied, and with it the model's
// tuned parameter that the next run starts from. Idempotent: recorded once.
// Final: [contract.BadPlan] for a plan that tunes nothing.
func (t *Tuning) ApplySuggestion(ctx context.Context, in contract.ApplyInput) (contract.TuneResult, error) {
	var plan promotion.Plan
	if err := decode(ctx, t.Blobs, in.Plan.Digest, contract.BadPlan, &plan); err != nil {
		return contract.TuneResult{}, within(err, "action %s", in.Action)
	}
	if plan.Kind != promotion.KindTuning || plan.Tuning == nil || plan.Tenant != in.Tenant || plan.ModelID != in.ModelID {
		return contract.TuneResult{}, permanent(contract.BadPlan, fmt.Errorf("action %s: %w", in.Action, ErrPlan))
	}
	if err := granted(ctx, t.Grants, in.Grant, in.Tenant, in.Action, plan); err != nil {
		return contract.TuneResult{}, within(err, "action %s", in.Action)
	}
	err := t.Actions.RecordOutcome(ctx, contract.OutcomeInput{
		Subject: in.Subject,
		Action:  in.Action,
		Kind:    promotion.KindTuning,
		Outcome: contract.Applied,
		Plan:    in.Plan.Digest,
	}, plan)
	if err != nil {
		return contract.TuneResult{}, within(settled(err), "action %s", in.Action)
	}
	return contract.TuneResult{Action: in.Action, Outcome: contract.Applied, Plan: in.Plan.Digest}, nil
}

// judged returns the trials as the domain's rules take them.
func (r Report) judged() []scorecard.Trial {
	trials := make([]scorecard.Trial, len(r.Trials))
	for i, t := range r.Trials {
		trials[i] = scorecard.Trial(t)
	}
	return trials
}
