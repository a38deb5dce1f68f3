// Package recovery is what a tenant can go back to: signed points that list
// what it ran, each naming the one before.
//
// Invariant: a point is known by the digest of its canonical bytes, and every
// item in it by a digest of its own. Sequences grow by one, and whoever has
// seen a head accepts no lower one.
package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// MaxItems bounds a point: it is one document that is read whole.
const MaxItems = 5000

// Why a point is no point.
var (
	ErrItems = errors.New("it lists more than 5000 items")
	ErrOrder = errors.New("its items are not in order, or occur twice")
	ErrLoose = errors.New("an item refers to a version that it does not list")
	ErrValue = errors.New("a value in it is missing or out of range")
)

// A Point is everything that a tenant ran at one moment.
type Point struct {
	Sequence int64           `json:"sequence"` // counts from 1 per tenant, without a gap
	Previous artifact.Digest `json:"previous"` // digest of the point before; empty for the first
	Tenant   string          `json:"tenant"`
	At       time.Time       `json:"at"`
	Snapshot int64           `json:"snapshot"` // version of the data plane's snapshot
	Models   []Model         `json:"models"`   // that are in use, and the newest of each
	Aliases  []Alias         `json:"aliases"`
	Routes   []Route         `json:"routes"`
	Policies []Policy        `json:"policies"`
}

// A Model is a registered version.
type Model struct {
	ID         string          `json:"id"`
	Version    int             `json:"version"`
	Repository string          `json:"repository"`
	Package    artifact.Digest `json:"package"`
	Weights    artifact.Digest `json:"weights"`
	Bundle     artifact.Digest `json:"bundle"`
}

// An Alias is a name for a version.
type Alias struct {
	Model       string          `json:"model"`
	Environment string          `json:"environment"`
	Name        string          `json:"name"`
	Version     int             `json:"version"`
	Package     artifact.Digest `json:"package"`
}

// A Route sends calls in an environment to a version.
type Route struct {
	Model       string          `json:"model"`
	Environment string          `json:"environment"`
	Version     int             `json:"version"`
	Package     artifact.Digest `json:"package"`
	Regions     []string        `json:"regions"`
	Callers     []string        `json:"callers"`
	Simulated   bool            `json:"simulated"`
}

// A Policy is what a region ran. Digest is that of the document's bytes.
type Policy struct {
	Region   string          `json:"region"`
	Revision int64           `json:"revision"`
	Digest   artifact.Digest `json:"digest"`
}

// Sort puts the items into the one order that they may have.
func (p *Point) Sort() {
	slices.SortFunc(p.Models, compareModels)
	slices.SortFunc(p.Aliases, compareAliases)
	slices.SortFunc(p.Routes, compareRoutes)
	slices.SortFunc(p.Policies, comparePolicies)
}

// Items returns how many items the point lists.
func (p Point) Items() int {
	return len(p.Models) + len(p.Aliases) + len(p.Routes) + len(p.Policies)
}

// Encode returns the canonical bytes, and their digest. A point that is not
// valid has none.
// Errors: those of [Point.Validate].
func (p Point) Encode() ([]byte, artifact.Digest, error) {
	if err := p.Validate(); err != nil {
		return nil, "", err
	}
	text, err := artifact.Canonical(p)
	if err != nil {
		return nil, "", err
	}
	return text, artifact.DigestOf(text), nil
}

// Parse reads canonical bytes: other bytes of the same point are refused, for
// they would have another digest.
// Errors: [*artifact.JSONError]; those of [Point.Validate]; [ErrValue].
func Parse(text []byte) (Point, error) {
	var p Point
	if err := artifact.DecodeStrict(text, &p); err != nil {
		return Point{}, fmt.Errorf("recovery point: %w", err)
	}
	again, _, err := p.Encode()
	if err != nil {
		return Point{}, err
	}
	if string(again) != string(text) {
		return Point{}, fmt.Errorf("recovery point: not in canonical form: %w", ErrValue)
	}
	return p, nil
}

// Validate says whether the point may be signed, or gone back to.
// Errors: [ErrItems], [ErrOrder], [ErrLoose], [ErrValue].
func (p Point) Validate() error {
	first := p.Sequence == 1
	_, bad := artifact.ParseDigest(string(p.Previous))
	switch {
	case p.Items() > MaxItems:
		return ErrItems
	case p.Sequence < 1 || p.Tenant == "" || p.At.IsZero() || p.At.Location() != time.UTC || p.Snapshot < 1:
		return fmt.Errorf("recovery point %d: %w", p.Sequence, ErrValue)
	case first && p.Previous != "" || !first && bad != nil:
		return fmt.Errorf("recovery point %d names %q before it: %w", p.Sequence, p.Previous.Short(), ErrValue)
	}
	if !ordered(p.Models, compareModels) || !ordered(p.Aliases, compareAliases) || !ordered(p.Routes, compareRoutes) || !ordered(p.Policies, comparePolicies) {
		return ErrOrder
	}
	for _, m := range p.Models {
		for _, d := range []artifact.Digest{m.Package, m.Weights, m.Bundle} {
			if _, err := artifact.ParseDigest(string(d)); err != nil || m.Version < 1 {
				return fmt.Errorf("%s version %d: %w", m.ID, m.Version, ErrValue)
			}
		}
	}
	for _, a := range p.Aliases {
		if m, ok := p.Model(a.Model, a.Version); !ok || m.Package != a.Package {
			return fmt.Errorf("alias %s of %s: %w", a.Name, a.Model, ErrLoose)
		}
	}
	for _, r := range p.Routes {
		if m, ok := p.Model(r.Model, r.Version); !ok || m.Package != r.Package {
			return fmt.Errorf("route of %s in %s: %w", r.Model, r.Environment, ErrLoose)
		}
		if len(r.Regions) == 0 {
			return fmt.Errorf("route of %s in %s: %w", r.Model, r.Environment, ErrValue)
		}
	}
	for _, d := range p.Policies {
		if _, err := artifact.ParseDigest(string(d.Digest)); err != nil {
			return fmt.Errorf("policy of %s: %w", d.Region, ErrValue)
		}
	}
	return nil
}

// Model returns the version that the point lists.
func (p Point) Model(id string, version int) (Model, bool) {
	i, ok := slices.BinarySearchFunc(p.Models, Model{ID: id, Version: version}, compareModels)
	if !ok {
		return Model{}, false
	}
	return p.Models[i], true
}

// ordered says whether a list ascends, with nothing twice.
func ordered[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

func compareModels(a, b Model) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version))
}

func compareAliases(a, b Alias) int {
	return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Name, b.Name))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Version, b.Version))
}

func comparePolicies(a, b Policy) int { return cmp.Compare(a.Region, b.Region) }
