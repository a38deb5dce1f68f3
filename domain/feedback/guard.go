package feedback

import (
	"fmt"
	"time"
)

// A State is how a proposal of ours stands.
type State string

// States of a proposal.
const (
	Open     State = "open"     // proposed, waiting or rolling out
	Applied  State = "applied"  // in force
	Refused  State = "refused"  // rejected, expired, stale, failed or overtaken
	Reverted State = "reverted" // applied in a region, and rolled back
)

// A Past is an earlier proposal of ours.
type Past struct {
	Template string
	Target   string
	From     int64
	To       int64
	Loosens  bool
	State    State
	At       time.Time // of the proposal
	Applied  time.Time // when it took effect, or was taken back; zero before
}

// Key is that of the finding it came from.
func (p Past) Key() string { return p.Template + "/" + p.Target }

// Rails keep the loop from running away. The zero value holds everything.
type Rails struct {
	CoolDown time.Duration // for a key, since its last change
	Settling time.Duration // after a change of ours: what happens then is its effect, and no evidence
	Weekly   int           // changes in seven days
}

// DefaultRails returns a cool-down and a settling time of a day, and five
// changes a week.
func DefaultRails() Rails {
	return Rails{CoolDown: 24 * time.Hour, Settling: 24 * time.Hour, Weekly: 5}
}

// hold turns what a rail holds from Propose into Held.
func (r Rails) hold(in Input, found []Finding) []Finding {
	week := 0
	for _, p := range in.History {
		if p.State != Refused && in.At.Sub(p.At) < 7*24*time.Hour {
			week++
		}
	}
	taken := map[string]bool{}
	for i := range found {
		f := &found[i]
		if f.Status != Propose {
			continue
		}
		if why := r.against(in, *f, week, taken); why != "" {
			f.Status, f.Reason = Held, why
			continue
		}
		taken[f.Key()] = true
		week++
	}
	return one(found)
}

// one keeps the proposal with the lowest q. A policy has one next revision: a
// second change would be stale when the first is in force, and its evidence is
// then about another policy.
func one(found []Finding) []Finding {
	best := -1
	for i, f := range found {
		if f.Status == Propose && (best < 0 || f.Evidence.Q < found[best].Evidence.Q) {
			best = i
		}
	}
	for i := range found {
		if f := &found[i]; f.Status == Propose && i != best {
			f.Status, f.Reason = Held, "one change at a time: "+found[best].Key()+" goes first"
		}
	}
	return found
}

// against returns why a finding may not become a proposal now, or nothing.
func (r Rails) against(in Input, f Finding, week int, taken map[string]bool) string {
	t, _ := Of(f.Template)
	if taken[f.Key()] {
		return "another target of this evaluation proposes the same change"
	}
	if !t.Bounded(f.From, f.To) {
		return "the step is more than a quarter of the range"
	}
	if week >= r.Weekly {
		return fmt.Sprintf("the budget of %d changes a week is spent", r.Weekly)
	}
	for _, p := range in.History {
		effect := Span{p.Applied, p.Applied.Add(r.Settling)}
		switch {
		case p.Key() == f.Key() && p.State == Open:
			return "a proposal for it is open: decide that one first"
		case p.Applied.IsZero():
		case p.Key() == f.Key() && in.At.Sub(p.Applied) < r.CoolDown:
			return "it was changed less than the cool-down ago"
		case f.Evidence != nil && (f.Evidence.Recent.overlaps(effect) || f.Evidence.Baseline.overlaps(effect)):
			return fmt.Sprintf("its evidence overlaps the effect of our own change of %s: wait until that has settled", p.Key())
		}
	}
	return ""
}

// tightened returns the value before we tightened a key to value, if that is
// what we did last.
func tightened(history []Past, key string, value int64) (int64, bool) {
	var last Past
	for _, p := range history {
		if p.Key() == key && p.State == Applied && !p.Applied.Before(last.Applied) {
			last = p
		}
	}
	return last.From, !last.Applied.IsZero() && !last.Loosens && last.To == value
}
