package tuning

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/domain/round"
)

// ErrPoint refuses a point that is written down.
var ErrPoint = errors.New("a point names each dimension of the space once, with a value of it")

// A Setting is the value of one dimension, as people write it.
type Setting struct {
	Name  string
	Value string
}

// Settings writes a point down, in the order of the space.
func (s Space) Settings(p Point) []Setting {
	out := make([]Setting, len(s))
	for i, d := range s {
		out[i] = Setting{d.Name, d.Text(p[i])}
	}
	return out
}

// Parse reads a point. Errors: [ErrPoint], with the dimension at fault.
func (s Space) Parse(settings []Setting) (Point, error) {
	if len(settings) != len(s) {
		return nil, ErrPoint
	}
	p := make(Point, len(s))
	for i, d := range s {
		at := slices.IndexFunc(settings, func(o Setting) bool { return o.Name == d.Name })
		if at < 0 {
			return nil, fmt.Errorf("%w: %s is missing", ErrPoint, d.Name)
		}
		x, err := d.parse(settings[at].Value)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", ErrPoint, d.Name)
		}
		p[i] = x
	}
	if !s.Holds(p) {
		return nil, fmt.Errorf("%w: it is outside", ErrPoint)
	}
	return p, nil
}

func (d Dimension) parse(text string) (float64, error) {
	if d.Kind != Categorical {
		return strconv.ParseFloat(text, 64)
	}
	if at := slices.Index(d.Values, text); at >= 0 {
		return float64(at), nil
	}
	return 0, ErrPoint
}

// Compares says whether the trials of another study measure what this one does.
func (s Study) Compares(o Study) bool {
	return s.Goal == o.Goal && slices.Equal(s.metrics(), o.metrics())
}

// Inherit returns the trials of an earlier study that this one may learn from:
// those that came to their end and lie in its space, and whose runs differed from its own
// in nothing else. base and from are the parameters of either study as they were
// asked for.
func (s Study) Inherit(base round.Params, o Study, from round.Params, jobs []Job) []Trial {
	var out []Trial
	for _, j := range jobs {
		if j.State != Succeeded && j.State != Infeasible { // one that was stopped was measured too early
			continue
		}
		p, err := o.Space.Apply(from, j.Point)
		if err != nil {
			continue
		}
		if p, err = p.Validate(); err != nil {
			continue
		}
		if point, ok := s.at(base, p); ok {
			out = append(out, Trial{Point: point, State: j.State, Values: j.Values, Constraints: j.Constraints})
		}
	}
	return out
}

// Prior returns a run of other parameters as a trial that the study may learn
// from, if it differs from a trial's in nothing but the seed. base are the
// study's parameters as they were asked for, p those of the run, complete.
func (s Study) Prior(base, p round.Params, f Figures) (Trial, bool) {
	point, ok := s.at(base, p)
	if !ok {
		return Trial{}, false
	}
	t := Trial{Point: point, State: Succeeded}
	err := s.measure(&t, f)
	return t, err == nil
}

// at returns the point of the study that complete parameters are those of.
func (s Study) at(base, p round.Params) (Point, bool) {
	point, ok := s.Space.Of(p)
	if !ok {
		return nil, false
	}
	moved, err := s.Space.Apply(base, point)
	if err != nil {
		return nil, false
	}
	moved, err = moved.Validate()
	return point, err == nil && sameParams(moved, p)
}

// sameParams says whether two sets of parameters differ in their seed at most.
func sameParams(a, b round.Params) bool {
	a.Seed, b.Seed = 0, 0
	one, err := json.Marshal(a)
	other, bad := json.Marshal(b)
	return err == nil && bad == nil && string(one) == string(other)
}
