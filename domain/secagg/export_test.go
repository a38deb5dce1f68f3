package secagg

import "crypto/ecdsa"

// WithGraph replaces the formula for the graph. Only tests can: a plan cannot
// ask for a weaker graph than the formula gives.
func WithGraph(s Spec, g Graph) Spec {
	s.graph = &g
	return s
}

// ShareUnchecked is [Site.Share] without a look at the signatures, which a
// benchmark of a thousand sites cannot afford a million times.
func (s *Site) ShareUnchecked(g *Group) (Shares, error) {
	s.group, s.index = g, g.Index(s.entry.Tenant, s.entry.Site)
	return s.deal()
}

// UnmaskUnchecked is [Site.Unmask] without a look at the signatures.
func (s *Site) UnmaskUnchecked(req UnmaskRequest, set SurvivorSet) Unmasking {
	s.state.Set = s.group.SetDigest(set)
	return s.answer(req)
}

// SignEntry signs any entry, as a site that lies about itself would.
func SignEntry(s Spec, m Member, key *ecdsa.PrivateKey) ([]byte, error) {
	return sign(key, m.signed(s.digest()))
}

// SealTo makes a box with any content, as a site that lies to a holder would.
func (s *Site) SealTo(to int, plain []byte) ([]byte, error) { return s.seal(to, plain) }

// SignSet signs a survivor set, as a site that is not in it would.
func SignSet(g *Group, set SurvivorSet, key *ecdsa.PrivateKey) ([]byte, error) {
	return sign(key, g.setHash(set.Participants, set.Survivors))
}
