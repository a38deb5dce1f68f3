package approval

import (
	"crypto/ecdsa"
	"errors"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// MaxDelegation bounds how long a delegation may hold.
const MaxDelegation = 30 * 24 * time.Hour

// What a statement about a delegation may say.
const (
	Delegate         = "delegate"
	RevokeDelegation = "revoke"
)

// ErrSeated says that no seat is left that a person could fill.
var ErrSeated = errors.New("the seats of their role are filled")

// Why a delegation is refused, or does not cover an action.
var (
	ErrDelegation = errors.New("it has not the form of a delegation")
	ErrDelegator  = errors.New("its signer is not the approver that it names")
	ErrSelf       = errors.New("nobody delegates to themselves")
	ErrTooLong    = errors.New("it holds for too long, or not at all")
	ErrScope      = errors.New("the delegation does not cover this action")
)

// A Delegation is what an approver signs to let another person fill their seat,
// as the predicate of an in-toto statement whose subject is the digest of the
// delegate's DER SPKI. It is no delegate's to pass on: only an enrolled
// approver delegates, and only the role they are enrolled with.
type Delegation struct {
	Decision     string    `json:"decision"` // "delegate", or "revoke" of what was delegated under Nonce
	From         string    `json:"from"`     // the approver who signs
	To           string    `json:"to"`       // the person who stands in
	PublicKey    string    `json:"publicKey,omitempty"`
	Kinds        []string  `json:"kinds,omitempty"`        // of action; absent: all
	Environments []string  `json:"environments,omitempty"` // absent: all
	MaxRisk      int       `json:"maxRisk,omitempty"`      // 1..100; absent: any
	Reason       string    `json:"reason"`
	Nonce        string    `json:"nonce"`
	IssuedAt     time.Time `json:"issuedAt"`
	NotBefore    time.Time `json:"notBefore"`
	ExpiresAt    time.Time `json:"expiresAt"`
}

// A Granted is a delegation that was accepted.
type Granted struct {
	ID artifact.Digest `json:"id"` // of the statement
	Delegation
	Delegator Approver        `json:"delegator"` // From as they were enrolled then
	Key       artifact.Digest `json:"key"`       // of the delegate
	Bundle    artifact.Digest `json:"bundle"`
	RevokedAt time.Time       `json:"revokedAt,omitzero"`
}

// Check returns nil if what was signed is a delegation by signer to the key, to
// be accepted now.
// Errors: [ErrDelegation], [ErrDelegator], [ErrSelf], [ErrTooLong],
// [ErrReason], [ErrNoReason], [artifact.ErrKey].
func (d Delegation) Check(signer Approver, now time.Time) (*ecdsa.PublicKey, error) {
	key, err := artifact.ParsePublicKey([]byte(d.PublicKey))
	switch {
	case d.Decision != Delegate || d.Nonce == "" || len(d.Nonce) > 128 || d.To == "" || len(d.To) > 255 || d.MaxRisk < 0 || d.MaxRisk > 100:
		return nil, ErrDelegation
	case len(d.Kinds) > 16 || len(d.Environments) > 16 || slices.Contains(d.Kinds, "") || slices.Contains(d.Environments, ""):
		return nil, ErrDelegation
	case err != nil:
		return nil, err
	case d.From == "" || d.From != signer.Name:
		return nil, ErrDelegator
	case d.To == d.From || artifact.KeyID(key) == signer.Key:
		return nil, ErrSelf
	case d.Reason == "":
		return nil, ErrNoReason
	case len(d.Reason) > maxReason:
		return nil, ErrReason
	case d.IssuedAt.After(now.Add(maxSkew)) || !d.ExpiresAt.After(now) || !d.ExpiresAt.After(d.NotBefore) || d.ExpiresAt.Sub(d.NotBefore) > MaxDelegation:
		return nil, ErrTooLong
	}
	return key, nil
}

// Ends returns nil if the statement takes a delegation back: whoever made it
// says so, under its nonce.
// Errors: [ErrDelegation], [ErrDelegator].
func (d Delegation) Ends(g Granted, signer Approver) error {
	switch {
	case d.Decision != RevokeDelegation || d.Nonce != g.Nonce || d.To != g.To:
		return ErrDelegation
	case d.From != g.From || signer.Name != g.From:
		return ErrDelegator
	}
	return nil
}

// Covers returns nil if the delegation is about this action and holds at a
// time.
// Errors: [ErrScope], [ErrWindow].
func (d Delegation) Covers(a Action, at time.Time) error {
	switch {
	case len(d.Kinds) > 0 && !slices.Contains(d.Kinds, a.Kind),
		len(d.Environments) > 0 && !slices.Contains(d.Environments, a.Environment),
		d.MaxRisk > 0 && a.Risk > d.MaxRisk:
		return ErrScope
	case at.Before(d.NotBefore) || at.After(d.ExpiresAt):
		return ErrWindow
	}
	return nil
}

// Grant returns the delegation that a bundle is, signed by one of the
// approvers, as it was accepted at a time.
// Errors: those of [artifact.VerifyBundle] and [Delegation.Check].
func Grant(bundle []byte, approvers []Approver, at time.Time) (Granted, error) {
	envelope, err := artifact.ParseBundle(bundle)
	if err != nil {
		return Granted{}, err
	}
	statement, err := artifact.ParseStatement(envelope.Payload)
	if err != nil {
		return Granted{}, err
	}
	verified, err := artifact.VerifyBundle(keysOf(approvers, nil), bundle, artifact.PredicateDelegation, statement.Subject)
	if err != nil {
		return Granted{}, err
	}
	g := Granted{ID: verified.Statement, Bundle: artifact.DigestOf(bundle)}
	if err := artifact.DecodeStrict(verified.Predicate, &g.Delegation); err != nil {
		return Granted{}, ErrDelegation
	}
	for _, p := range approvers {
		if p.Key == verified.Key {
			g.Delegator = p
		}
	}
	key, err := g.Check(g.Delegator, at)
	if err != nil {
		return Granted{}, err
	}
	if g.Key = artifact.KeyID(key); g.Key != statement.Subject {
		return Granted{}, ErrDelegation
	}
	return g, nil
}
