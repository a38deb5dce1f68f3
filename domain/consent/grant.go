// Package consent decides what a tenant has allowed with a feature: grants,
// what they permit, what ends them, and what a withdrawal leaves behind.
//
// Invariant: nothing is allowed but by a grant that is in force and names the
// use. What a grant says and nobody can decide refuses: an obligation that the
// asker does not declare, a bound on epsilon in a round that has none.
package consent

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
)

// What a grant may allow to be done.
const (
	ActionTrain    = catalog.PurposeTrain
	ActionEvaluate = catalog.PurposeEvaluate
	ActionStats    = catalog.PurposeStats
	ActionServe    = "serve" // answers of a model that learnt from the feature
)

// Actions returns all of them, sorted.
func Actions() []string { return []string{ActionEvaluate, ActionServe, ActionStats, ActionTrain} }

// Limits of a grant.
const (
	MaxRegions  = 64
	MaxPurposes = 16
	maxID       = 63
	maxCohort   = 100_000
	maxRounds   = 1_000_000
	maxEpsilon  = 300
)

// Why a grant is refused when it is given.
var (
	ErrName    = catalog.ErrName
	ErrAction  = errors.New("an action is evaluate, serve, stats or train, and there is at least one")
	ErrPurpose = errors.New("not a purpose of the Data Use Ontology that is understood, see docs/protocol/consent.md")
	ErrPeriod  = errors.New("it ends after it begins, in whole seconds")
	ErrBound   = errors.New("out of its bounds")
	ErrRegions = errors.New("more than 64 regions, or one that is not a name")
	ErrEpoch   = errors.New("an epoch counts from 1")
)

// A Grant is what a tenant lets one grantee do with one feature, as it is
// signed: the predicate of a statement of type [artifact.PredicateGrant] about
// the digest of its own canonical form.
type Grant struct {
	ID          string      `json:"grantId"`
	Tenant      string      `json:"tenant"` // whose feature it is
	Feature     string      `json:"feature"`
	Grantee     string      `json:"grantee"`            // tenant that may use it
	Purposes    []string    `json:"purposes,omitempty"` // terms of the Data Use Ontology; none restricts nothing
	Actions     []string    `json:"actions"`
	Constraints Constraints `json:"constraints,omitempty,omitzero"`
	NotBefore   time.Time   `json:"notBefore"`
	ExpiresAt   time.Time   `json:"expiresAt,omitempty,omitzero"` // zero: until it is withdrawn
	Epoch       int64       `json:"epoch"`                        // consent epoch of the tenant when it was given
	// Evidence is the digest of what the tenant has on paper: an ethics vote, a
	// contract. The content stays with the tenant.
	Evidence artifact.Digest `json:"evidence,omitempty"`
}

// Constraints narrow a grant. Zero values constrain nothing.
type Constraints struct {
	Regions      []string `json:"regions,omitempty"`      // where the tenant's sites may take part and their sums be made
	MaxEpsilon   float64  `json:"maxEpsilon,omitempty"`   // that one round may cost, at the run's delta
	MinCohort    int      `json:"minCohort,omitempty"`    // sites that are summed together
	MaxRounds    int      `json:"maxRounds,omitempty"`    // rounds under this grant, in all runs
	NoDerivative bool     `json:"noDerivative,omitempty"` // no other run starts from what was learnt
}

// A FieldError says which part of a grant is at fault.
type FieldError struct {
	Field string // as in JSON
	Err   error
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }
func (e *FieldError) Unwrap() error { return e.Err }

// Normal returns the grant in its one form: sorted lists, whole seconds of UTC.
// Errors: [*FieldError].
func (g Grant) Normal() (Grant, error) {
	g.Purposes, g.Actions = set(g.Purposes), set(g.Actions)
	g.Constraints.Regions = set(g.Constraints.Regions)
	g.NotBefore, g.ExpiresAt = whole(g.NotBefore), whole(g.ExpiresAt)
	for _, f := range []struct{ field, name string }{{"tenant", g.Tenant}, {"feature", g.Feature}, {"grantee", g.Grantee}, {"grantId", g.ID}} {
		if !catalog.ValidName(f.name) || len(f.name) > maxID {
			return g, &FieldError{f.field, ErrName}
		}
	}
	if len(g.Actions) == 0 || slices.ContainsFunc(g.Actions, func(a string) bool { return !slices.Contains(Actions(), a) }) {
		return g, &FieldError{"actions", ErrAction}
	}
	if len(g.Purposes) > MaxPurposes {
		return g, &FieldError{"purposes", ErrPurpose}
	}
	if err := checkPurposes(g); err != nil {
		return g, &FieldError{"purposes", err}
	}
	c := g.Constraints
	switch {
	case len(c.Regions) > MaxRegions || slices.ContainsFunc(c.Regions, func(r string) bool { return !catalog.ValidName(r) }):
		return g, &FieldError{"constraints/regions", ErrRegions}
	case !(c.MaxEpsilon >= 0) || math.IsInf(c.MaxEpsilon, 0) || c.MaxEpsilon > maxEpsilon:
		return g, &FieldError{"constraints/maxEpsilon", ErrBound}
	case c.MinCohort < 0 || c.MinCohort > maxCohort:
		return g, &FieldError{"constraints/minCohort", ErrBound}
	case c.MaxRounds < 0 || c.MaxRounds > maxRounds:
		return g, &FieldError{"constraints/maxRounds", ErrBound}
	case g.NotBefore.IsZero() || !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(g.NotBefore):
		return g, &FieldError{"expiresAt", ErrPeriod}
	case g.Epoch < 1:
		return g, &FieldError{"epoch", ErrEpoch}
	}
	if g.Evidence != "" {
		if _, err := artifact.ParseDigest(string(g.Evidence)); err != nil {
			return g, &FieldError{"evidence", err}
		}
	}
	return g, nil
}

// Encode returns the canonical bytes of a grant and their digest, by which
// plans and statements name it.
func (g Grant) Encode() ([]byte, artifact.Digest, error) {
	text, err := artifact.Canonical(g)
	if err != nil {
		return nil, "", err
	}
	return text, artifact.DigestOf(text), nil
}

// Statement is what is signed of a grant.
func (g Grant) Statement() (artifact.Statement, error) {
	_, digest, err := g.Encode()
	if err != nil {
		return artifact.Statement{}, err
	}
	return artifact.NewStatement("grant "+g.Tenant+"/"+g.ID, digest, artifact.PredicateGrant, g)
}

// A State is where a grant is in its life.
type State string

// The states.
const (
	Waiting   State = "WAITING" // for its beginning
	Active    State = "ACTIVE"
	Expired   State = "EXPIRED"
	Withdrawn State = "WITHDRAWN"
)

// A Record is a grant as it is kept.
type Record struct {
	Grant
	Digest      artifact.Digest
	Bundle      artifact.Descriptor // who signed it; empty until the first plan needs it
	Own         bool                // a key of the tenant signed it
	Recorded    time.Time
	WithdrawnAt time.Time // zero while it is not
	Used        int       // rounds that were begun under it
}

// At returns the state of the grant at a time.
func (r Record) At(now time.Time) State {
	switch {
	case !r.WithdrawnAt.IsZero():
		return Withdrawn
	case now.Before(r.NotBefore):
		return Waiting
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return Expired
	}
	return Active
}

// Derive returns the flat record of a feature's consent that grantee is shown:
// granted exactly when a grant is active that names it. Purposes are the actions
// that active grants allow it. For the owner, grantee "", it is all of them, and
// of a feature that was withdrawn what it had been.
func Derive(records []Record, grantee string, now time.Time) catalog.Consent {
	var c catalog.Consent
	var last time.Time
	for _, r := range records {
		if grantee != "" && r.Grantee != grantee {
			continue
		}
		switch r.At(now) {
		case Active:
			c.Granted = true
		case Withdrawn:
			if r.WithdrawnAt.After(last) {
				last = r.WithdrawnAt
			}
		}
	}
	for _, r := range records {
		shown := r.At(now) == Active
		if !c.Granted {
			shown = grantee == "" && !last.IsZero() && r.WithdrawnAt.Equal(last)
		}
		if !shown || grantee != "" && r.Grantee != grantee {
			continue
		}
		c.Grantees = append(c.Grantees, r.Grantee)
		for _, a := range r.Actions {
			if slices.Contains(catalog.Purposes(), a) {
				c.Purposes = append(c.Purposes, a)
			}
		}
		if r.Recorded.After(c.RecordedAt) {
			c.RecordedAt = r.Recorded
		}
	}
	if !c.Granted && !last.IsZero() {
		c.WithdrawnAt = &last
	}
	c.Purposes, c.Grantees = set(append([]string{}, c.Purposes...)), set(append([]string{}, c.Grantees...))
	return c
}

// Sorted orders records by tenant, feature, grantee and id.
func Sorted(records []Record) []Record {
	out := slices.Clone(records)
	slices.SortFunc(out, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Grantee, b.Grantee), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// set sorts and drops what is there twice; nil stays nil.
func set(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

// whole drops what a signed time does not hold.
func whole(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
