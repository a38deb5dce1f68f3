package secagg

import (
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Mask opens the shares of the others and returns the masks of the site's own
// vector: [Apply] adds them in place, and [Site.Masked] makes the message.
// Errors: [*SiteError] of the coordinator: [ErrForeign], [ErrStage],
// [ErrChanged], [ErrForm], [ErrIndex], [ErrRepeated], [ErrDead], [ErrTooFew],
// [ErrCall], [ErrAborted]. A box that does not open is the sender's fault and
// is told in the message.
func (s *Site) Mask(in ShareInbox) (*Expander, error) {
	if s.state.Aborted != "" {
		return nil, s.refuse(StageMask, ErrAborted)
	}
	if s.group == nil {
		return nil, s.refuse(StageMask, ErrCall)
	}
	if err := s.checkInbox(in); err != nil {
		return nil, s.refuse(StageMask, err)
	}
	if err := pin(&s.state.Inbox, in.digest(s.group)); err != nil {
		return nil, s.refuse(StageMask, err)
	}
	s.inbox = &in
	s.participants = s.group.marks(in.Participants)
	s.unopened = []int{}
	for _, b := range in.Boxes {
		if b.From == s.index {
			continue
		}
		pair, err := s.open(b.From, b.Box)
		if err != nil {
			s.unopened = append(s.unopened, b.From)
			continue
		}
		s.shares[b.From] = pair
	}
	return s.expander()
}

func (s *Site) checkInbox(in ShareInbox) error {
	g := s.group
	if err := in.Header.checkCoordinator(g.spec, StageMask); err != nil {
		return err
	}
	if in.Roster != g.Roster() {
		return fmt.Errorf("%w: roster", ErrChanged)
	}
	if in.To != s.index {
		return fmt.Errorf("%w: for member %d", ErrSender, in.To)
	}
	if err := g.checkList(in.Participants); err != nil {
		return err
	}
	who := g.marks(in.Participants)
	if !who[s.index] {
		return ErrDead
	}
	if n := count(g.holders(s.index), who); n < g.graph.Threshold || len(in.Participants) < s.floor() {
		return fmt.Errorf("%w: %d of %d holders shared, %d members", ErrTooFew, n, g.graph.Threshold, len(in.Participants))
	}
	// Exactly the boxes of those neighbours who take part.
	var want, got []int
	for _, n := range g.neighbours(s.index) {
		if who[n] {
			want = append(want, n)
		}
	}
	for _, b := range in.Boxes {
		got = append(got, b.From)
	}
	if !slices.Equal(want, got) {
		return fmt.Errorf("%w: boxes of other members than take part", ErrSubset)
	}
	return nil
}

// floor is the least number of sites that a sum may be over.
func (s *Site) floor() int {
	return max(MinSites, s.config.MinSites, s.group.graph.Quorum)
}

// digest names what an inbox holds.
func (in *ShareInbox) digest(g *Group) artifact.Digest {
	h := newHash("inbox")
	h.bytes(g.roster[:])
	h.number(in.To)
	h.numbers(in.Participants)
	h.number(len(in.Boxes))
	for _, b := range in.Boxes {
		h.number(b.From)
		h.bytes(b.Box)
	}
	return h.sum().digest()
}

// expander lists the masks: the site's own, and one for each neighbour who
// takes part, added by the lower index and taken away by the higher.
func (s *Site) expander() (*Expander, error) {
	g := s.group
	x := &Expander{ring: g.spec.Ring, length: g.spec.Length}
	if err := x.self(g, s.index, &s.seed, false); err != nil {
		return nil, err
	}
	for _, peer := range g.neighbours(s.index) {
		if !s.participants[peer] {
			continue
		}
		if err := x.pair(g, s.mask, s.index, peer); err != nil {
			return nil, s.refuseMember(g.Member(peer), StageAdvertise, err)
		}
	}
	return x, nil
}

// Masked returns the site's message of stage mask about the masked vector,
// which is committed to: a second, different one under the same masks would
// give their difference away.
// Errors: [ErrVector], [ErrChanged], [ErrCall], [ErrAborted].
func (s *Site) Masked(vector artifact.Digest, sizeBytes int64) (Masked, error) {
	switch {
	case s.state.Aborted != "":
		return Masked{}, s.refuse(StageMask, ErrAborted)
	case s.inbox == nil:
		return Masked{}, s.refuse(StageMask, ErrCall)
	case sizeBytes != s.config.Spec.SizeBytes():
		return Masked{}, fmt.Errorf("%w: %d bytes", ErrVector, sizeBytes)
	}
	if err := pin(&s.state.Vector, vector); err != nil {
		return Masked{}, fmt.Errorf("masked vector: %w", err)
	}
	return Masked{
		Header: s.header(StageMask), Roster: s.group.Roster(), Participants: s.group.participantsDigest(s.inbox.Participants),
		Unopened: s.unopened, Vector: vector, SizeBytes: sizeBytes,
	}, nil
}
