package policy

import (
	"errors"
	"fmt"
	"slices"
)

// MaxPurposes bounds what a rule names.
const MaxPurposes = 16

// What may be wrong with what a rule says of purposes, and with the leeway.
var (
	ErrPurposes = fmt.Errorf("must be at most %d distinct ids", MaxPurposes)
	ErrLeeway   = errors.New("must be 0 to 1000")
)

// Serves says whether the rule permits a call for a purpose; "" is a call that
// names none. A rule that names purposes permits no other.
func (r Rule) Serves(purpose string) bool {
	return len(r.Purposes) == 0 || slices.Contains(r.Purposes, purpose)
}

// Blend returns the weights for a call whose caller has its own wishes: the
// document's but for the leeway, in which the caller's take their place. The
// result sums to a million, so it is finer than the thousandths of either.
func (d Document) Blend(wishes Weights) Weights {
	own, theirs := d.Weights.sum(), wishes.sum()
	if d.Leeway == 0 || theirs == 0 || own == 0 {
		return d.Weights
	}
	mix := func(ours, wished int) int {
		return 1000*(1000-d.Leeway)*ours/own + 1000*d.Leeway*wished/theirs
	}
	return Weights{Latency: mix(d.Weights.Latency, wishes.Latency), Cost: mix(d.Weights.Cost, wishes.Cost),
		Fabric: mix(d.Weights.Fabric, wishes.Fabric), Locality: mix(d.Weights.Locality, wishes.Locality)}
}

func (w Weights) sum() int { return w.Latency + w.Cost + w.Fabric + w.Locality }

func (r Rule) validatePurposes(at string) error {
	if len(r.Purposes) > MaxPurposes {
		return &DocumentError{at + "/purposes", ErrPurposes}
	}
	for i, purpose := range r.Purposes {
		if !isID(purpose) || slices.Contains(r.Purposes[:i], purpose) {
			return &DocumentError{fmt.Sprintf("%s/purposes/%d", at, i), ErrPurposes}
		}
	}
	return nil
}

// purposesOf returns every purpose that a rule names, and one that none does.
func purposesOf(docs ...Document) []string {
	var all []string
	for _, d := range docs {
		for _, r := range d.Rules {
			all = append(all, r.Purposes...)
		}
	}
	slices.Sort(all)
	return append(slices.Compact(all), "any other purpose")
}
