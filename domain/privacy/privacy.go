// Package privacy decides what may still be learnt from a feature: a budget a
// tenant's feature, a ledger of what rounds have taken from it, and whether one
// more round may begin.
//
// Invariant: what a ledger has spent is [dp.Epsilon] of every event that was
// reserved and not given back, and no reservation is made that would take it
// above the limit. A round is charged on each feature that it reads, so no
// choice of features reads one without its budget knowing.
package privacy

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/dp"
)

// Why a round may not read a feature, or a budget is refused.
var (
	ErrExhausted = errors.New("the privacy budget is exhausted")
	ErrExact     = errors.New("the feature has a privacy budget, and the round adds no noise")
	ErrLimit     = errors.New("a limit is above 0 and at most 300, a delta above 0 and at most 0.01")
	ErrLedgers   = errors.New("the ledgers are not those of the features that are read")
)

// What a tenant's feature may cost while nobody has said otherwise.
const (
	DefaultEpsilon = 10.0
	DefaultDelta   = 1e-5
)

// MaxEpsilon is the largest limit: above it the accountants have no answer.
const MaxEpsilon = 300.0

// A Feature is a tenant's feature by its name.
type Feature struct {
	Tenant  string
	Feature string
}

// A Budget is how much may be learnt of any one contributor to a feature, over
// all rounds: answers stay (EpsilonLimit, Delta) close.
type Budget struct {
	Tenant       string
	Feature      string
	EpsilonLimit float64
	Delta        float64
}

// Validate refuses a budget that could not be kept. Errors: [ErrLimit].
func (b Budget) Validate() error {
	if !(b.EpsilonLimit > 0 && b.EpsilonLimit <= MaxEpsilon && b.Delta > 0 && b.Delta <= 0.01) {
		return ErrLimit
	}
	return nil
}

// A State is what has become of an entry.
type State string

// The states of an entry. Reserved counts as much as committed does: a round
// that crashed is one that may have told what it could.
const (
	Reserved  State = "reserved"
	Committed State = "committed"
	Refunded  State = "refunded"
)

// Settled returns the state after the end of the entry's round. It is refunded
// only when nothing can have been learnt. Only what is reserved changes, so a
// second end, whatever it says, changes nothing.
func (s State) Settled(learnt bool) State {
	switch {
	case s != Reserved:
		return s
	case learnt:
		return Committed
	}
	return Refunded
}

// An Entry is so many rounds in one state, each with the same events.
type Entry struct {
	State  State
	Rounds int
	Events []dp.Event
}

// A Ledger is a budget with what was taken from it.
type Ledger struct {
	Budget
	Entries []Entry
}

// A Balance is a ledger in numbers, all of them ε at the budget's δ. Spent is
// what was committed, Reserved what open rounds add to it, Left what the limit
// leaves; +Inf and 0 where no accountant has an answer. Entries counts the
// rounds that are charged.
type Balance struct {
	Spent    float64
	Reserved float64
	Left     float64
	Entries  int
}

// Balance computes the balance.
func (l Ledger) Balance() Balance {
	var committed []Entry
	var b Balance
	for _, e := range l.Entries {
		if e.State == Committed {
			committed = append(committed, e)
		}
		if e.State != Refunded {
			b.Entries += e.Rounds
		}
	}
	total := l.cost(nil)
	b.Spent = Ledger{Budget: l.Budget, Entries: committed}.cost(nil)
	if !math.IsInf(total, 1) {
		b.Reserved = max(0, total-b.Spent)
	}
	b.Left = max(0, l.EpsilonLimit-total)
	return b
}

// Most returns what the ledger that pays most has paid, at most [MaxEpsilon].
func Most(ledgers []Ledger) float64 {
	most := 0.0
	for _, l := range ledgers {
		most = max(most, l.cost(nil))
	}
	return min(most, MaxEpsilon)
}

// cost is ε of what counts and of more; +Inf where no accountant answers.
func (l Ledger) cost(more []dp.Event) float64 {
	var events []dp.Event
	for _, e := range l.Entries {
		if e.State != Refunded {
			events = add(events, times(e.Events, e.Rounds))
		}
	}
	charge, err := dp.Epsilon(add(events, more), l.Delta)
	if err != nil {
		return math.Inf(1)
	}
	return charge.Epsilon
}

// add counts equal events together, so that equal rounds cost the same to the
// bit however they are divided into entries.
func add(events, more []dp.Event) []dp.Event {
	for _, e := range more {
		i := slices.IndexFunc(events, func(have dp.Event) bool {
			have.Count = e.Count
			return have == e
		})
		switch {
		case i < 0:
			events = append(events, e)
		case events[i].Count > math.MaxInt-e.Count:
			events[i].Count = math.MaxInt // refused by the accountant
		default:
			events[i].Count += e.Count
		}
	}
	return events
}

// times is n rounds with those events.
func times(events []dp.Event, n int) []dp.Event {
	out := make([]dp.Event, len(events))
	for i, e := range events {
		if out[i] = e; e.Count > 0 && n > math.MaxInt/e.Count {
			out[i].Count = math.MaxInt // refused by the accountant
			continue
		}
		out[i].Count *= n
	}
	return out
}

// A RefusalError says which feature's budget does not cover a round: what is
// Left, what was Asked, each by itself, and what both together would come to.
type RefusalError struct {
	Tenant, Feature    string
	Left, Asked, Total float64 // ε at Delta
	Limit, Delta       float64
	Err                error // ErrExhausted or ErrExact
}

func (e *RefusalError) Error() string {
	if errors.Is(e.Err, ErrExact) {
		return fmt.Sprintf("feature %s of %s: %v; %s left of ε = %s", e.Feature, e.Tenant, e.Err, Amount(e.Left), Amount(e.Limit))
	}
	return fmt.Sprintf("feature %s of %s: %v: ε = %s is left of %s at δ = %g, %s was asked for, which would make %s in all",
		e.Feature, e.Tenant, e.Err, Amount(e.Left), Amount(e.Limit), e.Delta, Amount(e.Asked), Amount(e.Total))
}
func (e *RefusalError) Unwrap() error { return e.Err }

// Amount writes an ε for people.
func Amount(epsilon float64) string {
	if math.IsInf(epsilon, 1) {
		return "unbounded"
	}
	return fmt.Sprintf("%.4g", epsilon)
}
