package tuning

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Kinds of a dimension.
const (
	Double      = "double"
	Integer     = "integer"
	Categorical = "categorical"
)

// Limits of a space.
const (
	MaxDimensions = 32
	MaxValues     = 64
)

// What may be wrong with a dimension.
var (
	ErrEmptySpace = errors.New("has no dimension, or one that holds a single value: there is nothing to choose")
	ErrDimension  = errors.New("must be double, integer or categorical")
	ErrRange      = errors.New("must have low below high, both finite, and low above 0 on a log scale")
	ErrValues     = fmt.Errorf("must list 2 to %d distinct values and have no range", MaxValues)
	ErrTwice      = errors.New("occurs twice, or is empty")
)

// A SpaceError says which dimension is at fault.
type SpaceError struct {
	Dimension string
	Err       error
}

func (e *SpaceError) Error() string {
	if e.Dimension == "" {
		return "space: " + e.Err.Error()
	}
	return fmt.Sprintf("dimension %s: %v", e.Dimension, e.Err)
}

func (e *SpaceError) Unwrap() error { return e.Err }

// A Dimension is one parameter and what it may be: a number in [Low, High], or
// one of Values.
type Dimension struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	Low    float64  `json:"low,omitempty"`
	High   float64  `json:"high,omitempty"`
	Log    bool     `json:"log,omitempty"` // equal ratios are equally far apart
	Values []string `json:"values,omitempty"`
}

// A Space is what a study chooses from.
type Space []Dimension

// A Point is a choice: a number for each dimension in their order, of a
// categorical one the index of its value.
type Point []float64

// Validate returns a [*SpaceError] for the first dimension that is wrong.
func (s Space) Validate() error {
	if len(s) == 0 || len(s) > MaxDimensions {
		return &SpaceError{"", ErrEmptySpace}
	}
	for i, d := range s {
		if d.Name == "" || slices.ContainsFunc(s[:i], func(o Dimension) bool { return o.Name == d.Name }) {
			return &SpaceError{d.Name, ErrTwice}
		}
		if err := d.validate(); err != nil {
			return &SpaceError{d.Name, err}
		}
	}
	return nil
}

func (d Dimension) validate() error {
	switch d.Kind {
	case Categorical:
		distinct := slices.Compact(slices.Sorted(slices.Values(d.Values)))
		if len(d.Values) < 2 || len(d.Values) > MaxValues || len(distinct) != len(d.Values) || d.Low != 0 || d.High != 0 || d.Log {
			return ErrValues
		}
		return nil
	case Double, Integer:
	default:
		return ErrDimension
	}
	switch finite := d.High-d.Low <= math.MaxFloat64; { // false for NaN as well
	case !finite, d.Low > d.High, d.Log && d.Low <= 0, len(d.Values) > 0:
		return ErrRange
	case d.Low == d.High, d.Kind == Integer && math.Floor(d.High) <= math.Ceil(d.Low):
		return ErrEmptySpace
	}
	return nil
}

// Width returns the number of coordinates of the unit cube: one of each number
// and one of each value of a categorical dimension.
func (s Space) Width() int {
	n := 0
	for _, d := range s {
		n += max(1, len(d.Values))
	}
	return n
}

// Decode returns the point that a place in the unit cube stands for: integers
// are rounded, and of a categorical dimension's coordinates the largest wins.
func (s Space) Decode(unit []float64) Point {
	p := make(Point, len(s))
	for i, d := range s {
		if n := len(d.Values); n > 0 {
			p[i] = float64(largest(unit[:n]))
			unit = unit[n:]
			continue
		}
		p[i], unit = d.at(unit[0]), unit[1:]
	}
	return p
}

// Encode returns the place of a point in the unit cube.
func (s Space) Encode(p Point) []float64 {
	unit := make([]float64, 0, s.Width())
	for i, d := range s {
		if n := len(d.Values); n > 0 {
			hot := make([]float64, n)
			hot[int(p[i])] = 1
			unit = append(unit, hot...)
			continue
		}
		low, high := d.ends()
		unit = append(unit, (d.scale(p[i])-low)/(high-low))
	}
	return unit
}

// Holds says whether a point is one of the space.
func (s Space) Holds(p Point) bool {
	if len(p) != len(s) {
		return false
	}
	for i, d := range s {
		low, high := d.Low, d.High
		if d.Kind == Categorical {
			low, high = 0, float64(len(d.Values)-1)
		}
		if !(p[i] >= low && p[i] <= high) || d.Kind != Double && p[i] != math.Trunc(p[i]) {
			return false
		}
	}
	return true
}

// ends are the ends of the range on the scale; those of an integer reach half a
// step further, so that each integer has an equal share of a linear one.
func (d Dimension) ends() (low, high float64) {
	low, high = d.Low, d.High
	if d.Kind == Integer {
		low, high = math.Ceil(low)-0.5, math.Floor(high)+0.5
	}
	return d.scale(low), d.scale(high)
}

func (d Dimension) scale(x float64) float64 {
	if d.Log {
		return math.Log(x)
	}
	return x
}

func (d Dimension) at(u float64) float64 {
	low, high := d.ends()
	x := low + (high-low)*min(max(u, 0), 1)
	if d.Log {
		x = math.Exp(x)
	}
	if d.Kind == Integer {
		return min(max(math.Round(x), math.Ceil(d.Low)), math.Floor(d.High))
	}
	return min(max(x, d.Low), d.High)
}

func largest(v []float64) int {
	best := 0
	for i := range v {
		if v[i] > v[best] {
			best = i
		}
	}
	return best
}
