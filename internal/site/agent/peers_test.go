package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

func pemOf(t *testing.T, key *ecdsa.PublicKey) string {
	text, err := artifact.MarshalPublicKey(key)
	require.NoError(t, err)
	return string(text)
}

func TestPeersAreParsed(t *testing.T) {
	a, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	b, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	first, second := pemOf(t, &a.PublicKey), pemOf(t, &b.PublicKey)

	got, err := ParsePeers([]byte("# by telephone, on Monday\nhosp-north/north\n" + first + "\n\nhosp-coral/coral\r\n" + second))
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.True(t, a.PublicKey.Equal(got["hosp-north/north"]))
	require.True(t, b.PublicKey.Equal(got["hosp-coral/coral"]))
	for name, text := range map[string]string{
		"no name":               first,
		"a name that is none":   "Hosp/north\n" + first,
		"half a name":           "north\n" + first,
		"two names":             "a/b\nc/d\n" + first,
		"one site twice":        "a/b\n" + first + "a/b\n" + second,
		"a name without a key":  "a/b\n" + first + "c/d\n",
		"a key that is cut":     "a/b\n" + first[:60] + "\n",
		"a key of another kind": "a/b\n" + strings.ReplaceAll(first, "PUBLIC KEY", "PRIVATE KEY"),
		"no list at all":        "{}",
	} {
		_, err := ParsePeers([]byte(text))
		require.ErrorIs(t, err, ErrPeers, name)
	}
}

// A site that comes back with another key is refused by those who met it, and
// by those whose operator has listed it; so is one that is not on a list.
func TestAChangedIdentityIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		listed func(g *group) Peers // of site 0's operator
		change bool                 // of site 2's key, after it was met or listed
		want   error
	}{
		{"met, and the same", nil, false, nil},
		{"met, and changed", nil, true, secagg.ErrIdentity},
		{"listed, and the same", (*group).all, false, nil},
		{"listed, and changed", (*group).all, true, secagg.ErrIdentity},
		{"not listed", func(g *group) Peers {
			list := g.all()
			maps.DeleteFunc(list, func(name string, _ *ecdsa.PublicKey) bool { return strings.HasSuffix(name, "/"+g.sites[2].Site) })
			return list
		}, false, secagg.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGroup(t, 4, round.Statistics, nil)
			g.until(round.StageMask, 0, 1, 2, 3) // keys are met in stage share
			if tt.listed != nil {
				g.sites[0].Peers = tt.listed(g)
				require.NoError(t, os.Remove(filepath.Join(g.sites[0].StateDir, peersFile)))
			}
			if tt.change {
				require.NoError(t, os.RemoveAll(g.sites[2].StateDir))
			}
			before, err := os.ReadFile(filepath.Join(g.sites[0].StateDir, peersFile))
			require.Equal(t, tt.listed != nil, err != nil)
			g.order(round.Statistics, func(m *round.Manifest) { m.Number = 2 })
			g.until(round.StageShare, 0, 1, 2, 3)
			err = g.ask(0, g.item(round.StageShare, g.roster))
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.want)
			var at *secagg.SiteError
			require.ErrorAs(t, err, &at)
			require.Equal(t, g.sites[2].Site, at.Site, "it says whose key it was")
			require.ErrorIs(t, g.ask(0, g.item(round.StageShare, g.roster)), ErrClosed)
			after, _ := os.ReadFile(filepath.Join(g.sites[0].StateDir, peersFile))
			require.Equal(t, before, after, "the pin stays")
		})
	}
}

// all lists every site.
func (g *group) all() Peers {
	list := Peers{}
	for i, o := range g.sites {
		list[o.Tenant+"/"+o.Site] = g.public(i)
	}
	return list
}

// Keys of a roster that was refused are not believed.
func TestARefusedRosterPinsNobody(t *testing.T) {
	g := newGroup(t, 3, round.Statistics, nil)
	g.until(round.StageShare, 0, 1, 2)
	bad := g.roster
	bad.Members = slices.Clone(bad.Members)
	for i := range bad.Members {
		bad.Members[i].Signature = slices.Clone(bad.Members[i].Signature)
		bad.Members[i].Signature[8] ^= 1
	}
	require.Error(t, g.ask(0, g.item(round.StageShare, bad)))
	_, err := os.Stat(filepath.Join(g.sites[0].StateDir, peersFile))
	require.ErrorIs(t, err, os.ErrNotExist)
}
