package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Mode is what the next version of a feature must keep.
type Mode string

// The modes. Backward: a reader of the next version understands rows of this
// one. Forward: a reader of this version understands rows of the next one.
const (
	AnyChange Mode = "none"
	Backward  Mode = "backward"
	Forward   Mode = "forward"
	Full      Mode = "full" // both
)

// Why a version is refused.
var (
	ErrMode         = errors.New("a mode is none, backward, forward or full")
	ErrIncompatible = errors.New("is not compatible with the version in use")
	ErrInUse        = errors.New("is read by runs that go on, and its schema would change under them")
)

// A Breaks error says what a new version of a feature would break.
type Breaks struct {
	Tenant  string
	Feature string
	Mode    Mode
	Changes []string // of ErrIncompatible, each a sentence
	Runs    []string // of ErrInUse, owner/run
	Err     error
}

func (e *Breaks) Error() string {
	switch {
	case len(e.Runs) > 0:
		return fmt.Sprintf("feature %s %v: %s; register it staged, and promote it when they have ended", e.Feature, e.Err, strings.Join(e.Runs, ", "))
	case len(e.Changes) > 0:
		return fmt.Sprintf("feature %s %v (%s): %s", e.Feature, e.Err, e.Mode, strings.Join(e.Changes, "; "))
	}
	return fmt.Sprintf("feature %s: %v", e.Feature, e.Err)
}
func (e *Breaks) Unwrap() error { return e.Err }

// Valid says whether m is a mode; empty stands for the one there is.
func (m Mode) Valid() bool {
	return m == "" || m == AnyChange || m == Backward || m == Forward || m == Full
}

// And returns the mode that asks for what both ask for.
func (m Mode) And(other Mode) Mode {
	asks := func(x Mode) (b, f bool) { return x == Backward || x == Full, x == Forward || x == Full }
	b1, f1 := asks(m)
	b2, f2 := asks(other)
	switch b, f := b1 || b2, f1 || f2; {
	case b && f:
		return Full
	case b:
		return Backward
	case f:
		return Forward
	}
	return AnyChange
}

// Compatible holds the next version of a feature to a mode. It looks at the
// columns (properties) of both schemas, which of them must be there, their
// types, and their units and nullability in the semantics. What it does not
// know of a schema (pattern, items ...) must stay as it is. Errors: [*Breaks].
func Compatible(mode Mode, now, next Feature) error {
	backward, forward := mode == Backward || mode == Full, mode == Forward || mode == Full
	if !backward && !forward {
		return nil
	}
	was, err := tableOf(now)
	if err != nil {
		return err
	}
	is, err := tableOf(next)
	if err != nil {
		return err
	}
	var changes []string
	if backward {
		changes = append(changes, is.reads(was, "rows of the version in use")...)
	}
	if forward {
		for _, c := range was.reads(is, "rows of the new version") {
			if !slices.Contains(changes, c) {
				changes = append(changes, c)
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return &Breaks{Tenant: now.Tenant, Feature: now.ID, Mode: mode, Changes: changes, Err: ErrIncompatible}
}

// A table is what a schema and its semantics say of the columns of a row.
type table struct {
	columns map[string]column
	closed  bool // no other columns may be there
}

type column struct {
	types    []string // sorted; none is any
	required bool
	unit     string
	nullable bool
	rest     string // whatever else the schema says, canonical
}

func tableOf(f Feature) (table, error) {
	var schema struct {
		Properties map[string]map[string]json.RawMessage `json:"properties"`
		Required   []string                              `json:"required"`
		Additional json.RawMessage                       `json:"additionalProperties"`
	}
	var semantics struct {
		Columns map[string]Semantics `json:"columns"`
	}
	if err := json.Unmarshal(f.Schema, &schema); err != nil {
		return table{}, &FieldError{"/schema", ErrSchema}
	}
	if len(f.Semantics) > 0 {
		if err := json.Unmarshal(f.Semantics, &semantics); err != nil {
			return table{}, &FieldError{"/semantics", ErrSemantics}
		}
	}
	t := table{columns: map[string]column{}, closed: string(schema.Additional) == "false"}
	for name, p := range schema.Properties {
		c := column{required: slices.Contains(schema.Required, name), unit: semantics.Columns[name].Unit, nullable: semantics.Columns[name].Nullable}
		var one string
		switch {
		case p["type"] == nil:
		case json.Unmarshal(p["type"], &one) == nil:
			c.types = []string{one}
		case json.Unmarshal(p["type"], &c.types) != nil:
			return table{}, &FieldError{"/schema", ErrSchema}
		}
		if at := slices.Index(c.types, "null"); at >= 0 {
			c.types, c.nullable = slices.Delete(c.types, at, at+1), true
		}
		slices.Sort(c.types)
		rest := maps.Clone(p)
		for _, known := range []string{"type", "description", "title", "examples", "$comment"} {
			delete(rest, known)
		}
		text, err := json.Marshal(rest) // by key
		if err != nil {
			return table{}, &FieldError{"/schema", ErrSchema}
		}
		c.rest = string(text)
		t.columns[name] = c
	}
	return t, nil
}

// reads says what keeps a reader of t from understanding rows that were written
// for other.
func (t table) reads(other table, what string) (changes []string) {
	for _, name := range slices.Sorted(maps.Keys(t.columns)) {
		mine := t.columns[name]
		theirs, there := other.columns[name]
		switch {
		case !there && mine.required:
			changes = append(changes, fmt.Sprintf("column %s is required and %s lack it", name, what))
		case !there:
		case !wider(mine.types, theirs.types):
			changes = append(changes, fmt.Sprintf("column %s is %s where %s have %s", name, typed(mine.types), what, typed(theirs.types)))
		case mine.required && !theirs.required:
			changes = append(changes, fmt.Sprintf("column %s is required and %s may lack it", name, what))
		case theirs.nullable && !mine.nullable:
			changes = append(changes, fmt.Sprintf("column %s may be null in %s", name, what))
		case mine.unit != theirs.unit:
			changes = append(changes, fmt.Sprintf("column %s has another unit", name))
		case mine.rest != theirs.rest:
			changes = append(changes, fmt.Sprintf("column %s has other constraints", name))
		}
	}
	if t.closed {
		for _, name := range slices.Sorted(maps.Keys(other.columns)) {
			if _, known := t.columns[name]; !known {
				changes = append(changes, fmt.Sprintf("column %s is not allowed and %s have it", name, what))
			}
		}
	}
	return changes
}

// wider says whether a column of types a takes all values of one of types b.
func wider(a, b []string) bool {
	if len(a) == 0 {
		return true
	}
	if len(b) == 0 {
		return false
	}
	for _, t := range b {
		if !slices.Contains(a, t) && !(t == "integer" && slices.Contains(a, "number")) {
			return false
		}
	}
	return true
}

func typed(types []string) string {
	if len(types) == 0 {
		return "any type"
	}
	return strings.Join(types, " or ")
}
