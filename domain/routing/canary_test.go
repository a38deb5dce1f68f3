package routing_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

func canary(version, share int, regions ...string) routing.Canary {
	return routing.Canary{Lineage: "rollout-1", Tenant: "clinic", Model: "tumour", Environment: "production", Version: version, Share: share, Regions: regions}
}

// served is version 1 in production in eu and us, with version 2 loaded in both.
func served(t *testing.T) routing.Snapshot {
	t.Helper()
	s := based(t)
	var err error
	for v := 1; v <= 2; v++ {
		s, err = s.Load(pkg(v, "eu", "us"), at)
		require.NoError(t, err)
	}
	r := route(1, "eu", "us")
	r.Callers = []string{"lab"}
	s, err = s.Switch(r, at)
	require.NoError(t, err)
	return s
}

func split(t *testing.T, s routing.Snapshot, c routing.Canary) routing.Snapshot {
	t.Helper()
	next, err := s.Split(c, at)
	require.NoError(t, err)
	return next
}

func TestACanaryGoesItsWay(t *testing.T) {
	before := served(t)
	s := split(t, before, canary(2, 0, "us"))
	require.Empty(t, before.Canaries, "the snapshot before is as it was")
	require.Equal(t, before.Version+1, s.Version)

	s, err := s.Shift("rollout-1", 500, at)
	require.NoError(t, err)
	wider, err := s.Widen("rollout-1", []string{"eu"}, at)
	require.NoError(t, err)
	require.Equal(t, canary(2, 500, "us"), s.Canaries[0])
	require.Equal(t, []routing.Canary{canary(2, 500, "eu", "us")}, wider.Canaries)
	c, ok := wider.Challenger("clinic", "tumour", "production")
	require.True(t, ok)
	require.Equal(t, wider.Canaries[0], c)
	_, ok = wider.Challenger("clinic", "tumour", "staging")
	require.False(t, ok)

	half, err := wider.Promote("rollout-1", []string{"us"}, at)
	require.NoError(t, err)
	require.Equal(t, []routing.Canary{canary(2, 500, "eu")}, half.Canaries)
	require.Equal(t, []routing.Route{
		{Tenant: "clinic", Model: "tumour", Environment: "production", Version: 1, Regions: []string{"eu"}, Callers: []string{"clinic", "lab"}},
		{Tenant: "clinic", Model: "tumour", Environment: "production", Version: 2, Regions: []string{"us"}, Callers: []string{"clinic", "lab"}},
	}, half.Routes)
	done, err := half.Promote("rollout-1", []string{"eu"}, at)
	require.NoError(t, err)
	require.Empty(t, done.Canaries)
	require.Len(t, done.Routes, 1)
	require.Equal(t, []string{"eu", "us"}, done.Routes[0].Regions)

	less, err := wider.Withdraw("rollout-1", []string{"eu"}, at)
	require.NoError(t, err)
	require.Equal(t, []routing.Canary{canary(2, 500, "us")}, less.Canaries)
	none, err := less.Withdraw("rollout-1", []string{"us"}, at)
	require.NoError(t, err)
	require.Empty(t, none.Canaries)
	require.Equal(t, before.Routes, none.Routes)

	// Nothing of it is written where there is none: the signed form is as before.
	text, err := json.Marshal(none)
	require.NoError(t, err)
	require.NotContains(t, string(text), "canaries")
	require.Equal(t, before.StateOf("clinic"), none.StateOf("clinic"))
	require.NotEqual(t, before.StateOf("clinic"), less.StateOf("clinic"), "a recovery would replace it")
}

func TestACanaryIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*routing.Canary)
		want   error
	}{
		{"of a version that is not loaded", func(c *routing.Canary) { c.Version = 3 }, routing.ErrNotLoaded},
		{"of the champion itself", func(c *routing.Canary) { c.Version = 1 }, routing.ErrNoRoute},
		{"where the model has no champion", func(c *routing.Canary) { c.Environment = "staging" }, routing.ErrNoRoute},
		{"in a region that is not there", func(c *routing.Canary) { c.Regions = []string{"mars"} }, routing.ErrRegion},
		{"in no region", func(c *routing.Canary) { c.Regions = nil }, routing.ErrRegion},
		{"of more than everything", func(c *routing.Canary) { c.Share = 10_001 }, routing.ErrShare},
		{"of less than nothing", func(c *routing.Canary) { c.Share = -1 }, routing.ErrShare},
		{"without a lineage", func(c *routing.Canary) { c.Lineage = "" }, routing.ErrLineage},
		{"of a lineage with a space", func(c *routing.Canary) { c.Lineage = "a b" }, routing.ErrLineage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := canary(2, 500, "eu")
			tt.change(&c)
			_, err := served(t).Split(c, at)
			require.ErrorIs(t, err, tt.want)
		})
	}

	s := split(t, served(t), canary(2, 500, "eu"))
	second := canary(2, 500, "us")
	second.Lineage = "rollout-2"
	_, err := s.Split(second, at)
	require.ErrorIs(t, err, routing.ErrCanary, "a model has one canary at a time")
	_, err = s.Shift("rollout-2", 1, at)
	require.ErrorIs(t, err, routing.ErrNoCanary)
	_, err = s.Shift("rollout-1", 10_001, at)
	require.ErrorIs(t, err, routing.ErrShare)
	_, err = s.Widen("rollout-1", []string{"mars"}, at)
	require.ErrorIs(t, err, routing.ErrRegion)
	_, err = s.Promote("rollout-1", []string{"us"}, at)
	require.ErrorIs(t, err, routing.ErrRegion, "it is not tried there")
	_, err = s.Promote("rollout-2", []string{"eu"}, at)
	require.ErrorIs(t, err, routing.ErrNoCanary)
	_, err = s.Withdraw("rollout-2", []string{"eu"}, at)
	require.ErrorIs(t, err, routing.ErrNoCanary)

	// A snapshot that was signed with a fault all the same is refused whole.
	s.Canaries = append(s.Canaries, s.Canaries[0])
	_, err = routing.Compile(s, "eu")
	require.ErrorIs(t, err, routing.ErrLineage)
	s.Canaries[1].Lineage = "rollout-2"
	_, err = routing.Compile(s, "eu")
	require.ErrorIs(t, err, routing.ErrTwice)
}

func TestWhatMovesTheRouteEndsTheCanary(t *testing.T) {
	before := served(t)
	s := split(t, before, canary(2, 500, "eu", "us"))
	load := func(s routing.Snapshot) routing.Snapshot {
		next, err := s.Load(pkg(3, "eu", "us"), at)
		require.NoError(t, err)
		return next
	}
	tests := []struct {
		name string
		move func() (routing.Snapshot, error)
		left []string
	}{
		{"a load does not", func() (routing.Snapshot, error) { return load(s), nil }, []string{"eu", "us"}},
		{"another version does, where it goes", func() (routing.Snapshot, error) { return load(s).Switch(route(3, "us"), at) }, []string{"eu"}},
		{"the same version does, by another way", func() (routing.Snapshot, error) { return s.Switch(route(2, "eu"), at) }, []string{"us"}},
		{"another environment does not", func() (routing.Snapshot, error) {
			r := route(2, "eu")
			r.Environment = "staging"
			return s.Switch(r, at)
		}, []string{"eu", "us"}},
		{"a way back does", func() (routing.Snapshot, error) {
			return s.Restore(before, "clinic", "tumour", "production", []string{"eu"}, at)
		}, []string{"us"}},
		{"a way back to nothing does", func() (routing.Snapshot, error) {
			return s.Restore(based(t), "clinic", "tumour", "production", []string{"eu", "us"}, at)
		}, nil},
		{"a way back of another model does not", func() (routing.Snapshot, error) {
			return s.Restore(before, "clinic", "lung", "production", []string{"eu"}, at)
		}, []string{"eu", "us"}},
		{"a recovery does", func() (routing.Snapshot, error) {
			return s.Recover(routing.State{Tenant: "clinic", Routes: before.Routes}, at)
		}, nil},
		{"a recovery of another tenant does not", func() (routing.Snapshot, error) {
			return s.Recover(routing.State{Tenant: "lab"}, at)
		}, []string{"eu", "us"}},
		{"a region that goes takes it along", func() (routing.Snapshot, error) {
			next, _, err := s.Rebase([]string{"eu"}, nil, policy.Default(), at)
			return next, err
		}, []string{"eu"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next, err := tt.move()
			require.NoError(t, err)
			c, ok := next.Canary("rollout-1")
			require.Equal(t, len(tt.left) > 0, ok)
			require.Equal(t, tt.left, c.Regions)
			require.Equal(t, []string{"eu", "us"}, s.Canaries[0].Regions, "the snapshot before is as it was")
			_, err = routing.Compile(next, "eu")
			require.NoError(t, err)
		})
	}
}

func TestTheCanarysVersionIsNotLetGo(t *testing.T) {
	s := split(t, served(t), canary(2, 0, "eu"))
	var err error
	for v := 3; v <= 6; v++ {
		s, err = s.Load(pkg(v, "eu"), at)
		require.NoError(t, err)
	}
	require.Equal(t, []int{1, 2, 4, 5, 6}, versions(s), "champion, canary, two spare, and the newest")
}

func TestATrialHasTheEndpointsOfItsTarget(t *testing.T) {
	doc := policy.Default()
	doc.Rules = append([]policy.Rule{{Name: "lab-stays", Tenant: "lab", Model: "*", Regions: []string{"us"}, Kinds: []string{policy.Neural}}}, doc.Rules...)
	s := split(t, served(t), canary(2, 500, "us"))
	doc.Revision = 2
	s, err := s.Govern(doc, []string{"eu", "us"}, at)
	require.NoError(t, err)
	table, err := routing.Compile(s, "eu")
	require.NoError(t, err)

	g := table.Target("clinic", "clinic", "tumour", "production")
	require.Equal(t, []routing.Permit{{Endpoint: 0, Leg: 0}, {Endpoint: 1, Leg: 0}}, g.Permitted, "the champion, everywhere")
	require.Equal(t, []routing.Permit{{Endpoint: 0, Leg: 0}, {Endpoint: 1, Leg: 1}}, g.Trial.Permitted, "the canary in us")
	require.Equal(t, 2, g.Legs[g.Trial.Leg].Package.Version)
	require.Equal(t, []string{"us"}, g.Legs[g.Trial.Leg].Route.Regions)

	g = table.Target("lab", "clinic", "tumour", "production")
	require.Equal(t, []routing.Permit{{Endpoint: 1, Leg: 1}}, g.Trial.Permitted, "a canary opens no region")

	s.Canaries[0].Regions = []string{"eu"}
	table, err = routing.Compile(s, "eu")
	require.NoError(t, err)
	g = table.Target("lab", "clinic", "tumour", "production")
	require.Equal(t, []routing.Permit{{Endpoint: 1, Leg: 0}}, g.Trial.Permitted)
}

// A caller that the route of a region does not name has no part in the trial there.
func TestATrialIsForTheCallersOfTheRoute(t *testing.T) {
	s := served(t)
	s.Routes[0].Regions = []string{"eu"}
	s, err := s.Switch(route(1, "us"), at)
	require.NoError(t, err)
	s.Routes = []routing.Route{route(1, "eu"), {Tenant: "clinic", Model: "tumour", Environment: "production", Version: 3, Regions: []string{"us"}, Callers: []string{"lab"}}}
	s.Packages = append(s.Packages, pkg(3, "us"))
	s = split(t, s, canary(2, 10_000, "eu"))
	table, err := routing.Compile(s, "eu")
	require.NoError(t, err)
	require.NotNil(t, table.Target("clinic", "clinic", "tumour", "production").Trial)
	require.Nil(t, table.Target("lab", "clinic", "tumour", "production").Trial)
}

// The side of a caller is a matter of lineage and share alone: whatever else
// happens to the snapshot, and whichever router compiles it.
func TestASideIsKept(t *testing.T) {
	sides := func(s routing.Snapshot, home string) (taken []bool) {
		text, err := json.Marshal(s) // as it comes back from the disk
		require.NoError(t, err)
		var read routing.Snapshot
		require.NoError(t, json.Unmarshal(text, &read))
		table, err := routing.Compile(read, home)
		require.NoError(t, err)
		trial := table.Target("lab", "clinic", "tumour", "production").Trial
		for i := range 2000 {
			taken = append(taken, trial.Takes("lab", fmt.Sprint(i)))
		}
		return taken
	}
	rapid.Check(t, func(rt *rapid.T) {
		share := rapid.IntRange(0, routing.Whole).Draw(rt, "share")
		more := rapid.IntRange(share, routing.Whole).Draw(rt, "more")
		first := split(t, served(t), canary(2, share, "us"))
		before := sides(first, "eu")
		paused, err := first.Shift("rollout-1", 0, at)
		require.NoError(t, err)
		require.NotContains(t, sides(paused, "eu"), true)
		resumed, err := paused.Shift("rollout-1", share, at.Add(time.Hour))
		require.NoError(t, err)
		resumed, err = resumed.Widen("rollout-1", []string{"eu"}, at)
		require.NoError(t, err)
		require.Equal(t, before, sides(resumed, "us"))
		grown, err := resumed.Shift("rollout-1", more, at)
		require.NoError(t, err)
		for i, after := range sides(grown, "eu") {
			if before[i] && !after {
				rt.Fatalf("caller %d lost its side from %d to %d", i, share, more)
			}
		}
		all, err := grown.Shift("rollout-1", routing.Whole, at)
		require.NoError(t, err)
		require.NotContains(t, sides(all, "eu"), false)
	})
}
