package endpoint

import "slices"

// When a process is late, and how it comes back.
const (
	tooLate   = 30e6  // ns that work waits for a processor, on average
	lateTwice = 2     // windows in a row, until it counts
	fewer     = 0.95  // of the calls that were let in, while it is late
	more      = 1.02  // of the calls that may come in, when it is not
	leastIn   = 100.0 // calls in a window: no process is late for so few
)

// A Door keeps calls out that a process has no time for, before they cost
// anything: what is refused after it was read, checked and decided upon costs
// nearly what an answer does, and a process that is asked half more than it can
// do would answer hardly anybody. It learns from how long work waits for a
// processor, and is used by one goroutine. It is open while its level is 0.
//
// Source: Zhou et al., Overload Control for Scaling WeChat Microservices, SoCC
// 2018: the delay that tells, and slow steps both ways.
type Door struct {
	late  int     // windows in a row
	level float64 // calls that may come in in a window; 0: all
}

// Step takes how many ns work waited in the last window, and how many calls of
// each tenant came and were let in. It returns how many of each one's may come
// in in the next one, or 0 when all of them may: those who ask for less than an
// equal share get all of it, and the others share the rest.
func (d *Door) Step(waited int64, came, in []int64) (each float64) {
	asked, let := sum(came), sum(in)
	if waited > tooLate {
		if d.late++; d.late >= lateTwice || d.level > 0 {
			d.level = max(leastIn, fewer*let)
		}
	} else {
		d.late = 0
		d.level *= more
	}
	if d.level >= asked && d.late == 0 {
		d.level = 0
	}
	if d.level == 0 || d.level >= asked {
		return 0
	}
	return share(d.level, came)
}

func sum(counts []int64) (all float64) {
	for _, n := range counts {
		all += float64(n)
	}
	return all
}

// share returns what each may have at most so that all together have level.
func share(level float64, came []int64) float64 {
	sorted := slices.Sorted(slices.Values(came))
	for i, n := range sorted {
		left := float64(len(sorted) - i)
		if float64(n)*left >= level {
			return level / left
		}
		level -= float64(n)
	}
	return 0
}
