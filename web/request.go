package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// requestPage is what a person decides on: first what changes and what is
// known, and the buttons last.
type requestPage struct {
	Ballot   v1.Ballot
	Quorum   string
	Action   *v1.Action // nil where there is none, or the visitor may not see it
	Plan     *promotion.Plan
	Parts    []riskPart
	Reach    string
	Drilled  string
	Evidence evidence
	Missing  []string // what could not be shown, and why
	Timeline []moment
	Vote     voteForm
	mu       sync.Mutex // of Missing
}

type riskPart struct {
	Factor string
	Mille  int
	Points int
}

// A moment is a line of the timeline.
type moment struct {
	At        time.Time
	What, Who string
	Why       string
	Class     string // "good" or "bad"
	Statement string
	Coming    bool
}

// showRequest shows one request. What its parts are read from may be kept from the
// visitor by the API: the page says so and shows the rest.
func showRequest(v *visit) error {
	ballot, err := v1.Fetch[v1.Ballot](v.api.GetApproval(v.ctx(), v.path("id"), &v1.GetApprovalParams{Link: v.query("link")}))
	if err != nil {
		return err
	}
	body := &requestPage{Ballot: ballot, Quorum: quorum(ballot), Timeline: timeline(ballot, v.now())}
	var mine holdings
	err = together(
		func() error { return body.read(v) },
		func() (err error) { mine, err = v.keys(); return },
	)
	if err != nil {
		return err
	}
	slices.Sort(body.Missing)
	body.Vote = v.voteForm(body, mine)
	return v.render("request", ballot.Summary, body)
}

// read fills in what the plan names.
func (p *requestPage) read(v *visit) error {
	b := p.Ballot
	var resp *http.Response
	var err error
	switch b.Kind {
	case promotion.KindPromotion:
		resp, err = v.api.GetPromotion(v.ctx(), b.ID, nil)
	case promotion.KindPolicy:
		resp, err = v.api.GetRollout(v.ctx(), b.ID, nil)
	case promotion.KindTuning:
		resp, err = v.api.GetSuggestion(v.ctx(), b.ID, nil)
	case promotion.KindRestore:
		resp, err = v.api.GetRestore(v.ctx(), b.ID, nil)
	default:
		return nil
	}
	action, err := v1.Fetch[v1.Action](resp, err)
	if err != nil {
		p.lacks("the plan", err)
		return nil
	}
	var plan promotion.Plan
	if err := plain(action.Plan, &plan); err != nil {
		p.lacks("the plan", err)
		return nil
	}
	p.Action, p.Plan = &action, &plan
	for _, c := range plan.Risk.Contributions() {
		if c.Mille > 0 {
			p.Parts = append(p.Parts, riskPart{c.Factor, c.Mille, c.Points})
		}
	}
	slices.SortStableFunc(p.Parts, func(a, b riskPart) int { return b.Points - a.Points })
	p.Reach = fmt.Sprintf("%d.%d %% of the calls in %s", plan.Risk.Reach/10, plan.Risk.Reach%10, plan.Environment)
	switch plan.Risk.Reversal {
	case 0:
		p.Drilled = "nothing serves it yet"
	case int(1000 * promotion.ReversalDrilled):
		p.Drilled = "the way back was practised within the last 30 days"
	case int(1000 * promotion.ReversalNever):
		p.Drilled = "it cannot be taken back"
	default:
		p.Drilled = "the way back was not practised within the last 30 days"
	}
	return p.Evidence.read(v, p)
}

// lacks notes a part that cannot be shown.
func (p *requestPage) lacks(what string, err error) {
	var said *v1.ProblemError
	why := "it cannot be read"
	if errors.As(err, &said) {
		why = said.Title
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Missing = append(p.Missing, sentence(what)+": "+why)
}

// timeline is what happened to a ballot, and what will if nobody does anything.
func timeline(b v1.Ballot, now time.Time) []moment {
	out := []moment{{At: b.OpenedAt, What: "asked for", Who: b.Requester}}
	add := func(votes []v1.Vote, class func(v1.Vote) string, note string) {
		for _, v := range votes {
			m := moment{At: v.At, What: strings.ReplaceAll(v.Decision, "-", " ") + note, Who: v.Approver, Why: v.Reason, Class: class(v), Statement: v.Statement}
			if v.OnBehalfOf != "" {
				m.Who += " for " + v.OnBehalfOf
			}
			if v.Role != "" {
				m.Who += " (" + v.Role + ")"
			}
			if v.Refused != "" {
				m.Why = strings.TrimSpace(m.Why + " Not counted: " + v.Refused)
			}
			out = append(out, m)
		}
	}
	add(b.Votes, func(v v1.Vote) string {
		if v.Approve {
			return "good"
		}
		return "bad"
	}, "")
	add(b.Withdrawn, func(v1.Vote) string { return "" }, ", counts no more")
	add(b.Refused, func(v1.Vote) string { return "bad" }, ", refused")
	future := func(at time.Time, what, class string) {
		if !at.IsZero() {
			out = append(out, moment{At: at, What: what, Class: class, Coming: at.After(now)})
		}
	}
	if b.Escalated || b.Outcome == "pending" {
		future(b.EscalatesAt, "other roles are asked", "")
	}
	if b.Outcome == "pending" {
		if b.ReviewOf == "" {
			future(b.ExpiresAt, "expires, which rejects it", "bad")
		}
	} else {
		future(b.DecidedAt, string(b.Outcome), outcome(b.Outcome))
		future(b.ExecuteFrom, "may begin", "")
		future(b.BegunAt, "begun: the approval is used", "good")
		if b.BegunAt.IsZero() {
			future(b.ExecuteBy, "lapses unless it has begun", "bad")
		}
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.At.Compare(b.At) })
	return out
}
