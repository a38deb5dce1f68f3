package activities_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

func publish(t *testing.T, w *activitytest.World, plan promotion.Plan, phase string, regions ...string) (contract.SnapshotRef, error) {
	t.Helper()
	return act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, publishing(plan, phase, regions...))
}

func TestAPromotionLoadsSwitchesAndGoesBack(t *testing.T) {
	w, plan := promotable(t)
	w.Admitted = []string{"north"}
	loaded, err := publish(t, w, plan, contract.PhaseLoad, "eu", "us")
	require.NoError(t, err)
	require.Equal(t, int64(2), loaded.Version)
	switched, err := publish(t, w, plan, contract.PhaseSwitch, "eu", "us")
	require.NoError(t, err)
	require.Equal(t, int64(3), switched.Version)
	again, err := publish(t, w, plan, contract.PhaseLoad, "eu", "us")
	require.NoError(t, err)
	require.Equal(t, loaded, again, "a step that was published is not published again")

	latest := w.History[2]
	require.Equal(t, []string{"clinic", "north"}, latest.Routes[0].Callers)
	require.Equal(t, "http://registry.invalid", latest.Packages[0].Registry)
	_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{&w.Key.PublicKey}, latest.Packages[0].Bundle, artifact.PredicateModelPackage, plan.Version.Package)
	require.NoError(t, err, "a runtime verifies the package with what the snapshot gives it")

	back, err := publish(t, w, plan, contract.PhaseBack, "eu", "us")
	require.NoError(t, err)
	require.Equal(t, int64(4), back.Version)
	require.Empty(t, w.History[3].Routes, "nothing served before")
}

// What is signed is the bytes, and they stay as they are inside the JSON that
// carries them to routers.
func TestASnapshotVerifiesAfterItHasTravelled(t *testing.T) {
	w, plan := promotable(t)
	ref, err := publish(t, w, plan, contract.PhaseLoad, "eu")
	require.NoError(t, err)
	carried, err := json.Marshal(w.Signed[ref.Version-1])
	require.NoError(t, err)
	var arrived routing.Signed
	require.NoError(t, json.Unmarshal(carried, &arrived))
	require.Equal(t, ref.Digest, artifact.DigestOf(arrived.Snapshot))
	_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{&w.Key.PublicKey}, arrived.Bundle, artifact.PredicateSnapshot, ref.Digest)
	require.NoError(t, err)
}

func TestAPublishOutrunsOthersOnlyWhileItsPlanHolds(t *testing.T) {
	tests := []struct {
		name  string
		other func(*testing.T, *activitytest.World) // what another hand publishes between Latest and Publish
		kind  string
	}{
		{"nobody else publishes", func(*testing.T, *activitytest.World) {}, ""},
		{"another model is promoted", func(t *testing.T, w *activitytest.World) {
			next, err := w.History[len(w.History)-1].Load(routing.Package{
				Tenant: "north", Model: "other", Version: 1, Manifest: artifact.DigestOf([]byte("o")), Regions: []string{"eu"},
				Registry: w.URL(), Repository: "models/north/other", Bundle: json.RawMessage("{}"),
			}, noon)
			require.NoError(t, err)
			w.History = append(w.History, next)
		}, ""},
		{"the same model is promoted", func(t *testing.T, w *activitytest.World) { serve(t, w, 7) }, contract.StalePlan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, plan := promotable(t)
			racing := snapshots(w)
			racing.Signer = &between{World: w, do: func() { tt.other(t, w) }}
			got, err := act(t, contract.PublishSnapshot, racing.PublishSnapshot, publishing(plan, contract.PhaseLoad, "eu", "us"))
			require.Equal(t, tt.kind, kind(err))
			if tt.kind == "" {
				require.NoError(t, err)
				require.Equal(t, int64(len(w.History)), got.Version)
				for i, s := range w.History {
					require.Equal(t, int64(i+1), s.Version, "versions have no gap")
				}
			}
		})
	}
}

// between does something once while a snapshot is being signed.
type between struct {
	*activitytest.World
	do func()
}

func (b *between) Sign(ctx context.Context, statement []byte) ([]byte, error) {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.World.Sign(ctx, statement)
}

func TestAPolicyGoesRegionByRegionAndBack(t *testing.T) {
	w := world(t)
	bootstrap(t, w)
	plan := policyPlan(t, w, 10)
	_, err := publish(t, w, plan, contract.PhasePolicy, "eu")
	require.NoError(t, err)
	_, err = publish(t, w, plan, contract.PhasePolicy, "us")
	require.NoError(t, err, "the first region is where the plan wants it, so the plan holds")
	us, ok := w.History[2].Policy("us")
	require.True(t, ok)
	require.Equal(t, 10, us.Threshold)

	_, err = publish(t, w, plan, contract.PhaseBack, "eu", "us")
	require.NoError(t, err)
	eu, ok := w.History[3].Policy("eu")
	require.True(t, ok)
	require.Equal(t, 20, eu.Threshold)
	require.Equal(t, int64(3), eu.Revision)

	rival := policyPlan(t, w, 5)
	_, err = act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, contract.PublishInput{
		Subject: subject(), Action: "policy-9", Phase: contract.PhasePolicy, Plan: rival, Regions: []string{"eu", "us"}, Grant: grantOf(rival, "policy-9"),
	})
	require.NoError(t, err)
	late := publishing(plan, contract.PhaseBack, "eu")
	_, err = act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, late)
	require.Equal(t, contract.StalePlan, kind(err), "what somebody else brought since is not taken back")
}

func TestWhatTheDataPlaneWouldRefuseIsNotPublished(t *testing.T) {
	w, plan := promotable(t)
	for _, phase := range []string{contract.PhaseSwitch, contract.PhasePolicy, "sideways"} {
		_, err := publish(t, w, plan, phase, "eu")
		require.Equal(t, contract.BadPlan, kind(err), phase)
	}
	_, err := publish(t, w, plan, contract.PhaseLoad, "mars")
	require.Equal(t, contract.BadPlan, kind(err))
	require.Len(t, w.History, 1)
	require.Empty(t, w.Signed[1:])
}

func TestBootstrapPublishesOnlyAChange(t *testing.T) {
	w := world(t)
	bootstrap(t, w)
	bootstrap(t, w)
	require.Len(t, w.History, 1)
	ref, err := snapshots(w).Bootstrap(t.Context(), []string{"eu", "us", "apac"}, nil)
	require.NoError(t, err)
	require.Equal(t, int64(2), ref.Version)
}

func TestARegionIsActiveWhenItsRuntimeSaysSo(t *testing.T) {
	digest := artifact.DigestOf([]byte("package"))
	promote := promotion.Plan{
		Kind: "promotion", Tenant: "clinic", ModelID: "tumour", Environment: "production",
		Observed: promotion.Observed{Champion: 2}, Version: &promotion.Version{Number: 3, Package: digest},
	}
	document := json.RawMessage(`{"revision":2,"rules":[{"name":"r","tenant":"*","model":"*","regions":["*"],"kinds":["neural"]}],"weights":{"latency":1,"cost":0,"fabric":0,"locality":0},"threshold":20}`)
	rule := promotion.Plan{Kind: "policy", Policy: &document}
	_, policyDigest, err := rule.Document()
	require.NoError(t, err)
	loaded := map[string]artifact.Digest{"clinic/tumour/3": digest}
	route := func(v int) map[string]int { return map[string]int{"clinic/tumour/production": v} }

	tests := []struct {
		name   string
		phase  string
		plan   promotion.Plan
		report activities.Active
		lacks  string
	}{
		{"loaded", contract.PhaseLoad, promote, activities.Active{Snapshot: 5, Packages: loaded}, ""},
		{"loaded, at an older snapshot", contract.PhaseLoad, promote, activities.Active{Snapshot: 4, Packages: loaded}, "snapshot 4, not 5"},
		{"not loaded", contract.PhaseLoad, promote, activities.Active{Snapshot: 5}, "not loaded version 3"},
		{"another package under the number", contract.PhaseLoad, promote, activities.Active{Snapshot: 5, Packages: map[string]artifact.Digest{"clinic/tumour/3": policyDigest}}, "not loaded version 3"},
		{"switched", contract.PhaseSwitch, promote, activities.Active{Snapshot: 6, Packages: loaded, Routes: route(3)}, ""},
		{"not switched", contract.PhaseSwitch, promote, activities.Active{Snapshot: 6, Packages: loaded, Routes: route(2)}, "serves version 2"},
		{"back", contract.PhaseBack, promote, activities.Active{Snapshot: 6, Packages: loaded, Routes: route(2)}, ""},
		{"not back", contract.PhaseBack, promote, activities.Active{Snapshot: 6, Packages: loaded, Routes: route(3)}, "still serves version 3"},
		{"the policy", contract.PhasePolicy, rule, activities.Active{Snapshot: 5, Policy: policyDigest}, ""},
		{"another policy", contract.PhasePolicy, rule, activities.Active{Snapshot: 5, Policy: digest}, "runs policy"},
		{"no longer the policy", contract.PhaseBack, rule, activities.Active{Snapshot: 5, Policy: digest}, ""},
		{"still the policy", contract.PhaseBack, rule, activities.Active{Snapshot: 5, Policy: policyDigest}, "runs policy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			w.Reports = []activities.Active{tt.report}
			region := &activities.Region{Runtime: w, Now: time.Now, Pause: time.Millisecond}
			in := contract.ActiveInput{Subject: subject(), Region: "eu", Phase: tt.phase, Plan: tt.plan, Version: 5, Seconds: 1}
			got, err := act(t, contract.AwaitActive, region.AwaitActive, in, func(env *testsuite.TestActivityEnvironment) {
				if tt.lacks != "" { // an earlier attempt has waited the whole time
					env.SetHeartbeatDetails(map[string]any{"deadline": time.Now().Add(-time.Second)})
				}
			})
			if tt.lacks != "" {
				require.Equal(t, contract.NotActive, kind(err))
				require.ErrorContains(t, err, tt.lacks)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "eu", got.Region)
			require.Equal(t, tt.report.Snapshot, got.Snapshot)
		})
	}
}
