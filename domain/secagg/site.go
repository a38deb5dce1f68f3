package secagg

import (
	"cmp"
	"crypto/ecdh"
	"crypto/ecdsa"
	"errors"
	"fmt"
)

// SecretBytes is the length of a round secret.
const SecretBytes = 32

// A Config is what a site knows by itself.
type Config struct {
	Spec      Spec
	Tenant    string
	Name      string
	Key       *ecdsa.PrivateKey // the enrolled identity key
	Secret    []byte            // [SecretBytes] random bytes for this aggregation alone, kept encrypted until the round closes
	Directory Directory
	MinSites  int // the site's own floor for roster and survivors; at least [MinSites] counts
}

// A Site plays one site's part in one aggregation. Its methods follow the
// stages. After each of them, with or without an error, the caller stores
// [Site.State] before it sends anything.
//
// After a restart a site is made again from the stored state and plays the
// earlier stages again with the messages that it acted on; it returns the same
// bytes, and refuses other messages.
type Site struct {
	config Config
	state  State
	entry  Member
	cipher *ecdh.PrivateKey
	mask   *ecdh.PrivateKey
	seed   [32]byte // of the self-mask

	group        *Group
	index        int
	inbox        *ShareInbox // once accepted
	participants []bool
	shares       map[int][2]scalar // by owner: of its seed and of its mask key
	unopened     []int
}

// NewSite derives the site's keys and goes on from a state, which is empty at
// first.
// Errors: [ErrSpec]; [ErrChanged] if the state belongs to another spec, site
// or secret; [ErrAborted].
func NewSite(c Config, st State) (*Site, error) {
	if err := c.Spec.Validate(); err != nil {
		return nil, err
	}
	if len(c.Secret) != SecretBytes || c.Directory == nil || c.Key == nil {
		return nil, fmt.Errorf("%w: a site needs its key, a directory and a secret of %d bytes", ErrSpec, SecretBytes)
	}
	s := &Site{config: c, state: st, shares: map[int][2]scalar{}}
	if err := s.derive(); err != nil {
		return nil, err
	}
	if st.Aborted != "" {
		return nil, fmt.Errorf("%w: %s", ErrAborted, clip(st.Aborted))
	}
	if err := pin(&s.state.Advertisement, s.entry.signed(c.Spec.digest()).digest()); err != nil {
		return nil, fmt.Errorf("state of another spec, site or secret: %w", err)
	}
	return s, nil
}

// derive makes the keys and the signed entry.
func (s *Site) derive() (err error) {
	bound := s.config.Spec.digest()
	secret := func(purpose string) []byte {
		key, e := derive(s.config.Secret, purpose, bound, 0, 0, 32)
		err = errors.Join(err, e)
		return key
	}
	cipherKey, maskKey, seed := secret("cipher key"), secret("mask key"), secret("self-mask seed")
	if err != nil {
		return err
	}
	if s.cipher, err = ecdh.X25519().NewPrivateKey(cipherKey); err != nil {
		return err
	}
	if s.mask, err = ecdh.X25519().NewPrivateKey(maskKey); err != nil {
		return err
	}
	copy(s.seed[:], seed)
	clear(seed)
	identity, err := identityBytes(&s.config.Key.PublicKey)
	if err != nil {
		return fmt.Errorf("%w: own identity: %w", ErrSpec, err)
	}
	commitment := commit(bound, &s.seed)
	s.entry = Member{
		Tenant: s.config.Tenant, Site: s.config.Name, Identity: identity,
		CipherKey: s.cipher.PublicKey().Bytes(), MaskKey: s.mask.PublicKey().Bytes(), Commitment: commitment[:],
	}
	s.entry.Signature, err = sign(s.config.Key, s.entry.signed(bound))
	if err != nil {
		return err
	}
	if err := s.entry.checkForm(); err != nil {
		return fmt.Errorf("%w: %w", ErrSpec, err)
	}
	return nil
}

// commit hides the seed of a self-mask and fixes it.
func commit(bound sum, seed *[32]byte) sum {
	h := newHash("self-mask commitment")
	h.bytes(bound[:])
	h.bytes(seed[:])
	return h.sum()
}

// State returns what the site has committed itself to so far.
func (s *Site) State() State { return s.state }

// Graph returns degree, threshold and quorum of the group once the roster has
// been accepted.
func (s *Site) Graph() Graph {
	if s.group == nil {
		return Graph{}
	}
	return s.group.graph
}

// Erase overwrites what the site holds of its own and of others' secrets, the
// round secret of the config included. It can play no stage afterwards.
func (s *Site) Erase() {
	clear(s.config.Secret)
	clear(s.seed[:])
	for owner := range s.shares {
		s.shares[owner] = [2]scalar{}
	}
	clear(s.shares)
	s.cipher, s.mask = nil, nil // their bytes are the runtime's to collect
	s.state.Aborted = cmp.Or(s.state.Aborted, "erased")
}

// refuse names the coordinator, and leaves the round if that is called for.
func (s *Site) refuse(stage Stage, err error) error {
	if fatal(err) {
		s.state.Aborted = cmp.Or(s.state.Aborted, err.Error())
	}
	return coordinator(stage, err)
}

// Advertise returns the site's message of stage advertise. The site should
// have its update ready: the stages that follow are short.
// Errors: [ErrAborted].
func (s *Site) Advertise() (Advertisement, error) {
	if s.state.Aborted != "" {
		return Advertisement{}, s.refuse(StageAdvertise, ErrAborted)
	}
	e := s.entry
	return Advertisement{
		Header:   s.config.Spec.header(StageAdvertise, e.Tenant, e.Site),
		Identity: e.Identity, CipherKey: e.CipherKey, MaskKey: e.MaskKey, Commitment: e.Commitment, Signature: e.Signature,
	}, nil
}

// Share checks the roster and returns the site's message of stage share.
// Errors: [*SiteError], of a member if the fault is in its entry ([ErrUnknown],
// [ErrIdentity], [ErrSigned], [ErrKey]), else of the coordinator ([ErrForeign],
// [ErrStage], [ErrSelf], [ErrTooFew], [ErrChanged], [ErrAborted] and those of
// [OpenGroup]).
func (s *Site) Share(r Roster) (Shares, error) {
	if s.state.Aborted != "" {
		return Shares{}, s.refuse(StageShare, ErrAborted)
	}
	g, err := openGroup(s.config.Spec, r)
	if err != nil {
		return Shares{}, s.refuse(StageShare, err)
	}
	if err := s.checkRoster(g); err != nil {
		if fatal(err) {
			s.state.Aborted = cmp.Or(s.state.Aborted, err.Error())
		}
		return Shares{}, err
	}
	if err := pin(&s.state.Roster, g.Roster()); err != nil {
		return Shares{}, s.refuse(StageShare, err)
	}
	s.group, s.index = g, g.Index(s.entry.Tenant, s.entry.Site)
	return s.deal()
}

// checkRoster verifies everybody, not the neighbours alone: the threshold of a
// sparse graph and the quorum count on how many of all members are real.
func (s *Site) checkRoster(g *Group) error {
	self := g.Index(s.entry.Tenant, s.entry.Site)
	if self == 0 || g.members[self-1].signed(g.bound) != s.entry.signed(g.bound) {
		return coordinator(StageShare, ErrSelf)
	}
	if g.graph.Sites < s.config.MinSites {
		return coordinator(StageShare, fmt.Errorf("%w: %d of %d that this site asks for", ErrTooFew, g.graph.Sites, s.config.MinSites))
	}
	for i := range g.members {
		m := &g.members[i]
		if i == self-1 {
			continue
		}
		key, err := m.verify(g.bound, s.config.Directory)
		if err != nil {
			return &SiteError{m.Tenant, m.Site, StageAdvertise, err}
		}
		g.keys[i] = key
	}
	return nil
}

// deal cuts both secrets into shares and encrypts them to their holders.
func (s *Site) deal() (Shares, error) {
	seed, key, err := s.polynomials()
	if err != nil {
		return Shares{}, err
	}
	defer seed.erase()
	defer key.erase()
	out := Shares{Header: s.header(StageShare), Roster: s.group.Roster()}
	for _, to := range s.group.holders(s.index) {
		seedShare, keyShare := seed.at(to), key.at(to)
		if to == s.index { // kept by deriving it again
			s.shares[to] = [2]scalar{seedShare, keyShare}
			continue
		}
		plain := keyShare.append(seedShare.append(make([]byte, 0, BoxBytes)))
		box, err := s.seal(to, plain)
		if err != nil {
			m := s.group.Member(to)
			return Shares{}, s.refuseMember(m, StageAdvertise, err)
		}
		clear(plain)
		out.Boxes = append(out.Boxes, SealedBox{To: to, Box: box})
	}
	return out, nil
}

func (s *Site) header(stage Stage) Header {
	return s.config.Spec.header(stage, s.entry.Tenant, s.entry.Site)
}

// refuseMember is refuse for a fault of a member's entry.
func (s *Site) refuseMember(m Member, stage Stage, err error) error {
	s.state.Aborted = cmp.Or(s.state.Aborted, err.Error())
	return &SiteError{m.Tenant, m.Site, stage, err}
}

// polynomials returns those of the seed and of the mask key. Their
// coefficients depend on the roster: with another one no two shares fit.
func (s *Site) polynomials() (seed, key polynomial, err error) {
	hide := func(purpose string, secret *[32]byte) (polynomial, error) {
		k, err := derive(s.config.Secret, purpose, s.group.roster, 0, 0, 32)
		if err != nil {
			return nil, err
		}
		random, err := keystream(k, 0)
		clear(k)
		if err != nil {
			return nil, err
		}
		return newPolynomial(secret, s.group.graph.Threshold, random), nil
	}
	if seed, err = hide("seed polynomial", &s.seed); err != nil {
		return nil, nil, err
	}
	private := [32]byte(s.mask.Bytes())
	key, err = hide("key polynomial", &private)
	clear(private[:])
	return seed, key, err
}
