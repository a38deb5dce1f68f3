package privacy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/dp"
)

// A Request is what a round, or several, would take from the features that it
// reads. Exact is for one whose answer is not noised at all: its ε is infinite.
// Neither exact nor with events is a round that reads no row of the training
// data, and costs nothing.
type Request struct {
	Features []Feature
	Events   []dp.Event
	Exact    bool
}

// Private says whether the request takes a finite part of a budget, so that a
// feature without one needs one first.
func (r Request) Private() bool { return !r.Exact && len(r.Events) > 0 }

// Times is the request of n such rounds.
func (r Request) Times(n int) Request {
	r.Events = times(r.Events, n)
	return r
}

// Sorted returns the features by tenant and name, each once: the order in which
// everybody takes their budgets, so that no two wait for each other.
func (r Request) Sorted() []Feature {
	sorted := slices.Clone(r.Features)
	slices.SortFunc(sorted, func(a, b Feature) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Feature, b.Feature))
	})
	return slices.Compact(sorted)
}

// Reserve takes the request from the ledger of each of its features, from all
// or from none, and returns them with it. A feature without a ledger has no
// budget: it is free to a round that is exact, and an error for a private one,
// which never reads what nobody counts.
//
// A round fits if ε of everything that counts and of it, composed, is at most
// the limit. That is less than the sum of what each costs by itself, so a round
// may fit although more was asked than is left.
//
// Errors: [*RefusalError] with [ErrExhausted] or [ErrExact], for the first
// feature by tenant and name; [ErrLedgers].
func Reserve(ledgers []Ledger, r Request) ([]Ledger, error) {
	out := slices.Clone(ledgers)
	for _, f := range r.Sorted() {
		i := slices.IndexFunc(out, func(l Ledger) bool { return l.Tenant == f.Tenant && l.Feature == f.Feature })
		if i < 0 {
			if r.Private() {
				return nil, fmt.Errorf("feature %s of %s: %w", f.Feature, f.Tenant, ErrLedgers)
			}
			continue
		}
		l := out[i]
		if err := l.refusal(r); err != nil {
			return nil, err
		}
		if r.Private() {
			out[i].Entries = append(slices.Clone(l.Entries), Entry{State: Reserved, Rounds: 1, Events: slices.Clone(r.Events)})
		}
	}
	return out, nil
}

// refusal says why the ledger does not cover the request; nil when it does.
func (l Ledger) refusal(r Request) error {
	if !r.Exact && len(r.Events) == 0 {
		return nil
	}
	refused := &RefusalError{Tenant: l.Tenant, Feature: l.Feature, Limit: l.EpsilonLimit, Delta: l.Delta, Err: ErrExact}
	if !r.Exact {
		refused.Err = ErrExhausted
		if refused.Total = l.cost(r.Events); refused.Total <= l.EpsilonLimit {
			return nil
		}
		refused.Asked = Ledger{Budget: l.Budget}.cost(r.Events)
	}
	refused.Left = l.Balance().Left
	return refused
}
