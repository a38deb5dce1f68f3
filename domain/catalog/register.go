package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Limits of a registration.
const (
	MaxSchema   = 64 << 10 // bytes of the canonical schema
	MaxGrantees = 256
	maxTags     = 32
	maxText     = 2000
)

// Purposes that consent can be given for.
const (
	PurposeStats    = "stats"    // means and variances of columns
	PurposeTrain    = "train"    // updates of a model
	PurposeEvaluate = "evaluate" // counts and losses of a model on held-out rows
)

// Purposes returns all of them, sorted.
func Purposes() []string { return []string{PurposeEvaluate, PurposeStats, PurposeTrain} }

// Why a registration is refused.
var (
	ErrName          = errors.New("not a name: 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
	ErrSchema        = errors.New("not a JSON object that every parser reads alike, of at most 64 KiB")
	ErrFingerprint   = errors.New("not a SHA-256: 64 hex digits, with or without sha256: before them")
	ErrPurpose       = errors.New("a purpose is train, evaluate or stats")
	ErrGrantees      = errors.New("more than 256 grantees")
	ErrConsentless   = errors.New("purposes and grantees need consented to be true")
	ErrSemantics     = errors.New("not {\"columns\": {<name>: {unit, nullable, meaning, range}}} of at most 64 KiB, for columns of the schema")
	ErrStagedConsent = errors.New("a staged version grants nothing: consent belongs to the feature in use")
	ErrTags          = errors.New("at most 32 tags, each a name")
	ErrText          = errors.New("at most 2000 bytes of text")
)

// A FieldError says which part of a registration is at fault.
type FieldError struct {
	Field string // a JSON pointer into the request
	Err   error
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }
func (e *FieldError) Unwrap() error { return e.Err }

// A Registration is a feature as its tenant describes it.
type Registration struct {
	Tenant      string
	ID          string
	Schema      json.RawMessage
	Fingerprint string // empty: that of the canonical schema
	Consented   bool
	Purposes    []string // none: all
	Grantees    []string // beside the tenant itself
	Semantics   json.RawMessage
	Description string
	Tags        []string
	Mode        Mode // empty: the one there is
	Staged      bool
}

// Feature returns the registration in its one form: canonical schema, SHA-256
// fingerprint, sorted purposes and grantees with the tenant among them. The
// version and the times are for whoever keeps it to set.
// Errors: [*FieldError].
func (r Registration) Feature() (Feature, error) {
	for field, name := range map[string]string{"/tenant": r.Tenant, "/feature_id": r.ID} {
		if !ValidName(name) {
			return Feature{}, &FieldError{field, ErrName}
		}
	}
	schema, err := canonicalSchema(r.Schema)
	if err != nil {
		return Feature{}, err
	}
	fingerprint := artifact.DigestOf(schema)
	if r.Fingerprint != "" {
		if fingerprint, err = ParseFingerprint(r.Fingerprint); err != nil {
			return Feature{}, &FieldError{"/fingerprint", err}
		}
	}
	consent, err := r.consent()
	if err != nil {
		return Feature{}, err
	}
	semantics, err := canonicalSemantics(schema, r.Semantics)
	if err != nil {
		return Feature{}, err
	}
	switch {
	case !r.Mode.Valid():
		return Feature{}, &FieldError{"/compatibility", ErrMode}
	case len(r.Description) > maxText:
		return Feature{}, &FieldError{"/description", ErrText}
	case len(r.Tags) > maxTags:
		return Feature{}, &FieldError{"/tags", ErrTags}
	case r.Staged && r.Consented:
		return Feature{}, &FieldError{"/staged", ErrStagedConsent}
	}
	for i, t := range r.Tags {
		if !ValidName(t) {
			return Feature{}, &FieldError{fmt.Sprintf("/tags/%d", i), ErrTags}
		}
	}
	content, err := ContentOf(schema, semantics)
	if err != nil {
		return Feature{}, err
	}
	return Feature{
		Tenant: r.Tenant, ID: r.ID, Schema: schema, Fingerprint: fingerprint, Consent: consent,
		Semantics: semantics, Content: content, Description: r.Description, Tags: sorted(slices.Clone(r.Tags)), Mode: r.Mode, Staged: r.Staged,
	}, nil
}

// ContentOf returns the identity of a version: the digest of the canonical form
// of its schema and semantics together.
func ContentOf(schema, semantics json.RawMessage) (artifact.Digest, error) {
	if len(semantics) == 0 {
		semantics = json.RawMessage("{}")
	}
	text, err := artifact.Canonical(struct {
		Schema    json.RawMessage `json:"schema"`
		Semantics json.RawMessage `json:"semantics"`
	}{schema, semantics})
	if err != nil {
		return "", &FieldError{"/schema", ErrSchema}
	}
	return artifact.DigestOf(text), nil
}

// canonicalSemantics holds the semantics to the columns of the schema.
func canonicalSemantics(schema, semantics json.RawMessage) (json.RawMessage, error) {
	if len(semantics) == 0 {
		return nil, nil
	}
	var doc struct {
		Columns map[string]Semantics `json:"columns"`
	}
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := artifact.DecodeStrict(semantics, &doc); err != nil || json.Unmarshal(schema, &s) != nil {
		return nil, &FieldError{"/semantics", ErrSemantics}
	}
	for name := range doc.Columns {
		if _, ok := s.Properties[name]; !ok {
			return nil, &FieldError{"/semantics", ErrSemantics}
		}
	}
	canonical, err := artifact.Canonical(semantics)
	if err != nil || len(canonical) > MaxSchema {
		return nil, &FieldError{"/semantics", ErrSemantics}
	}
	return canonical, nil
}

// canonicalSchema makes equal schemas equal bytes, so that registering the
// same one in another spelling is no new version.
func canonicalSchema(schema json.RawMessage) (json.RawMessage, error) {
	var object map[string]any
	if err := artifact.DecodeStrict(schema, &object); err != nil || object == nil {
		return nil, &FieldError{"/schema", ErrSchema}
	}
	canonical, err := artifact.Canonical(schema)
	if err != nil || len(canonical) > MaxSchema {
		return nil, &FieldError{"/schema", ErrSchema}
	}
	return canonical, nil
}

func (r Registration) consent() (Consent, error) {
	if !r.Consented {
		if len(r.Purposes) > 0 || len(r.Grantees) > 0 {
			return Consent{}, &FieldError{"/consented", ErrConsentless}
		}
		return Consent{Purposes: []string{}, Grantees: []string{}}, nil
	}
	purposes := slices.Clone(r.Purposes)
	if len(purposes) == 0 {
		purposes = Purposes()
	}
	for i, p := range purposes {
		if !slices.Contains(Purposes(), p) {
			return Consent{}, &FieldError{fmt.Sprintf("/purposes/%d", i), ErrPurpose}
		}
	}
	if len(r.Grantees) > MaxGrantees {
		return Consent{}, &FieldError{"/grantees", ErrGrantees}
	}
	for i, g := range r.Grantees {
		if !ValidName(g) {
			return Consent{}, &FieldError{fmt.Sprintf("/grantees/%d", i), ErrName}
		}
	}
	return Consent{
		Granted:  true,
		Purposes: sorted(purposes),
		Grantees: sorted(append(slices.Clone(r.Grantees), r.Tenant)),
	}, nil
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// ParseFingerprint returns the digest that s spells. What is not a SHA-256 is
// refused, because it might be what a SHA-256 was to be taken of.
// Errors: [ErrFingerprint].
func ParseFingerprint(s string) (artifact.Digest, error) {
	digits := strings.TrimPrefix(strings.ToLower(s), "sha256:")
	digest, err := artifact.ParseDigest("sha256:" + digits)
	if err != nil {
		return "", ErrFingerprint // the text stays out of the error
	}
	return digest, nil
}

// Columns returns how many columns of a row a schema describes: its properties
// without "label", or one when it names none.
func Columns(schema json.RawMessage) int {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return 1
	}
	delete(s.Properties, "label")
	return max(1, len(s.Properties))
}
