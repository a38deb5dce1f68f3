package secagg_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// accused wants exactly one site named, the liar t0000/s1, for this reason.
func accused(t *testing.T, dropped []*secagg.SiteError, stage secagg.Stage, want error) {
	t.Helper()
	require.Len(t, dropped, 1)
	require.ErrorIs(t, dropped[0], want)
	require.Equal(t, [2]string{"t0000", "s1"}, [2]string{dropped[0].Tenant, dropped[0].Site})
	require.Equal(t, stage, dropped[0].Stage)
}

func TestLyingAdvertisement(t *testing.T) {
	spec := specOf(secagg.Z32, 3)
	// sign signs the advertisement anew, with the liar's own identity.
	sign := func(t *testing.T, ad *secagg.Advertisement) {
		m := secagg.Member{
			Tenant: ad.Header.Tenant, Site: ad.Header.Site, Identity: ad.Identity,
			CipherKey: ad.CipherKey, MaskKey: ad.MaskKey, Commitment: ad.Commitment,
		}
		resign(t, spec, &m, 1)
		ad.Signature = m.Signature
	}
	tests := []struct {
		name string
		lie  func(t *testing.T, ad *secagg.Advertisement)
		want error
	}{
		{"of another round", func(_ *testing.T, ad *secagg.Advertisement) { ad.Header.Round++ }, secagg.ErrForeign},
		{"of another stage", func(_ *testing.T, ad *secagg.Advertisement) { ad.Header.Stage = secagg.StageShare }, secagg.ErrStage},
		{"unsigned", func(_ *testing.T, ad *secagg.Advertisement) { ad.Signature = nil }, secagg.ErrForm},
		{"badly signed", func(_ *testing.T, ad *secagg.Advertisement) { ad.Signature[9] ^= 1 }, secagg.ErrSigned},
		{"with an identity that changed", func(t *testing.T, ad *secagg.Advertisement) {
			key, err := identities()[900].PublicKey.Bytes()
			require.NoError(t, err)
			ad.Identity = key
			sign(t, ad)
		}, secagg.ErrIdentity},
		{"with a short key", func(t *testing.T, ad *secagg.Advertisement) { ad.MaskKey = ad.MaskKey[1:]; sign(t, ad) }, secagg.ErrKey},
		{"with a key of low order", func(t *testing.T, ad *secagg.Advertisement) { ad.MaskKey = make([]byte, 32); sign(t, ad) }, secagg.ErrKey},
		{"with one key for two purposes", func(t *testing.T, ad *secagg.Advertisement) { ad.MaskKey = ad.CipherKey; sign(t, ad) }, secagg.ErrKey},
		{"with a short commitment", func(t *testing.T, ad *secagg.Advertisement) { ad.Commitment = nil; sign(t, ad) }, secagg.ErrForm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(t, spec, 4)
			var ads []secagg.Advertisement
			for _, site := range p.sites {
				ad, err := site.Advertise()
				require.NoError(t, err)
				ads = append(ads, copyOf(t, ad))
			}
			tt.lie(t, &ads[1])
			r, dropped, err := secagg.FormRoster(spec, ads, p.config[0].Directory)
			require.NoError(t, err)
			accused(t, dropped, secagg.StageAdvertise, tt.want)
			require.Len(t, r.Members, 3)
		})
	}
}

// Somebody who uses another site's key, or sends two entries, is out.
func TestAdvertisementsAreOneEach(t *testing.T) {
	spec := specOf(secagg.Z32, 3)
	p := newPlay(t, spec, 6)
	var ads []secagg.Advertisement
	for _, site := range p.sites {
		ad, err := site.Advertise()
		require.NoError(t, err)
		ads = append(ads, ad)
	}
	twin := p.config[1]
	twin.Secret = make([]byte, secagg.SecretBytes)
	second, err := secagg.NewSite(twin, secagg.State{})
	require.NoError(t, err)
	ad, err := second.Advertise()
	require.NoError(t, err)
	r, dropped, err := secagg.FormRoster(spec, append(ads, ad), p.config[0].Directory)
	require.NoError(t, err)
	accused(t, dropped, secagg.StageAdvertise, secagg.ErrRepeated)
	require.Len(t, r.Members, 5)

	// The same entry twice is one entry.
	r, dropped, err = secagg.FormRoster(spec, append(slices.Clone(ads), ads[1]), p.config[0].Directory)
	require.NoError(t, err)
	require.Empty(t, dropped)
	require.Len(t, r.Members, 6)

	// A stranger is nobody.
	_, dropped, err = secagg.FormRoster(spec, ads, directory(5))
	require.NoError(t, err)
	require.Len(t, dropped, 1)
	require.ErrorIs(t, dropped[0], secagg.ErrUnknown)

	// A key of somebody else: both are out, nobody knows whose it is.
	m := secagg.Member{
		Tenant: ads[1].Header.Tenant, Site: ads[1].Header.Site, Identity: ads[1].Identity,
		CipherKey: ads[2].CipherKey, MaskKey: ads[1].MaskKey, Commitment: ads[1].Commitment,
	}
	resign(t, spec, &m, 1)
	ads[1].CipherKey, ads[1].Signature = m.CipherKey, m.Signature
	r, dropped, err = secagg.FormRoster(spec, ads, p.config[0].Directory)
	require.NoError(t, err)
	require.Len(t, dropped, 2)
	require.ErrorIs(t, dropped[0], secagg.ErrRepeated)
	require.Len(t, r.Members, 4)
}

func TestLyingShares(t *testing.T) {
	tests := []struct {
		name string
		lie  func(m *secagg.Shares)
		want error
	}{
		{"of another run", func(m *secagg.Shares) { m.Header.Run = "run-2" }, secagg.ErrForeign},
		{"of another stage", func(m *secagg.Shares) { m.Header.Stage = secagg.StageMask }, secagg.ErrStage},
		{"of another roster", func(m *secagg.Shares) { m.Roster = artifact.DigestOf(nil) }, secagg.ErrForeign},
		{"one box short", func(m *secagg.Shares) { m.Boxes = m.Boxes[1:] }, secagg.ErrForm},
		{"a box for nobody", func(m *secagg.Shares) { m.Boxes[0].To = 9 }, secagg.ErrIndex},
		{"two boxes for one holder", func(m *secagg.Shares) { m.Boxes[1].To = m.Boxes[0].To }, secagg.ErrIndex},
		{"a box of the wrong length", func(m *secagg.Shares) { m.Boxes[0].Box = m.Boxes[0].Box[1:] }, secagg.ErrShare},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageShare, nil)
			for i, site := range p.sites {
				m, err := site.Share(s.roster)
				require.NoError(t, err)
				if m = copyOf(t, m); i == 1 {
					tt.lie(&m)
				}
				s.shares = append(s.shares, m)
			}
			r, dropped, err := s.group.FormShares(s.shares)
			require.NoError(t, err)
			accused(t, dropped, secagg.StageShare, tt.want)
			require.Equal(t, []int{1, 3, 4, 5}, r.Participants)

			// Of a message that came twice, neither is taken, and a stranger's is none.
			s.shares = append(slices.Delete(s.shares, 1, 2), copyOf(t, s.shares[0]))
			s.shares[4].Boxes[0].Box[0] ^= 1
			_, dropped, err = s.group.FormShares(s.shares)
			require.ErrorIs(t, err, secagg.ErrTooFew)
			require.ErrorIs(t, dropped[0], secagg.ErrRepeated)
			s.shares[4].Header.Site = "nobody"
			_, dropped, _ = s.group.FormShares(s.shares)
			require.ErrorIs(t, dropped[0], secagg.ErrSender)
		})
	}
}

// A box that does not open costs its receiver nothing and is told.
func TestBoxThatDoesNotOpen(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageMask, nil)
	shares := copyOf(t, s.shares)
	shares[1].Boxes[0].Box[5] ^= 1 // from member 2 to member 1
	var err error
	s.routing, _, err = s.group.FormShares(shares)
	require.NoError(t, err)
	vectors := vectorsOf[uint32](3, victims, 3)
	require.NoError(t, mask(t, p, nil, s, vectors))
	require.Equal(t, []int{2}, s.masked[0].Unopened)
	require.Empty(t, s.masked[2].Unopened)
	require.NoError(t, p.check(t, nil, s))
	p.unmask(t, nil, s)
	x, dropped, err := s.group.Reconstruct(s.set, s.unmasking)
	require.NoError(t, err)
	require.Empty(t, dropped)
	require.Equal(t, plain(s, victims, 3, vectors, 32), unmasked[uint32](t, s, x, 3))
}

// A dealer whose boxes too few can open makes a sum impossible; it is named
// before anybody signs anything.
func TestDealerOfBadBoxesIsNamed(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageMask, nil)
	shares := copyOf(t, s.shares)
	shares[1].Boxes[0].Box[5] ^= 1
	shares[1].Boxes[1].Box[5] ^= 1
	s.routing, _, _ = s.group.FormShares(shares)
	err := mask(t, p, nil, s, vectorsOf[uint32](3, victims, 3))
	var who *secagg.SiteError
	require.ErrorAs(t, err, &who)
	accused(t, []*secagg.SiteError{who}, secagg.StageShare, secagg.ErrShare)
}

func TestLyingMasked(t *testing.T) {
	tests := []struct {
		name string
		lie  func(m *secagg.Masked)
		want error
	}{
		{"of another round", func(m *secagg.Masked) { m.Header.Round = 0 }, secagg.ErrForeign},
		{"of another stage", func(m *secagg.Masked) { m.Header.Stage = secagg.StageUnmask }, secagg.ErrStage},
		{"one element short", func(m *secagg.Masked) { m.SizeBytes -= 4 }, secagg.ErrVector},
		{"no vector", func(m *secagg.Masked) { m.Vector = "" }, secagg.ErrVector},
		{"for other participants", func(m *secagg.Masked) { m.Participants = artifact.DigestOf(nil) }, secagg.ErrForeign},
		{"for another roster", func(m *secagg.Masked) { m.Roster = artifact.DigestOf(nil) }, secagg.ErrForeign},
		{"complains of nobody", func(m *secagg.Masked) { m.Unopened = []int{0} }, secagg.ErrIndex},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageCheck, nil)
			masked := copyOf(t, s.masked)
			tt.lie(&masked[1])
			set, dropped, err := s.group.FormSurvivors(s.routing.Participants, masked)
			require.NoError(t, err)
			accused(t, dropped, secagg.StageMask, tt.want)
			require.Equal(t, []int{1, 3, 4, 5}, set.Survivors)
		})
	}
}

func TestLyingCheck(t *testing.T) {
	tests := []struct {
		name string
		lie  func(m *secagg.Check)
		want error
	}{
		{"of another plan", func(m *secagg.Check) { m.Header.Plan = artifact.DigestOf(nil) }, secagg.ErrForeign},
		{"over another set", func(m *secagg.Check) { m.Set = artifact.DigestOf(nil) }, secagg.ErrSigned},
		{"badly signed", func(m *secagg.Check) { m.Signature[9] ^= 1 }, secagg.ErrSigned},
		{"unsigned", func(m *secagg.Check) { m.Signature = nil }, secagg.ErrSigned},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageUnmask, nil)
			checks := copyOf(t, s.checks)
			tt.lie(&checks[1])
			req, dropped, err := s.group.FormUnmask(s.set, checks)
			require.NoError(t, err)
			accused(t, dropped, secagg.StageCheck, tt.want)
			require.Len(t, req.Signatures, 4)
		})
	}
}

// Whatever one site says in stage unmask, the sum is exact, and who lied in
// what was used is named.
func TestLyingUnmasking(t *testing.T) {
	tests := []struct {
		name string
		lie  func(m *secagg.Unmasking)
		want error
	}{
		{"of another group", func(m *secagg.Unmasking) { m.Header.Group = "us" }, secagg.ErrForeign},
		{"of another set", func(m *secagg.Unmasking) { m.Set = artifact.DigestOf(nil) }, secagg.ErrForeign},
		{"a wrong share of a seed", func(m *secagg.Unmasking) { m.Seeds[2].Share[0] ^= 1 }, secagg.ErrShare},
		{"a wrong share of a key", func(m *secagg.Unmasking) { m.Keys[0].Share[9] ^= 1 }, secagg.ErrShare},
		{"every share wrong", func(m *secagg.Unmasking) {
			for i := range m.Seeds {
				m.Seeds[i].Share[i] ^= 2
			}
		}, secagg.ErrShare},
		{"a short share", func(m *secagg.Unmasking) { m.Seeds[0].Share = m.Seeds[0].Share[1:] }, secagg.ErrShare},
		{"a share outside the field", func(m *secagg.Unmasking) {
			for i := range 8 {
				m.Seeds[0].Share[i] = 0xff
			}
		}, secagg.ErrShare},
		{"a share of nobody", func(m *secagg.Unmasking) { m.Seeds[0].Of = 0 }, secagg.ErrIndex},
		{"a share twice", func(m *secagg.Unmasking) { m.Seeds[1].Of = m.Seeds[0].Of }, secagg.ErrRepeated},
		{"a share of the wrong kind", func(m *secagg.Unmasking) { m.Keys = append(m.Keys, m.Seeds[6]) }, secagg.ErrSubset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const n = 8 // threshold and quorum are 6
			vectors := vectorsOf[uint32](3, n, 3)
			p, s := until(t, specOf(secagg.Z32, 3), n, secagg.StageUnmask, absences{secagg.StageMask: {3}})
			p.unmask(t, absences{}, s)
			require.Len(t, s.unmasking, 7)
			answers := copyOf(t, s.unmasking)
			tt.lie(&answers[1])
			x, dropped, err := s.group.Reconstruct(s.set, answers)
			require.NoError(t, err)
			accused(t, dropped, secagg.StageUnmask, tt.want)
			require.Equal(t, plain(s, n, 3, vectors, 32), unmasked[uint32](t, s, x, 3))
		})
	}
}

// Without a spare share a lie cannot be told from the truth: no sum.
func TestLieWithoutSpareShare(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), 3, secagg.StageUnmask, nil)
	p.unmask(t, nil, s)
	answers := copyOf(t, s.unmasking)
	answers[1].Seeds[0].Share[0] ^= 1
	_, _, err := s.group.Reconstruct(s.set, answers)
	require.ErrorIs(t, err, secagg.ErrSecret)
	_, _, err = s.group.Reconstruct(s.set, s.unmasking[:2])
	require.ErrorIs(t, err, secagg.ErrTooFew)
	set := copyOf(t, s.set)
	set.Survivors = []int{1, 2, 3, 4}
	_, _, err = s.group.Reconstruct(set, s.unmasking)
	require.ErrorIs(t, err, secagg.ErrIndex)
	set.Survivors, set.Participants = []int{1, 2, 3}, []int{1, 2}
	_, _, err = s.group.FormUnmask(set, s.checks)
	require.ErrorIs(t, err, secagg.ErrSubset)
}

// Two liars of twelve: the decoder finds both.
func TestTwoLiars(t *testing.T) {
	const n = 14 // threshold and quorum are 10
	vectors := vectorsOf[uint32](3, n, 3)
	p, s := until(t, specOf(secagg.Z32, 3), n, secagg.StageUnmask, nil)
	p.unmask(t, nil, s)
	answers := copyOf(t, s.unmasking)
	for _, liar := range []int{1, 4} {
		for i := range answers[liar].Seeds {
			answers[liar].Seeds[i].Share[16] ^= byte(liar)
		}
	}
	x, dropped, err := s.group.Reconstruct(s.set, answers)
	require.NoError(t, err)
	require.Len(t, dropped, 2)
	require.Equal(t, plain(s, n, 3, vectors, 32), unmasked[uint32](t, s, x, 3))
}

// Who is not in a stage does not speak in it.
func TestSendersOfAStage(t *testing.T) {
	p, s := until(t, specOf(secagg.Z32, 3), 7, secagg.StageUnmask, absences{secagg.StageShare: {5}, secagg.StageMask: {6}})
	p.unmask(t, nil, s)
	masked := copyOf(t, s.masked)
	masked[0].Header.Tenant, masked[0].Header.Site = tenant(5), siteName(5)
	_, dropped, _ := s.group.FormSurvivors(s.routing.Participants, masked)
	require.ErrorIs(t, dropped[0], secagg.ErrSender)
	checks := copyOf(t, s.checks)
	signature, err := secagg.SignSet(s.group, s.set, identities()[6])
	require.NoError(t, err)
	checks[0].Header.Tenant, checks[0].Header.Site, checks[0].Signature = tenant(6), siteName(6), signature
	_, dropped, err = s.group.FormUnmask(s.set, checks)
	require.ErrorIs(t, err, secagg.ErrTooFew)
	require.ErrorIs(t, dropped[0], secagg.ErrSender)
	answers := copyOf(t, s.unmasking)
	answers[0].Header.Tenant, answers[0].Header.Site = tenant(6), siteName(6)
	_, dropped, err = s.group.Reconstruct(s.set, answers)
	require.ErrorIs(t, err, secagg.ErrTooFew)
	require.ErrorIs(t, dropped[0], secagg.ErrSender)
}

// In a sparse graph a site has shares of its neighbours alone.
func TestShareOfAStranger(t *testing.T) {
	spec := secagg.WithGraph(specOf(secagg.Z32, 3), secagg.Graph{Sites: 12, Degree: 4, Threshold: 3, Quorum: 8})
	p, s := until(t, spec, 12, secagg.StageUnmask, nil)
	p.unmask(t, nil, s)
	answers := copyOf(t, s.unmasking)
	seeds := answers[1].Seeds
	require.Len(t, seeds, 4)
	stranger := 12
	for i := len(seeds) - 1; i >= 0 && seeds[i].Of == stranger; i-- {
		stranger--
	}
	answers[1].Seeds = append(slices.DeleteFunc(seeds, func(o secagg.OpenShare) bool { return o.Of > stranger }), secagg.OpenShare{Of: stranger, Share: seeds[0].Share})
	_, dropped, err := s.group.Reconstruct(s.set, answers)
	require.NoError(t, err)
	accused(t, dropped, secagg.StageUnmask, secagg.ErrSubset)
}

// A dealer can frame a holder by a share of nothing in a good box. The holder
// is named beside its dealer, what else it holds stays in use, and the sum is
// exact as long as there are enough without that one share.
func TestFramedHolder(t *testing.T) {
	frame := func(t *testing.T, a absences) (*stages, [][]uint32, *secagg.Expander, []*secagg.SiteError, error) {
		const n = 8 // threshold and quorum are 6
		vectors := vectorsOf[uint32](3, n, 3)
		p, s := until(t, specOf(secagg.Z32, 3), n, secagg.StageMask, nil)
		box, err := p.sites[4].SealTo(2, make([]byte, 2*secagg.ShareBytes))
		require.NoError(t, err)
		s.shares[4].Boxes[1].Box = box
		s.routing, _, err = s.group.FormShares(s.shares)
		require.NoError(t, err)
		require.NoError(t, mask(t, p, nil, s, vectors))
		require.Empty(t, s.masked[1].Unopened)
		require.NoError(t, p.check(t, nil, s))
		p.unmask(t, a, s)
		x, dropped, err := s.group.Reconstruct(s.set, s.unmasking)
		return s, vectors, x, dropped, err
	}
	s, vectors, x, dropped, err := frame(t, absences{secagg.StageUnmask: {7}})
	require.NoError(t, err)
	accused(t, dropped, secagg.StageUnmask, secagg.ErrShare)
	require.ErrorContains(t, dropped[0], "of site t0002/s0")
	require.Equal(t, plain(s, 8, 3, vectors, 32), unmasked[uint32](t, s, x, 3))

	_, _, _, _, err = frame(t, absences{secagg.StageUnmask: {6, 7}})
	require.ErrorIs(t, err, secagg.ErrSecret)
	require.ErrorContains(t, err, "site t0002/s0")
}

// A box of another length is one that does not open, whatever is in it.
func TestBoxOfAnotherLength(t *testing.T) {
	for _, size := range []int{0, 2*secagg.ShareBytes - 1, 2*secagg.ShareBytes + 1} {
		p, s := until(t, specOf(secagg.Z32, 3), victims, secagg.StageMask, nil)
		box, err := p.sites[1].SealTo(1, make([]byte, size))
		require.NoError(t, err)
		in := copyOf(t, s.routing.Inbox(1))
		in.Boxes[0].Box = box
		_, err = p.sites[0].Mask(in)
		require.NoError(t, err)
		m, err := p.sites[0].Masked(artifact.DigestOf(nil), p.spec.SizeBytes())
		require.NoError(t, err)
		require.Equal(t, []int{2}, m.Unopened)
	}
}

// Who lied once is asked last. With two spare shares two liars are found one
// after the other, where the decoder alone could correct one.
func TestSuspectsComeLast(t *testing.T) {
	const n = 11 // threshold and quorum are 8
	vectors := vectorsOf[uint32](3, n, 3)
	p, s := until(t, specOf(secagg.Z32, 3), n, secagg.StageUnmask, nil)
	p.unmask(t, absences{secagg.StageUnmask: {10}}, s)
	answers := copyOf(t, s.unmasking)
	require.Len(t, answers, 10)
	for i := range n {
		answers[1].Seeds[i].Share[0] ^= 1
		if i > 0 {
			answers[2].Seeds[i].Share[0] ^= 1
		}
	}
	x, dropped, err := s.group.Reconstruct(s.set, answers)
	require.NoError(t, err)
	require.Len(t, dropped, 2)
	require.Equal(t, []string{"s0", "s1"}, []string{dropped[1].Site, dropped[0].Site})
	require.Equal(t, plain(s, n, 3, vectors, 32), unmasked[uint32](t, s, x, 3))
}
