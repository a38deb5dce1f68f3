package activities_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/round"
)

func attestInput(t *testing.T, w *activitytest.World, order contract.RegionInput) contract.AttestInput {
	t.Helper()
	return contract.AttestInput{
		Subject: subject(), Run: "run-1", Number: 1, Manifest: order.Manifest, Previous: artifact.DigestOf([]byte("before")),
		Weights: update(t, w, 7), Metrics: round.Metrics{Evaluated: 30, Correct: 27},
		Regions: []contract.RegionResult{{Region: "eu", Counts: round.Counts{Selected: 2, Accepted: 2}}},
	}
}

// Who answered in a group that delivered is committed to, and nobody else.
func TestAttestRound(t *testing.T) {
	w := world(t)
	order := begin(t, w, 1, round.Train)
	one, two, away := update(t, w, 1), update(t, w, 5), update(t, w, 9)
	w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{
		submission("clinic", "a", one, 3), submission("north", "a", two, 1),
		{Tenant: "clinic", Site: "c", Update: away, Reason: "too late"},
	}
	w.StageOf(ref(1, round.Train, "us")).Submissions = []activities.Submission{submission("clinic", "b", away, 3)}
	for _, region := range []string{"eu", "us"} {
		_, err := w.Rows().CloseStage(t.Context(), ref(1, round.Train, region))
		require.NoError(t, err)
	}
	in := attestInput(t, w, order)
	rounds := &activities.Round{Blobs: w, Rounds: w.Rows()}
	kept, err := act(t, contract.AttestRound, rounds.AttestRound, in)
	require.NoError(t, err)
	var said provenance.Round
	require.NoError(t, json.Unmarshal(w.Content[kept.Digest], &said))
	require.Equal(t, provenance.Commit([]provenance.Answer{{Site: "clinic/a", Bundle: one.Digest}, {Site: "north/a", Bundle: two.Digest}}), said.Participants.Commitment)
	require.Equal(t, 2, said.Participants.Answers)
	require.Equal(t, in.Previous, said.Previous)
	require.Equal(t, order.Manifest.Digest, said.Manifest)
	require.Equal(t, 1, said.Aggregation.Groups)
	require.NotEmpty(t, said.Features)

	in.Manifest = in.Weights
	_, err = act(t, contract.AttestRound, rounds.AttestRound, in)
	require.Equal(t, contract.BadPlan, kind(err), "weights are no order")
}
