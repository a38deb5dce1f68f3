package secagg_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// identities are made once: the tests need many, and any will do.
var identities = sync.OnceValue(func() []*ecdsa.PrivateKey {
	keys := make([]*ecdsa.PrivateKey, 1024)
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// specOf is the aggregation that the tests play.
func specOf(ring secagg.Ring, length int) secagg.Spec {
	return secagg.Spec{
		Run: "run-1", Round: 4, Plan: artifact.DigestOf([]byte("plan")), Group: "eu",
		Ring: ring, Length: length, CorruptBP: 500, DroppedBP: 500,
	}
}

// A play is an aggregation between sites that all live in the test. Site i has
// index i+1 when all of them take part.
type play struct {
	spec   secagg.Spec
	config []secagg.Config
	sites  []*secagg.Site
}

func tenant(i int) string { return fmt.Sprintf("t%04d", i/2) }

func siteName(i int) string { return fmt.Sprintf("s%d", i%2) }

// directory knows the first n identities.
func directory(n int) secagg.Directory {
	known := map[string]*ecdsa.PublicKey{}
	for i := range n {
		known[tenant(i)+"/"+siteName(i)] = &identities()[i].PublicKey
	}
	return func(tenant, site string) (*ecdsa.PublicKey, bool) {
		key, ok := known[tenant+"/"+site]
		return key, ok
	}
}

func newPlay(t require.TestingT, spec secagg.Spec, n int) *play {
	p := &play{spec: spec}
	known := directory(n)
	for i := range n {
		secret := sha256.Sum256(fmt.Appendf(nil, "secret of %d", i))
		p.config = append(p.config, secagg.Config{
			Spec: spec, Tenant: tenant(i), Name: siteName(i), Key: identities()[i], Secret: secret[:], Directory: known,
		})
		p.sites = append(p.sites, nil)
		p.restart(t, i, secagg.State{})
	}
	return p
}

// restart makes a site anew, as after a crash, from a state.
func (p *play) restart(t require.TestingT, i int, state secagg.State) {
	site, err := secagg.NewSite(p.config[i], state)
	require.NoError(t, err)
	p.sites[i] = site
}

// stages is everything that was sent in one aggregation, for tests that change it.
type stages struct {
	sites     []secagg.Config
	group     *secagg.Group
	roster    secagg.Roster
	shares    []secagg.Shares
	routing   *secagg.Routing
	masked    []secagg.Masked
	wires     map[int][]byte // by index
	set       secagg.SurvivorSet
	checks    []secagg.Check
	request   secagg.UnmaskRequest
	unmasking []secagg.Unmasking
}

// absences lists who leaves before each stage, by place in the play.
type absences map[secagg.Stage][]int

var order = []secagg.Stage{secagg.StageAdvertise, secagg.StageShare, secagg.StageMask, secagg.StageCheck, secagg.StageUnmask}

// gone says whether the i-th site has left by a stage.
func (a absences) gone(stage secagg.Stage, i int) bool {
	for _, s := range order {
		if slices.Contains(a[s], i) {
			return true
		}
		if s == stage {
			return false
		}
	}
	return false
}

func (p *play) advertise(t require.TestingT, a absences) (s stages, err error) {
	s.sites = p.config
	var ads []secagg.Advertisement
	for i, site := range p.sites {
		if !a.gone(secagg.StageAdvertise, i) {
			ad, err := site.Advertise()
			require.NoError(t, err)
			ads = append(ads, ad)
		}
	}
	var dropped []*secagg.SiteError
	s.roster, dropped, err = secagg.FormRoster(p.spec, ads, p.config[0].Directory)
	require.Empty(t, dropped)
	if err != nil {
		return s, err
	}
	s.group, err = secagg.OpenGroup(p.spec, s.roster)
	require.NoError(t, err)
	return s, nil
}

func (p *play) share(t require.TestingT, a absences, s *stages) error {
	for i, site := range p.sites {
		if !a.gone(secagg.StageShare, i) {
			m, err := site.Share(s.roster)
			require.NoError(t, err)
			s.shares = append(s.shares, m)
		}
	}
	var err error
	s.routing, _, err = s.group.FormShares(s.shares)
	return err
}

// index returns the member index of the i-th site.
func (s *stages) index(i int) int { return s.group.Index(s.sites[i].Tenant, s.sites[i].Name) }

func mask[E secagg.Element](t require.TestingT, p *play, a absences, s *stages, vectors [][]E) error {
	s.wires = map[int][]byte{}
	for i, site := range p.sites {
		if a.gone(secagg.StageMask, i) || !slices.Contains(s.routing.Participants, s.index(i)) {
			continue
		}
		x, err := site.Mask(s.routing.Inbox(s.index(i)))
		require.NoError(t, err)
		y := slices.Clone(vectors[i])
		require.NoError(t, secagg.Apply(x, y, 0))
		wire := secagg.AppendVector(nil, y)
		m, err := site.Masked(artifact.DigestOf(wire), int64(len(wire)))
		require.NoError(t, err)
		s.masked = append(s.masked, m)
		s.wires[s.index(i)] = wire
	}
	var err error
	s.set, _, err = s.group.FormSurvivors(s.routing.Participants, s.masked)
	return err
}

func (p *play) check(t require.TestingT, a absences, s *stages) error {
	for i, site := range p.sites {
		if a.gone(secagg.StageCheck, i) || !slices.Contains(s.set.Survivors, s.index(i)) {
			continue
		}
		m, err := site.Check(s.set)
		require.NoError(t, err)
		s.checks = append(s.checks, m)
	}
	var err error
	s.request, _, err = s.group.FormUnmask(s.set, s.checks)
	return err
}

func (p *play) unmask(t require.TestingT, a absences, s *stages) {
	for i, site := range p.sites {
		if a.gone(secagg.StageUnmask, i) || !slices.Contains(s.set.Survivors, s.index(i)) {
			continue
		}
		m, err := site.Unmask(s.request)
		require.NoError(t, err)
		s.unmasking = append(s.unmasking, m)
	}
}

// unmasked returns the sum of the survivors' vectors without the masks.
func unmasked[E secagg.Element](t require.TestingT, s *stages, x *secagg.Expander, length int) []E {
	sum := make([]E, length)
	for _, index := range s.set.Survivors {
		require.NoError(t, secagg.AddVector(sum, s.wires[index]))
	}
	require.NoError(t, secagg.Apply(x, sum, 0))
	return sum
}

// run plays everything. It returns the sum, who is in it, or why there is none.
func run[E secagg.Element](t require.TestingT, p *play, a absences, vectors [][]E) (sum []E, s stages, err error) {
	if s, err = p.advertise(t, a); err != nil {
		return nil, s, err
	}
	if err = p.share(t, a, &s); err != nil {
		return nil, s, err
	}
	if err = mask(t, p, a, &s, vectors); err != nil {
		return nil, s, err
	}
	if err = p.check(t, a, &s); err != nil {
		return nil, s, err
	}
	p.unmask(t, a, &s)
	s.group.Workers = len(p.sites) % 4
	x, dropped, err := s.group.Reconstruct(s.set, s.unmasking)
	require.Empty(t, dropped)
	if err != nil {
		return nil, s, err
	}
	return unmasked[E](t, &s, x, p.spec.Length), s, nil
}

// plain is the sum of the vectors of those in the set, by big numbers.
func plain[E secagg.Element](s *stages, n, length int, vectors [][]E, bits uint) []E {
	out := make([]E, length)
	modulus := new(big.Int).Lsh(big.NewInt(1), bits)
	for j := range out {
		total := new(big.Int)
		for i := range n {
			if slices.Contains(s.set.Survivors, s.index(i)) {
				total.Add(total, new(big.Int).SetUint64(uint64(vectors[i][j])))
			}
		}
		out[j] = E(total.Mod(total, modulus).Uint64())
	}
	return out
}

// vectorsOf draws n vectors over the whole ring.
func vectorsOf[E secagg.Element](seed uint64, n, length int) [][]E {
	r := mathrand.New(mathrand.NewPCG(seed, 1))
	out := make([][]E, n)
	for i := range out {
		out[i] = make([]E, length)
		for j := range out[i] {
			out[i][j] = E(r.Uint64())
		}
	}
	return out
}
