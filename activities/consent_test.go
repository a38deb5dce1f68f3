package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/round"
)

// A tenant that withdraws while its masked vector can still be left out is not
// in the sum, which is computed again from the vectors of the others as they
// were before the masks. The survivors are written once all the same.
func TestAWithdrawnVectorIsNotInTheSum(t *testing.T) {
	for _, from := range []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask} {
		t.Run(string(from), func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			f.w.Left = map[string]round.Stage{"run-1/1/eu south": from}
			f.w.Halts = map[string][]string{"run-1/1/eu": {"south"}}
			got, cause := f.play(2)
			require.Empty(t, cause)
			f.requireSum(got, 0, 1, 2, 3)
			f.requireOneStory()
		})
	}
}

// When its vector is committed to, the sum would hold it: the group ends, and
// nobody opens the sum. The set that was written stays the set.
func TestACommittedVectorThatIsWithdrawnStopsTheGroup(t *testing.T) {
	for _, closes := range []round.Stage{round.StageMask, round.StageCheck} {
		t.Run("when it closes "+string(closes), func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			bundle := f.until(closes)
			if closes == round.StageMask {
				bundle = f.sign(f.commit(1).Set)
			}
			f.w.Halts = map[string][]string{"run-1/1/eu": {"south"}}
			f.w.Left = map[string]round.Stage{"run-1/1/eu south": round.StageCheck}
			next := f.advance(2, closes, bundle)
			require.Contains(t, next.Cause, "tenant south "+activities.ErrCommitted.Error())
			f.requireOneStory()
		})
	}
	t.Run("when all have answered", func(t *testing.T) {
		f := newFleet(t, round.Train, nil)
		bundle := f.until(round.StageCheck)
		require.Empty(t, f.advance(1, round.StageCheck, bundle).Cause)
		f.w.Halts = map[string][]string{"run-1/1/eu": {"south"}}
		got := f.aggregate(2)
		require.Contains(t, got.Cause, activities.ErrCommitted.Error())
		require.Empty(t, got.Partial)
	})
}

// What a plan is under is in the order that is signed: the tenant's epoch and
// the digest of its grants, each of which verifies.
func TestAnOrderNamesTheGrantsThatItIsUnder(t *testing.T) {
	w := world(t)
	rounds := &activities.Round{Blobs: w, Rounds: w.Rows(), Signer: w, Now: clock}
	plan, err := act(t, contract.PlanRound, rounds.PlanRound, roundInput(0, round.Statistics))
	require.NoError(t, err)
	var order round.Manifest
	require.NoError(t, artifact.DecodeStrict(w.Content[plan.Manifest.Digest], &order))
	require.Len(t, order.Consents, 2)
	for i, tenant := range []string{"clinic", "north"} {
		c := order.Consents[i]
		require.Equal(t, tenant, c.Tenant)
		bundles, err := consent.Unpack(w.Content[c.Grants])
		require.NoError(t, err)
		require.Len(t, bundles, 2, "one a feature")
		for _, b := range bundles {
			subject, err := consent.SubjectOf([]byte(b))
			require.NoError(t, err)
			_, err = w.Verify(t.Context(), []byte(b), artifact.PredicateGrant, subject)
			require.NoError(t, err)
		}
	}
}

// A round is planned only under grants that allow it: the refusal says which
// part of which grant is in the way, and what to do.
func TestAPlanIsHeldToItsGrants(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*consent.Record)
		in     func(*contract.RoundInput)
		want   string
	}{
		"expired":   {func(r *consent.Record) { r.ExpiresAt = noon.Add(-time.Second) }, nil, consent.ErrExpired.Error()},
		"purpose":   {func(r *consent.Record) { r.Purposes = []string{"HMB"} }, nil, consent.ErrWrongFor.Error()},
		"withdrawn": {func(r *consent.Record) { r.WithdrawnAt = noon }, nil, consent.ErrWithdrawn.Error()},
		"region":    {func(r *consent.Record) { r.Constraints.Regions = []string{"us"} }, nil, consent.ErrRegion.Error()},
		"cohort":    {func(r *consent.Record) { r.Constraints.MinCohort = 3 }, nil, consent.ErrCohort.Error()},
		"epsilon":   {func(r *consent.Record) { r.Constraints.MaxEpsilon = 1 }, nil, consent.ErrEpsilon.Error()},
		"rounds":    {func(r *consent.Record) { r.Constraints.MaxRounds, r.Used = 2, 2 }, nil, consent.ErrRounds.Error()},
		"fits":      {func(r *consent.Record) { r.Purposes, r.Constraints.MinCohort = []string{"HMB"}, 2 }, func(in *contract.RoundInput) { in.Params.Purpose = "HMB" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t)
			for i, f := range w.Features { // north's radius is granted beside its registration
				if f.Tenant == "north" && f.ID == "radius" {
					w.Features[i].Consent.Purposes = []string{"stats", "train", "evaluate"}
					rec := consent.Record{Grant: consent.Grant{ID: "given", Tenant: "north", Feature: "radius", Grantee: "clinic", Epoch: 1,
						Actions: []string{"evaluate", "stats", "train"}, NotBefore: noon.Add(-time.Hour)}}
					tt.change(&rec)
					w.Given = append(w.Given, rec)
				}
			}
			w.Ungranted = map[string]bool{"north/radius": true}
			in := roundInput(1, round.Train)
			if tt.in != nil {
				tt.in(&in)
			}
			_, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows(), Signer: w, Now: clock}).PlanRound, in)
			if tt.want == "" {
				require.NoError(t, err)
				require.NotEmpty(t, w.Given[0].Bundle.Digest, "the fabric has signed it")
				return
			}
			require.Equal(t, contract.NoConsent, kind(err))
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "feature radius of tenant north")
			require.Empty(t, w.Rounds)
		})
	}
}
