package secagg

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A kind of secret: of which list of an [Unmasking] its shares are.
type kind int

const (
	seedKind kind = iota
	keyKind
)

// Reconstruct puts the secrets together from the answers and returns what must
// be added to the sum of the survivors' masked vectors to be rid of every mask.
// Each secret is compared with what its owner advertised before it is used, so
// a share that is a lie costs the sum nothing: it is found while there is a
// spare share, or two for each lie beyond the first, and its holder is named,
// beside the owner, who may have dealt it. What else a suspect sent is used
// last, where there is not enough without it.
// Errors: [*SiteError] with [ErrTooFew] or [ErrSecret] for an owner whose secret
// cannot be had; there is no sum then.
func (g *Group) Reconstruct(set SurvivorSet, messages []Unmasking) (*Expander, []*SiteError, error) {
	if err := g.checkSet(set); err != nil {
		return nil, nil, err
	}
	r := reconstruction{group: g, bases: map[string][]element{}, suspect: make([]bool, g.graph.Sites+1)}
	live, dead := g.marks(set.Survivors), g.marks(g.dead(set))
	digest := g.SetDigest(set)
	r.answers = arrive(g, StageUnmask, live, messages, func(m *Unmasking) *Header { return &m.Header }, func(index int, m *Unmasking) error {
		if m.Set != digest {
			return fmt.Errorf("%w: survivor set", ErrForeign)
		}
		near := g.marks(g.holders(index))
		if err := g.checkAnswer(m.Seeds, near, live); err != nil {
			return err
		}
		return g.checkAnswer(m.Keys, near, dead)
	})
	x := &Expander{Workers: g.Workers, ring: g.spec.Ring, length: g.spec.Length}
	for _, owner := range set.Survivors {
		seed, err := r.secret(owner, seedKind)
		if err == nil {
			err = x.self(g, owner, &seed, true)
		}
		clear(seed[:])
		if err != nil {
			return nil, r.answers.errors(), err
		}
	}
	var jobs []agreement
	for _, owner := range g.dead(set) {
		private, err := r.secret(owner, keyKind)
		var key *ecdh.PrivateKey
		if err == nil {
			key, err = ecdh.X25519().NewPrivateKey(private[:])
		}
		clear(private[:])
		if err != nil {
			return nil, r.answers.errors(), err
		}
		for _, peer := range g.neighbours(owner) {
			if live[peer] {
				jobs = append(jobs, agreement{key, owner, peer})
			}
		}
	}
	if err := x.agree(g, jobs); err != nil {
		return nil, r.answers.errors(), err
	}
	return x, r.answers.errors(), nil
}

// An agreement is a mask that a survivor shares with a dead member. What
// cancels it in the sum is what the member itself would have added.
type agreement struct {
	key         *ecdh.PrivateKey
	owner, peer int
}

// agree appends the masks of all agreements, which are most of the work beside
// the expansion: each worker fills its own part.
func (x *Expander) agree(g *Group, jobs []agreement) error {
	parts := make([]Expander, max(1, g.Workers))
	errs := make([]error, len(parts))
	per := (len(jobs) + len(parts) - 1) / len(parts)
	work := func(w int) {
		for _, job := range jobs[min(w*per, len(jobs)):min((w+1)*per, len(jobs))] {
			if errs[w] = parts[w].pair(g, job.key, job.owner, job.peer); errs[w] != nil {
				return
			}
		}
	}
	var wg sync.WaitGroup
	for w := range len(parts) - 1 {
		wg.Go(func() { work(w) })
	}
	work(len(parts) - 1)
	wg.Wait()
	for w := range parts {
		x.masks = append(x.masks, parts[w].masks...)
		parts[w].Erase()
	}
	return errors.Join(errs...)
}

// checkAnswer refuses a list of shares that nobody asked this holder for.
// Errors: [ErrIndex], [ErrRepeated], [ErrForm], [ErrSubset], [ErrShare].
func (g *Group) checkAnswer(list []OpenShare, near, asked []bool) error {
	owners := make([]int, len(list))
	for i, s := range list {
		owners[i] = s.Of
	}
	if err := g.checkList(owners); err != nil {
		return err
	}
	for _, s := range list {
		if !near[s.Of] || !asked[s.Of] {
			return fmt.Errorf("%w: share of member %d", ErrSubset, s.Of)
		}
		if _, err := parseShare(s.Share); err != nil {
			return fmt.Errorf("%w: of member %d", err, s.Of)
		}
	}
	return nil
}

// A reconstruction keeps what secrets of one group have in common.
type reconstruction struct {
	group   *Group
	answers arrivals[Unmasking]
	bases   map[string][]element // by holders
	suspect []bool               // holders of a share that was a lie
}

// secret puts one secret together.
func (r *reconstruction) secret(owner int, k kind) ([32]byte, error) {
	g, m := r.group, r.group.Member(owner)
	holders, shares := r.shares(owner, k)
	t := g.graph.Threshold
	if len(holders) < t {
		return [32]byte{}, &SiteError{m.Tenant, m.Site, StageUnmask, fmt.Errorf("%w: %d of %d shares", ErrTooFew, len(holders), t)}
	}
	accept := func(secret [32]byte) bool { return g.committed(&m, k, secret) }
	secret, ok := combine(r.basis(holders[:t]), shares[:t]).secret()
	if ok && accept(secret) {
		return secret, nil
	}
	secret, liars, ok := recoverSecret(holders, shares, t, accept)
	if !ok {
		return [32]byte{}, &SiteError{m.Tenant, m.Site, StageShare, ErrSecret}
	}
	for _, h := range liars {
		r.accuse(h, &m)
	}
	return secret, nil
}

// accuse names a holder once.
func (r *reconstruction) accuse(holder int, owner *Member) {
	if r.suspect[holder] {
		return
	}
	r.suspect[holder] = true
	m := r.group.Member(holder)
	err := fmt.Errorf("%w: of site %s/%s, which may have dealt it", ErrShare, clip(owner.Tenant), clip(owner.Site))
	r.answers.dropped = append(r.answers.dropped, &SiteError{m.Tenant, m.Site, StageUnmask, err})
}

// shares returns who sent a share of the owner's secret, and the shares:
// ascending, suspects last.
func (r *reconstruction) shares(owner int, k kind) (holders []int, shares []scalar) {
	near := r.group.holders(owner)
	for _, suspects := range []bool{false, true} {
		for _, h := range near {
			if r.suspect[h] != suspects {
				continue
			}
			if s, found := r.share(h, owner, k); found {
				holders, shares = append(holders, h), append(shares, s)
			}
		}
	}
	return holders, shares
}

// share returns a holder's share of the owner's secret, if it sent one.
func (r *reconstruction) share(holder, owner int, k kind) (scalar, bool) {
	m := r.answers.byIndex[holder]
	if m == nil {
		return scalar{}, false
	}
	list := m.Seeds
	if k == keyKind {
		list = m.Keys
	}
	at, found := slices.BinarySearchFunc(list, owner, func(s OpenShare, of int) int { return s.Of - of })
	if !found {
		return scalar{}, false
	}
	s, err := parseShare(list[at].Share)
	return s, err == nil
}

// basis returns the weights of these holders, worked out once for all owners
// who have the same.
func (r *reconstruction) basis(holders []int) []element {
	name := make([]byte, 0, 4*len(holders))
	for _, h := range holders {
		name = binary.BigEndian.AppendUint32(name, uint32(h))
	}
	weights, found := r.bases[string(name)]
	if !found {
		weights = basis(holders, 0)
		r.bases[string(name)] = weights
	}
	return weights
}

// committed says whether a secret is what its owner advertised.
func (g *Group) committed(m *Member, k kind, secret [32]byte) bool {
	if k == seedKind {
		sum := commit(g.bound, &secret)
		return bytes.Equal(sum[:], m.Commitment)
	}
	key, err := ecdh.X25519().NewPrivateKey(secret[:])
	return err == nil && bytes.Equal(key.PublicKey().Bytes(), m.MaskKey)
}
