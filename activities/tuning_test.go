package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

func TestATuningIsComputedSuggestedAndApplied(t *testing.T) {
	w := world(t)
	bootstrap(t, w)
	tunings := &activities.Tuning{Blobs: w, Actions: w, Snapshots: w, Grants: trusting(w), Engine: func(tuning.Study, []tuning.Trial) (tuning.Point, error) {
		return tuning.Point{0.25}, nil
	}}
	in := contract.TuneInput{Subject: subject(), Action: "tune-1", Requester: "ann", Environment: "staging", Apply: true}

	card, err := act(t, contract.ComputeScorecard, tunings.ComputeScorecard, in)
	require.NoError(t, err)
	require.Equal(t, "NO_DATA", card.Status)
	nothing, err := act(t, contract.Suggest, tunings.Suggest, card)
	require.NoError(t, err)
	require.Empty(t, nothing.Plan.Digest)
	require.NotEmpty(t, nothing.Reason, "an empty suggestion says why")

	w.Finished = []activities.Trial{{
		Run: "run-1", Params: params(), Status: "completed",
		Metrics: round.Metrics{Examples: 400, Evaluated: 500, Correct: 490, LossMicros: 50_000_000},
	}}
	card, err = act(t, contract.ComputeScorecard, tunings.ComputeScorecard, in)
	require.NoError(t, err)
	require.Equal(t, "PASS", card.Status)
	suggestion, err := act(t, contract.Suggest, tunings.Suggest, card)
	require.NoError(t, err)
	require.NotEmpty(t, suggestion.Reason)
	again, err := act(t, contract.Suggest, tunings.Suggest, card)
	require.NoError(t, err)
	require.Equal(t, suggestion, again)

	var plan promotion.Plan
	require.NoError(t, artifact.DecodeStrict(w.Content[suggestion.Plan.Digest], &plan))
	require.Equal(t, promotion.KindTuning, plan.Kind)
	require.Equal(t, "staging", plan.Environment)
	require.Equal(t, "0.1", plan.Tuning.From)
	require.Equal(t, "0.25", plan.Tuning.To, "what the engine chose")
	_, err = act(t, contract.CheckPlan, promotions(w).CheckPlan, contract.CheckInput{
		Subject: subject(), Action: "tune-1", Kind: promotion.KindTuning, Requester: "ann", Plan: suggestion.Plan,
	})
	require.NoError(t, err, "what is suggested can be checked")

	applied, err := act(t, contract.ApplySuggestion, tunings.ApplySuggestion, contract.ApplyInput{Subject: subject(), Action: "tune-1", Plan: suggestion.Plan, Grant: grantOf(plan, "tune-1")})
	require.NoError(t, err)
	require.Equal(t, contract.Applied, applied.Outcome)
	require.Equal(t, contract.Applied, w.Outcomes["tune-1"].Outcome)

	_, promoting := promotable(t)
	_, err = act(t, contract.ApplySuggestion, tunings.ApplySuggestion, contract.ApplyInput{
		Subject: subject(), Action: "tune-2", Plan: planned(t, w, promoting).Plan,
	})
	require.Equal(t, contract.BadPlan, kind(err), "a plan of another kind is not applied as a tuning")
}
