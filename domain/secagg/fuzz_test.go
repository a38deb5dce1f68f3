package secagg_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// FuzzMessages hands any document to whoever reads it. Nobody panics; a site
// that has acted on a message acts on no other; and the coordinator's sum is
// either exact or absent.
func FuzzMessages(f *testing.F) {
	vectors := vectorsOf[uint32](3, victims, 3)
	p, s := until(f, specOf(secagg.Z32, 3), victims, secagg.StageUnmask, absences{secagg.StageMask: {4}})
	p.unmask(f, nil, s)
	state := p.sites[0].State()
	ad, err := p.sites[1].Advertise()
	require.NoError(f, err)
	genuine := []any{s.roster, s.routing.Inbox(1), s.set, s.request, ad, s.shares[1], s.masked[1], s.checks[1], s.unmasking[1]}
	for kind, m := range genuine {
		content, err := json.Marshal(m)
		require.NoError(f, err)
		f.Add(byte(kind), content)
	}
	// victim is a site that has played everything before the stage.
	victim := func(t *testing.T, kind byte) *secagg.Site {
		site, err := secagg.NewSite(p.config[0], state)
		require.NoError(t, err)
		if kind > 0 {
			_, err = site.Share(s.roster)
			require.NoError(t, err)
		}
		if kind > 1 {
			_, err = site.Mask(s.routing.Inbox(1))
			require.NoError(t, err)
		}
		return site
	}
	f.Fuzz(func(t *testing.T, kind byte, content []byte) {
		switch kind % 9 {
		case 0:
			var m secagg.Roster
			if artifact.DecodeStrict(content, &m) == nil {
				if sent, err := victim(t, 0).Share(m); err == nil {
					require.Equal(t, s.shares[0], sent)
				}
			}
		case 1:
			var m secagg.ShareInbox
			if artifact.DecodeStrict(content, &m) == nil {
				site := victim(t, 1)
				if _, err := site.Mask(m); err == nil {
					require.Equal(t, state.Inbox, site.State().Inbox)
				}
			}
		case 2:
			var m secagg.SurvivorSet
			if artifact.DecodeStrict(content, &m) == nil {
				if sent, err := victim(t, 2).Check(m); err == nil {
					require.Equal(t, s.checks[0], sent)
				}
			}
		case 3:
			var m secagg.UnmaskRequest
			if artifact.DecodeStrict(content, &m) == nil {
				if sent, err := victim(t, 3).Unmask(m); err == nil {
					require.Equal(t, s.unmasking[0], sent)
				}
			}
		case 4:
			var m secagg.Advertisement
			if artifact.DecodeStrict(content, &m) == nil {
				roster, _, _ := secagg.FormRoster(p.spec, []secagg.Advertisement{m}, p.config[0].Directory)
				if len(roster.Members) == 1 { // nobody forges a signature
					require.Equal(t, ad.MaskKey, roster.Members[0].MaskKey)
				}
			}
		case 5:
			var m secagg.Shares
			if artifact.DecodeStrict(content, &m) == nil {
				if r, _, err := s.group.FormShares([]secagg.Shares{s.shares[0], s.shares[2], s.shares[3], s.shares[4], m}); err == nil {
					require.Subset(t, []int{1, 2, 3, 4, 5}, r.Participants)
				}
			}
		case 6:
			var m secagg.Masked
			if artifact.DecodeStrict(content, &m) == nil {
				if set, _, err := s.group.FormSurvivors(s.routing.Participants, []secagg.Masked{s.masked[0], s.masked[2], s.masked[3], m}); err == nil {
					require.Equal(t, s.set.Survivors, set.Survivors)
				}
			}
		case 7:
			var m secagg.Check
			if artifact.DecodeStrict(content, &m) == nil {
				if _, _, err := s.group.FormUnmask(s.set, []secagg.Check{s.checks[0], s.checks[2], s.checks[3], m}); err == nil {
					require.Equal(t, s.checks[1], m)
				}
			}
		case 8:
			var m secagg.Unmasking
			if artifact.DecodeStrict(content, &m) == nil {
				if x, _, err := s.group.Reconstruct(s.set, []secagg.Unmasking{s.unmasking[0], m, s.unmasking[2], s.unmasking[3]}); err == nil {
					require.Equal(t, plain(s, victims, 3, vectors, 32), unmasked[uint32](t, s, x, 3))
				}
			}
		}
	})
}
