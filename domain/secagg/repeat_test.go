package secagg_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// everything returns the bytes of all that a site sends in a round.
func everything(t *testing.T, site *secagg.Site, s *stages, restart func() *secagg.Site) (sent []string) {
	keep := func(m any, err error) {
		require.NoError(t, err)
		content, err := json.Marshal(m)
		require.NoError(t, err)
		sent = append(sent, string(content))
		if restart != nil {
			site = restart()
		}
	}
	keep(site.Advertise())
	keep(site.Share(s.roster))
	again := func(upTo secagg.Stage) { // what a site plays again after a restart
		if restart == nil {
			return
		}
		_, err := site.Share(s.roster)
		require.NoError(t, err)
		if upTo != secagg.StageMask {
			_, err = site.Mask(s.routing.Inbox(1))
			require.NoError(t, err)
		}
	}
	again(secagg.StageMask)
	x, err := site.Mask(s.routing.Inbox(1))
	require.NoError(t, err)
	vector := []uint32{1, 2, 3}
	require.NoError(t, secagg.Apply(x, vector, 0))
	wire := secagg.AppendVector(nil, vector)
	keep(site.Masked(artifact.DigestOf(wire), int64(len(wire))))
	sent = append(sent, string(wire))
	again(secagg.StageCheck)
	keep(site.Check(s.set))
	again(secagg.StageUnmask)
	keep(site.Unmask(s.request))
	return sent
}

// A site that is killed after every message and goes on from its stored state
// sends what an undisturbed one sends, to the bit.
func TestRestartRepeats(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageUnmask, absences{secagg.StageMask: {4}})
	p.restart(t, 0, secagg.State{})
	whole := everything(t, p.sites[0], s, nil)
	require.Len(t, whole, 6)
	p.restart(t, 0, secagg.State{})
	require.Equal(t, whole, everything(t, p.sites[0], s, func() *secagg.Site {
		p.restart(t, 0, copyOf(t, p.sites[0].State()))
		return p.sites[0]
	}))
	// And once more, for every stage again.
	require.Equal(t, whole, everything(t, p.sites[0], s, nil))
}

// A state belongs to one spec, site and secret.
func TestStateOfAnotherSecret(t *testing.T) {
	p := newPlay(t, specOf(secagg.Z32, 3), 2)
	state := p.sites[0].State()
	for name, change := range map[string]func(*secagg.Config){
		"secret": func(c *secagg.Config) { c.Secret = make([]byte, secagg.SecretBytes) },
		"round":  func(c *secagg.Config) { c.Spec.Round++ },
		"ring":   func(c *secagg.Config) { c.Spec.Ring = secagg.Z64 },
		"length": func(c *secagg.Config) { c.Spec.Length++ },
		"rate":   func(c *secagg.Config) { c.Spec.CorruptBP++ },
		"site":   func(c *secagg.Config) { c.Name = "s7" },
		"key":    func(c *secagg.Config) { c.Key = identities()[9] },
	} {
		config := p.config[0]
		change(&config)
		_, err := secagg.NewSite(config, state)
		require.ErrorIs(t, err, secagg.ErrChanged, name)
	}
}

// With one round secret and two rosters nothing is the same: not the boxes,
// not the shares in them, not the masks.
func TestAnotherRosterChangesEverything(t *testing.T) {
	spec := specOf(secagg.Z32, 4)
	small, s4 := until(t, spec, 4, secagg.StageMask, nil)
	large, s5 := until(t, spec, 5, secagg.StageMask, nil)
	require.Equal(t, s4.roster.Members[0], s5.roster.Members[0], "the entry does not depend on the others")
	for i := range s4.shares[0].Boxes {
		require.Equal(t, s4.shares[0].Boxes[i].To, s5.shares[0].Boxes[i].To)
		require.NotEqual(t, s4.shares[0].Boxes[i].Box, s5.shares[0].Boxes[i].Box)
	}
	masks := func(p *play, s *stages) []uint32 {
		x, err := p.sites[0].Mask(s.routing.Inbox(1))
		require.NoError(t, err)
		vector := make([]uint32, 4)
		require.NoError(t, secagg.Apply(x, vector, 0))
		return vector
	}
	require.NotEqual(t, masks(small, s4), masks(large, s5))
}

// What is derived is bound to every part of the spec.
func TestSpecBindsKeys(t *testing.T) {
	base := specOf(secagg.Z32, 3)
	seen := map[string]string{}
	for name, change := range map[string]func(*secagg.Spec){
		"itself": func(*secagg.Spec) {}, "run": func(s *secagg.Spec) { s.Run = "x" }, "round": func(s *secagg.Spec) { s.Round++ },
		"plan": func(s *secagg.Spec) { s.Plan = artifact.DigestOf(nil) }, "group": func(s *secagg.Spec) { s.Group = "us" },
		"ring": func(s *secagg.Spec) { s.Ring = secagg.Z64 }, "length": func(s *secagg.Spec) { s.Length++ },
		"corrupt": func(s *secagg.Spec) { s.CorruptBP++ }, "dropped": func(s *secagg.Spec) { s.DroppedBP++ },
	} {
		spec := base
		change(&spec)
		ad, err := newPlay(t, spec, 1).sites[0].Advertise()
		require.NoError(t, err)
		for _, key := range [][]byte{ad.CipherKey, ad.MaskKey, ad.Commitment, ad.Signature} {
			require.NotContains(t, seen, string(key), "%s, also %s", name, seen[string(key)])
			seen[string(key)] = name
		}
	}
}

func TestSpecIsRefused(t *testing.T) {
	require.NoError(t, specOf(secagg.Z32, 3).Validate())
	for name, change := range map[string]func(*secagg.Spec){
		"no run": func(s *secagg.Spec) { s.Run = "" }, "a round below 0": func(s *secagg.Spec) { s.Round = -1 },
		"no plan": func(s *secagg.Spec) { s.Plan = "" }, "a plan that is no digest": func(s *secagg.Spec) { s.Plan = "sha256:1" },
		"no group": func(s *secagg.Spec) { s.Group = "" }, "another ring": func(s *secagg.Spec) { s.Ring = 16 },
		"no element": func(s *secagg.Spec) { s.Length = 0 }, "too many": func(s *secagg.Spec) { s.Length = secagg.MaxLength; s.Length++ },
		"a rate of one": func(s *secagg.Spec) { s.CorruptBP = 10_000 }, "a rate below 0": func(s *secagg.Spec) { s.DroppedBP = -1 },
	} {
		spec := specOf(secagg.Z32, 3)
		change(&spec)
		require.ErrorIs(t, spec.Validate(), secagg.ErrSpec, name)
	}
	spec := specOf(secagg.Z32, 3)
	spec.CorruptBP = 499
	_, err := spec.GraphFor(101)
	require.ErrorIs(t, err, secagg.ErrSpec, "a sparse graph that nobody would attack")
	spec.CorruptBP, spec.DroppedBP = 3300, 3300
	_, err = spec.GraphFor(1000)
	require.ErrorIs(t, err, secagg.ErrInfeasible)
	_, err = spec.GraphFor(secagg.MaxSites + 1)
	require.ErrorIs(t, err, secagg.ErrSpec)
	g, err := specOf(secagg.Z32, 3).GraphFor(1000)
	require.NoError(t, err)
	require.Equal(t, secagg.Graph{Sites: 1000, Degree: 52, Threshold: 37, Quorum: 526}, g)
}

// Erasing leaves nothing to open shares with.
func TestErase(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageUnmask, nil)
	p.unmask(t, nil, s)
	p.sites[0].Erase()
	require.Equal(t, make([]byte, secagg.SecretBytes), p.config[0].Secret)
	_, err := p.sites[0].Unmask(s.request)
	require.ErrorIs(t, err, secagg.ErrAborted)
	m := s.unmasking[1]
	require.NotEqual(t, make([]byte, secagg.ShareBytes), m.Seeds[0].Share)
	m.Erase()
	require.Equal(t, make([]byte, secagg.ShareBytes), m.Seeds[0].Share)
}
