package routing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

var at = time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)

func based(t *testing.T) routing.Snapshot {
	t.Helper()
	s, changed, err := routing.Snapshot{}.Rebase([]string{"us", "eu"}, []routing.Endpoint{{Name: "b", Region: "us", Kind: "neural", URL: "http://b"}, {Name: "a", Region: "eu", Kind: "neural", URL: "http://a"}}, policy.Default(), at)
	require.NoError(t, err)
	require.True(t, changed)
	return s
}

func pkg(version int, regions ...string) routing.Package {
	return routing.Package{Tenant: "clinic", Model: "tumour", Version: version, Manifest: artifact.DigestOf([]byte{byte(version)}), Regions: regions}
}

func route(version int, regions ...string) routing.Route {
	return routing.Route{Tenant: "clinic", Model: "tumour", Environment: "production", Version: version, Regions: regions}
}

// versions lists what is loaded, in the order of the snapshot.
func versions(s routing.Snapshot) []int {
	var all []int
	for _, p := range s.Packages {
		all = append(all, p.Version)
	}
	return all
}

func TestTheFirstSnapshotHasRegionsEndpointsAndAPolicy(t *testing.T) {
	s := based(t)
	require.Equal(t, int64(1), s.Version)
	require.Equal(t, []string{"eu", "us"}, []string{s.Regions[0].Name, s.Regions[1].Name})
	require.Equal(t, "a", s.Endpoints[0].Name)
	encoded, err := policy.Default().Encode()
	require.NoError(t, err)
	require.Equal(t, artifact.DigestOf(encoded), s.Regions[0].PolicyDigest)
	document, ok := s.Policy("us")
	require.True(t, ok)
	require.Equal(t, policy.Default(), document)

	again, changed, err := s.Rebase([]string{"eu", "us"}, []routing.Endpoint{{Name: "a", Region: "eu", Kind: "neural", URL: "http://a"}, {Name: "b", Region: "us", Kind: "neural", URL: "http://b"}}, policy.Default(), at.Add(time.Hour))
	require.NoError(t, err)
	require.False(t, changed, "the same configuration in another order is no change")
	require.Equal(t, s, again)
}

func TestARegionThatIsGoneTakesItsRoutesAlong(t *testing.T) {
	s := based(t)
	s, err := s.Load(pkg(1, "us"), at)
	require.NoError(t, err)
	s, err = s.Switch(route(1, "us"), at)
	require.NoError(t, err)
	second := policy.Default()
	second.Revision = 2
	s, err = s.Govern(second, []string{"us", "eu"}, at)
	require.NoError(t, err)

	s, changed, err := s.Rebase([]string{"eu", "apac"}, nil, policy.Default(), at)
	require.NoError(t, err)
	require.True(t, changed)
	require.Empty(t, s.Packages)
	require.Empty(t, s.Routes)
	apac, ok := s.Region("apac")
	require.True(t, ok)
	require.Equal(t, int64(2), apac.Policy, "a new region runs the newest policy, not the first")
}

func TestARouteMovesOnlyToWhatIsLoaded(t *testing.T) {
	s := based(t)
	_, err := s.Switch(route(1, "eu"), at)
	require.ErrorIs(t, err, routing.ErrNotLoaded)
	_, err = s.Load(pkg(1, "mars"), at)
	require.ErrorIs(t, err, routing.ErrRegion)
	_, err = s.Load(pkg(1), at)
	require.ErrorIs(t, err, routing.ErrRegion)

	loaded, err := s.Load(pkg(1, "eu"), at)
	require.NoError(t, err)
	require.Empty(t, loaded.Routes)
	require.Empty(t, s.Packages, "the snapshot before is as it was")
	_, err = loaded.Switch(route(1, "eu", "us"), at)
	require.ErrorIs(t, err, routing.ErrNotLoaded)

	both, err := loaded.Load(pkg(1, "us"), at)
	require.NoError(t, err)
	require.Equal(t, []string{"eu", "us"}, both.Packages[0].Regions)
	other := pkg(1, "eu")
	other.Manifest = artifact.DigestOf([]byte("other"))
	_, err = both.Load(other, at)
	require.ErrorIs(t, err, routing.ErrOther)

	served, err := both.Switch(route(1, "us", "eu"), at)
	require.NoError(t, err)
	require.Equal(t, int64(4), served.Version)
	require.Equal(t, []string{"clinic"}, served.Routes[0].Callers, "the owner may always call")
	champion, manifest := served.Champion("clinic", "tumour", "production", []string{"us"})
	require.Equal(t, 1, champion)
	require.Equal(t, pkg(1).Manifest, manifest)
	champion, _ = served.Champion("clinic", "tumour", "staging", []string{"us"})
	require.Zero(t, champion)
}

func TestARegionAnswersWithOneVersion(t *testing.T) {
	s := based(t)
	var err error
	for v := 1; v <= 2; v++ {
		s, err = s.Load(pkg(v, "eu", "us"), at)
		require.NoError(t, err)
	}
	s, err = s.Switch(route(1, "eu", "us"), at)
	require.NoError(t, err)
	s, err = s.Switch(route(2, "us"), at)
	require.NoError(t, err)
	require.Len(t, s.Routes, 2)
	require.Equal(t, []string{"eu"}, s.Routes[0].Regions)
	require.Equal(t, []string{"us"}, s.Routes[1].Regions)
	s, err = s.Switch(route(2, "eu"), at)
	require.NoError(t, err)
	require.Len(t, s.Routes, 1)
	require.Equal(t, []string{"eu", "us"}, s.Routes[0].Regions)
}

func TestOldVersionsAreLetGoButForAWayBack(t *testing.T) {
	s := based(t)
	var err error
	for v := 1; v <= 3; v++ {
		s, err = s.Load(pkg(v, "eu"), at)
		require.NoError(t, err)
		s, err = s.Switch(route(v, "eu"), at)
		require.NoError(t, err)
	}
	require.Equal(t, []int{1, 2, 3}, versions(s), "two that are idle, one that serves")
	s, err = s.Load(pkg(4, "eu"), at)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3, 4}, versions(s))
	s, err = s.Switch(route(4, "eu"), at)
	require.NoError(t, err)
	s, err = s.Load(pkg(5, "eu"), at)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3, 4, 5}, versions(s))
}

func TestAPolicyOnlyGoesForward(t *testing.T) {
	s := based(t)
	second := policy.Default()
	second.Revision, second.Threshold = 2, 10
	eu, err := s.Govern(second, []string{"eu"}, at)
	require.NoError(t, err)
	require.Len(t, eu.Policies, 2, "one a region")
	_, err = eu.Govern(second, []string{"eu"}, at)
	require.ErrorIs(t, err, routing.ErrRevision)
	both, err := eu.Govern(second, []string{"us"}, at)
	require.NoError(t, err)
	require.Len(t, both.Policies, 1)
	document, ok := both.Policy("us")
	require.True(t, ok)
	require.Equal(t, 10, document.Threshold)
}
