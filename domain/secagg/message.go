package secagg

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Lengths in bytes of what messages hold.
const (
	KeyBytes        = 32 // X25519 public key
	CommitmentBytes = 32
	IdentityBytes   = 65 // ECDSA P-256 public key: 4, X, Y
	ShareBytes      = 40 // five field elements of 8 bytes, little-endian
	BoxBytes        = 2*ShareBytes + 16
	maxSignature    = 80
)

// A Header binds a message to what it is about. A message whose header differs
// from what is expected is refused unread.
type Header struct {
	Protocol string          `json:"protocol"`
	Run      string          `json:"run"`
	Round    int             `json:"round"`
	Plan     artifact.Digest `json:"plan"`
	Group    string          `json:"group"`
	Stage    Stage           `json:"stage"`
	Tenant   string          `json:"tenant,omitempty"` // sender; the coordinator has neither
	Site     string          `json:"site,omitempty"`
}

func (s Spec) header(stage Stage, tenant, site string) Header {
	return Header{
		Protocol: Protocol, Run: s.Run, Round: s.Round, Plan: s.Plan, Group: s.Group,
		Stage: stage, Tenant: tenant, Site: site,
	}
}

// check compares the header with the spec.
// Errors: [ErrForeign], [ErrStage].
func (h Header) check(s Spec, stage Stage) error {
	want := s.header(h.Stage, h.Tenant, h.Site)
	if h != want {
		return ErrForeign
	}
	if h.Stage != stage {
		return fmt.Errorf("%w: %s", ErrStage, clip(string(h.Stage)))
	}
	return nil
}

// checkCoordinator is check for messages to a site.
func (h Header) checkCoordinator(s Spec, stage Stage) error {
	if h.Tenant != "" || h.Site != "" {
		return ErrSender
	}
	return h.check(s, stage)
}

// An Advertisement is a site's entry: the public keys of one aggregation,
// signed with the key that the site enrolled with.
type Advertisement struct {
	Header     Header `json:"header"`
	Identity   []byte `json:"identity"`   // [IdentityBytes]
	CipherKey  []byte `json:"cipherKey"`  // [KeyBytes]: shares for the site are encrypted to it
	MaskKey    []byte `json:"maskKey"`    // [KeyBytes]: pairwise masks are agreed with it
	Commitment []byte `json:"commitment"` // [CommitmentBytes]: to the self-mask's seed
	Signature  []byte `json:"signature"`  // ASN.1
}

// A Member is an advertisement without its header, which is the roster's.
type Member struct {
	Tenant     string `json:"tenant"`
	Site       string `json:"site"`
	Identity   []byte `json:"identity"`
	CipherKey  []byte `json:"cipherKey"`
	MaskKey    []byte `json:"maskKey"`
	Commitment []byte `json:"commitment"`
	Signature  []byte `json:"signature"`
}

// A Roster opens stage share: everybody who takes part, by ascending tenant
// and site. A member's index is its place counted from 1.
type Roster struct {
	Header  Header   `json:"header"`
	Members []Member `json:"members"`
}

// Shares is a site's message of stage share: one box for each holder of its
// shares, by ascending index.
type Shares struct {
	Header Header          `json:"header"`
	Roster artifact.Digest `json:"roster"`
	Boxes  []SealedBox     `json:"boxes"`
}

// A SealedBox holds the two shares that one holder keeps of the sender's secrets.
type SealedBox struct {
	To  int    `json:"to"`
	Box []byte `json:"box"` // [BoxBytes], AES-256-GCM
}

// A ShareInbox opens stage mask for one site: who shared, and the boxes for it.
type ShareInbox struct {
	Header       Header          `json:"header"`
	Roster       artifact.Digest `json:"roster"`
	To           int             `json:"to"`
	Participants []int           `json:"participants"` // ascending
	Boxes        []ReceivedBox   `json:"boxes"`        // by ascending sender
}

// A ReceivedBox is a [SealedBox] seen from its receiver.
type ReceivedBox struct {
	From int    `json:"from"`
	Box  []byte `json:"box"`
}

// A Masked is a site's message of stage mask. The vector itself is a blob of
// raw little-endian elements, Length times 4 or 8 bytes.
type Masked struct {
	Header       Header          `json:"header"`
	Roster       artifact.Digest `json:"roster"`
	Participants artifact.Digest `json:"participants"` // that it masked for
	Unopened     []int           `json:"unopened"`     // senders whose box did not open, ascending
	Vector       artifact.Digest `json:"vector"`
	SizeBytes    int64           `json:"sizeBytes"`
}

// A SurvivorSet opens stage check. There is one for an aggregation, ever: it is
// stored write-once before anybody sees it.
type SurvivorSet struct {
	Header       Header          `json:"header"`
	Roster       artifact.Digest `json:"roster"`
	Participants []int           `json:"participants"` // who shared, ascending
	Survivors    []int           `json:"survivors"`    // whose vectors are in the sum, ascending
}

// A Check is a survivor's message of stage check: its signature over the set.
type Check struct {
	Header    Header          `json:"header"`
	Set       artifact.Digest `json:"set"` // what was signed, see [SurvivorSet.Digest]
	Signature []byte          `json:"signature"`
}

// An UnmaskRequest opens stage unmask. Seeds and Keys are the survivors and the
// dead, spelled out so that what was asked can be read off the wire.
type UnmaskRequest struct {
	Header     Header          `json:"header"`
	Roster     artifact.Digest `json:"roster"`
	Seeds      []int           `json:"seeds"` // shares of the self-mask's seed are asked of these, ascending
	Keys       []int           `json:"keys"`  // shares of the mask key are asked of these, ascending
	Signatures []SetSignature  `json:"signatures"`
}

// A SetSignature is a member's signature over the survivor set.
type SetSignature struct {
	Index     int    `json:"index"`
	Signature []byte `json:"signature"`
}

// An Unmasking is a site's message of stage unmask.
type Unmasking struct {
	Header Header          `json:"header"`
	Set    artifact.Digest `json:"set"`
	Seeds  []OpenShare     `json:"seeds"` // of survivors, by ascending owner
	Keys   []OpenShare     `json:"keys"`  // of the dead, by ascending owner
}

// An OpenShare is a share in the clear.
type OpenShare struct {
	Of    int    `json:"of"`
	Share []byte `json:"share"` // [ShareBytes]
}

// Erase overwrites the shares of the message.
func (u *Unmasking) Erase() {
	for _, list := range [][]OpenShare{u.Seeds, u.Keys} {
		for _, s := range list {
			clear(s.Share)
		}
	}
}
