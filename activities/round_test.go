package activities_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

func TestARoundNeedsConsentAndSites(t *testing.T) {
	tests := []struct {
		name   string
		change func(*activitytest.World, *contract.RoundInput)
		kind   string
		says   []string
	}{
		{"begins when everything is there", func(*activitytest.World, *contract.RoundInput) {}, "", nil},
		{"names a feature that was withdrawn", func(w *activitytest.World, _ *contract.RoundInput) {
			at := time.Now()
			w.Features[3].Consent.WithdrawnAt = &at
		}, contract.NoConsent, []string{"texture", "north"}},
		{"names a feature that is consented for less", func(w *activitytest.World, _ *contract.RoundInput) {
			w.Features[0].Consent.Purposes = []string{catalog.PurposeEvaluate, catalog.PurposeStats}
		}, contract.NoConsent, []string{"radius", "clinic", "train"}},
		{"names every feature that nobody registered", func(w *activitytest.World, in *contract.RoundInput) {
			in.Params.Features = append(in.Params.Features, "age", "smoker")
		}, contract.NoConsent, []string{"age", "smoker", "clinic", "north"}},
		{"uses no feature of another tenant that granted it nothing", func(w *activitytest.World, _ *contract.RoundInput) {
			w.Features[2].Consent.Grantees = nil
		}, contract.NoConsent, []string{"radius", "north"}},
		{"does not begin without features", func(_ *activitytest.World, in *contract.RoundInput) {
			in.Params.Features = nil
		}, contract.NoConsent, []string{"no feature is named"}},
		{"does not begin with fewer sites than its quorum", func(w *activitytest.World, _ *contract.RoundInput) {
			w.Sites = w.Sites[:1]
		}, contract.NoSites, []string{"1 sites in 1 regions", "2"}},
		{"does not begin with fewer regions than it needs", func(w *activitytest.World, in *contract.RoundInput) {
			in.Params.QuorumRegions = 3
		}, contract.NoSites, []string{"3 sites in 2 regions"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, in := world(t), roundInput(0, round.Statistics)
			tt.change(w, &in)
			plan, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, in)
			require.Equal(t, tt.kind, kind(err))
			if tt.kind == "" {
				require.NoError(t, err)
				require.Equal(t, []round.Cohort{{Region: "eu", Sites: 2}, {Region: "us", Sites: 1}}, plan.Cohort)
				return
			}
			for _, word := range tt.says {
				require.ErrorContains(t, err, word)
			}
			require.Empty(t, w.Rounds, "a round that may not begin leaves no row")
		})
	}
}

func TestAManifestNamesAllThatDecidesTheWork(t *testing.T) {
	w := world(t)
	rounds := &activities.Round{Blobs: w, Rounds: w.Rows(), Simulation: true}
	plan, err := act(t, contract.PlanRound, rounds.PlanRound, roundInput(0, round.Statistics))
	require.NoError(t, err)
	var manifest round.Manifest
	require.NoError(t, artifact.DecodeStrict(w.Content[plan.Manifest.Digest], &manifest))
	require.Equal(t, plan.Base, manifest.Base)
	require.True(t, manifest.Simulation)
	require.Equal(t, subject().TraceID, manifest.TraceID)
	require.Len(t, manifest.Features, 4)
	require.Equal(t, round.FeatureRef{Tenant: "clinic", Feature: "radius", Fingerprint: artifact.DigestOf([]byte("clinicradius"))}, manifest.Features[0])
	// sha256 of "clinic/a\nclinic/b\nnorth/a\n": printf 'clinic/a\nclinic/b\nnorth/a\n' | sha256sum
	require.Equal(t, artifact.DigestOf([]byte("clinic/a\nclinic/b\nnorth/a\n")), manifest.CohortRoot)
	base, err := artifact.ParseTensors(w.Content[plan.Base.Digest])
	require.NoError(t, err)
	require.Len(t, base, 4, "initial weights and their normalisation")
}

func TestTheFirstPlanOfARoundIsThePlan(t *testing.T) {
	w := world(t)
	rounds := &activities.Round{Blobs: w, Rounds: w.Rows()}
	first, err := act(t, contract.PlanRound, rounds.PlanRound, roundInput(0, round.Statistics))
	require.NoError(t, err)
	w.Sites = append(w.Sites, site.Site{Tenant: "north", ID: "late", Region: "apac"})
	w.Features[0].Consent.Granted = false
	again, err := act(t, contract.PlanRound, rounds.PlanRound, roundInput(0, round.Statistics))
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = act(t, contract.PlanRound, rounds.PlanRound, roundInput(1, round.Train))
	require.Equal(t, contract.NoConsent, kind(err), "the next round sees that consent is gone")
	require.False(t, strings.Contains(err.Error(), "texture"))
}

// racing is a port that another worker was faster on: the round is begun
// between the question and the write.
type racing struct{ *activitytest.Rounds }

func (r racing) Begun(context.Context, string, string, int) (artifact.Descriptor, []round.Cohort, bool, error) {
	return artifact.Descriptor{}, nil, false, nil
}

func TestOfTwoPlansThatRaceTheWrittenOneIsThePlan(t *testing.T) {
	w := world(t)
	first, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, roundInput(0, round.Statistics))
	require.NoError(t, err)
	w.Sites = append(w.Sites, site.Site{Tenant: "north", ID: "late", Region: "apac"})
	second, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: racing{w.Rows()}}).PlanRound, roundInput(0, round.Statistics))
	require.NoError(t, err)
	require.Equal(t, first, second)
}
