package round

import (
	"fmt"
	"math/bits"
)

// Better says whether a has a lower mean loss than b: a sum of losses over a
// number of rows, compared by the exact cross product. What measured nothing
// is no better than anything, and anything is better than it.
func (m Metrics) Better(than Metrics) bool {
	if m.Evaluated <= 0 || than.Evaluated <= 0 {
		return m.Evaluated > 0
	}
	return less(m.LossMicros, than.Evaluated, than.LossMicros, m.Evaluated)
}

// Reaches says whether the accuracy is at least bp basis points.
func (m Metrics) Reaches(bp int) bool {
	return m.Evaluated > 0 && !less(m.Correct, 10_000, int64(bp), m.Evaluated)
}

// less says whether a·b < c·d, of numbers that are not negative.
func less(a, b, c, d int64) bool {
	ah, al := bits.Mul64(uint64(max(a, 0)), uint64(max(b, 0)))
	ch, cl := bits.Mul64(uint64(max(c, 0)), uint64(max(d, 0)))
	return ah < ch || ah == ch && al < cl
}

// Progress is what an early stop remembers of a run.
type Progress struct {
	Best Metrics // of the lowest loss so far
	Idle int     // train rounds since that did not get below it
}

// After returns the progress after a train round that measured m. A round that
// measured nothing says nothing, and is no reason to lose patience.
func (p Progress) After(m Metrics) Progress {
	switch {
	case m.Evaluated <= 0:
		return p
	case m.Better(p.Best):
		return Progress{Best: m}
	}
	return Progress{Best: p.Best, Idle: p.Idle + 1}
}

// Converged says why a run needs no further train round after its last one
// measured m; empty when it does, or when its owner asked for no early stop.
func (p Params) Converged(m Metrics, sofar Progress) string {
	switch {
	case p.TargetBP > 0 && m.Reaches(p.TargetBP):
		return fmt.Sprintf("the accuracy has reached %d basis points", p.TargetBP)
	case p.Patience > 0 && sofar.Idle >= p.Patience:
		return fmt.Sprintf("the loss has not fallen for %d rounds", sofar.Idle)
	}
	return ""
}
