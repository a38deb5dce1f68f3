package secagg_test

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// copyOf returns a copy that shares no memory, through the wire's form.
func copyOf[T any](t require.TestingT, v T) (out T) {
	content, err := json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, artifact.DecodeStrict(content, &out))
	return out
}

// until plays n sites honestly up to, and not including, a stage of the victim,
// who is the first site.
func until(t require.TestingT, spec secagg.Spec, n int, stage secagg.Stage, a absences) (*play, *stages) {
	p := newPlay(t, spec, n)
	s, err := p.advertise(t, a)
	require.NoError(t, err)
	if stage == secagg.StageShare {
		return p, &s
	}
	require.NoError(t, p.share(t, a, &s))
	if stage == secagg.StageMask {
		return p, &s
	}
	require.NoError(t, mask(t, p, a, &s, vectorsOf[uint32](3, n, spec.Length)))
	if stage == secagg.StageCheck {
		return p, &s
	}
	require.NoError(t, p.check(t, a, &s))
	return p, &s
}

// resign signs a member's entry again as if for the spec: what a site that
// lies about its own keys does.
func resign(t require.TestingT, spec secagg.Spec, m *secagg.Member, i int) {
	signature, err := secagg.SignEntry(spec, *m, identities()[i])
	require.NoError(t, err)
	m.Signature = signature
}

const victims = 5 // threshold and quorum are 4

// TestLyingCoordinator: each attack is refused by the site that it would harm,
// with its own reason. Removing the guard turns the line red.
func TestLyingCoordinator(t *testing.T) {
	spec := specOf(secagg.Z32, 3)
	tests := []struct {
		name  string
		stage secagg.Stage
		lie   func(t *testing.T, p *play, s *stages) error // returns what the victim says
		want  error
		stays bool // the victim stays in the round: the message may have strayed
	}{
		{"replays the roster of an earlier round", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Round-- }), secagg.ErrForeign, true},
		{"replays the roster of another run", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Run = "run-0" }), secagg.ErrForeign, true},
		{"downgrades the plan", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Plan = artifact.DigestOf(nil) }), secagg.ErrForeign, true},
		{"downgrades the protocol", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Protocol = "fabric-secagg/0" }), secagg.ErrForeign, true},
		{"moves the site to another group", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Group = "us" }), secagg.ErrForeign, true},
		{"sends a roster in another stage", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Stage = secagg.StageMask }), secagg.ErrStage, true},
		{"passes on a roster of a site", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Header.Tenant, r.Header.Site = "t0000", "s1" }), secagg.ErrSender, true},
		{"swaps a mask key", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Members[1].MaskKey[3] ^= 1 }), secagg.ErrSigned, false},
		{"swaps a cipher key", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Members[1].CipherKey[3] ^= 1 }), secagg.ErrSigned, false},
		{"swaps a commitment", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Members[1].Commitment[3] ^= 1 }), secagg.ErrSigned, false},
		{"leaves a signature out", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Members[1].Signature = nil }), secagg.ErrForm, true},
		{"moves an entry to another site", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) {
			r.Members[2].MaskKey, r.Members[3].MaskKey = r.Members[3].MaskKey, r.Members[2].MaskKey
		}), secagg.ErrSigned, false},
		{"signs an entry with an identity of its own", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			key, err := identities()[900].PublicKey.Bytes()
			require.NoError(t, err)
			r.Members[1].Identity = key
			resign(t, spec, &r.Members[1], 900)
		}), secagg.ErrIdentity, false},
		{"invents a site", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			m := copyOf(t, r.Members[4])
			key, err := identities()[900].PublicKey.Bytes()
			require.NoError(t, err)
			m.Site, m.Identity = "zz", key
			m.CipherKey[0] ^= 1
			m.MaskKey[0] ^= 1
			m.Commitment[0] ^= 1
			resign(t, spec, &m, 900)
			r.Members = append(r.Members, m)
		}), secagg.ErrUnknown, false},
		{"takes an entry from an earlier round", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			before := spec
			before.Round--
			old := newPlay(t, before, victims)
			ad, err := old.sites[1].Advertise()
			require.NoError(t, err)
			r.Members[1].CipherKey, r.Members[1].MaskKey = ad.CipherKey, ad.MaskKey
			r.Members[1].Commitment, r.Members[1].Signature = ad.Commitment, ad.Signature
		}), secagg.ErrSigned, false},
		{"leaves the site out", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Members = r.Members[1:] }), secagg.ErrSelf, false},
		{"gives the site an old entry of its own", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			old := newPlay(t, spec, 1)
			old.config[0].Secret = make([]byte, secagg.SecretBytes)
			old.restart(t, 0, secagg.State{})
			ad, err := old.sites[0].Advertise()
			require.NoError(t, err)
			r.Members[0].CipherKey, r.Members[0].MaskKey = ad.CipherKey, ad.MaskKey
			r.Members[0].Commitment, r.Members[0].Signature = ad.Commitment, ad.Signature
		}), secagg.ErrSelf, false},
		{"forms a group of two", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) { r.Members = r.Members[:2] }), secagg.ErrTooFew, false},
		{"forms a group below the site's own floor", secagg.StageShare, func(t *testing.T, p *play, s *stages) error {
			p.config[0].MinSites = victims + 1
			p.restart(t, 0, secagg.State{})
			_, err := p.sites[0].Share(s.roster)
			return err
		}, secagg.ErrTooFew, false},
		{"lists a site twice", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			r.Members = slices.Insert(r.Members, 2, copyOf(t, r.Members[1]))
		}), secagg.ErrRepeated, false},
		{"lists one site under two names", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			m := copyOf(t, r.Members[4])
			m.Site = "zz"
			r.Members = append(r.Members, m)
		}), secagg.ErrRepeated, false},
		{"lists a site twice, with two identities", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			m := copyOf(t, r.Members[1])
			key, err := identities()[900].PublicKey.Bytes()
			require.NoError(t, err)
			m.Identity = key
			m.CipherKey[0] ^= 1
			m.MaskKey[0] ^= 1
			m.Commitment[0] ^= 1
			resign(t, spec, &m, 900)
			r.Members = slices.Insert(r.Members, 2, m)
		}), secagg.ErrRepeated, false},
		{"passes on a key of low order", secagg.StageShare, roster(func(t *testing.T, r *secagg.Roster) {
			r.Members[1].CipherKey = make([]byte, secagg.KeyBytes)
			resign(t, spec, &r.Members[1], 1)
		}), secagg.ErrKey, false},
		{"does not sort the roster", secagg.StageShare, roster(func(_ *testing.T, r *secagg.Roster) {
			r.Members[1], r.Members[2] = r.Members[2], r.Members[1]
		}), secagg.ErrForm, true},
		{"shows a second roster", secagg.StageShare, func(t *testing.T, p *play, s *stages) error {
			_, err := p.sites[0].Share(s.roster)
			require.NoError(t, err)
			r := copyOf(t, s.roster)
			r.Members = r.Members[:4]
			_, err = p.sites[0].Share(r)
			return err
		}, secagg.ErrChanged, false},
		{"shows a second roster after a restart", secagg.StageShare, func(t *testing.T, p *play, s *stages) error {
			_, err := p.sites[0].Share(s.roster)
			require.NoError(t, err)
			p.restart(t, 0, copyOf(t, p.sites[0].State()))
			r := copyOf(t, s.roster)
			r.Members = r.Members[:4]
			_, err = p.sites[0].Share(r)
			return err
		}, secagg.ErrChanged, false},

		{"sends the shares of another roster", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Roster = artifact.DigestOf(nil) }), secagg.ErrChanged, false},
		{"sends another site's shares", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.To = 2 }), secagg.ErrSender, true},
		{"replays the shares of an earlier round", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Header.Round-- }), secagg.ErrForeign, true},
		{"lets too few holders take part", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Participants, in.Boxes = []int{1, 2, 3}, in.Boxes[:2] }), secagg.ErrTooFew, false},
		{"takes the site out after it shared", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Participants = []int{2, 3, 4, 5} }), secagg.ErrDead, false},
		{"repeats a participant", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Participants = []int{1, 2, 2, 3, 4} }), secagg.ErrRepeated, false},
		{"invents a participant", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Participants = []int{1, 2, 3, 4, 5, 6} }), secagg.ErrIndex, false},
		{"holds shares back", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Boxes = in.Boxes[1:] }), secagg.ErrSubset, false},
		{"sends a box twice", secagg.StageMask, inbox(func(in *secagg.ShareInbox) { in.Boxes[1] = in.Boxes[0] }), secagg.ErrSubset, false},
		{"shows other participants later", secagg.StageMask, func(t *testing.T, p *play, s *stages) error {
			_, err := p.sites[0].Mask(s.routing.Inbox(1))
			require.NoError(t, err)
			in := copyOf(t, s.routing.Inbox(1))
			in.Participants, in.Boxes = []int{1, 2, 3, 4}, in.Boxes[:3]
			_, err = p.sites[0].Mask(in)
			return err
		}, secagg.ErrChanged, false},
		{"shows other shares after a restart", secagg.StageMask, func(t *testing.T, p *play, s *stages) error {
			_, err := p.sites[0].Mask(s.routing.Inbox(1))
			require.NoError(t, err)
			p.restart(t, 0, copyOf(t, p.sites[0].State()))
			_, err = p.sites[0].Share(s.roster)
			require.NoError(t, err)
			in := copyOf(t, s.routing.Inbox(1))
			in.Boxes[0].Box[0] ^= 1
			_, err = p.sites[0].Mask(in)
			return err
		}, secagg.ErrChanged, false},

		{"says that the site is dead", secagg.StageCheck, survivors(2, 3, 4, 5), secagg.ErrDead, false},
		{"names too few survivors", secagg.StageCheck, survivors(1, 2, 3), secagg.ErrTooFew, false},
		{"repeats a survivor", secagg.StageCheck, survivors(1, 2, 2, 3, 4), secagg.ErrRepeated, false},
		{"invents a survivor", secagg.StageCheck, survivors(1, 2, 3, 4, 6), secagg.ErrIndex, false},
		{"names survivors of other participants", secagg.StageCheck, func(t *testing.T, p *play, s *stages) error {
			set := copyOf(t, s.set)
			set.Participants, set.Survivors = []int{1, 2, 3, 4}, []int{1, 2, 3, 4}
			_, err := p.sites[0].Check(set)
			return err
		}, secagg.ErrChanged, false},
		{"names survivors of another roster", secagg.StageCheck, func(t *testing.T, p *play, s *stages) error {
			set := copyOf(t, s.set)
			set.Roster = artifact.DigestOf(nil)
			_, err := p.sites[0].Check(set)
			return err
		}, secagg.ErrChanged, false},
		{"replays the survivors of an earlier round", secagg.StageCheck, func(t *testing.T, p *play, s *stages) error {
			set := copyOf(t, s.set)
			set.Header.Round--
			_, err := p.sites[0].Check(set)
			return err
		}, secagg.ErrForeign, true},
		{"shows a second survivor set", secagg.StageCheck, func(t *testing.T, p *play, s *stages) error {
			_, err := p.sites[0].Check(s.set)
			require.NoError(t, err)
			return survivors(1, 2, 3, 4)(t, p, s)
		}, secagg.ErrChanged, false},
		{"shows a second survivor set after a restart", secagg.StageCheck, func(t *testing.T, p *play, s *stages) error {
			_, err := p.sites[0].Check(s.set)
			require.NoError(t, err)
			p.restart(t, 0, copyOf(t, p.sites[0].State()))
			_, err = p.sites[0].Share(s.roster)
			require.NoError(t, err)
			_, err = p.sites[0].Mask(s.routing.Inbox(1))
			require.NoError(t, err)
			return survivors(1, 2, 3, 4)(t, p, s)
		}, secagg.ErrChanged, false},

		{"asks for both kinds of share of one site", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Keys = []int{3} }), secagg.ErrBothKinds, false},
		{"asks for the site's own key", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds, r.Keys = []int{2, 3, 4, 5}, []int{1} }), secagg.ErrDead, false},
		{"unmasks another set than was checked", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds, r.Keys = []int{1, 2, 3, 4}, []int{5} }), secagg.ErrChanged, false},
		{"unmasks too few survivors", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds, r.Keys = []int{1, 2, 3}, []int{4, 5} }), secagg.ErrTooFew, false},
		{"forgets a site", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds = []int{1, 2, 3, 4} }), secagg.ErrSubset, false},
		{"repeats a site", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds = []int{1, 2, 3, 3, 4} }), secagg.ErrRepeated, false},
		{"repeats a dead site", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds, r.Keys = []int{1, 2, 3}, []int{4, 4} }), secagg.ErrRepeated, false},
		{"invents a dead site", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Seeds, r.Keys = []int{1, 2, 3, 4}, []int{9} }), secagg.ErrIndex, false},
		{"unmasks without a quorum", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Signatures = r.Signatures[1:] }), secagg.ErrTooFew, false},
		{"counts a signature twice", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Signatures[1] = r.Signatures[0] }), secagg.ErrRepeated, false},
		{"changes a signature", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Signatures[1].Signature[9] ^= 1 }), secagg.ErrSigned, false},
		{"gives a signature to another site", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Signatures[3].Index = 5 }), secagg.ErrSigned, false},
		{"replays a request of an earlier round", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Header.Round-- }), secagg.ErrForeign, true},
		{"asks about another roster", secagg.StageUnmask, request(func(r *secagg.UnmaskRequest) { r.Roster = artifact.DigestOf(nil) }), secagg.ErrChanged, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, s := until(t, spec, victims, tt.stage, nil)
			if tt.stage == secagg.StageShare || tt.stage == secagg.StageMask {
				p.restart(t, 0, secagg.State{}) // the victim has seen nothing yet
				if tt.stage == secagg.StageMask {
					_, err := p.sites[0].Share(s.roster)
					require.NoError(t, err)
				}
			}
			err := tt.lie(t, p, s)
			require.ErrorIs(t, err, tt.want)
			var who *secagg.SiteError
			require.ErrorAs(t, err, &who)
			state := p.sites[0].State()
			if tt.stays {
				require.Empty(t, state.Aborted)
				return
			}
			// The victim has left for good, also after a restart.
			require.NotEmpty(t, state.Aborted)
			_, err = p.sites[0].Unmask(s.request)
			require.ErrorIs(t, err, secagg.ErrAborted)
			_, err = secagg.NewSite(p.config[0], copyOf(t, state))
			require.ErrorIs(t, err, secagg.ErrAborted)
		})
	}
}

func roster(change func(*testing.T, *secagg.Roster)) func(*testing.T, *play, *stages) error {
	return func(t *testing.T, p *play, s *stages) error {
		r := copyOf(t, s.roster)
		change(t, &r)
		_, err := p.sites[0].Share(r)
		return err
	}
}

func inbox(change func(*secagg.ShareInbox)) func(*testing.T, *play, *stages) error {
	return func(t *testing.T, p *play, s *stages) error {
		in := copyOf(t, s.routing.Inbox(1))
		change(&in)
		_, err := p.sites[0].Mask(in)
		return err
	}
}

func survivors(list ...int) func(*testing.T, *play, *stages) error {
	return func(t *testing.T, p *play, s *stages) error {
		set := copyOf(t, s.set)
		set.Survivors = list
		_, err := p.sites[0].Check(set)
		return err
	}
}

func request(change func(*secagg.UnmaskRequest)) func(*testing.T, *play, *stages) error {
	return func(t *testing.T, p *play, s *stages) error {
		r := copyOf(t, s.request)
		change(&r)
		_, err := p.sites[0].Unmask(r)
		return err
	}
}

// Two survivor sets, each signed by those who were shown it: no set gets a
// quorum beside the other, so no site opens anything for the second.
func TestSplitView(t *testing.T) {
	spec := specOf(secagg.Z32, 3)
	p, s := until(t, spec, 7, secagg.StageCheck, nil) // threshold and quorum are 5
	first, second := copyOf(t, s.set), copyOf(t, s.set)
	first.Survivors, second.Survivors = []int{1, 2, 3, 4, 5, 6}, []int{2, 3, 4, 5, 6, 7}
	var checks [2][]secagg.Check
	for i, site := range p.sites {
		for v, set := range []secagg.SurvivorSet{first, second} {
			if (i < 4) == (v == 0) {
				m, err := site.Check(set)
				require.NoError(t, err)
				checks[v] = append(checks[v], m)
			}
		}
	}
	for v, set := range []secagg.SurvivorSet{first, second} {
		req, _, err := s.group.FormUnmask(set, checks[v])
		require.ErrorIs(t, err, secagg.ErrTooFew)
		for _, m := range checks[v] {
			req.Signatures = append(req.Signatures, secagg.SetSignature{Index: s.group.Index(m.Header.Tenant, m.Header.Site), Signature: m.Signature})
		}
		_, err = p.sites[4*v].Unmask(req)
		require.ErrorIs(t, err, secagg.ErrTooFew)
		for _, m := range checks[1-v] { // filled up with signatures over the other set
			req.Signatures = append(req.Signatures, secagg.SetSignature{Index: s.group.Index(m.Header.Tenant, m.Header.Site), Signature: m.Signature})
		}
		slices.SortFunc(req.Signatures, func(a, b secagg.SetSignature) int { return a.Index - b.Index })
		req.Signatures = slices.DeleteFunc(req.Signatures, func(s secagg.SetSignature) bool { return !slices.Contains(set.Survivors, s.Index) })
		_, err = p.sites[4*v+1].Unmask(req)
		require.ErrorIs(t, err, secagg.ErrSigned)
	}
}

// A site that was not asked in stage check opens its shares for a set that a
// quorum signed, and is bound to it from then on.
func TestLateSiteIsBoundByTheQuorum(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageCheck, nil)
	require.NoError(t, p.check(t, absences{secagg.StageCheck: {0}}, s))
	_, err := p.sites[0].Unmask(s.request)
	require.NoError(t, err)
	require.ErrorIs(t, survivors(1, 2, 3, 4)(t, p, s), secagg.ErrChanged)
}

// Who never shared is neither a survivor nor dead.
func TestOnlyParticipantsSurvive(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), 6, secagg.StageUnmask, absences{secagg.StageShare: {5}}) // threshold and quorum are 5
	require.Equal(t, []int{1, 2, 3, 4, 5}, s.set.Survivors)
	set := copyOf(t, s.set)
	set.Survivors = []int{1, 2, 3, 4, 6}
	_, err := p.sites[0].Check(set)
	require.ErrorIs(t, err, secagg.ErrSubset)
	req := copyOf(t, s.request)
	req.Seeds, req.Keys = []int{1, 2, 3, 4, 6}, []int{}
	_, err = p.sites[1].Unmask(req)
	require.ErrorIs(t, err, secagg.ErrSubset)
	req.Seeds, req.Keys = []int{1, 2, 3, 4}, []int{6}
	_, err = p.sites[2].Unmask(req)
	require.ErrorIs(t, err, secagg.ErrSubset)
}

// A quorum is of survivors: a dead member's signature is none.
func TestOnlySurvivorsSign(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), 7, secagg.StageCheck, absences{secagg.StageMask: {6}}) // threshold and quorum are 5
	require.NoError(t, p.check(t, absences{secagg.StageCheck: {5}}, s))
	req := copyOf(t, s.request)
	require.Len(t, req.Signatures, 5)
	signature, err := secagg.SignSet(s.group, s.set, identities()[6])
	require.NoError(t, err)
	req.Signatures[4] = secagg.SetSignature{Index: 7, Signature: signature}
	_, err = p.sites[0].Unmask(req)
	require.ErrorIs(t, err, secagg.ErrSubset)
}

// In a sparse graph the neighbours count, not everybody.
func TestTooFewNeighbours(t *testing.T) {
	spec := secagg.WithGraph(specOf(secagg.Z32, 3), secagg.Graph{Sites: 12, Degree: 4, Threshold: 3, Quorum: 6})
	p, s := until(t, spec, 12, secagg.StageCheck, nil)
	shares, err := p.sites[0].Share(s.roster)
	require.NoError(t, err)
	set := copyOf(t, s.set)
	for _, box := range shares.Boxes[:2] {
		set.Survivors = slices.DeleteFunc(set.Survivors, func(n int) bool { return n == box.To })
	}
	require.Len(t, set.Survivors, 10)
	_, err = p.sites[0].Check(set)
	require.ErrorIs(t, err, secagg.ErrTooFew)
}

// Stages cannot be played out of order.
func TestStagesInOrder(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageUnmask, nil)
	fresh := newPlay(t, p.spec, 1)
	fresh.config[0] = p.config[0]
	fresh.restart(t, 0, secagg.State{})
	site := fresh.sites[0]
	_, err := site.Mask(s.routing.Inbox(1))
	require.ErrorIs(t, err, secagg.ErrCall)
	_, err = site.Masked(artifact.DigestOf(nil), p.spec.SizeBytes())
	require.ErrorIs(t, err, secagg.ErrCall)
	_, err = site.Check(s.set)
	require.ErrorIs(t, err, secagg.ErrCall)
	_, err = site.Unmask(s.request)
	require.ErrorIs(t, err, secagg.ErrCall)
	require.Empty(t, site.State().Aborted)
}

// A second vector under the same masks gives the difference of both away.
func TestSecondVectorIsRefused(t *testing.T) {
	p, _ := until(t, specOf(secagg.Z32, 3), victims, secagg.StageCheck, nil)
	other := sha256.Sum256([]byte("another vector"))
	_, err := p.sites[0].Masked(artifact.DigestOf(other[:]), p.spec.SizeBytes())
	require.ErrorIs(t, err, secagg.ErrChanged)
	_, err = p.sites[0].Masked(artifact.DigestOf(other[:]), p.spec.SizeBytes()-4)
	require.ErrorIs(t, err, secagg.ErrVector)
}
