package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
)

// ErrStatement says that a payload is no in-toto statement about exactly one
// sha256 digest.
var ErrStatement = errors.New("not a statement about one sha256 digest")

// PayloadType is the type of every payload that the fabric signs.
const PayloadType = "application/vnd.in-toto+json"

// The statement types that are read. Ours are of the first; the cosign command
// line writes the second.
const (
	statementV1  = "https://in-toto.io/Statement/v1"
	statementV01 = "https://in-toto.io/Statement/v0.1"
)

// maxName bounds the name of a subject, which is for people only.
const maxName = 512

// A Statement says one thing about one content: that Predicate, which is to be
// read as PredicateType says, holds for what Subject names. Name is a hint for
// people and decides nothing.
type Statement struct {
	Name          string
	Subject       Digest
	PredicateType string
	Predicate     json.RawMessage // a JSON object
}

// NewStatement returns the statement that predicate, a struct, holds for subject.
func NewStatement(name string, subject Digest, predicateType string, predicate any) (Statement, error) {
	encoded, err := Canonical(predicate)
	if err != nil {
		return Statement{}, fmt.Errorf("predicate of %s: %w", subject.Short(), err)
	}
	return Statement{Name: name, Subject: subject, PredicateType: predicateType, Predicate: encoded}, nil
}

// wireStatement is the form of in-toto.
type wireStatement struct {
	Type          string          `json:"_type"`
	Subject       []wireSubject   `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type wireSubject struct {
	Name   string     `json:"name"`
	Digest wireDigest `json:"digest"`
	// cosign sign writes an empty object here. Nothing may be in it: it would be
	// said about the subject, and nobody would read it.
	Annotations *struct{} `json:"annotations,omitempty"`
}

// wireDigest admits no other algorithm, so that no verifier can be led to
// compare a weaker one.
type wireDigest struct {
	SHA256 string `json:"sha256"`
}

// Encode returns the canonical bytes of the statement as an in-toto Statement
// v1, which are what is signed.
// Errors: [ErrStatement]; [ErrNumber] for a predicate with an integer that
// a float64 cannot hold.
func (s Statement) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return Canonical(wireStatement{
		Type:          statementV1,
		Subject:       []wireSubject{{Name: s.Name, Digest: wireDigest{SHA256: s.Subject.Hex()}}},
		PredicateType: s.PredicateType,
		Predicate:     s.Predicate,
	})
}

// ParseStatement reads a payload. It is strict, see [DecodeStrict], but does
// not demand canonical bytes: others may sign for the fabric with other tools.
// Errors: [ErrStatement].
func ParseStatement(payload []byte) (Statement, error) {
	var wire wireStatement
	if err := DecodeStrict(payload, &wire); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if wire.Type != statementV1 && wire.Type != statementV01 {
		return Statement{}, fmt.Errorf("%w: type %q", ErrStatement, clip(wire.Type))
	}
	if len(wire.Subject) != 1 {
		return Statement{}, fmt.Errorf("%w: %d subjects", ErrStatement, len(wire.Subject))
	}
	s := Statement{
		Name:          wire.Subject[0].Name,
		Subject:       Digest("sha256:" + wire.Subject[0].Digest.SHA256),
		PredicateType: wire.PredicateType,
		Predicate:     wire.Predicate,
	}
	// cosign sign v2 leaves the predicate out; v3 writes an empty one. This type
	// says what it has to say by itself.
	if s.PredicateType == PredicateSign && (len(s.Predicate) == 0 || string(s.Predicate) == "null") {
		s.Predicate = json.RawMessage("{}")
	}
	return s, s.check()
}

func (s Statement) check() error {
	if _, err := ParseDigest(string(s.Subject)); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if s.PredicateType == "" {
		return fmt.Errorf("%w: no predicate type", ErrStatement)
	}
	if len(s.Predicate) == 0 || s.Predicate[0] != '{' {
		return fmt.Errorf("%w: the predicate is no object", ErrStatement)
	}
	if len(s.Name) > maxName {
		return fmt.Errorf("%w: name of %d bytes", ErrStatement, len(s.Name))
	}
	for _, r := range s.Name {
		if !unicode.IsPrint(r) { // it is shown to people, in terminals
			return fmt.Errorf("%w: name with a character %U", ErrStatement, r)
		}
	}
	return nil
}
