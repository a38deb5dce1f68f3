package routing_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

// serving is a snapshot in which a version serves production in the regions.
func serving(t *testing.T, s routing.Snapshot, version int, regions ...string) routing.Snapshot {
	t.Helper()
	s, err := s.Load(pkg(version, regions...), at)
	require.NoError(t, err)
	s, err = s.Switch(route(version, regions...), at)
	require.NoError(t, err)
	return s
}

// told returns "tenant version regions" of each route.
func told(s routing.Snapshot) []string {
	var all []string
	for _, r := range s.Routes {
		all = append(all, fmt.Sprint(r.Tenant, " ", r.Version, " ", r.Regions))
	}
	return all
}

// then is what clinic ran: version 1 in eu and 2 in us, under a policy of its own in eu.
func then() routing.State {
	strict := policy.Default()
	strict.Revision, strict.Threshold = 7, 12
	return routing.State{Tenant: "clinic",
		Routes:   []routing.Route{route(1, "eu"), route(2, "us")},
		Packages: []routing.Package{pkg(1, "eu"), pkg(2, "us")},
		Policies: map[string]policy.Document{"eu": strict, "us": policy.Default(), "gone": strict},
	}
}

func TestATenantGoesBackToAState(t *testing.T) {
	now := serving(t, based(t), 3, "eu", "us")
	foreign := pkg(1, "eu")
	foreign.Tenant, foreign.Manifest = "north", artifact.DigestOf([]byte("north"))
	now, err := now.Load(foreign, at)
	require.NoError(t, err)
	theirs := route(1, "eu")
	theirs.Tenant = "north"
	now, err = now.Switch(theirs, at)
	require.NoError(t, err)

	_, err = now.Recover(then(), at)
	require.ErrorIs(t, err, routing.ErrNotLoaded, "routes move to nothing that was not prepared")
	ready, err := now.Prepare(then(), at)
	require.NoError(t, err)
	require.Equal(t, now.Routes, ready.Routes, "what serves goes on to serve")
	require.Equal(t, now.Version+1, ready.Version)
	require.Equal(t, now.StateOf("clinic"), ready.StateOf("clinic"))
	_, err = routing.Compile(ready, "")
	require.NoError(t, err)

	back, err := ready.Recover(then(), at)
	require.NoError(t, err)
	require.Equal(t, []string{"clinic 1 [eu]", "clinic 2 [us]", "north 1 [eu]"}, told(back), "another tenant's stays")
	eu, _ := back.Policy("eu")
	require.Equal(t, []int64{2, 12}, []int64{eu.Revision, int64(eu.Threshold)}, "under a revision that is new")
	us, _ := back.Policy("us")
	require.EqualValues(t, 1, us.Revision, "a policy that says the same is kept")
	_, err = routing.Compile(back, "")
	require.NoError(t, err)
	require.NotEqual(t, now.StateOf("clinic"), back.StateOf("clinic"))

	again, err := back.Recover(then(), at)
	require.NoError(t, err)
	require.Equal(t, back.StateOf("clinic"), again.StateOf("clinic"), "twice changes nothing more")
	require.Len(t, ready.Routes, 2, "the snapshot before is as it was")

	nothing, err := back.Recover(routing.State{Tenant: "clinic"}, at)
	require.NoError(t, err)
	require.Equal(t, []string{"north 1 [eu]"}, told(nothing))
}

func TestWhatCannotBePrepared(t *testing.T) {
	now := serving(t, based(t), 1, "eu")
	away := then()
	away.Packages[0].Regions = []string{"mars"}
	_, err := now.Prepare(away, at)
	require.ErrorIs(t, err, routing.ErrRegion)
	other := then()
	other.Packages[0].Manifest = artifact.DigestOf([]byte("other"))
	_, err = now.Prepare(other, at)
	require.ErrorIs(t, err, routing.ErrOther, "a version is one package")

	ready, err := now.Prepare(then(), at)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, versions(ready))
	wide := then()
	wide.Packages[0].Regions = []string{"us"}
	ready, err = now.Prepare(wide, at)
	require.NoError(t, err)
	require.Equal(t, []string{"eu", "us"}, ready.Packages[0].Regions, "it stays where it is loaded")
}

func TestAStateIsKnownByItsDigest(t *testing.T) {
	s := serving(t, based(t), 1, "eu", "us")
	require.Equal(t, s.StateOf("clinic"), s.StateOf("clinic"))
	elsewhere := route(1, "eu")
	elsewhere.Tenant = "north"
	other := s
	other.Routes = append([]routing.Route{elsewhere}, s.Routes...)
	require.Equal(t, s.StateOf("clinic"), other.StateOf("clinic"), "another tenant's route is not in it")
	second := policy.Default()
	second.Revision, second.Threshold = 2, 99
	governed, err := s.Govern(second, []string{"us"}, at)
	require.NoError(t, err)
	require.NotEqual(t, s.StateOf("clinic"), governed.StateOf("clinic"), "a policy is")
	fewer := serving(t, s, 2, "eu")
	require.NotEqual(t, s.StateOf("clinic"), fewer.StateOf("clinic"))
}

func TestARegionPullsFromItsMirror(t *testing.T) {
	s := based(t)
	p := pkg(1, "eu")
	p.Registry, p.Mirrors = "http://home", []routing.Mirror{{Region: "eu", URL: "http://eu"}}
	s, err := s.Load(p, at)
	require.NoError(t, err)
	p.Regions, p.Mirrors = []string{"us"}, []routing.Mirror{{Region: "us", URL: "http://us"}}
	s, err = s.Prepare(routing.State{Tenant: "clinic", Packages: []routing.Package{p}}, at)
	require.NoError(t, err)
	found := s.Packages[0]
	require.Equal(t, []string{"http://eu", "http://us", "http://home"}, []string{found.From("eu"), found.From("us"), found.From("apac")})
}
