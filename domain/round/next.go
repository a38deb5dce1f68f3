package round

import (
	"errors"
	"fmt"
)

// A Step is what happens after a wait for a stage.
type Step string

const (
	Proceed Step = "proceed" // aggregate what was accepted
	Extend  Step = "extend"  // wait for another deadline
	Abort   Step = "abort"   // the stage delivers nothing
)

// A State is what a region knows of its stage beside the counts.
type State struct {
	Need       int // sites below which nothing is aggregated, 1 or more
	Extended   int // how often the deadline was extended
	Extensions int // how often it may be
}

// Next decides after a wait that ended because everybody had answered or the
// deadline had passed. A stage below its need is extended only while somebody
// may still answer.
func Next(s State, c Counts) Step {
	switch {
	case c.Accepted >= max(1, s.Need):
		return Proceed
	case c.Accepted+c.Rejected >= c.Selected:
		return Abort // nobody is left to wait for
	case s.Extended < s.Extensions:
		return Extend
	default:
		return Abort
	}
}

// Need returns how many sites a group must deliver for the round's quorum to
// be in reach even if every site of the other groups answers; at least 1.
func Need(quorum int, cohort []Cohort, group string) int {
	elsewhere := 0
	for _, c := range cohort {
		if c.Name() != group {
			elsewhere += c.Sites
		}
	}
	return max(1, quorum-elsewhere)
}

// ErrQuorum says that too few sites or regions delivered.
var ErrQuorum = errors.New("below quorum")

// A QuorumError says how far a round got.
type QuorumError struct {
	Sites, NeedSites     int
	Regions, NeedRegions int
}

func (e *QuorumError) Error() string {
	return fmt.Sprintf("%v: %d of %d sites that are needed, %d of %d regions", ErrQuorum, e.Sites, e.NeedSites, e.Regions, e.NeedRegions)
}
func (e *QuorumError) Unwrap() error { return ErrQuorum }

// Quorum returns a [*QuorumError] unless the regions that delivered, each with
// its counts, reach both quorums.
func Quorum(p Params, delivered []Counts) error {
	sites, regions := 0, 0
	for _, c := range delivered {
		sites += c.Accepted
		if c.Accepted > 0 {
			regions++
		}
	}
	if sites < max(1, p.Quorum) || regions < max(1, p.QuorumRegions) {
		return &QuorumError{Sites: sites, NeedSites: max(1, p.Quorum), Regions: regions, NeedRegions: max(1, p.QuorumRegions)}
	}
	return nil
}
