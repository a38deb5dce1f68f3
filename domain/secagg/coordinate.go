package secagg

import (
	"crypto/ecdsa"
	"fmt"
	"slices"
)

// arrivals sorts out who sent what. Messages are by index of the sender; of
// somebody who sent two different ones none is taken.
type arrivals[M any] struct {
	group   *Group
	stage   Stage
	byIndex map[int]*M
	dropped []*SiteError
}

// arrive checks the header of each message, that its sender is among those who
// may speak, and then the message.
func arrive[M any](g *Group, stage Stage, may []bool, messages []M, header func(*M) *Header, check func(index int, m *M) error) arrivals[M] {
	a := arrivals[M]{group: g, stage: stage, byIndex: map[int]*M{}}
	seen := map[int]int{}
	for i := range messages {
		h := header(&messages[i])
		index := g.Index(h.Tenant, h.Site)
		if index > 0 {
			seen[index]++
		}
		err := h.check(g.spec, stage)
		switch {
		case err != nil:
		case index == 0 || !may[index]:
			err = ErrSender
		case seen[index] > 1:
			err = ErrRepeated
		default:
			err = check(index, &messages[i])
		}
		if err != nil {
			a.dropped = append(a.dropped, &SiteError{h.Tenant, h.Site, stage, err})
			continue
		}
		a.byIndex[index] = &messages[i]
	}
	for index, times := range seen {
		if times > 1 {
			delete(a.byIndex, index)
		}
	}
	return a
}

// drop takes a sender out again.
func (a *arrivals[M]) drop(index int, err error) {
	m := a.group.Member(index)
	delete(a.byIndex, index)
	a.dropped = append(a.dropped, &SiteError{m.Tenant, m.Site, a.stage, err})
}

// indices returns whose messages are left, ascending.
func (a *arrivals[M]) indices() []int {
	list := make([]int, 0, len(a.byIndex))
	for index := range a.byIndex {
		list = append(list, index)
	}
	slices.Sort(list)
	return list
}

func (a *arrivals[M]) errors() []*SiteError {
	sortErrors(a.dropped)
	return a.dropped
}

// everybody is the set of all members.
func (g *Group) everybody() []bool {
	set := slices.Repeat([]bool{true}, g.graph.Sites+1)
	set[0] = false
	return set
}

// enough returns [ErrTooFew] unless so many members can finish.
func (g *Group) enough(n int) error {
	if least := max(MinSites, g.graph.Quorum, g.graph.Threshold); n < least {
		return fmt.Errorf("%w: %d of %d", ErrTooFew, n, least)
	}
	return nil
}

// A Routing is the outcome of stage share: who takes part from now on, and the
// boxes for each of them.
type Routing struct {
	Participants []int // ascending

	group *Group
	boxes map[int]map[int][]byte // by receiver and sender
}

// FormShares routes the shares. Who sent none, or not exactly one box for each
// holder, is out; so is who is left with fewer holders than the threshold.
// Errors: [ErrTooFew].
func (g *Group) FormShares(messages []Shares) (*Routing, []*SiteError, error) {
	a := arrive(g, StageShare, g.everybody(), messages, func(m *Shares) *Header { return &m.Header }, g.checkShares)
	for again := true; again; {
		again = false
		in := g.marks(a.indices())
		for _, index := range a.indices() {
			if n := count(g.holders(index), in); n < g.graph.Threshold {
				a.drop(index, fmt.Errorf("%w: %d of %d holders shared", ErrTooFew, n, g.graph.Threshold))
				again = true
			}
		}
	}
	r := &Routing{Participants: a.indices(), group: g, boxes: map[int]map[int][]byte{}}
	for from, m := range a.byIndex {
		for _, b := range m.Boxes {
			if r.boxes[b.To] == nil {
				r.boxes[b.To] = map[int][]byte{}
			}
			r.boxes[b.To][from] = b.Box
		}
	}
	return r, a.errors(), g.enough(len(r.Participants))
}

func (g *Group) checkShares(index int, m *Shares) error {
	if m.Roster != g.Roster() {
		return fmt.Errorf("%w: roster", ErrForeign)
	}
	want := g.neighbours(index)
	if len(m.Boxes) != len(want) {
		return fmt.Errorf("%w: %d boxes for %d holders", ErrForm, len(m.Boxes), len(want))
	}
	for i, b := range m.Boxes {
		if b.To != want[i] {
			return fmt.Errorf("%w: box for %d instead of %d", ErrIndex, b.To, want[i])
		}
		if len(b.Box) != BoxBytes {
			return fmt.Errorf("%w: box of %d bytes", ErrShare, len(b.Box))
		}
	}
	return nil
}

// Inbox returns what opens stage mask for a participant.
func (r *Routing) Inbox(to int) ShareInbox {
	g := r.group
	in := ShareInbox{
		Header: g.spec.header(StageMask, "", ""), Roster: g.Roster(), To: to,
		Participants: r.Participants, Boxes: []ReceivedBox{},
	}
	who := g.marks(r.Participants)
	for _, from := range g.neighbours(to) {
		if who[from] {
			in.Boxes = append(in.Boxes, ReceivedBox{From: from, Box: r.boxes[to][from]})
		}
	}
	return in
}

// FormSurvivors returns the set of those whose masked vectors arrived. Give it
// only messages whose vectors have been read and compared with their digests:
// what is in the set must be in the sum. The set is stored, write-once, before
// anybody sees it, and every later call works on what was stored.
// Errors: [ErrTooFew]; [*SiteError] with [ErrShare] for a participant whose
// shares too few survivors could open: with it in the group there is no sum.
func (g *Group) FormSurvivors(participants []int, messages []Masked) (SurvivorSet, []*SiteError, error) {
	if err := g.checkList(participants); err != nil {
		return SurvivorSet{}, nil, err
	}
	masked := g.participantsDigest(participants)
	a := arrive(g, StageMask, g.marks(participants), messages, func(m *Masked) *Header { return &m.Header }, func(index int, m *Masked) error {
		switch {
		case m.Roster != g.Roster() || m.Participants != masked:
			return fmt.Errorf("%w: roster or participants", ErrForeign)
		case m.SizeBytes != g.spec.SizeBytes() || m.Vector == "":
			return fmt.Errorf("%w: %d bytes", ErrVector, m.SizeBytes)
		}
		return g.checkList(m.Unopened)
	})
	survivors := a.indices()
	set := SurvivorSet{
		Header: g.spec.header(StageCheck, "", ""), Roster: g.Roster(), Participants: participants, Survivors: survivors,
	}
	if err := g.enough(len(survivors)); err != nil {
		return set, a.errors(), err
	}
	for _, owner := range participants {
		able := 0
		for _, h := range g.holders(owner) {
			if m := a.byIndex[h]; m != nil && !slices.Contains(m.Unopened, owner) {
				able++
			}
		}
		if able < g.graph.Threshold {
			m := g.Member(owner)
			return set, a.errors(), &SiteError{m.Tenant, m.Site, StageShare, fmt.Errorf("%w: %d survivors of %d hold one", ErrShare, able, g.graph.Threshold)}
		}
	}
	return set, a.errors(), nil
}

// FormUnmask collects a quorum of signatures over the set.
// Errors: [ErrTooFew].
func (g *Group) FormUnmask(set SurvivorSet, messages []Check) (UnmaskRequest, []*SiteError, error) {
	if err := g.checkSet(set); err != nil {
		return UnmaskRequest{}, nil, err
	}
	hash := g.setHash(set.Participants, set.Survivors)
	a := arrive(g, StageCheck, g.marks(set.Survivors), messages, func(m *Check) *Header { return &m.Header }, func(index int, m *Check) error {
		if m.Set != hash.digest() || !ecdsa.VerifyASN1(g.keys[index-1], hash[:], m.Signature) {
			return fmt.Errorf("%w: survivor set", ErrSigned)
		}
		return nil
	})
	req := UnmaskRequest{
		Header: g.spec.header(StageUnmask, "", ""), Roster: g.Roster(),
		Seeds: set.Survivors, Keys: g.dead(set), Signatures: []SetSignature{},
	}
	signers := a.indices()
	if len(signers) < g.graph.Quorum {
		return req, a.errors(), fmt.Errorf("%w: %d of %d signatures", ErrTooFew, len(signers), g.graph.Quorum)
	}
	for _, index := range signers[:g.graph.Quorum] {
		req.Signatures = append(req.Signatures, SetSignature{Index: index, Signature: a.byIndex[index].Signature})
	}
	return req, a.errors(), nil
}

// checkSet refuses a stored set that is not one of the group.
func (g *Group) checkSet(set SurvivorSet) error {
	if err := set.Header.checkCoordinator(g.spec, StageCheck); err != nil {
		return err
	}
	if set.Roster != g.Roster() {
		return fmt.Errorf("%w: roster", ErrForeign)
	}
	for _, list := range [][]int{set.Participants, set.Survivors} {
		if err := g.checkList(list); err != nil {
			return err
		}
	}
	if who := g.marks(set.Participants); count(set.Survivors, who) != len(set.Survivors) {
		return ErrSubset
	}
	return nil
}

// dead returns who shared keys and is not in the sum.
func (g *Group) dead(set SurvivorSet) []int {
	live := g.marks(set.Survivors)
	return slices.DeleteFunc(slices.Clone(set.Participants), func(n int) bool { return live[n] })
}
