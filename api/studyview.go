package api

import (
	"math"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/tuning"
)

func studyView(s Study) v1.Study {
	view := v1.Study{
		ID: s.ID, Tenant: s.Tenant, ModelID: s.ModelID, Environment: v1.StudyEnvironment(s.Environment), Requester: s.Requester,
		Tenants: views(s.Base.Tenants, func(t string) v1.Name { return t }), Params: paramsView(s.Base.Params),
		Space: views(s.Spec.Space, func(d tuning.Dimension) v1.StudyDimension {
			return v1.StudyDimension{Name: v1.StudyDimensionName(d.Name), Kind: v1.StudyDimensionKind(d.Kind), Low: d.Low, High: d.High, Log: d.Log, Values: d.Values}
		}),
		Metric: v1.StudyMetric(s.Spec.Metric), Goal: v1.StudyGoal(s.Spec.Goal),
		Constraints: views(s.Spec.Constraints, func(c tuning.Constraint) v1.StudyConstraint {
			return v1.StudyConstraint{Metric: v1.StudyMetric(c.Metric), AtMost: c.AtMost}
		}),
		Trials: s.Spec.Trials, Parallel: s.Spec.Parallel, Repeats: s.Spec.Repeats, Seed: int64(s.Spec.Seed), BudgetRounds: s.Rounds, Apply: s.Apply,
		Prior: len(s.Prior), Status: v1.StudyStatus(s.Status), Cause: s.Cause, Made: s.Made, Best: s.Best, Suggestion: s.Suggestion,
		Spent:     v1.StudySpent{Rounds: s.Used, Runs: len(s.Runs), Epsilon: privacy.Most(s.Charges)},
		CreatedAt: s.CreatedAt, EndedAt: moment(s.EndedAt), WorkflowID: contract.StudyID(s.ID), TraceID: s.TraceID, Simulated: s.Simulated,
	}
	if h := s.Spec.Halving; h != nil {
		view.Halving = v1.StudyHalving{First: h.First, Factor: h.Factor}
	}
	_, view.Spent.Held = s.Spec.Committed(s.Jobs, s.Base.Params.Rounds)
	if best, found := s.Spec.Best(tuning.Trials(nil, s.Jobs)); found && s.Best == 0 {
		view.Best = best.Number
	}
	runs := map[int][]string{}
	for _, r := range s.Runs {
		runs[r.Number] = append(runs[r.Number], r.Run)
	}
	view.Results = views(s.Jobs, func(j tuning.Job) v1.StudyTrial { return trialView(s.Spec, j, runs[j.Number]) })
	return view
}

func trialView(spec tuning.Study, j tuning.Job, runs []string) v1.StudyTrial {
	view := v1.StudyTrial{
		Number: j.Number, State: v1.StudyTrialState(j.State), Cause: j.Cause, Parameters: placeView(spec.Space, j.Point), Runs: append([]string{}, runs...), Rounds: j.Rounds,
		Values: j.Values, Rungs: views(j.Rungs, func(micros int64) float64 { return float64(micros) / 1e6 }),
	}
	if cost, measured := spec.Cost(j.Trial); measured {
		if spec.Goal == tuning.Maximize {
			cost = -cost
		}
		view.Value = &cost
		kept := spec.Feasible(j.Trial)
		view.Feasible = &kept
	}
	for i, c := range spec.Constraints {
		if i < len(j.Constraints) {
			view.Constraints = append(view.Constraints, v1.StudyMeasured{Metric: v1.StudyMetric(c.Metric), Value: math.Min(j.Constraints[i], math.MaxFloat32), AtMost: c.AtMost})
		}
	}
	return view
}
