package canary

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrRecord says that a record does not show a rollout of its design.
var ErrRecord = errors.New("the record does not follow from its design")

// A Record is everything that a rollout saw and did: what was fixed before it
// began is in the plan, the facts are in their order, and each look is whole.
type Record struct {
	Action  string          `json:"action"`
	Plan    artifact.Digest `json:"plan"`
	Outcome string          `json:"outcome"`
	Facts   []Fact          `json:"facts"`
	Looks   []Look          `json:"looks"` // of the facts of that kind, in their order
}

// Check judges every look again from its raw aggregates, and returns nil when
// each verdict follows from the design, the steps are those of its ladder in
// their order, and no step was left but by a pass or by people who were asked.
// Errors: [ErrRecord].
func (r Record) Check(d Design, regions []string) error {
	ladder, judged := d.Steps(regions), d.Judged(len(regions))
	taken, looks := 0, 0
	open := false // a step that has neither passed nor been let go on
	for i, f := range r.Facts {
		if f.Number != i+1 {
			return fmt.Errorf("%w: fact %d is number %d", ErrRecord, i+1, f.Number)
		}
		switch f.Kind {
		case FactStep:
			if open || taken >= len(ladder) || f.Step != ladder[taken] {
				return fmt.Errorf("%w: step %s at fact %d", ErrRecord, f.Step, f.Number)
			}
			taken++
			open = !f.Step.Full()
		case FactLook:
			if looks >= len(r.Looks) {
				return fmt.Errorf("%w: look at fact %d is missing", ErrRecord, f.Number)
			}
			if err := f.follows(d, judged, r.Looks[looks]); err != nil {
				return err
			}
			looks++
			open = f.Verdict != Pass
		case FactAsk:
			if f.Words == "" {
				return fmt.Errorf("%w: nobody answered at fact %d", ErrRecord, f.Number)
			}
			open = false
		}
	}
	if looks != len(r.Looks) {
		return fmt.Errorf("%w: %d looks of %d facts", ErrRecord, len(r.Looks), looks)
	}
	return nil
}

// Whole reports whether the record goes through the whole ladder.
func (r Record) Whole(d Design, regions []string) bool {
	steps := 0
	for _, f := range r.Facts {
		if f.Kind == FactStep {
			steps++
		}
	}
	return steps == len(d.Steps(regions))
}

// follows returns nil when a look is the fact's, and its verdict follows from
// what it saw.
func (f Fact) follows(d Design, judged int, look Look) error {
	text, err := artifact.Canonical(look)
	if err != nil || artifact.DigestOf(text) != f.Look {
		return fmt.Errorf("%w: another look is at fact %d", ErrRecord, f.Number)
	}
	again := Judge(d, judged, look.Step, look.Control, look.Canary)
	if look.Second != nil {
		again.Join(*look.Second)
	}
	if look.Step != f.Step || look.Verdict != f.Verdict || again.Verdict != look.Verdict || !reflect.DeepEqual(again.Findings, look.Findings) {
		return fmt.Errorf("%w: fact %d says %s, and its numbers %s", ErrRecord, f.Number, f.Verdict, again.Verdict)
	}
	return nil
}
