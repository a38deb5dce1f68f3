package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// voteLasts is how long a signed vote is good for, as with the command line.
const voteLasts = 72 * time.Hour

// voteForm is where a visitor decides. The page's script enables its buttons
// when this browser holds a key that is registered for them; without a script
// they stay disabled, and the page shows the command that does the same.
type voteForm struct {
	Open    bool   // the ballot takes votes
	Why     string // why the visitor may not
	Name    string
	For     string // the approver whose seat they fill
	Keys    []string
	Typed   string // what is to be typed before a risky thing is done
	Buttons []button
	Key     string
	Command string
}

// A button is one decision.
type button struct {
	Says, Label, Why string
	Primary, Danger  bool
	Reason           bool // it needs one
}

func (v *visit) voteForm(p *requestPage, mine holdings) voteForm {
	b := p.Ballot
	f := voteForm{Name: v.who.Subject, For: b.You.OnBehalfOf, Key: fresh(), Open: b.Outcome == "pending" || b.Outcome == "approved" && b.BegunAt.IsZero()}
	f.Keys = mine.ids
	if b.Risk >= typedFrom {
		f.Typed = b.ID
	}
	switch {
	case !f.Open:
		f.Why = "The request is " + string(b.Outcome) + "."
		if !b.BegunAt.IsZero() {
			f.Why = "The action has begun."
		}
	case p.Action != nil && p.Action.State == "stale":
		f.Why = "The plan is stale: what it saw has changed since. Ask for a new one."
	case !b.You.CanDecide:
		f.Why = sentence(b.You.Because)
	}
	pending := when(b.Outcome != "pending", "The request is "+string(b.Outcome)+".")
	voted := slices.ContainsFunc(b.Votes, func(x v1.Vote) bool { return x.Approver == v.who.Subject })
	f.Buttons = []button{
		{Says: approval.Approve, Label: "Approve", Primary: true, Why: first(f.Why, pending)},
		{Says: approval.Reject, Label: "Reject", Danger: true, Reason: true, Why: first(f.Why, pending)},
		{Says: approval.RequestChanges, Label: "Ask for changes", Reason: true, Why: first(f.Why, pending)},
	}
	if voted {
		f.Buttons = append(f.Buttons, button{Says: approval.Revoke, Label: "Take your vote back", Reason: true, Why: when(!f.Open, f.Why)})
	}
	if slices.ContainsFunc(mine.roles, func(r string) bool { return slices.Contains(b.GlassRoles, r) }) {
		f.Buttons = append(f.Buttons, button{Says: approval.BreakGlass, Label: "Break the glass", Danger: true, Reason: true, Why: pending})
	}
	f.Command = fmt.Sprintf("fabric approve %s --key YOUR.key --as %s", b.ID, quoted(v.who.Subject))
	if f.For != "" {
		f.Command += " --on-behalf-of " + quoted(f.For)
	}
	return f
}

// first returns the first text that says something.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// quoted makes one word of a shell's command.
func quoted(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._+-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// holdings are what is registered for a visitor, among all approvers.
type holdings struct {
	ids, roles []string
	people     []v1.Approver
}

// keys returns the digests of the keys that the visitor may vote with: their
// own registrations, and those that approvers delegated to.
func (v *visit) keys() (holdings, error) {
	var h holdings
	var people v1.ApproverList
	var delegations v1.DelegationList
	err := together(
		func() (err error) {
			people, err = v1.Fetch[v1.ApproverList](v.api.ListApprovers(v.ctx(), nil))
			return
		},
		func() error {
			var err error
			delegations, err = v1.Fetch[v1.DelegationList](v.api.ListDelegations(v.ctx(), nil))
			if said := (*v1.ProblemError)(nil); errors.As(err, &said) && said.Status == http.StatusForbidden {
				return nil // for whoever may not know of them there are none
			}
			return err
		},
	)
	if err != nil {
		return h, err
	}
	h.people = people.Items
	for _, a := range people.Items {
		if a.Name == v.who.Subject {
			h.ids, h.roles = append(h.ids, a.Key), append(h.roles, a.Role)
		}
	}
	for _, d := range delegations.Items {
		if d.To == v.who.Subject && d.RevokedAt.IsZero() {
			h.ids = append(h.ids, d.Key)
		}
	}
	return h, nil
}

// A paper is what a browser signs: the canonical bytes of a statement. The
// page's script reads it before it signs, and signs nothing else than it was
// asked for.
type paper struct {
	Payload     string `json:"payload"` // base64
	PayloadType string `json:"payloadType"`
	Digest      string `json:"digest"`
}

// statement answers with the statement that a decision is, as `fabric approve`
// makes it. It changes nothing.
func statement(v *visit) error {
	b, err := v1.Fetch[v1.Ballot](v.api.GetApproval(v.ctx(), v.path("id"), nil))
	if err != nil {
		return v.failJSON(err)
	}
	says, reason := v.field("decision"), v.field("reason")
	switch {
	case !slices.Contains([]string{approval.Approve, approval.Reject, approval.RequestChanges, approval.Revoke, approval.BreakGlass}, says):
		return v.failJSON(&refusal{http.StatusUnprocessableEntity, "There is no such decision", ""})
	case says != approval.Approve && reason == "":
		return v.failJSON(&refusal{http.StatusUnprocessableEntity, "Say why", "All but an approval need a reason."})
	case b.Risk >= typedFrom && v.field("confirm") != b.ID:
		return v.failJSON(&refusal{http.StatusUnprocessableEntity, "Type the request's id", "Its risk is " + fmt.Sprint(b.Risk) + ": type " + b.ID + " to confirm that you mean this one."})
	}
	var asked approval.Request
	if err := artifact.DecodeStrict([]byte(b.Request), &asked); err != nil {
		return v.failJSON(fmt.Errorf("the ballot's request: %w", err))
	}
	now := v.now().Truncate(time.Second)
	return v.paper(asked.Action.Kind+" "+b.ID, asked.Action.Plan, artifact.PredicateApproval, approval.Predicate{
		Decision: says, Action: b.ID, Kind: asked.Action.Kind, Nonce: asked.Nonce, Request: artifact.DigestOf([]byte(b.Request)),
		Approver: v.who.Subject, OnBehalfOf: v.field("on_behalf_of"), Reason: reason, IssuedAt: now, ExpiresAt: now.Add(voteLasts),
	})
}

// paper answers with a statement that is to be signed.
func (v *visit) paper(name string, subject artifact.Digest, kind string, predicate any) error {
	s, err := artifact.NewStatement(name, subject, kind, predicate)
	if err != nil {
		return v.failJSON(err)
	}
	payload, err := s.Encode()
	if err != nil {
		return v.failJSON(err)
	}
	return v.json(http.StatusOK, paper{
		Payload: base64.StdEncoding.EncodeToString(payload), PayloadType: artifact.PayloadType,
		Digest: string(artifact.StatementID(artifact.PayloadType, payload)),
	})
}

// failJSON tells a script what went wrong, in the words of the error page.
func (v *visit) failJSON(err error) error {
	p := v.explain(err)
	if p.Status >= http.StatusInternalServerError {
		v.c.opts.Log.Warn("console", "path", v.r.Pattern, "error", err.Error(), "trace", p.Trace)
	}
	return v.json(p.Status, map[string]string{"title": p.Title, "detail": p.Detail})
}

func (v *visit) json(status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return v.send(status, "application/json", text)
}

// vote carries a signed vote to its ballot. Whether it counts is said by what
// the ballot is afterwards.
func vote(v *visit) error {
	id := v.path("id")
	b, err := v1.Fetch[v1.Ballot](v.api.CastVote(v.ctx(), id, nil, v1.VoteRequest{Bundle: v.field("bundle")}, v.once()))
	if err != nil {
		return err
	}
	name := v.who.Subject
	counted := slices.ContainsFunc(b.Votes, func(x v1.Vote) bool { return x.Approver == name })
	counted = counted || slices.ContainsFunc(b.Withdrawn, func(x v1.Vote) bool { return x.Approver == name && x.Decision == approval.Revoke })
	if counted {
		return v.redirect(link("requests", id) + "?done=voted")
	}
	why := "Its key is none that may vote here."
	for _, x := range slices.Backward(b.Refused) {
		if x.Approver == name {
			why = sentence(x.Refused)
			break
		}
	}
	return &refusal{http.StatusConflict, "Your vote does not count", why}
}
