package simulate

import (
	"cmp"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/round"
)

// An arrival is an answer on its way: of which site, and how many seconds
// after the stage was opened. One that never comes is at infinity.
type arrival struct {
	site int
	at   float64
}

// never is when the answer of a site comes that has left.
func never() float64 { return math.Inf(1) }

// A wait is one stage on the virtual clock, as a region's workflow waits.
type wait struct {
	state    round.State
	deadline float64 // seconds
	enough   int     // answers that end the wait for the others; 0 waits for all
}

// until returns who answered while the stage was open, by place, how long it
// was, and what is to be done then.
func (w wait) until(arrivals []arrival) (in []int, seconds float64, step round.Step) {
	sorted := slices.Clone(arrivals)
	slices.SortFunc(sorted, func(a, b arrival) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.site, b.site)) })
	most := len(sorted)
	if w.enough > 0 {
		most = min(most, w.enough)
	}
	for {
		closes := w.deadline * float64(1+w.state.Extended)
		got := 0
		for got < most && sorted[got].at <= closes {
			got++
		}
		counts := round.Counts{Selected: len(sorted), Accepted: got}
		switch step = round.Next(w.state, counts); {
		case got == most && got > 0:
			seconds = sorted[got-1].at
		case step == round.Extend:
			w.state.Extended++
			continue
		default:
			seconds = closes
		}
		for _, a := range sorted[:got] {
			in = append(in, a.site)
		}
		slices.Sort(in)
		return in, seconds, step
	}
}
