package routing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

func TestARouteGoesBackToWhatWas(t *testing.T) {
	empty := based(t)
	step := func(s routing.Snapshot, version int, regions ...string) routing.Snapshot {
		t.Helper()
		s, err := s.Load(pkg(version, regions...), at)
		require.NoError(t, err)
		s, err = s.Switch(route(version, regions...), at)
		require.NoError(t, err)
		return s
	}
	one := step(empty, 1, "eu", "us")
	mixed := step(one, 2, "us")
	later := step(step(step(step(mixed, 3, "eu", "us"), 4, "eu", "us"), 5, "eu", "us"), 6, "eu", "us")
	require.NotContains(t, versions(later), 1, "version 1 was let go, so going back must load it")

	back, err := later.Restore(mixed, "clinic", "tumour", "production", []string{"eu", "us"}, at)
	require.NoError(t, err)
	require.Equal(t, mixed.Routes, back.Routes)
	require.Equal(t, later.Version+1, back.Version)
	_, err = routing.Compile(back, "")
	require.NoError(t, err)

	half, err := later.Restore(mixed, "clinic", "tumour", "production", []string{"eu"}, at)
	require.NoError(t, err)
	version, _ := half.Champion("clinic", "tumour", "production", []string{"eu"})
	require.Equal(t, 1, version)
	version, _ = half.Champion("clinic", "tumour", "production", []string{"us"})
	require.Equal(t, 6, version)

	gone, err := one.Restore(empty, "clinic", "tumour", "production", []string{"eu", "us"}, at)
	require.NoError(t, err)
	require.Empty(t, gone.Routes)
	require.NotEmpty(t, one.Routes, "the snapshot before is as it was")

	_, err = one.Restore(empty, "clinic", "tumour", "production", []string{"mars"}, at)
	require.ErrorIs(t, err, routing.ErrRegion)
}

func TestAPolicyGoesBackUnderAHigherRevision(t *testing.T) {
	before := based(t)
	second := policy.Default()
	second.Revision, second.Threshold = 2, 99
	after, err := before.Govern(second, []string{"eu"}, at)
	require.NoError(t, err)

	back, err := after.Retract(before, []string{"eu"}, at)
	require.NoError(t, err)
	require.Equal(t, after.Version+1, back.Version)
	document, ok := back.Policy("eu")
	require.True(t, ok)
	require.Equal(t, int64(3), document.Revision)
	require.Equal(t, policy.DefaultThreshold, document.Threshold)
	document, ok = back.Policy("us")
	require.True(t, ok)
	require.Equal(t, int64(1), document.Revision, "a region that was not reached is left alone")

	_, err = after.Retract(routing.Snapshot{}, []string{"eu"}, at)
	require.ErrorIs(t, err, routing.ErrRegion)
}
