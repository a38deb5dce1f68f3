package activities_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// staff enrols enough approvers for any action.
func staff(t *testing.T, w *activitytest.World) {
	t.Helper()
	voter(t, w, "ann", approval.RoleOwner)
	voter(t, w, "bob", approval.RoleOwner)
	voter(t, w, "cyd", approval.RoleRisk)
	voter(t, w, "dan", approval.RolePrivacy)
	voter(t, w, "eve", approval.RoleSecurity)
}

func TestAPlanIsCheckedBeforeAnybodyIsAsked(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *activitytest.World, *promotion.Plan, *contract.CheckInput)
		kind   string
		says   string
	}{
		{"that fits", func(*testing.T, *activitytest.World, *promotion.Plan, *contract.CheckInput) {}, "", ""},
		{"of a proposal that has expired", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.ExpiresAt = clock().Add(-1)
		}, contract.OldPlan, "the loop proposes anew"},
		{"of a proposal that has expired, in a world that has moved", func(t *testing.T, w *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			serve(t, w, 7)
			p.ExpiresAt = clock().Add(-1)
		}, contract.OldPlan, "the loop proposes anew"},
		{"of a proposal that expires now", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.ExpiresAt = clock()
		}, "", ""},
		{"of another tenant", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.Tenant = "north"
		}, contract.BadPlan, "not the one of this action"},
		{"of another model", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.ModelID = "other"
		}, contract.BadPlan, "not the one of this action"},
		{"of another kind", func(_ *testing.T, _ *activitytest.World, _ *promotion.Plan, in *contract.CheckInput) {
			in.Kind = "policy"
		}, contract.BadPlan, "not the one of this action"},
		{"that a simulated caller made for production", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.Simulated = true
		}, contract.BadPlan, "simulation"},
		{"of a version that is not registered", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.Version.Number = 9
		}, contract.BadPlan, "not the registered one"},
		{"of a version with another package", func(_ *testing.T, _ *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			p.Version.Package = artifact.DigestOf([]byte("x"))
		}, contract.BadPlan, "not the registered one"},
		{"of a package that lost its signature", func(_ *testing.T, w *activitytest.World, _ *promotion.Plan, _ *contract.CheckInput) {
			for subject := range w.Referrers {
				w.Referrers[subject] = [][]byte{[]byte("{}")}
			}
		}, contract.BadPackage, "no bundle for it that verifies"},
		{"of a package without its weights", func(_ *testing.T, w *activitytest.World, _ *promotion.Plan, _ *contract.CheckInput) {
			for digest := range w.Packages {
				w.Packages[digest] = []byte(`{"layers":[]}`)
			}
		}, contract.BadPackage, "manifest"},
		{"of a world in which another version serves now", func(t *testing.T, w *activitytest.World, p *promotion.Plan, _ *contract.CheckInput) {
			serve(t, w, 7)
		}, contract.StalePlan, "is 7"},
		{"whose requester alone could approve it", func(_ *testing.T, w *activitytest.World, _ *promotion.Plan, _ *contract.CheckInput) {
			w.Voters = w.Voters[:1]
		}, contract.BadPlan, "too few people"},
	}
	for _, tt := range tests {
		t.Run("a plan "+tt.name, func(t *testing.T) {
			w, plan := promotable(t)
			staff(t, w)
			version := *plan.Version
			plan.Version = &version
			var sent contract.CheckInput
			tt.change(t, w, &plan, &sent)
			in := planned(t, w, plan)
			in.Tenant, in.ModelID, in.Kind, in.Action = "clinic", "tumour", "promotion", "promotion-1"
			if sent.Kind != "" {
				in.Kind = sent.Kind
			}
			got, err := act(t, contract.CheckPlan, promotions(w).CheckPlan, in)
			require.Equal(t, tt.kind, kind(err))
			if tt.kind != "" {
				require.ErrorContains(t, err, tt.says)
				require.Empty(t, w.Ballots, "nobody is asked")
				return
			}
			require.NoError(t, err)
			require.Equal(t, in.Plan.Digest, got.Request.Action.Plan)
			require.Equal(t, plan.Risk.Score, got.Risk)
			require.True(t, plan.ExpiresAt.Equal(got.Request.NotAfter), "its ballot ends with it")
			require.Positive(t, got.Request.Need)
			require.Equal(t, got.Request.Nonce, w.Ballots["promotion-1"].Request.Nonce)
			require.GreaterOrEqual(t, len(got.Request.Nonce), 26, "128 bits or more")
			for _, p := range got.Request.Approvers {
				require.NotEqual(t, "ann", p.Name, "the requester may not vote")
			}
		})
	}
}

// serve publishes another version as the champion, by another hand.
func serve(t *testing.T, w *activitytest.World, version int) {
	t.Helper()
	s := w.History[len(w.History)-1]
	s, err := s.Load(routing.Package{
		Tenant: "clinic", Model: "tumour", Version: version, Manifest: artifact.DigestOf([]byte{byte(version)}), Regions: []string{"eu", "us"},
		Registry: w.URL(), Repository: "models/clinic/tumour", Bundle: json.RawMessage("{}"),
	}, noon)
	require.NoError(t, err)
	w.History = append(w.History, s)
	s, err = s.Switch(routing.Route{Tenant: "clinic", Model: "tumour", Environment: "production", Version: version, Regions: []string{"eu", "us"}}, noon)
	require.NoError(t, err)
	w.History = append(w.History, s)
}

func TestASecondCheckKeepsTheFirstBallot(t *testing.T) {
	w, plan := promotable(t)
	staff(t, w)
	in := planned(t, w, plan)
	first, err := act(t, contract.CheckPlan, promotions(w).CheckPlan, in)
	require.NoError(t, err)
	voter(t, w, "fay", approval.RoleOwner)
	again, err := act(t, contract.CheckPlan, promotions(w).CheckPlan, in)
	require.NoError(t, err)
	require.Equal(t, first.Request, again.Request)

	other := plan
	other.Diff = append([]promotion.Change{{What: "sneaked in"}}, plan.Diff...)
	in.Plan = planned(t, w, other).Plan
	_, err = act(t, contract.CheckPlan, promotions(w).CheckPlan, in)
	require.Equal(t, contract.BadPlan, kind(err), "one action, one plan")
}

func TestTheStrictestRegionDecidesWhoIsAsked(t *testing.T) {
	w := world(t)
	bootstrap(t, w)
	staff(t, w)
	strict := policyPlan(t, w, 10) // lowers the threshold, so it takes no protection away
	require.False(t, strict.Risk.Loosens)
	require.Greater(t, strict.Risk.Score, policy.DefaultThreshold)
	got, err := act(t, contract.CheckPlan, promotions(w).CheckPlan, planned(t, w, strict))
	require.NoError(t, err)
	require.Positive(t, got.Request.Need)

	strict.Risk.Score = 15 // below the default threshold
	quiet := planned(t, w, strict)
	quiet.Action = "policy-2"
	got, err = act(t, contract.CheckPlan, promotions(w).CheckPlan, quiet)
	require.NoError(t, err)
	require.Zero(t, got.Request.Need)
	require.NotContains(t, w.Ballots, "policy-2")

	document, _, err := strict.Document()
	require.NoError(t, err)
	next, err := w.History[0].Govern(document, []string{"eu"}, noon) // eu is stricter now: 10
	require.NoError(t, err)
	w.History = append(w.History, next)
	asked := planned(t, w, strict)
	asked.Action = "policy-3"
	got, err = act(t, contract.CheckPlan, promotions(w).CheckPlan, asked)
	require.NoError(t, err)
	require.Positive(t, got.Request.Need, "one strict region is enough")
}

func TestAnActionEndsEvenIfItsPlanCannotBeRead(t *testing.T) {
	w := world(t)
	junk := w.Keep(artifact.MediaTypePlan, []byte(`{"kind":`))
	in := contract.OutcomeInput{Subject: subject(), Action: "promotion-1", Kind: "promotion", Outcome: contract.Failed, Plan: junk.Digest}
	_, err := act(t, contract.RecordOutcome, promotions(w).RecordOutcome, in)
	require.NoError(t, err)
	require.Contains(t, w.Outcomes, "promotion-1")

	in.Action, in.Outcome = "promotion-2", contract.Applied
	in.Grant = promotion.Grant{Tenant: in.Tenant, Action: in.Action, Kind: in.Kind, Plan: in.Plan, ID: in.Plan}
	_, err = act(t, contract.RecordOutcome, promotions(w).RecordOutcome, in)
	require.Equal(t, contract.BadPlan, kind(err), "what was applied had a plan")
	require.NotContains(t, w.Outcomes, "promotion-2")

	in.Action, in.Plan = "tune-1", ""
	in.Kind, in.Outcome = "tuning", contract.Unchanged
	_, err = act(t, contract.RecordOutcome, promotions(w).RecordOutcome, in)
	require.NoError(t, err)
}

// refusing is a port whose rows have settled the matter.
type refusing struct {
	activities.Actions
	why error
}

func (r refusing) RecordOutcome(context.Context, contract.OutcomeInput, promotion.Plan) error {
	return fmt.Errorf("action x: %w", r.why)
}

func TestWhatTheRowsHaveSettledIsNotTriedForEver(t *testing.T) {
	for why, want := range map[error]string{
		activities.ErrNotFound:   contract.BadPlan,
		activities.ErrRefused:    contract.BadPlan,
		activities.ErrStale:      contract.StalePlan,
		context.DeadlineExceeded: "",
	} {
		ends := promotions(world(t))
		ends.Actions = refusing{why: why}
		_, err := act(t, contract.RecordOutcome, ends.RecordOutcome, contract.OutcomeInput{Action: "x", Outcome: contract.Failed})
		require.Error(t, err)
		require.Equal(t, want, kind(err), why)
	}
}
