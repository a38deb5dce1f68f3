package summary

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/atom-fabric/fabric/domain/catalog"
)

// Why a column cannot be asked about.
var (
	ErrUnbounded = errors.New("has no public bounds: give both with the request, or as its range in the semantics of the feature, never from the rows")
	ErrBounds    = errors.New("has bounds that are not two finite numbers, the lower one first, at most 1e300 apart")
	ErrUnknown   = errors.New("is not a column of the feature's schema")
	ErrNotNumber = errors.New("is not a column of numbers")
	ErrName      = errors.New("is not the name of a column: 1 to 128 bytes of printable text")
	ErrNone      = errors.New("the schema names no column of numbers: name columns and their bounds in the request")
)

// A ColumnError says which column is at fault, or which ones, and why.
type ColumnError struct {
	Column string
	Err    error
}

func (e *ColumnError) Error() string { return fmt.Sprintf("column %s %v", e.Column, e.Err) }
func (e *ColumnError) Unwrap() error { return e.Err }

// A Wish names a column in a request. Bounds that are nil are those of the
// feature.
type Wish struct {
	Name      string
	Low, High *float64
}

// Columns returns the columns that are asked about with their bounds: those
// that are wished for, or where none is all columns of numbers of the schema,
// sorted by name. Bounds come from the wish, else from the range that the
// feature's semantics give, else from minimum and maximum of the schema. Rows
// have no say: a bound that follows from them tells of them.
//
// The column "label" is the class of a row and is none of numbers.
// Errors: [*ColumnError], [ErrNone], [ErrColumns].
func Columns(schema, semantics json.RawMessage, wishes []Wish) ([]Column, error) {
	known, err := knownOf(schema, semantics)
	if err != nil {
		return nil, err
	}
	if len(wishes) == 0 {
		for _, name := range slices.Sorted(maps.Keys(known)) {
			if known[name].number {
				wishes = append(wishes, Wish{Name: name})
			}
		}
		if len(wishes) == 0 {
			return nil, ErrNone
		}
	}
	if len(wishes) > MaxColumns {
		return nil, ErrColumns
	}
	var out []Column
	var unbounded []string
	for _, w := range wishes {
		k, there := known[w.Name]
		switch {
		case !there && len(known) > 0:
			return nil, &ColumnError{clipName(w.Name), ErrUnknown}
		case there && !k.number:
			return nil, &ColumnError{w.Name, ErrNotNumber}
		}
		low, high := w.Low, w.High
		if low == nil {
			low = k.low
		}
		if high == nil {
			high = k.high
		}
		if low == nil || high == nil {
			unbounded = append(unbounded, clipName(w.Name))
			continue
		}
		c := Column{w.Name, *low, *high}
		if err := c.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(other Column) bool { return other.Name == c.Name }) {
			return nil, &ColumnError{c.Name, ErrColumns}
		}
		out = append(out, c)
	}
	if len(unbounded) > 0 {
		return nil, &ColumnError{named(unbounded), ErrUnbounded}
	}
	slices.SortFunc(out, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (c Column) check() error {
	if c.Name == "" || len(c.Name) > maxColumn || strings.ContainsFunc(c.Name, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return &ColumnError{clipName(c.Name), ErrName}
	}
	if !(c.Low < c.High) || math.IsInf(c.Low, 0) || math.IsInf(c.High, 0) || !(c.High-c.Low <= 1e300) || c.half() == 0 {
		return &ColumnError{c.Name, ErrBounds}
	}
	return nil
}

// half is half the width of the bounds, middle their centre.
func (c Column) half() float64   { return c.High/2 - c.Low/2 }
func (c Column) middle() float64 { return c.High/2 + c.Low/2 }

// named lists the first few.
func named(columns []string) string {
	const few = 3
	if len(columns) > few {
		return fmt.Sprintf("%s and %d more each", strings.Join(columns[:few], ", "), len(columns)-few)
	}
	return strings.Join(columns, ", ")
}

func clipName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, name)
	if len(clean) > maxColumn {
		return strings.ToValidUTF8(clean[:maxColumn], "") + "..."
	}
	return clean
}

// A known column is what the feature says of it.
type knownColumn struct {
	number    bool
	low, high *float64
}

func knownOf(schema, semantics json.RawMessage) (map[string]knownColumn, error) {
	var s struct {
		Properties map[string]struct {
			Type    any      `json:"type"`
			Minimum *float64 `json:"minimum"`
			Maximum *float64 `json:"maximum"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, &catalog.FieldError{Field: "/schema", Err: catalog.ErrSchema}
	}
	var m struct {
		Columns map[string]catalog.Semantics `json:"columns"`
	}
	if len(semantics) > 0 {
		if err := json.Unmarshal(semantics, &m); err != nil {
			return nil, &catalog.FieldError{Field: "/semantics", Err: catalog.ErrSemantics}
		}
	}
	out := map[string]knownColumn{}
	for name, p := range s.Properties {
		k := knownColumn{number: name != "label" && numeric(p.Type), low: p.Minimum, high: p.Maximum}
		if r := m.Columns[name].Range; len(r) == 2 {
			low, okLow := r[0].(float64)
			high, okHigh := r[1].(float64)
			if okLow && okHigh {
				k.low, k.high = &low, &high
			}
		}
		out[name] = k
	}
	return out, nil
}

// numeric says whether a type of JSON Schema admits numbers; none admits all.
func numeric(t any) bool {
	switch t := t.(type) {
	case nil:
		return true
	case string:
		return t == "number" || t == "integer"
	case []any:
		return slices.ContainsFunc(t, func(one any) bool { return one == "number" || one == "integer" })
	}
	return false
}
