package artifact

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Why a bundle is refused; beside them [ErrTooLarge],
// [ErrStatement] and [ErrUntrusted].
var (
	ErrBundle        = errors.New("not a Sigstore bundle v0.3 with one DSSE signature by a key")
	ErrPredicateType = errors.New("the statement is of another predicate type")
	ErrSubject       = errors.New("the statement is about other content")
)

// MaxBundle is the size from which a bundle is refused unread.
const MaxBundle = 1 << 20

// A VerifyError says which content's bundle was refused, and why.
type VerifyError struct {
	PredicateType string // as asked for; empty for bare bytes, see [VerifyBlob]
	Subject       Digest // as asked for
	Err           error
}

func (e *VerifyError) Error() string {
	if e.PredicateType == "" {
		return fmt.Sprintf("bundle for the bytes %s: %v", e.Subject.Short(), e.Err)
	}
	return fmt.Sprintf("bundle for %s (%s): %v", e.Subject.Short(), clip(e.PredicateType), e.Err)
}
func (e *VerifyError) Unwrap() error { return e.Err }

// A Verified is what a trusted key has said.
type Verified struct {
	Name      string          // of the subject; for people
	Predicate json.RawMessage // as signed; decode it with [DecodeStrict]
	Key       Digest          // [KeyID] of the signer
	Statement Digest          // sha256 of payload type and payload: the same for every encoding of the same words
}

// An Envelope is the content of a well-formed bundle before anybody has
// checked its signature.
type Envelope struct {
	Payload   []byte // of type [PayloadType]
	Signature []byte // DER
}

// The wire form of a bundle, see docs/protocol/predicates. Keys that are not
// here are refused: a certificate or a bare message signature has no place.
type wireBundle struct {
	MediaType            string       `json:"mediaType"`
	VerificationMaterial wireMaterial `json:"verificationMaterial"`
	Envelope             wireEnvelope `json:"dsseEnvelope"`
}

// wireMaterial reads a log entry and a timestamp so as to ignore them: they may
// be there, and prove nothing to us.
type wireMaterial struct {
	PublicKey  *wireKey        `json:"publicKey"`
	LogEntries json.RawMessage `json:"tlogEntries,omitempty"`
	Timestamps json.RawMessage `json:"timestampVerificationData,omitempty"`
}

type wireKey struct {
	Hint string `json:"hint"`
}

type wireEnvelope struct {
	Payload     string          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []wireSignature `json:"signatures"`
}

type wireSignature struct {
	Sig   string `json:"sig"`
	KeyID string `json:"keyid,omitempty"` // read and ignored
}

// SignStatement signs the statement with an ECDSA P-256 key and returns the
// bundle. The bundle's hint names the key for other tools; nobody trusts it.
// Errors: [ErrKey], [ErrStatement], what the key's Sign returns.
func SignStatement(random io.Reader, key crypto.Signer, statement Statement) ([]byte, error) {
	public, err := p256(key.Public())
	if err != nil {
		return nil, err
	}
	payload, err := statement.Encode()
	if err != nil {
		return nil, err
	}
	der, err := signPayload(random, key, payload)
	if err != nil {
		return nil, err
	}
	hint, err := KeyHint(public, statement.PredicateType)
	if err != nil {
		return nil, err
	}
	return encodeBundle(hint, Envelope{Payload: payload, Signature: der})
}

func encodeBundle(hint string, e Envelope) ([]byte, error) {
	return json.Marshal(wireBundle{
		MediaType:            MediaTypeBundle,
		VerificationMaterial: wireMaterial{PublicKey: &wireKey{Hint: hint}},
		Envelope: wireEnvelope{
			Payload:     base64.StdEncoding.EncodeToString(e.Payload),
			PayloadType: PayloadType,
			Signatures:  []wireSignature{{Sig: base64.StdEncoding.EncodeToString(e.Signature)}},
		},
	})
}

// ParseBundle reads the form of a bundle and believes nothing in it.
// Errors: [ErrTooLarge], [ErrBundle].
func ParseBundle(bundle []byte) (Envelope, error) {
	if len(bundle) > MaxBundle {
		return Envelope{}, fmt.Errorf("%d bytes: %w", len(bundle), ErrTooLarge)
	}
	var wire wireBundle
	if err := DecodeStrict(bundle, &wire); err != nil {
		return Envelope{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	switch n := len(wire.Envelope.Signatures); {
	case wire.MediaType != MediaTypeBundle:
		return Envelope{}, fmt.Errorf("%w: media type %q", ErrBundle, clip(wire.MediaType))
	case wire.VerificationMaterial.PublicKey == nil:
		return Envelope{}, fmt.Errorf("%w: no public key", ErrBundle)
	case wire.Envelope.PayloadType != PayloadType:
		return Envelope{}, fmt.Errorf("%w: payload type %q", ErrBundle, clip(wire.Envelope.PayloadType))
	case n != 1:
		return Envelope{}, fmt.Errorf("%w: %d signatures", ErrBundle, n)
	}
	payload, err := decodeBase64(wire.Envelope.Payload)
	if err != nil {
		return Envelope{}, fmt.Errorf("%w: payload: %w", ErrBundle, err)
	}
	signature, err := decodeBase64(wire.Envelope.Signatures[0].Sig)
	if err != nil {
		return Envelope{}, fmt.Errorf("%w: signature: %w", ErrBundle, err)
	}
	return Envelope{Payload: payload, Signature: signature}, nil
}

// decodeBase64 reads the one standard form, padded and without line breaks.
func decodeBase64(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	if base64.StdEncoding.EncodeToString(raw) != text {
		return nil, errors.New("not the standard form of base64")
	}
	return raw, nil
}

// VerifyBundle accepts a bundle only if it holds exactly one signature, made by
// one of keys, over a statement of exactly this predicate type about exactly
// this subject.
//
// A valid signature alone proves too little: the same key also signs
// rejections, and statements about other content.
// Errors: [*VerifyError].
func VerifyBundle(keys []*ecdsa.PublicKey, bundle []byte, predicateType string, subject Digest) (Verified, error) {
	verified, err := verifyBundle(keys, bundle, predicateType, subject)
	if err != nil {
		return Verified{}, &VerifyError{PredicateType: predicateType, Subject: subject, Err: err}
	}
	return verified, nil
}

func verifyBundle(keys []*ecdsa.PublicKey, bundle []byte, predicateType string, subject Digest) (Verified, error) {
	envelope, err := ParseBundle(bundle)
	if err != nil {
		return Verified{}, err
	}
	// The payload is not looked at before somebody trusted is known to have signed it.
	key, err := trustedBy(keys, envelope.Payload, envelope.Signature)
	if err != nil {
		return Verified{}, err
	}
	statement, err := ParseStatement(envelope.Payload)
	if err != nil {
		return Verified{}, err
	}
	if statement.PredicateType != predicateType {
		return Verified{}, fmt.Errorf("%w: %q", ErrPredicateType, clip(statement.PredicateType))
	}
	if statement.Subject != subject {
		return Verified{}, fmt.Errorf("%w: %s", ErrSubject, statement.Subject.Short())
	}
	return Verified{
		Name:      statement.Name,
		Predicate: statement.Predicate,
		Key:       KeyID(key),
		Statement: StatementID(PayloadType, envelope.Payload),
	}, nil
}
