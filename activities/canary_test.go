package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// climbing is a world in which version 7 serves and the plan brings another one
// as a canary.
func climbing(t *testing.T) (*activitytest.World, promotion.Plan) {
	t.Helper()
	w, _ := promotable(t)
	serve(t, w, 7)
	version := w.Models[0].Version
	design := canary.Default("r")
	latest, regions := w.History[len(w.History)-1], []string{"eu", "us"}
	plan, err := promotion.NewPlan(
		promotion.Desire{Kind: promotion.KindPromotion, Tenant: "clinic", ModelID: "tumour", Environment: "production", Version: &version, Canary: &design},
		promotion.World{Observed: promotion.Observe(promotion.KindPromotion, "clinic", "tumour", "production", regions, latest), Regions: regions, Evaluated: 500})
	require.NoError(t, err)
	return w, plan
}

// traffic answers so many calls of a side in ten seconds, at 40 ms each.
func traffic(at time.Time, version int, isCanary bool, requests, failed int64) activitytest.Answered {
	n := requests - failed
	return activitytest.Answered{At: at, Traffic: routing.Traffic{
		Environment: "production", Version: version, Region: "eu", Canary: isCanary, Requests: requests, Answered: n, Failed: failed,
		LatencySum: 40_000 * n, LatencySquares: 2e9 * float64(n),
	}}
}

func TestALookJudgesTheTrafficOfItsStep(t *testing.T) {
	second := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	all := func(list ...[]activitytest.Answered) []activitytest.Answered {
		var out []activitytest.Answered
		for _, l := range list {
			out = append(out, l...)
		}
		return out
	}
	minutes := func(version int, isCanary bool, requests, failed int64) []activitytest.Answered {
		var out []activitytest.Answered
		for s := 10; s < 310; s += 10 {
			out = append(out, traffic(second(s), version, isCanary, requests, failed))
		}
		return out
	}
	tests := []struct {
		name    string
		traffic []activitytest.Answered
		last    bool
		want    canary.Verdict
		answers [2]int64 // of control and canary
	}{
		{"that is the same on both sides", all(minutes(7, false, 100, 1), minutes(1, true, 100, 1)), false, canary.Pass, [2]int64{3000, 3000}},
		{"that is the same, with a second opinion", all(minutes(7, false, 100, 1), minutes(1, true, 100, 1)), true, canary.Pass, [2]int64{3000, 3000}},
		{"in which the canary fails", all(minutes(7, false, 100, 1), minutes(1, true, 100, 30)), false, canary.Fail, [2]int64{3000, 3000}},
		{"in which nobody asks the canary", minutes(7, false, 100, 1), false, canary.NoData, [2]int64{3000, 0}},
		{"in which nobody asks", nil, true, canary.NoData, [2]int64{}},
		{"of another version", all(minutes(7, false, 100, 1), minutes(5, true, 100, 30)), false, canary.NoData, [2]int64{3000, 0}},
		{"of the version, but not as a canary", all(minutes(7, false, 100, 1), minutes(1, false, 100, 30)), false, canary.NoData, [2]int64{3000, 0}},
		{"from before the step", all(minutes(7, false, 100, 1), minutes(1, true, 100, 1), []activitytest.Answered{traffic(second(0), 1, true, 3000, 3000)}), false, canary.Pass, [2]int64{3000, 3000}},
		{"after the look", all(minutes(7, false, 100, 1), minutes(1, true, 100, 1), []activitytest.Answered{traffic(second(320), 1, true, 3000, 3000)}), false, canary.Pass, [2]int64{3000, 3000}},
	}
	for _, tt := range tests {
		t.Run("traffic "+tt.name, func(t *testing.T) {
			w, plan := climbing(t)
			r := activitytest.NewRollouts(w)
			r.Traffic = tt.traffic
			looking := &activities.Canary{Blobs: w, Traffic: r, Canaries: r}
			step := plan.Canary.Steps(plan.Regions)[0]
			in := contract.LookInput{Subject: subject(), Action: "promotion-1", Plan: plan, Number: 3, Step: step, From: second(4), To: second(312), Last: tt.last}
			got, err := act(t, contract.LookCanary, looking.LookCanary, in)
			require.NoError(t, err)
			require.Equal(t, tt.want, got.Verdict, got.Words)
			var look canary.Look
			require.NoError(t, artifact.DecodeStrict(w.Content[got.Look], &look))
			require.Equal(t, tt.answers, [2]int64{look.Control.Answers, look.Canary.Answers})
			require.Equal(t, tt.last, look.Second != nil)

			r.Traffic = append(r.Traffic, traffic(second(20), 1, true, 9000, 9000))
			again, err := act(t, contract.LookCanary, looking.LookCanary, in)
			require.NoError(t, err)
			require.Equal(t, got, again, "a look that was kept stands, whatever arrives late")
			require.Len(t, r.Noted, 1)

			end := contract.CanaryEnd{Subject: subject(), Action: "promotion-1", Plan: digestOf(t, plan), Facts: 3, Result: contract.CanaryResult{Outcome: "failed"}}
			first, err := act(t, contract.RecordCanary, looking.RecordCanary, end)
			require.NoError(t, err)
			second, err := act(t, contract.RecordCanary, looking.RecordCanary, end)
			require.NoError(t, err)
			require.Equal(t, first, second, "the same facts are the same record")
			var record canary.Record
			require.NoError(t, artifact.DecodeStrict(w.Content[first.Record], &record))
			require.Equal(t, []canary.Look{look}, record.Looks)
		})
	}
}

// In a shadow the version is judged by what became of the copies, beside the
// answers that the other one gave to callers: by those who stayed for them.
func TestALookAtAShadowJudgesTheCopies(t *testing.T) {
	many := func(version int, gone, requests, failed int64) []activitytest.Answered {
		var out []activitytest.Answered
		for s := 10; s < 310; s += 10 {
			a := traffic(noon.Add(time.Duration(s)*time.Second), version, false, requests, failed)
			a.Requests, a.Gone = a.Requests+gone, gone
			out = append(out, a)
		}
		return out
	}
	asCanary := []activitytest.Answered{traffic(noon.Add(time.Minute), 1, true, 9000, 9000)}
	tests := []struct {
		name     string
		traffic  []activitytest.Answered
		mirrored []activitytest.Answered
		want     canary.Verdict
		answers  [2]int64
	}{
		{"are as good", many(7, 0, 100, 1), many(1, 0, 100, 1), canary.Pass, [2]int64{3000, 3000}},
		{"fail", many(7, 0, 100, 1), many(1, 0, 10, 9), canary.Fail, [2]int64{3000, 300}},
		{"fail, and callers that leave excuse nothing", many(7, 90, 100, 1), many(1, 0, 100, 45), canary.Fail, [2]int64{3000, 3000}},
		{"are none", many(7, 0, 100, 1), nil, canary.NoData, [2]int64{3000, 0}},
		{"are of another version", many(7, 0, 100, 1), many(5, 0, 100, 1), canary.NoData, [2]int64{3000, 0}},
		{"are none, and what it answered is none", append(many(7, 0, 100, 1), asCanary...), nil, canary.NoData, [2]int64{3000, 0}},
	}
	for _, tt := range tests {
		t.Run("that "+tt.name, func(t *testing.T) {
			w, plan := climbing(t)
			plan.Canary.Shadow = &canary.Shadow{ShareBP: 1000, Required: 200}
			r := activitytest.NewRollouts(w)
			r.Traffic, r.Mirrored = tt.traffic, tt.mirrored
			looking := &activities.Canary{Blobs: w, Traffic: r, Canaries: r}
			step := plan.Canary.Steps(plan.Regions)[0]
			require.True(t, step.Shadow())
			got, err := act(t, contract.LookCanary, looking.LookCanary, contract.LookInput{
				Subject: subject(), Action: "promotion-1", Plan: plan, Number: 2, Step: step, From: noon.Add(4 * time.Second), To: noon.Add(312 * time.Second)})
			require.NoError(t, err)
			require.Equal(t, tt.want, got.Verdict, got.Words)
			var look canary.Look
			require.NoError(t, artifact.DecodeStrict(w.Content[got.Look], &look))
			require.Equal(t, tt.answers, [2]int64{look.Control.Answers, look.Canary.Answers})
		})
	}
}

func digestOf(t *testing.T, plan promotion.Plan) artifact.Digest {
	t.Helper()
	text, err := artifact.Canonical(plan)
	require.NoError(t, err)
	return artifact.DigestOf(text)
}

func TestALookThatCannotBeTakenIsTriedAgain(t *testing.T) {
	w, plan := climbing(t)
	r := activitytest.NewRollouts(w)
	looking := &activities.Canary{Blobs: w, Traffic: r, Canaries: r}
	in := contract.LookInput{Subject: subject(), Action: "promotion-1", Plan: plan, Number: 1, Step: plan.Canary.Steps(plan.Regions)[0], From: noon, To: noon.Add(time.Minute)}
	for _, after := range []bool{false, true} {
		for n := 1; n <= 3; n++ {
			r.Noted, w.Calls, w.FailAt, w.After = nil, 0, n, after
			_, err := act(t, contract.LookCanary, looking.LookCanary, in)
			require.Error(t, err, once(n, after))
			require.Empty(t, kind(err), "a database that is away is no verdict")
			got, err := act(t, contract.LookCanary, looking.LookCanary, in)
			require.NoError(t, err)
			require.Equal(t, canary.NoData, got.Verdict)
			require.Len(t, r.Noted, 1, once(n, after))
		}
	}
	plan.Canary, w.FailAt = nil, 0
	in.Plan = plan
	_, err := act(t, contract.LookCanary, looking.LookCanary, in)
	require.Equal(t, contract.BadPlan, kind(err))
}

// A share is given step by step, in one region, and taken back in all of them.
func TestARolloutClimbsInTheDataPlane(t *testing.T) {
	w, plan := climbing(t)
	version := plan.Version.Number
	publish := func(phase string, share int, regions ...string) routing.Snapshot {
		in := publishing(plan, phase, regions...)
		in.ShareBP = share
		first, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, in)
		require.NoError(t, err)
		again, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, in)
		require.NoError(t, err)
		require.Equal(t, first, again, "a step is published once")
		return w.History[len(w.History)-1]
	}
	serves := func(s routing.Snapshot) [2]int {
		eu, _ := s.Champion("clinic", "tumour", "production", []string{"eu"})
		us, _ := s.Champion("clinic", "tumour", "production", []string{"us"})
		return [2]int{eu, us}
	}
	publish(contract.PhaseLoad, 0, "eu", "us")
	s := publish(contract.PhaseCanary, 100, "eu")
	c, ok := s.Canary("r")
	require.True(t, ok)
	require.Equal(t, []any{100, []string{"eu"}, version}, []any{c.Share, c.Regions, c.Version})
	c, _ = publish(contract.PhaseCanary, 5000, "eu").Canary("r")
	require.Equal(t, 5000, c.Share)
	s = publish(contract.PhaseGive, 10000, "eu")
	require.Equal(t, [2]int{version, 7}, serves(s))
	_, ok = s.Canary("r")
	require.False(t, ok)
	c, _ = publish(contract.PhaseCanary, 100, "us").Canary("r")
	require.Equal(t, []string{"us"}, c.Regions)

	s = publish(contract.PhaseBack, 0, "eu", "us")
	require.Equal(t, [2]int{7, 7}, serves(s), "in the region that was given over, too")
	require.Empty(t, s.Canaries)
}

// A shadow goes through all regions before the first share is given, and what
// it leaves behind nobody is answered by.
func TestAShadowGoesThroughTheRegionsFirst(t *testing.T) {
	w, plan := climbing(t)
	publish := func(phase string, share int, region string) routing.Canary {
		in := publishing(plan, phase, region)
		in.ShareBP = share
		first, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, in)
		require.NoError(t, err)
		again, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, in)
		require.NoError(t, err)
		require.Equal(t, first, again, "a step is published once")
		s := w.History[len(w.History)-1]
		require.Equal(t, first.Version, s.Version)
		c, _ := s.Canary("r")
		return c
	}
	is := func(c routing.Canary) []any { return []any{c.Mirror, c.Share, c.Regions} }
	_, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, publishing(plan, contract.PhaseLoad, "eu", "us"))
	require.NoError(t, err)
	require.Equal(t, []any{1000, 0, []string{"eu"}}, is(publish(contract.PhaseShadow, 1000, "eu")))
	require.Equal(t, []any{1000, 0, []string{"us"}}, is(publish(contract.PhaseShadow, 1000, "us")))
	require.Equal(t, []any{0, 1000, []string{"eu"}}, is(publish(contract.PhaseCanary, 1000, "eu")), "the same share is another step")
	require.Equal(t, []any{0, 5000, []string{"eu"}}, is(publish(contract.PhaseCanary, 5000, "eu")))
	publish(contract.PhaseGive, 10000, "eu")
	require.Equal(t, []any{0, 100, []string{"us"}}, is(publish(contract.PhaseCanary, 100, "us")))
}

func TestOneRegionOfAnotherHandKeepsNoOtherFromGoingBack(t *testing.T) {
	w, plan := climbing(t)
	give := func(phase string, share int, regions ...string) {
		in := publishing(plan, phase, regions...)
		in.ShareBP = share
		_, err := act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, in)
		require.NoError(t, err)
	}
	give(contract.PhaseLoad, 0, "eu", "us")
	give(contract.PhaseCanary, 100, "eu")
	s := w.History[len(w.History)-1]
	s, err := s.Load(routing.Package{Tenant: "clinic", Model: "tumour", Version: 9, Manifest: artifact.DigestOf([]byte{9}), Regions: []string{"us"}, Registry: w.URL(), Repository: "models/clinic/tumour", Bundle: []byte("{}")}, noon)
	require.NoError(t, err)
	w.History = append(w.History, s)
	s, err = s.Switch(routing.Route{Tenant: "clinic", Model: "tumour", Environment: "production", Version: 9, Regions: []string{"us"}}, noon)
	require.NoError(t, err)
	w.History = append(w.History, s)

	in := publishing(plan, contract.PhaseCanary, "eu")
	in.ShareBP = 5000
	_, err = act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, in)
	require.Equal(t, contract.StalePlan, kind(err), "it does not go on in a world that has moved")
	give(contract.PhaseBack, 0, "eu", "us")
	last := w.History[len(w.History)-1]
	require.Empty(t, last.Canaries)
	us, _ := last.Champion("clinic", "tumour", "production", []string{"us"})
	require.Equal(t, 9, us, "what another hand brought stays")
}

// The ballots on the way are over the same plan, named apart.
func TestARolloutAsksAgain(t *testing.T) {
	w, plan := climbing(t)
	staff(t, w)
	in := contract.AskInput{CheckInput: planned(t, w, plan), Ballot: "promotion-1-hold-1", Why: "5 % of eu is NO_DATA", Look: artifact.DigestOf([]byte("look")), Always: true}
	got, err := act(t, contract.AskAgain, promotions(w).AskAgain, in)
	require.NoError(t, err)
	require.Equal(t, in.Plan.Digest, got.Request.Action.Plan)
	require.Equal(t, "promotion-1-hold-1", got.Request.Action.ID)
	require.Contains(t, got.Request.Action.Summary, "5 % of eu is NO_DATA")
	require.Contains(t, got.Request.Evidence, approval.Exhibit{Name: "what the canary showed", Digest: in.Look})
	require.Positive(t, got.Request.Need)
	again, err := act(t, contract.AskAgain, promotions(w).AskAgain, in)
	require.NoError(t, err)
	require.Equal(t, got.Request, again.Request, "opened once")

	quiet := plan
	quiet.Environment, quiet.Risk.Score = promotion.Staging, 5
	quiet.Observed.Served, quiet.Observed.Champion, quiet.Observed.Package = []int{0, 0}, 0, ""
	in.CheckInput, in.Ballot = planned(t, w, quiet), "promotion-2-hold-1"
	got, err = act(t, contract.AskAgain, promotions(w).AskAgain, in)
	require.NoError(t, err)
	require.Positive(t, got.Request.Need, "somebody, in every environment")
}
