package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"

	"github.com/atom-fabric/fabric/api/v1"
)

// inboxRows is how many requests a page of the inbox shows.
const inboxRows = 25

// inboxPage is what the inbox shows.
type inboxPage struct {
	Rows  []inboxRow
	Next  string // address of the next page
	Show  string // "waiting", "mine" or "all"
	Shows []choice
	Self  string
	Live  string // address of the stream that says when to ask anew
}

type inboxRow struct {
	v1.Ballot
	Quorum string
}

// A choice is one of several lists.
type choice struct {
	Label, Link string
	Here        bool
}

// inboxParams are what the address asks for, and what the list is called.
func (v *visit) inboxParams() (v1.ListApprovalsParams, string) {
	params := v1.ListApprovalsParams{Cursor: v.query("cursor"), Limit: inboxRows}
	switch show := v.query("show"); show {
	case "mine":
		params.Mine = true
		return params, show
	case "all":
		return params, show
	}
	params.State = "pending"
	return params, "waiting"
}

// inbox shows what waits for a decision, one row a request.
func inbox(v *visit) error {
	params, show := v.inboxParams()
	got, err := v1.Fetch[v1.BallotPage](v.api.ListApprovals(v.ctx(), &params))
	if err != nil {
		return err
	}
	body := inboxPage{Show: show, Self: Path + "?" + url.Values{"show": {show}, "cursor": {params.Cursor}}.Encode()}
	body.Live = link("inbox", "events") + "?" + url.Values{"show": {show}, "cursor": {params.Cursor}, "state": {ballotsState(got.Items)}}.Encode()
	for _, s := range []struct{ name, label string }{{"waiting", "Waiting"}, {"mine", "For you"}, {"all", "All"}} {
		body.Shows = append(body.Shows, choice{s.label, Path + "?show=" + s.name, s.name == show})
	}
	for _, b := range got.Items {
		body.Rows = append(body.Rows, inboxRow{b, quorum(b)})
	}
	if got.Next != "" {
		body.Next = Path + "?" + url.Values{"show": {show}, "cursor": {got.Next}}.Encode()
	}
	if v.live() {
		return v.part("inbox", "inbox-rows", body)
	}
	return v.render("inbox", "Inbox", body)
}

// quorum says how many of the seats are filled.
func quorum(b v1.Ballot) string {
	filled := b.Need - b.Missing
	if b.Outcome == "pending" && b.Missing == 0 {
		filled = len(b.Votes)
	}
	return fmt.Sprintf("%d of %d", min(filled, b.Need), b.Need)
}

// inboxPart says whether anything of the list has changed, which is the same for
// all who look at it. What they may do about it is not: each asks for its own
// rows.
func inboxPart(v *visit) (part, error) {
	params, _ := v.inboxParams()
	if params.Mine {
		params.Mine, params.State = false, "pending"
	}
	got, err := v1.Fetch[v1.BallotPage](v.api.ListApprovals(v.ctx(), &params))
	state := ballotsState(got.Items)
	return part{Page: "inbox", Template: "inbox-state", Body: state, State: state}, err
}

// ballotsState is another text when a row of them looks different.
func ballotsState(ballots []v1.Ballot) string {
	sum := sha256.New()
	for _, b := range ballots {
		fmt.Fprintln(sum, b.ID, b.Outcome, b.Missing, len(b.Votes), b.Escalated, b.Overdue)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
