package promotion_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

func desire() promotion.Desire {
	return promotion.Desire{
		Kind: promotion.KindPromotion, Tenant: "t", ModelID: "m", Environment: promotion.Production,
		Version: &promotion.Version{Number: 2, Repository: "models/t/m", Package: artifact.DigestOf([]byte{2})},
	}
}

func TestACanaryIsPartOfThePlan(t *testing.T) {
	served := promotion.World{
		Regions: []string{"apac", "eu"}, Evaluated: 500,
		Observed: promotion.Observed{Snapshot: 3, Champion: 1, Package: artifact.DigestOf([]byte{1}), Served: []int{1, 1}},
	}
	tests := []struct {
		name   string
		change func(*promotion.Desire, *promotion.World)
		want   error
	}{
		{"beside what serves", func(*promotion.Desire, *promotion.World) {}, nil},
		{"where nothing serves", func(_ *promotion.Desire, w *promotion.World) { w.Observed.Served = []int{1, 0} }, promotion.ErrBaseline},
		{"where it serves already", func(_ *promotion.Desire, w *promotion.World) { w.Observed.Served = []int{1, 2} }, promotion.ErrBaseline},
		{"where nobody looked", func(_ *promotion.Desire, w *promotion.World) { w.Observed.Served = nil }, promotion.ErrBaseline},
		{"on the way back", func(_ *promotion.Desire, w *promotion.World) { w.Served = true }, promotion.ErrWayBack},
		{"with a ladder that ends half way", func(d *promotion.Desire, _ *promotion.World) { d.Canary.SharesBP = []int{100} }, canary.ErrShares},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, w, design := desire(), served, canary.Default("r")
			d.Canary = &design
			tt.change(&d, &w)
			plan, err := promotion.NewPlan(d, w)
			require.ErrorIs(t, err, tt.want)
			if tt.want != nil {
				return
			}
			require.Equal(t, design, *plan.Canary)
			require.Contains(t, plan.Diff[1].To, "1, 5, 25, 50, 100 %, errors up by no more than 2 percentage points and latency up by no more than 20 % of the baseline")
			wide := design
			wide.Guardrails = []canary.Guardrail{{Metric: canary.Errors, Scale: canary.Absolute, MarginBP: 201}}
			d.Canary = &wide
			other, err := promotion.NewPlan(d, w)
			require.NoError(t, err)
			require.NotEqual(t, digest(t, plan), digest(t, other), "other margins are another plan")
		})
	}
	d := desire()
	d.AtOnce = true
	plan, err := promotion.NewPlan(d, served)
	require.NoError(t, err)
	require.Equal(t, promotion.Change{What: "canary", From: "the default", To: "none: everybody gets it at once"}, plan.Diff[1], "approvers see that it was left out")
}

func digest(t *testing.T, p promotion.Plan) artifact.Digest {
	t.Helper()
	text, err := artifact.Canonical(p)
	require.NoError(t, err)
	return artifact.DigestOf(text)
}

func TestReachIsTheTrafficOfTheRegions(t *testing.T) {
	reach := func(answers map[string]int64, regions ...string) int {
		d := desire()
		d.Regions = regions
		plan, err := promotion.NewPlan(d, promotion.World{Regions: []string{"apac", "eu", "us", "sa"}, Answers: answers})
		require.NoError(t, err)
		return plan.Risk.Reach
	}
	require.Equal(t, 250, reach(nil, "eu"), "where nobody asked yet, regions count the same")
	require.Equal(t, 900, reach(map[string]int64{"eu": 90, "us": 10}, "eu"), "a heavy region is most of the traffic")
	require.Equal(t, 250, reach(map[string]int64{"eu": 90, "us": 10}, "us"), "a light one is not less than its share of the regions")
	require.Equal(t, 1000, reach(map[string]int64{"eu": 90}))
	w := promotion.World{Answers: map[string]int64{"eu": 90, "us": 10}}
	require.Equal(t, []string{"apac", "sa", "us", "eu"}, w.Quietest([]string{"apac", "eu", "us", "sa"}))
}

func TestContributions(t *testing.T) {
	points := func(f promotion.Factors) map[string]int {
		out := map[string]int{}
		for _, c := range promotion.Assess(f).Contributions() {
			out[c.Factor] = c.Points
		}
		return out
	}
	// 100 % of production, all regions, of the notes' table: 35, and a floor of 60.
	all := points(promotion.Factors{Environ: 1, Reach: 1, Reversal: .1, Class: .3, Uncertain: .05, Loosens: true})
	require.Equal(t, 25, all["floor"])
	require.Equal(t, 35, all["environment"], "outside all environments there is no risk")
	require.Equal(t, 35, all["reach"])
	require.Equal(t, 0, all["privacy"])
	require.Equal(t, 17, all["loosens"], "half of it")
	require.Greater(t, all["class"], all["reversal"])
	require.Equal(t, 0, points(promotion.Factors{Environ: 1, Reach: .1})["floor"])
}

func TestAPlanClimbs(t *testing.T) {
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	world, _, err := routing.Snapshot{}.Rebase([]string{"eu", "us"}, nil, policy.Default(), now)
	require.NoError(t, err)
	load := func(s routing.Snapshot, version int) routing.Snapshot {
		s, err := s.Load(routing.Package{Tenant: "t", Model: "m", Version: version, Manifest: artifact.DigestOf([]byte{byte(version)}), Regions: []string{"eu", "us"}}, now)
		require.NoError(t, err)
		return s
	}
	serve := func(s routing.Snapshot, version int, regions ...string) routing.Snapshot {
		s, err := load(s, version).Switch(routing.Route{Tenant: "t", Model: "m", Environment: "production", Version: version, Regions: regions}, now)
		require.NoError(t, err)
		return s
	}
	split := func(s routing.Snapshot, lineage string) routing.Snapshot {
		s, err := load(s, 2).Split(routing.Canary{Lineage: lineage, Tenant: "t", Model: "m", Environment: "production", Version: 2, Share: 100, Regions: []string{"us"}}, now)
		require.NoError(t, err)
		return s
	}
	served := serve(world, 1, "eu", "us")
	design := canary.Default("r")
	plan := promotion.Plan{
		Kind: promotion.KindPromotion, Tenant: "t", ModelID: "m", Environment: "production", Regions: []string{"eu", "us"}, Canary: &design,
		Version: &promotion.Version{Number: 2}, Observed: promotion.Observe(promotion.KindPromotion, "t", "m", "production", []string{"eu", "us"}, served),
	}
	tests := []struct {
		name  string
		world routing.Snapshot
		want  error
	}{
		{"as it was", served, nil},
		{"with its own canary", split(served, "r"), nil},
		{"with a region given over", serve(served, 2, "eu"), nil},
		{"with all given over", serve(served, 2, "eu", "us"), nil},
		{"with another's version in a region", serve(served, 3, "us"), promotion.ErrStale},
		{"with another's canary", split(served, "other"), promotion.ErrStale},
		{"that went back", world, promotion.ErrStale},
	}
	for _, tt := range tests {
		t.Run("in a world "+tt.name, func(t *testing.T) { require.ErrorIs(t, plan.Climbs(tt.world), tt.want) })
	}
	plan.Canary = nil
	require.ErrorIs(t, plan.Climbs(served), promotion.ErrKind)
}

func TestAGrantPermitsOnePlan(t *testing.T) {
	plan, err := promotion.NewPlan(desire(), promotion.World{Regions: []string{"eu"}})
	require.NoError(t, err)
	other, err := promotion.NewPlan(desire(), promotion.World{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	grant, err := promotion.NewGrant(promotion.Grant{Tenant: "t", Kind: promotion.KindPromotion, Action: "promote-1", Plan: digest(t, plan), Need: 1, Nonce: artifact.DigestOf([]byte("n"))})
	require.NoError(t, err)
	require.NoError(t, grant.Permits("t", "promote-1", plan))

	forged := grant
	forged.Need = 0
	moved := grant
	moved.Plan = digest(t, other)
	for name, err := range map[string]error{
		"none":                               promotion.Grant{}.Permits("t", "promote-1", plan),
		"another tenant's":                   grant.Permits("u", "promote-1", plan),
		"another action's":                   grant.Permits("t", "promote-2", plan),
		"another plan's":                     grant.Permits("t", "promote-1", other),
		"one that was made to need nobody":   forged.Permits("t", "promote-1", plan),
		"one that was moved to another plan": moved.Permits("t", "promote-1", other),
	} {
		require.ErrorIs(t, err, promotion.ErrGrant, name)
	}
	_, err = promotion.NewGrant(promotion.Grant{Tenant: "t", Kind: "promotion", Action: "a", Plan: "p", Need: 1})
	require.ErrorIs(t, err, promotion.ErrGrant, "people without a ballot")
}
