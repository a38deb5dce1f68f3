package secagg

import (
	"crypto/ecdsa"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// setHash is what survivors sign.
func (g *Group) setHash(participants, survivors []int) sum {
	h := newHash("survivors")
	h.bytes(g.bound[:])
	h.bytes(g.roster[:])
	h.numbers(participants)
	h.numbers(survivors)
	return h.sum()
}

// SetDigest names a survivor set of the group; it is what survivors sign.
func (g *Group) SetDigest(s SurvivorSet) artifact.Digest {
	return g.setHash(s.Participants, s.Survivors).digest()
}

// Check refuses a survivor set that could harm the site or its peers, commits
// to it, and returns the site's signature over it: the message of stage check.
// Errors: [*SiteError] of the coordinator: [ErrForeign], [ErrStage],
// [ErrForm], [ErrIndex], [ErrRepeated], [ErrSubset], [ErrDead], [ErrTooFew],
// [ErrChanged], [ErrCall], [ErrAborted].
func (s *Site) Check(set SurvivorSet) (Check, error) {
	if err := s.ready(); err != nil {
		return Check{}, s.refuse(StageCheck, err)
	}
	g := s.group
	err := set.Header.checkCoordinator(g.spec, StageCheck)
	if err == nil && set.Roster != g.Roster() {
		err = fmt.Errorf("%w: roster", ErrChanged)
	}
	if err == nil && g.participantsDigest(set.Participants) != g.participantsDigest(s.inbox.Participants) {
		err = fmt.Errorf("%w: participants", ErrChanged)
	}
	if err == nil {
		err = s.checkSet(set.Survivors)
	}
	hash := g.setHash(set.Participants, set.Survivors)
	if err == nil {
		err = pin(&s.state.Set, hash.digest())
	}
	if err != nil {
		return Check{}, s.refuse(StageCheck, err)
	}
	signature, err := sign(s.config.Key, hash)
	if err != nil {
		return Check{}, err
	}
	return Check{Header: s.header(StageCheck), Set: hash.digest(), Signature: signature}, nil
}

// ready says whether the site has masked a vector.
func (s *Site) ready() error {
	switch {
	case s.state.Aborted != "":
		return ErrAborted
	case s.inbox == nil || s.state.Vector == "":
		return ErrCall
	}
	return nil
}

// checkSet refuses survivors that no honest coordinator would name.
func (s *Site) checkSet(survivors []int) error {
	g := s.group
	if err := g.checkList(survivors); err != nil {
		return err
	}
	for _, n := range survivors {
		if !s.participants[n] {
			return fmt.Errorf("%w: member %d", ErrSubset, n)
		}
	}
	live := g.marks(survivors)
	if !live[s.index] {
		return ErrDead
	}
	if n := count(g.holders(s.index), live); n < g.graph.Threshold || len(survivors) < s.floor() {
		return fmt.Errorf("%w: %d of %d holders live, %d members", ErrTooFew, n, g.graph.Threshold, len(survivors))
	}
	return nil
}

// Unmask checks that a quorum signed the very set that the site is asked to
// open, and returns its shares: of the seed of a survivor, of the mask key of a
// dead member. It is the message of stage unmask.
// Errors: as [Site.Check], and [ErrBothKinds], [ErrSigned].
func (s *Site) Unmask(req UnmaskRequest) (Unmasking, error) {
	if err := s.ready(); err != nil {
		return Unmasking{}, s.refuse(StageUnmask, err)
	}
	if err := s.checkRequest(req); err != nil {
		return Unmasking{}, s.refuse(StageUnmask, err)
	}
	return s.answer(req), nil
}

// answer opens the shares that a request, which has been checked, asks for.
func (s *Site) answer(req UnmaskRequest) Unmasking {
	out := Unmasking{
		Header: s.header(StageUnmask), Set: s.state.Set, Seeds: []OpenShare{}, Keys: []OpenShare{},
	}
	// Everybody is in one of the two lists, and in no other.
	for kind, owners := range [2][]int{req.Seeds, req.Keys} {
		for _, of := range owners {
			pair, held := s.shares[of]
			if !held {
				continue // no neighbour, or its box did not open
			}
			share := OpenShare{Of: of, Share: pair[kind].append(nil)}
			if kind == 0 {
				out.Seeds = append(out.Seeds, share)
			} else {
				out.Keys = append(out.Keys, share)
			}
		}
	}
	return out
}

func (s *Site) checkRequest(req UnmaskRequest) error {
	g := s.group
	if err := req.Header.checkCoordinator(g.spec, StageUnmask); err != nil {
		return err
	}
	if req.Roster != g.Roster() {
		return fmt.Errorf("%w: roster", ErrChanged)
	}
	if err := g.checkList(req.Keys); err != nil {
		return err
	}
	if err := g.checkList(req.Seeds); err != nil {
		return err
	}
	dead := g.marks(req.Keys)
	for _, n := range req.Seeds {
		if dead[n] {
			return fmt.Errorf("%w: member %d", ErrBothKinds, n)
		}
	}
	for _, n := range req.Keys {
		if !s.participants[n] {
			return fmt.Errorf("%w: member %d", ErrSubset, n)
		}
	}
	if len(req.Seeds)+len(req.Keys) != len(s.inbox.Participants) {
		return fmt.Errorf("%w: %d survivors and %d dead", ErrSubset, len(req.Seeds), len(req.Keys))
	}
	if err := s.checkSet(req.Seeds); err != nil {
		return err
	}
	hash := g.setHash(s.inbox.Participants, req.Seeds)
	// A set that nobody signed must not become the one that the site is bound
	// to, so a first set is bound after its signatures have been checked.
	pinned := s.state.Set
	if err := pin(&pinned, hash.digest()); err != nil {
		return err
	}
	if err := g.checkQuorum(req.Seeds, hash, req.Signatures); err != nil {
		return err
	}
	s.state.Set = pinned
	return nil
}

// checkQuorum wants a quorum of valid signatures by different survivors, and
// none that is not valid.
// Errors: [ErrIndex], [ErrRepeated], [ErrForm], [ErrSubset], [ErrSigned], [ErrTooFew].
func (g *Group) checkQuorum(survivors []int, hash sum, signatures []SetSignature) error {
	signers := make([]int, len(signatures))
	for i, s := range signatures {
		signers[i] = s.Index
	}
	if err := g.checkList(signers); err != nil {
		return fmt.Errorf("signatures: %w", err)
	}
	if len(signatures) < g.graph.Quorum {
		return fmt.Errorf("%w: %d of %d signatures", ErrTooFew, len(signatures), g.graph.Quorum)
	}
	live := g.marks(survivors)
	for _, s := range signatures {
		if !live[s.Index] {
			return fmt.Errorf("signatures: %w: member %d", ErrSubset, s.Index)
		}
		if !ecdsa.VerifyASN1(g.keys[s.Index-1], hash[:], s.Signature) {
			return fmt.Errorf("%w: survivor set, member %d", ErrSigned, s.Index)
		}
	}
	return nil
}
