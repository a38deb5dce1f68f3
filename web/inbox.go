package web

import (
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

// inbox shows what waits for a decision, one row a request.
func inbox(v *visit) error {
	params := v1.ListApprovalsParams{Cursor: v.query("cursor"), Limit: inboxRows}
	show := v.query("show")
	switch show {
	case "mine":
		params.Mine = true
	case "all":
	default:
		show, params.State = "waiting", "pending"
	}
	got, err := v1.Fetch[v1.BallotPage](v.api.ListApprovals(v.ctx(), &params))
	if err != nil {
		return err
	}
	body := inboxPage{Show: show, Self: Path + "?" + url.Values{"show": {show}, "cursor": {params.Cursor}}.Encode()}
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
