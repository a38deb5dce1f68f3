package tuning

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Goals of a study.
const (
	Minimize = "minimize"
	Maximize = "maximize"
)

// States of a trial, in the words of the Vizier API.
const (
	Active     = "ACTIVE"     // somebody evaluates it
	Succeeded  = "SUCCEEDED"  // it was measured
	Infeasible = "INFEASIBLE" // it failed, or broke a constraint
	Stopped    = "STOPPED"    // it was ended early, because others did better
)

// Limits of a study.
const (
	MaxTrials   = 500
	MaxParallel = 16
	MaxRepeats  = 10
)

// What may be wrong with a study.
var (
	ErrGoal        = errors.New("goal must be minimize or maximize")
	ErrTrials      = fmt.Errorf("trials must be 1 to %d", MaxTrials)
	ErrParallel    = fmt.Errorf("parallel must be 1 to %d", MaxParallel)
	ErrRepeats     = fmt.Errorf("repeats must be 1 to %d", MaxRepeats)
	ErrConstraint  = errors.New("a constraint must name a metric and a finite bound")
	ErrOutside     = errors.New("an enqueued point is not of the space")
	ErrHalving     = errors.New("halving must have a first rung of 1 or more and a factor of 2 or more")
	ErrMeasurement = errors.New("a measurement must be finite")
)

// A Constraint is a metric that a trial must keep at or below a bound.
type Constraint struct {
	Metric string  `json:"metric"`
	AtMost float64 `json:"atMost"`
}

// A Study looks for the point of a space where a metric is best.
type Study struct {
	Space       Space        `json:"space"`
	Metric      string       `json:"metric"`
	Goal        string       `json:"goal"`
	Constraints []Constraint `json:"constraints,omitempty"`
	Trials      int          `json:"trials"`             // at most, repeats not counted
	Parallel    int          `json:"parallel"`           // trials under way at once
	Repeats     int          `json:"repeats"`            // measurements of each point, for a metric with noise
	Enqueued    []Point      `json:"enqueued,omitempty"` // tried first, such as known good ones
	Halving     *Halving     `json:"halving,omitempty"`  // ends bad trials early
	Seed        uint64       `json:"seed,string"`
}

// A Trial is one point and what came of it.
type Trial struct {
	Number      int       `json:"number"` // from 1
	Point       Point     `json:"point"`
	State       string    `json:"state"`
	Values      []float64 `json:"values,omitempty"`      // of the metric, one for each repeat
	Constraints []float64 `json:"constraints,omitempty"` // of the constraints' metrics, in their order
	Rungs       []int64   `json:"rungs,omitempty"`       // losses at the rungs that it reached, in millionths
}

// Reached returns the losses of the trials that reached a rung.
func Reached(trials []Trial, rung int) (losses []int64) {
	for _, t := range trials {
		if rung < len(t.Rungs) {
			losses = append(losses, t.Rungs[rung])
		}
	}
	return losses
}

// Validate returns why a study cannot be run: one of this package's errors.
func (s Study) Validate() error {
	if err := s.Space.Validate(); err != nil {
		return err
	}
	switch {
	case s.Goal != Minimize && s.Goal != Maximize:
		return ErrGoal
	case s.Trials < 1 || s.Trials > MaxTrials:
		return ErrTrials
	case s.Parallel < 1 || s.Parallel > MaxParallel:
		return ErrParallel
	case s.Repeats < 1 || s.Repeats > MaxRepeats:
		return ErrRepeats
	case slices.ContainsFunc(s.Constraints, func(c Constraint) bool { return c.Metric == "" || !finite(c.AtMost) }):
		return ErrConstraint
	case slices.ContainsFunc(s.Enqueued, func(p Point) bool { return !s.Space.Holds(p) }):
		return ErrOutside
	case s.Halving != nil && (s.Halving.First < 1 || s.Halving.Factor < 2):
		return ErrHalving
	}
	return nil
}

// Cost returns the mean of a trial's measurements as something to minimise,
// and false when it has none.
func (s Study) Cost(t Trial) (float64, bool) {
	if len(t.Values) == 0 {
		return 0, false
	}
	sum := 0.0
	for _, v := range t.Values {
		sum += v
	}
	mean := sum / float64(len(t.Values))
	if s.Goal == Maximize {
		mean = -mean
	}
	return mean, true
}

// Feasible says whether a measured trial keeps every constraint.
func (s Study) Feasible(t Trial) bool {
	if t.State == Infeasible || len(t.Constraints) < len(s.Constraints) {
		return false
	}
	for i, c := range s.Constraints {
		if !(t.Constraints[i] <= c.AtMost) {
			return false
		}
	}
	return true
}

// Best returns the trial with the best mean among those that succeeded and
// keep every constraint; of equal ones the earlier. Nothing is best of none.
func (s Study) Best(trials []Trial) (best Trial, found bool) {
	least := math.Inf(1)
	for _, t := range trials {
		cost, measured := s.Cost(t)
		if t.State == Succeeded && measured && s.Feasible(t) && cost < least {
			best, least, found = t, cost, true
		}
	}
	return best, found
}

// Tried says whether a point is that of a trial. A study repeats a point by
// its Repeats, never by trying it again.
func Tried(trials []Trial, p Point) bool {
	return slices.ContainsFunc(trials, func(t Trial) bool { return slices.Equal(t.Point, p) })
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
