package policy

import (
	"errors"
	"fmt"
)

// MaxRules bounds a document, and with it the work of [Loosens].
const MaxRules = 100

// What may be wrong with a part of a document.
var (
	ErrRevision  = errors.New("must be 1 or more")
	ErrRules     = fmt.Errorf("must be 1 to %d rules", MaxRules)
	ErrID        = errors.New("must be an id or *")
	ErrName      = errors.New("must be an id that no other rule has")
	ErrKind      = errors.New("must be neural or quantum")
	ErrWeight    = errors.New("must be 0 to 1000")
	ErrNoWeight  = errors.New("one weight must be above 0")
	ErrThreshold = errors.New("must be 0 to 100")
)

// A DocumentError says which part of a document is wrong, as a JSON pointer.
type DocumentError struct {
	Pointer string
	Err     error
}

func (e *DocumentError) Error() string { return fmt.Sprintf("policy %s: %v", e.Pointer, e.Err) }
func (e *DocumentError) Unwrap() error { return e.Err }

// isID says whether s is an id as the whole fabric writes them:
// [a-z0-9][a-z0-9._-]{0,62}.
func isID(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// Validate returns a [*DocumentError] for the first part that is wrong.
func (d Document) Validate() error {
	if d.Revision < 1 {
		return &DocumentError{"/revision", ErrRevision}
	}
	if len(d.Rules) == 0 || len(d.Rules) > MaxRules {
		return &DocumentError{"/rules", ErrRules}
	}
	names := map[string]bool{}
	for i, r := range d.Rules {
		at := fmt.Sprintf("/rules/%d", i)
		if !isID(r.Name) || names[r.Name] {
			return &DocumentError{at + "/name", ErrName}
		}
		names[r.Name] = true
		if err := r.validate(at); err != nil {
			return err
		}
	}
	if err := d.Weights.validate(); err != nil {
		return err
	}
	if d.Leeway < 0 || d.Leeway > 1000 {
		return &DocumentError{"/leeway", ErrLeeway}
	}
	if d.Threshold < 0 || d.Threshold > 100 {
		return &DocumentError{"/threshold", ErrThreshold}
	}
	if err := d.Balloting().Check(); err != nil {
		return &DocumentError{"/approvals", err}
	}
	if err := d.validateLimits(); err != nil {
		return err
	}
	if err := d.validateQuotas(); err != nil {
		return err
	}
	return d.validateRollback()
}

func (r Rule) validate(at string) error {
	if r.Tenant != Any && !isID(r.Tenant) {
		return &DocumentError{at + "/tenant", ErrID}
	}
	if r.Model != Any && !isID(r.Model) {
		return &DocumentError{at + "/model", ErrID}
	}
	for j, region := range r.Regions {
		if region != Any && !isID(region) {
			return &DocumentError{fmt.Sprintf("%s/regions/%d", at, j), ErrID}
		}
	}
	for j, kind := range r.Kinds {
		if kind != Neural && kind != Quantum {
			return &DocumentError{fmt.Sprintf("%s/kinds/%d", at, j), ErrKind}
		}
	}
	return r.validatePurposes(at)
}

func (w Weights) validate() error {
	sum := 0
	for _, part := range []struct {
		name  string
		value int
	}{{"latency", w.Latency}, {"cost", w.Cost}, {"fabric", w.Fabric}, {"locality", w.Locality}} {
		if part.value < 0 || part.value > 1000 {
			return &DocumentError{"/weights/" + part.name, ErrWeight}
		}
		sum += part.value
	}
	if sum == 0 {
		return &DocumentError{"/weights", ErrNoWeight}
	}
	return nil
}
