package secagg_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A hexBytes is written in hexadecimal digits.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// protocolVectors are written by tests/vectors/secagg/generate.py.
type protocolVectors struct {
	Plays []struct {
		Name  string
		Spec  secagg.Spec
		Sites []struct {
			Tenant, Site                                                          string
			Secret, IdentityKey, Identity, CipherKey, MaskKey, Commitment, Masked hexBytes
			Vector                                                                []string
			Boxes                                                                 []hexBytes
		}
		Roster    artifact.Digest
		Survivors []int
		Set       artifact.Digest
		Shares    []struct {
			Of, Holder int
			Kind       string
			Share      hexBytes
		}
		Sum []string
	}
}

func readVectors(t *testing.T, name string, v any) {
	content, err := os.ReadFile("../../tests/vectors/secagg/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, v))
}

// TestProtocolVectors plays what another program worked out from the
// specification: keys, boxes, masked vectors, survivor set, shares and sum.
func TestProtocolVectors(t *testing.T) {
	var v protocolVectors
	readVectors(t, "protocol.json", &v)
	require.Len(t, v.Plays, 2)
	for _, c := range v.Plays {
		t.Run(c.Name, func(t *testing.T) {
			p := &play{spec: c.Spec}
			known := map[string]*ecdsa.PublicKey{}
			for _, s := range c.Sites {
				key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), s.IdentityKey)
				require.NoError(t, err)
				known[s.Site] = &key.PublicKey
				p.config = append(p.config, secagg.Config{
					Spec: c.Spec, Tenant: s.Tenant, Name: s.Site, Key: key, Secret: s.Secret,
					Directory: func(_, site string) (*ecdsa.PublicKey, bool) { k, ok := known[site]; return k, ok },
				})
				p.sites = append(p.sites, nil)
			}
			var ads []secagg.Advertisement
			for i, s := range c.Sites {
				p.restart(t, i, secagg.State{})
				ad, err := p.sites[i].Advertise()
				require.NoError(t, err)
				require.Equal(t, []byte(s.Identity), ad.Identity)
				require.Equal(t, []byte(s.CipherKey), ad.CipherKey)
				require.Equal(t, []byte(s.MaskKey), ad.MaskKey)
				require.Equal(t, []byte(s.Commitment), ad.Commitment)
				ads = append(ads, ad)
			}
			s := stages{sites: p.config}
			var err error
			s.roster, _, err = secagg.FormRoster(c.Spec, ads, p.config[0].Directory)
			require.NoError(t, err)
			s.group, err = secagg.OpenGroup(c.Spec, s.roster)
			require.NoError(t, err)
			require.Equal(t, c.Roster, s.group.Roster())
			for i := range c.Sites {
				m, err := p.sites[i].Share(s.roster)
				require.NoError(t, err)
				for j, box := range m.Boxes {
					require.Equal(t, []byte(c.Sites[i].Boxes[j]), box.Box)
				}
				s.shares = append(s.shares, m)
			}
			s.routing, _, err = s.group.FormShares(s.shares)
			require.NoError(t, err)
			if c.Spec.Ring == secagg.Z32 {
				playVectors[uint32](t, p, &s, c.Survivors, c.Set, c.Sum, func(i int) ([]string, []byte) { return c.Sites[i].Vector, c.Sites[i].Masked })
			} else {
				playVectors[uint64](t, p, &s, c.Survivors, c.Set, c.Sum, func(i int) ([]string, []byte) { return c.Sites[i].Vector, c.Sites[i].Masked })
			}
			var want, got []secagg.OpenShare
			for _, share := range c.Shares {
				want = append(want, secagg.OpenShare{Of: share.Of, Share: share.Share})
			}
			for of := 1; of <= len(c.Sites); of++ { // the vectors go by owner, then by holder
				for _, m := range s.unmasking {
					for _, open := range append(slices.Clone(m.Seeds), m.Keys...) {
						if open.Of == of {
							got = append(got, open)
						}
					}
				}
			}
			require.Equal(t, want, got)
			for _, m := range s.unmasking {
				for _, open := range m.Keys {
					require.NotContains(t, c.Survivors, open.Of)
				}
			}
		})
	}
}

func playVectors[E secagg.Element](t *testing.T, p *play, s *stages, survivors []int, set artifact.Digest, sum []string, site func(int) ([]string, []byte)) {
	parse := func(texts []string) (list []E) {
		for _, text := range texts {
			e, err := strconv.ParseUint(text, 10, 64)
			require.NoError(t, err)
			list = append(list, E(e))
		}
		return list
	}
	vectors := make([][]E, len(p.sites))
	a := absences{}
	for i := range p.sites {
		texts, _ := site(i)
		vectors[i] = parse(texts)
		if !slices.Contains(survivors, i+1) {
			a[secagg.StageMask] = append(a[secagg.StageMask], i)
		}
	}
	require.NoError(t, mask(t, p, a, s, vectors))
	for index, wire := range s.wires {
		_, want := site(index - 1)
		require.Equal(t, want, wire, "masked vector of %d", index)
	}
	require.Equal(t, survivors, s.set.Survivors)
	require.Equal(t, set, s.group.SetDigest(s.set))
	require.NoError(t, p.check(t, a, s))
	p.unmask(t, a, s)
	x, dropped, err := s.group.Reconstruct(s.set, s.unmasking)
	require.NoError(t, err)
	require.Empty(t, dropped)
	require.Equal(t, parse(sum), unmasked[E](t, s, x, p.spec.Length))
}

// TestParameters compares with the values that the reference implementation
// expects of itself.
func TestParameters(t *testing.T) {
	type row struct {
		Sites, CorruptBP, DroppedBP int
		Server                      string
		Degree, Threshold           int
	}
	var v struct{ Feasible, Infeasible []row }
	readVectors(t, "graph.json", &v)
	require.Len(t, v.Feasible, 43)
	require.Len(t, v.Infeasible, 6)
	for _, r := range v.Feasible {
		k, threshold, err := secagg.Parameters(r.Sites, r.CorruptBP, r.DroppedBP, r.Server == "semi-malicious")
		require.NoError(t, err, "%+v", r)
		require.Equal(t, [2]int{r.Degree, r.Threshold}, [2]int{k, threshold}, "%+v", r)
	}
	for _, r := range v.Infeasible {
		_, _, err := secagg.Parameters(r.Sites, r.CorruptBP, r.DroppedBP, r.Server == "semi-malicious")
		require.ErrorIs(t, err, secagg.ErrInfeasible, "%+v", r)
	}
}
