package policy

import (
	"encoding/json"
	"slices"
	"strings"
)

// An Impact is what would have been decided otherwise under another policy, of
// the decisions that were logged.
type Impact struct {
	Decisions int    `json:"decisions"` // replayed
	Opened    int    `json:"opened"`    // denied by the old policy and allowed by the new one
	Closed    int    `json:"closed"`    // allowed by the old policy and denied by the new one
	Undecided int    `json:"undecided"` // that a policy gave no answer on; each counts as opened
	Drifted   int    `json:"drifted"`   // that the old policy decides otherwise today than the log says
	Flips     []Flip `json:"flips"`     // by question, tenant, region and purpose
}

// A Flip is a row of the table: so many decisions of one question, tenant,
// region and purpose, and one of them.
type Flip struct {
	Question string  `json:"question"`
	Tenant   string  `json:"tenant"`
	Region   string  `json:"region,omitempty"`
	Purpose  string  `json:"purpose,omitempty"`
	Opens    bool    `json:"opens"` // deny to allow, else allow to deny
	Count    int     `json:"count"`
	Example  Example `json:"example"`
}

// An Example is a logged decision that flips, with the reasons of the policy
// that denies it.
type Example struct {
	ID      string          `json:"id"`
	TraceID string          `json:"traceId,omitempty"`
	Input   json.RawMessage `json:"input"`
	Reasons []string        `json:"reasons,omitempty"`
}

// Loosens says whether the new policy allows anything that the old one denied,
// or cannot tell.
func (i Impact) Loosens() bool { return i.Opened > 0 || i.Undecided > 0 }

// An Outcome is what one policy says of one logged decision. Undecided is a
// policy that says neither.
type Outcome struct {
	Allowed   bool
	Undecided bool
	Reasons   []string
}

// A Tally adds up an impact. The zero value is ready. It is not safe for
// concurrent use; add up tallies of parts with Join.
type Tally struct {
	impact Impact
	rows   map[row]*Flip
}

// A row is what tells the rows of the table apart.
type row struct {
	question, tenant, region, purpose string
	opens                             bool
}

// Add counts one decision under both policies.
func (t *Tally) Add(d Decision, from, to Outcome) {
	t.impact.Decisions++
	if !from.Undecided && from.Allowed != d.Allowed {
		t.impact.Drifted++
	}
	switch {
	case from.Undecided || to.Undecided:
		t.impact.Undecided++
		t.flip(d, true, to.Reasons)
	case !from.Allowed && to.Allowed:
		t.impact.Opened++
		t.flip(d, true, from.Reasons)
	case from.Allowed && !to.Allowed:
		t.impact.Closed++
		t.flip(d, false, to.Reasons)
	}
}

func (t *Tally) flip(d Decision, opens bool, reasons []string) {
	t.count(Flip{
		Question: d.Question, Tenant: d.Tenant, Region: d.Region, Purpose: d.Purpose, Opens: opens, Count: 1,
		Example: Example{ID: d.ID, TraceID: d.TraceID, Input: d.Input, Reasons: reasons},
	})
}

// count adds a row to the table. Of two examples the one with the lower id
// stays, so that the order of arrival does not matter.
func (t *Tally) count(f Flip) {
	if t.rows == nil {
		t.rows = map[row]*Flip{}
	}
	key := row{f.Question, f.Tenant, f.Region, f.Purpose, f.Opens}
	have, ok := t.rows[key]
	if !ok {
		t.rows[key] = &f
		return
	}
	have.Count += f.Count
	if f.Example.ID < have.Example.ID {
		have.Example = f.Example
	}
}

// Join adds what another tally has counted.
func (t *Tally) Join(o *Tally) {
	t.impact.Decisions += o.impact.Decisions
	t.impact.Opened += o.impact.Opened
	t.impact.Closed += o.impact.Closed
	t.impact.Undecided += o.impact.Undecided
	t.impact.Drifted += o.impact.Drifted
	for _, f := range o.rows {
		t.count(*f)
	}
}

// Impact returns the table, what opens first.
func (t *Tally) Impact() Impact {
	out := t.impact
	out.Flips = make([]Flip, 0, len(t.rows))
	for _, f := range t.rows {
		out.Flips = append(out.Flips, *f)
	}
	slices.SortFunc(out.Flips, func(a, b Flip) int {
		if a.Opens != b.Opens {
			if a.Opens {
				return -1
			}
			return 1
		}
		return strings.Compare(strings.Join([]string{a.Question, a.Tenant, a.Region, a.Purpose}, "\x00"),
			strings.Join([]string{b.Question, b.Tenant, b.Region, b.Purpose}, "\x00"))
	})
	return out
}
