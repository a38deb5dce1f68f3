package feedback

import (
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Lifetime is how long a proposal may be decided on: after that its evidence is
// old.
const Lifetime = 7 * 24 * time.Hour

// A Proposal is the predicate of a signed statement whose subject is the
// policy document that it would bring into force.
type Proposal struct {
	Template    string        `json:"template"`
	Target      string        `json:"target,omitempty"`
	From        int64         `json:"from"`
	To          int64         `json:"to"`
	Direction   string        `json:"direction"` // "tighten" or "loosen"
	Environment string        `json:"environment"`
	Summary     string        `json:"summary"`
	Evidence    Evidence      `json:"evidence"`
	Replay      policy.Impact `json:"replay"`
	Previous    Revision      `json:"previous"`
	Next        Revision      `json:"next"`
	Rollback    string        `json:"rollback"` // content that a rollback brings back
	ProposedAt  time.Time     `json:"proposedAt"`
	ExpiresAt   time.Time     `json:"expiresAt"`
}

// A Revision names a policy document.
type Revision struct {
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
}

// Requester is in whose name the loop proposes: nobody's, so that everybody who
// may approve may.
const Requester = "feedback-loop"

// Directions.
const (
	Tighten = "tighten"
	Loosen  = "loosen"
)

// New returns the proposal of a finding and the document that it would bring
// into force. Whatever the template says, a change that opens one logged
// decision, or that [policy.Loosens] says takes protection away, loosens.
// Errors: [ErrTarget]; a [*policy.DocumentError].
func New(f Finding, now policy.Document, environment string, at time.Time) (Proposal, policy.Document, error) {
	t, ok := Of(f.Template)
	if !ok || f.Evidence == nil {
		return Proposal{}, now, fmt.Errorf("%s: %w", f.Template, ErrTarget)
	}
	next, err := t.Apply(now, f.Target, f.To)
	if err != nil {
		return Proposal{}, now, fmt.Errorf("%s: %w", f.Key(), err)
	}
	p := Proposal{
		Template: f.Template, Target: f.Target, From: f.From, To: f.To, Direction: Tighten, Environment: environment,
		Evidence: *f.Evidence, ProposedAt: at.UTC(), ExpiresAt: at.UTC().Add(Lifetime),
	}
	if _, looser := policy.Loosens(now, next); looser || f.Loosens {
		p.Direction = Loosen
	}
	if p.Previous, err = revision(now); err != nil {
		return p, next, err
	}
	if p.Next, err = revision(next); err != nil {
		return p, next, err
	}
	content, err := now.Content()
	p.Rollback = string(content)
	of := ""
	if f.Target != "" {
		of = " of " + f.Target
	}
	p.Summary = fmt.Sprintf("%s %s%s from %d to %d: %s worse by %.3g [%.3g, %.3g] (%s, q %.2g, n %d, %d windows)",
		p.Direction, f.Template, of, f.From, f.To, f.Evidence.Metric, f.Evidence.Effect, f.Evidence.Low, f.Evidence.High,
		f.Evidence.Test, f.Evidence.Q, f.Evidence.N, f.Evidence.Windows)
	return p, next, err
}

// Replayed returns the proposal with what replaying the log has shown. One
// decision that opens makes it loosen.
func (p Proposal) Replayed(i policy.Impact) Proposal {
	p.Replay = i
	if i.Loosens() {
		p.Direction = Loosen
	}
	return p
}

// Alone says whether it may be applied without a person: tightening, outside
// production.
func (p Proposal) Alone() bool {
	return p.Direction == Tighten && (p.Environment == "dev" || p.Environment == "staging")
}

func revision(d policy.Document) (Revision, error) {
	encoded, err := d.Encode()
	return Revision{d.Revision, string(artifact.DigestOf(encoded))}, err
}
