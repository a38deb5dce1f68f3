package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/routing"
)

func points(w *activitytest.World) *activities.Point {
	return &activities.Point{Blobs: w, Heads: w, Points: w, Versions: w, Snapshots: w, Verifier: w, Now: clock}
}

// take runs the activities of the workflow that takes a point.
func take(t *testing.T, w *activitytest.World, action string) (contract.PointResult, error) {
	t.Helper()
	in := contract.PointInput{Subject: subject(), Action: action, Actor: "ann"}
	point, err := act(t, contract.TakePoint, points(w).TakePoint, in)
	if err != nil {
		return contract.PointResult{}, err
	}
	return act(t, contract.RecordPoint, points(w).RecordPoint, contract.RecordPointInput{PointInput: in, Point: point, Bundle: signedPoint(t, w, point)})
}

func signedPoint(t *testing.T, w *activitytest.World, point contract.Point) artifact.Descriptor {
	t.Helper()
	signed, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: w, Signer: w}).SignStatement, contract.SignInput{
		Subject: subject(), Name: "recovery", Digest: point.Point.Digest, PredicateType: artifact.PredicateRecoveryPoint, Predicate: point.Predicate})
	require.NoError(t, err)
	return signed.Bundle
}

// recoverable has version 1 in production, a recovery point of that, and
// another route and policy since.
func recoverable(t *testing.T) (*activitytest.World, contract.PointResult) {
	t.Helper()
	w, plan := promotable(t)
	w.Tips = map[string][]byte{}
	for _, phase := range []string{contract.PhaseLoad, contract.PhaseSwitch} {
		_, err := publish(t, w, plan, phase, "eu", "us")
		require.NoError(t, err)
	}
	first, err := take(t, w, "snap-1")
	require.NoError(t, err)
	second := policy.Default()
	second.Revision, second.Threshold = 2, 99
	changed, err := w.History[len(w.History)-1].Govern(second, []string{"eu"}, noon)
	require.NoError(t, err)
	changed.Routes = []routing.Route{}
	w.History = append(w.History, changed)
	return w, first
}

func restorePlan(t *testing.T, w *activitytest.World, to contract.PointResult) promotion.Plan {
	t.Helper()
	regions := []string{"eu", "us"}
	plan, err := promotion.NewRestore(promotion.Return{
		Tenant: "clinic", Restore: promotion.Restore{Sequence: to.Sequence, Point: to.Digest, Head: to.Sequence}, Regions: regions,
		Observed: promotion.Observe(promotion.KindRestore, "clinic", "", promotion.Production, regions, w.History[len(w.History)-1]),
		Changes:  []promotion.Change{{What: "production of tumour", From: "-", To: "version 1"}},
	})
	require.NoError(t, err)
	return plan
}

func verifyPoint(t *testing.T, w *activitytest.World, p contract.PointResult) (contract.VerifiedPoint, error) {
	t.Helper()
	return act(t, contract.VerifyPoint, points(w).VerifyPoint, contract.VerifyPointInput{Subject: subject(), Point: p.Digest, Sequence: p.Sequence})
}

func TestAPointIsTakenOfWhatRuns(t *testing.T) {
	empty := activitytest.New()
	_, err := act(t, contract.TakePoint, points(empty).TakePoint, contract.PointInput{Subject: subject(), Action: "snap-0"})
	require.Equal(t, contract.BadPlan, kind(err), "nothing runs yet: %v", err)

	w, first := recoverable(t)
	require.EqualValues(t, 1, first.Sequence)
	again, err := take(t, w, "snap-1")
	require.NoError(t, err)
	require.Equal(t, first, again, "asking twice is one point, also when the world has moved")
	second, err := take(t, w, "snap-2")
	require.NoError(t, err)
	require.EqualValues(t, 2, second.Sequence)

	point, err := recovery.Parse(w.Content[first.Digest])
	require.NoError(t, err)
	require.Equal(t, []string{"eu", "us"}, point.Routes[0].Regions)
	require.Equal(t, w.Models[0].Version.Package, point.Routes[0].Package)
	for _, d := range point.Policies {
		require.Contains(t, w.Content, d.Digest, "the document does not depend on the data plane's history")
	}
	require.JSONEq(t, `{"sequence":2,"digest":"`+string(second.Digest)+`"}`, string(w.Tips["recovery/clinic"]))

	verified, err := verifyPoint(t, w, first)
	require.NoError(t, err)
	require.Equal(t, []contract.HeldPart{{ModelID: "tumour", Version: 1, Package: w.Models[0].Version.Package, Regions: []string{"eu", "us"}}}, verified.Holds)
	require.Equal(t, point.Items(), verified.Items)
}

func TestAPointThatIsNotGoneBackTo(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *activitytest.World, *contract.PointResult)
		kind   string
		says   string
	}{
		{"that was never taken", func(_ *testing.T, _ *activitytest.World, p *contract.PointResult) { p.Sequence = 9 }, contract.BadPlan, activities.ErrPoint.Error()},
		{"under another number", func(_ *testing.T, _ *activitytest.World, p *contract.PointResult) { p.Sequence = 2 }, contract.BadPackage, activities.ErrPoint.Error()},
		{"with another digest", func(_ *testing.T, _ *activitytest.World, p *contract.PointResult) {
			p.Digest = artifact.DigestOf([]byte("x"))
		}, contract.BadPackage, activities.ErrPoint.Error()},
		{"while an older newest one is shown", func(_ *testing.T, w *activitytest.World, _ *contract.PointResult) { w.Recorded = w.Recorded[:1] }, contract.BadPackage, recovery.ErrOlder.Error()},
		{"while another newest one is shown", func(_ *testing.T, w *activitytest.World, _ *contract.PointResult) {
			w.Tips["recovery/clinic"] = []byte(`{"sequence":2,"digest":"` + artifact.DigestOf([]byte("x")) + `"}`)
		}, contract.BadPackage, recovery.ErrFork.Error()},
		{"whose signature is somebody else's", func(_ *testing.T, w *activitytest.World, _ *contract.PointResult) { w.Key = activitytest.New().Key }, contract.BadPackage, ""},
		{"whose signature is about the point after", func(_ *testing.T, w *activitytest.World, _ *contract.PointResult) {
			w.Recorded[0].Row.Bundle = w.Recorded[1].Row.Bundle
		}, contract.BadPackage, ""},
		{"whose next does not name it", func(t *testing.T, w *activitytest.World, _ *contract.PointResult) {
			forged, err := recovery.Parse(w.Content[w.Recorded[1].Row.Digest])
			require.NoError(t, err)
			forged.Previous = artifact.DigestOf([]byte("another first"))
			text, digest, err := forged.Encode()
			require.NoError(t, err)
			predicate, err := artifact.Canonical(forged.Statement())
			require.NoError(t, err)
			point := contract.Point{Sequence: 2, Point: w.Keep(artifact.MediaTypePredicate, text), Predicate: w.Keep(artifact.MediaTypePredicate, predicate)}
			w.Recorded[1].Row.Digest, w.Recorded[1].Row.Bundle = digest, signedPoint(t, w, point)
			w.Tips["recovery/clinic"] = []byte(`{"sequence":2,"digest":"` + digest + `"}`)
		}, contract.BadPackage, recovery.ErrChain.Error()},
		{"whose version is registered otherwise", func(_ *testing.T, w *activitytest.World, _ *contract.PointResult) {
			w.Models[0].Version.Weights = artifact.DigestOf([]byte("x"))
		}, contract.BadPackage, activities.ErrItem.Error()},
		{"whose version is gone", func(_ *testing.T, w *activitytest.World, _ *contract.PointResult) { w.Models = nil }, contract.BadPackage, activities.ErrItem.Error()},
	}
	for _, tt := range tests {
		t.Run("a point "+tt.name, func(t *testing.T) {
			w, first := recoverable(t)
			_, err := take(t, w, "snap-2")
			require.NoError(t, err)
			_, err = verifyPoint(t, w, first)
			require.NoError(t, err)
			tt.change(t, w, &first)
			_, err = verifyPoint(t, w, first)
			require.Equal(t, tt.kind, kind(err), "%v", err)
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestAPointThatIsNotRecorded(t *testing.T) {
	w, _ := recoverable(t)
	in := contract.PointInput{Subject: subject(), Action: "snap-2"}
	late, err := act(t, contract.TakePoint, points(w).TakePoint, in)
	require.NoError(t, err)
	bundle := signedPoint(t, w, late)
	record := func(in contract.PointInput, bundle artifact.Descriptor) error {
		_, err := act(t, contract.RecordPoint, points(w).RecordPoint, contract.RecordPointInput{PointInput: in, Point: late, Bundle: bundle})
		return err
	}
	other := in
	other.Tenant = "north"
	require.Equal(t, contract.BadPackage, kind(record(other, bundle)), "it is another tenant's")
	require.Equal(t, contract.BadPackage, kind(record(in, w.Keep("b", []byte("{}")))), "it is not signed")
	_, err = take(t, w, "snap-3") // another hand is first
	require.NoError(t, err)
	require.Equal(t, contract.StalePlan, kind(record(in, bundle)))
	require.Len(t, w.Recorded, 2)

	w.Recorded = w.Recorded[:1]
	_, err = act(t, contract.TakePoint, points(w).TakePoint, in)
	require.Equal(t, contract.BadPackage, kind(err), "no point is put on a chain that was set back: %v", err)
}

func TestARestoreLoadsSwitchesAndGoesBack(t *testing.T) {
	w, first := recoverable(t)
	before := w.History[len(w.History)-1]
	plan := restorePlan(t, w, first)
	in := contract.RecoverInput{Subject: subject(), Action: "restore-1", Plan: plan, Grant: grantOf(plan, "restore-1")}
	phase := func(name string) (contract.Recovered, error) {
		in.Phase = name
		return act(t, contract.PublishRecovery, snapshots(w).PublishRecovery, in)
	}
	loaded, err := phase(contract.PhaseLoad)
	require.NoError(t, err)
	require.Equal(t, before.Version+1, loaded.Snapshot.Version)
	require.Empty(t, w.History[len(w.History)-1].Routes, "no route has moved")
	want := contract.PackageWant{Key: "clinic/tumour/1", Package: w.Models[0].Version.Package}
	require.Equal(t, []contract.RegionWant{{Region: "eu", Packages: []contract.PackageWant{want}}, {Region: "us", Packages: []contract.PackageWant{want}}}, loaded.Regions)

	switched, err := phase(contract.PhaseSwitch)
	require.NoError(t, err)
	again, err := phase(contract.PhaseSwitch)
	require.NoError(t, err)
	require.Equal(t, switched, again, "a phase is published once")
	now := w.History[len(w.History)-1]
	require.Equal(t, 1, now.Routes[0].Version)
	eu, _ := now.Policy("eu")
	require.Equal(t, []int64{3, policy.DefaultThreshold}, []int64{eu.Revision, int64(eu.Threshold)})
	require.Equal(t, []contract.ChampionAt{{ModelID: "tumour", Environment: "production", Version: 1}}, switched.Models)
	require.Len(t, switched.Aliases, 1)
	require.Len(t, switched.Policies, 1)
	require.EqualValues(t, 3, switched.Policies[0].Revision)
	require.Equal(t, []contract.RouteWant{{Key: "clinic/tumour/production", Version: 1}}, switched.Regions[0].Routes)
	require.Equal(t, now.Regions[0].PolicyDigest, switched.Regions[0].Policy)

	back, err := phase(contract.PhaseBack)
	require.NoError(t, err)
	now = w.History[len(w.History)-1]
	require.Empty(t, now.Routes, "nothing served when it was planned")
	eu, _ = now.Policy("eu")
	require.Equal(t, []int64{4, 99}, []int64{eu.Revision, int64(eu.Threshold)})
	require.Equal(t, switched.Snapshot.Version+1, back.Snapshot.Version, "back is one step")
	require.Equal(t, []contract.RouteWant{{Key: "clinic/tumour/production"}}, back.Regions[0].Routes, "and the route must be gone")
}

func TestARestoreLeavesAloneWhatAnotherHandMoved(t *testing.T) {
	for _, tt := range []struct {
		name   string
		phases []string // before the other hand
		then   string
	}{
		{"before it loads", nil, contract.PhaseLoad},
		{"before it switches", []string{contract.PhaseLoad}, contract.PhaseSwitch},
		{"before it goes back", []string{contract.PhaseLoad, contract.PhaseSwitch}, contract.PhaseBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, first := recoverable(t)
			in := contract.RecoverInput{Subject: subject(), Action: "restore-1", Plan: restorePlan(t, w, first)}
			in.Grant = grantOf(in.Plan, in.Action)
			for _, in.Phase = range tt.phases {
				_, err := act(t, contract.PublishRecovery, snapshots(w).PublishRecovery, in)
				require.NoError(t, err)
			}
			serve(t, w, 7)
			n := len(w.History)
			in.Phase = tt.then
			_, err := act(t, contract.PublishRecovery, snapshots(w).PublishRecovery, in)
			require.Equal(t, contract.StalePlan, kind(err), "%v", err)
			require.Len(t, w.History, n)
		})
	}
	t.Run("a phase that is none", func(t *testing.T) {
		w, first := recoverable(t)
		plan := restorePlan(t, w, first)
		_, err := act(t, contract.PublishRecovery, snapshots(w).PublishRecovery, contract.RecoverInput{Subject: subject(), Action: "restore-1", Phase: "sideways", Plan: plan, Grant: grantOf(plan, "restore-1")})
		require.Equal(t, contract.BadPlan, kind(err))
	})
}

func TestARegionSaysItselfWhatItRuns(t *testing.T) {
	pkg, rules := artifact.DigestOf([]byte("p")), artifact.DigestOf([]byte("rules"))
	runs := activities.Active{Snapshot: 5, Policy: rules, Packages: map[string]artifact.Digest{"t/m/1": pkg}, Routes: map[string]int{"t/m/production": 1}}
	in := contract.AwaitRecoveredInput{Subject: subject(), Phase: contract.PhaseSwitch, Version: 5, Seconds: 1, Want: contract.RegionWant{Region: "eu", Policy: rules,
		Packages: []contract.PackageWant{{Key: "t/m/1", Package: pkg}}, Routes: []contract.RouteWant{{Key: "t/m/production", Version: 1}, {Key: "t/m/staging"}}}}
	for _, tt := range []struct {
		name   string
		change func(*activities.Active)
		says   string
	}{
		{"all of it", func(*activities.Active) {}, ""},
		{"an older snapshot", func(a *activities.Active) { a.Snapshot = 4 }, "it is at snapshot 4, not 5"},
		{"another package", func(a *activities.Active) { a.Packages = map[string]artifact.Digest{"t/m/1": rules} }, "it has not loaded t/m/1"},
		{"another version", func(a *activities.Active) { a.Routes = map[string]int{"t/m/production": 2} }, "it serves version 2 of t/m/production, not 1"},
		{"a route that should be gone", func(a *activities.Active) { a.Routes = map[string]int{"t/m/production": 1, "t/m/staging": 3} }, "it serves version 3 of t/m/staging, not 0"},
		{"another policy", func(a *activities.Active) { a.Policy = pkg }, "it runs policy " + pkg.Short()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := runs
			tt.change(&now)
			w := activitytest.New()
			w.Reports = []activities.Active{now}
			evidence, err := act(t, contract.AwaitRecovered, (&activities.Region{Runtime: w, Now: time.Now, Pause: time.Millisecond}).AwaitRecovered, in)
			if tt.says == "" {
				require.NoError(t, err)
				require.Equal(t, contract.Evidence{Region: "eu", Snapshot: 5, Policy: rules}, evidence)
				return
			}
			require.Equal(t, contract.NotActive, kind(err))
			require.ErrorContains(t, err, tt.says)
		})
	}
}
