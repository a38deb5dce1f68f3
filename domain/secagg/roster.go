package secagg

import (
	"cmp"
	"crypto/ecdsa"
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// FormRoster makes the roster of those whose advertisements hold, and says of
// the others what is wrong. A site that advertised twice is out if its entries
// differ: nobody can tell which one its peers would see.
// Errors: [ErrSpec], and what [Spec.GraphFor] returns for those who are left.
func FormRoster(spec Spec, ads []Advertisement, known Directory) (Roster, []*SiteError, error) {
	if err := spec.Validate(); err != nil {
		return Roster{}, nil, err
	}
	var dropped []*SiteError
	entries := map[string]*Member{}
	spoilt := map[string]bool{}
	bound := spec.digest()
	for _, ad := range ads {
		m := Member{
			Tenant: ad.Header.Tenant, Site: ad.Header.Site, Identity: ad.Identity, CipherKey: ad.CipherKey,
			MaskKey: ad.MaskKey, Commitment: ad.Commitment, Signature: ad.Signature,
		}
		err := ad.Header.check(spec, StageAdvertise)
		if err == nil {
			_, err = m.verify(bound, known)
		}
		if err == nil {
			err = m.checkExchangeKeys()
		}
		name := m.Tenant + "\x00" + m.Site
		if err == nil && entries[name] != nil && entries[name].signed(bound) != m.signed(bound) {
			err, spoilt[name] = ErrRepeated, true
		}
		if err != nil {
			dropped = append(dropped, &SiteError{m.Tenant, m.Site, StageAdvertise, err})
			continue
		}
		entries[name] = &m
	}
	roster := Roster{Header: spec.header(StageShare, "", ""), Members: []Member{}}
	for name, m := range entries {
		if !spoilt[name] {
			roster.Members = append(roster.Members, *m)
		}
	}
	slices.SortFunc(roster.Members, func(a, b Member) int { return a.compare(&b) })
	dropped = append(dropped, roster.dropShared()...)
	sortErrors(dropped)
	_, err := spec.GraphFor(len(roster.Members))
	return roster, dropped, err
}

func (m *Member) compare(o *Member) int {
	return cmp.Or(strings.Compare(m.Tenant, o.Tenant), strings.Compare(m.Site, o.Site))
}

// dropShared removes everybody who uses a key that somebody else uses too.
func (r *Roster) dropShared() (dropped []*SiteError) {
	uses := map[string]int{}
	for _, m := range r.Members {
		for _, key := range m.keys() {
			uses[key]++
		}
	}
	r.Members = slices.DeleteFunc(r.Members, func(m Member) bool {
		shared := slices.ContainsFunc(m.keys(), func(k string) bool { return uses[k] > 1 })
		if shared {
			dropped = append(dropped, &SiteError{m.Tenant, m.Site, StageAdvertise, fmt.Errorf("%w: the key of another site", ErrRepeated)})
		}
		return shared
	})
	return dropped
}

// keys lists what no two members may have in common.
func (m *Member) keys() []string {
	return []string{string(m.Identity), string(m.CipherKey), string(m.MaskKey), string(m.Commitment)}
}

// A Group is a roster whose form holds, with the graph that follows from it.
type Group struct {
	Workers int // goroutines of Reconstruct and of its [Expander]; below 2 there is none. No bit of the result depends on it.

	spec    Spec
	bound   sum // of the spec
	roster  sum // of the spec and all entries
	members []Member
	keys    []*ecdsa.PublicKey // identity keys, by index-1
	graph   Graph
	placeOf []int
	indexAt []int
}

// OpenGroup checks the form of a roster and works out its graph. It verifies
// no signature: the coordinator's roster comes from [FormRoster], a site's
// from [Site.Share].
// Errors: [ErrSpec]; [*SiteError] of the coordinator.
func OpenGroup(spec Spec, r Roster) (*Group, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	g, err := openGroup(spec, r)
	if err != nil {
		return nil, coordinator(StageShare, err)
	}
	return g, nil
}

func openGroup(spec Spec, r Roster) (*Group, error) {
	if err := r.Header.checkCoordinator(spec, StageShare); err != nil {
		return nil, err
	}
	graph, err := spec.GraphFor(len(r.Members))
	if err != nil {
		return nil, err
	}
	g := &Group{spec: spec, bound: spec.digest(), members: slices.Clone(r.Members), graph: graph}
	h := newHash("roster")
	h.bytes(g.bound[:])
	h.number(len(g.members))
	seen := map[string]bool{}
	for i := range g.members {
		m := &g.members[i]
		if err := m.checkForm(); err != nil {
			return nil, fmt.Errorf("member %d: %w", i+1, err)
		}
		if i > 0 {
			if order := g.members[i-1].compare(m); order == 0 {
				return nil, fmt.Errorf("member %d: %w", i+1, ErrRepeated)
			} else if order > 0 {
				return nil, fmt.Errorf("member %d: %w: not sorted", i+1, ErrForm)
			}
		}
		for _, key := range m.keys() {
			if seen[key] {
				return nil, fmt.Errorf("member %d: %w: the key of another member", i+1, ErrRepeated)
			}
			seen[key] = true
		}
		key, err := parseIdentity(m.Identity)
		if err != nil {
			return nil, fmt.Errorf("member %d: %w: identity", i+1, ErrKey)
		}
		g.keys = append(g.keys, key)
		entry := m.signed(g.bound)
		h.bytes(entry[:])
	}
	g.roster = h.sum()
	seed := newHash("graph")
	seed.bytes(g.roster[:])
	if g.placeOf, g.indexAt, err = place(len(g.members), seed.sum()); err != nil {
		return nil, err
	}
	return g, nil
}

// Graph returns degree, threshold and quorum of the group.
func (g *Group) Graph() Graph { return g.graph }

// Roster returns the digest that later messages name the roster by.
func (g *Group) Roster() artifact.Digest { return g.roster.digest() }

// Index returns a member's index, from 1, or 0 for somebody else.
func (g *Group) Index(tenant, site string) int {
	at, found := slices.BinarySearchFunc(g.members, &Member{Tenant: tenant, Site: site}, func(m Member, want *Member) int { return m.compare(want) })
	if !found {
		return 0
	}
	return at + 1
}

// Member returns the member with an index of 1 to Graph().Sites.
func (g *Group) Member(index int) Member { return g.members[index-1] }

// holders returns who holds shares of a member's secrets, ascending: its
// neighbours, and in a complete graph itself.
func (g *Group) holders(index int) []int {
	near := neighbours(g.graph, index, g.placeOf, g.indexAt)
	if g.graph.complete() {
		near = append(near, index)
		slices.Sort(near)
	}
	return near
}

// neighbours returns with whom a member shares a pairwise mask, ascending.
func (g *Group) neighbours(index int) []int {
	return neighbours(g.graph, index, g.placeOf, g.indexAt)
}

// checkList refuses what is not an ascending list of members.
// Errors: [ErrIndex], [ErrRepeated], [ErrForm].
func (g *Group) checkList(list []int) error {
	for i, n := range list {
		switch {
		case n < 1 || n > g.graph.Sites:
			return fmt.Errorf("%w: %d of %d", ErrIndex, n, g.graph.Sites)
		case i > 0 && n == list[i-1]:
			return fmt.Errorf("%w: %d", ErrRepeated, n)
		case i > 0 && n < list[i-1]:
			return fmt.Errorf("%w: not sorted", ErrForm)
		}
	}
	return nil
}

// marks returns a set of the listed members; element i says whether i is in it.
func (g *Group) marks(list []int) []bool {
	set := make([]bool, g.graph.Sites+1)
	for _, n := range list {
		set[n] = true
	}
	return set
}

// count returns how many of the listed members are in the set.
func count(list []int, set []bool) (n int) {
	for _, i := range list {
		if set[i] {
			n++
		}
	}
	return n
}

// participantsDigest names the list of those who shared.
func (g *Group) participantsDigest(list []int) artifact.Digest {
	h := newHash("participants")
	h.bytes(g.roster[:])
	h.numbers(list)
	return h.sum().digest()
}

func coordinator(stage Stage, err error) error { return &SiteError{Stage: stage, Err: err} }

func sortErrors(list []*SiteError) {
	slices.SortStableFunc(list, func(a, b *SiteError) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Site, b.Site))
	})
}
