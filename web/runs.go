package web

import (
	"net/url"
	"strings"

	"github.com/atom-fabric/fabric/api/v1"
)

// runsPage is the table of runs.
type runsPage struct {
	Rows          []v1.Run
	Status, Model string
	Statuses      []string
	Newest, Next  string
	First         bool
	Live          string // address of the stream of the rows
}

func runs(v *visit) error {
	p, err := v.runs()
	if err != nil {
		return err
	}
	return v.render("runs", "Runs", p)
}

func runsPart(v *visit) (part, error) {
	p, err := v.runs()
	return part{Page: "runs", Template: "part", Body: p}, err
}

func (v *visit) runs() (runsPage, error) {
	p := runsPage{Status: v.query("status"), Model: strings.TrimSpace(v.query("model")), Statuses: []string{"accepted", "running", "completed", "stopped", "failed"}, First: v.query("cursor") == ""}
	got, err := v1.Fetch[v1.RunPage](v.api.ListRuns(v.ctx(), &v1.ListRunsParams{
		Status: v1.ListRunsParamsStatus(p.Status), Model: p.Model, Cursor: v.query("cursor"),
	}))
	if err != nil {
		return p, err
	}
	p.Rows, p.Next = got.Items, nextPage(got.Next, "status", p.Status, "model", p.Model)
	p.Newest = "?" + filters("status", p.Status, "model", p.Model)
	p.Live = link("runs", "events") + "?" + filters("status", p.Status, "model", p.Model, "cursor", v.query("cursor"))
	return p, nil
}

// filters is the part of an address that keeps what a list is filtered by.
func filters(pairs ...string) string {
	text := ""
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			text += pairs[i] + "=" + url.QueryEscape(pairs[i+1]) + "&"
		}
	}
	return text
}

// nextPage is the address of the page after this one; none after the last.
func nextPage(cursor string, pairs ...string) string {
	if cursor == "" {
		return ""
	}
	return "?" + filters(pairs...) + "cursor=" + url.QueryEscape(cursor)
}

// stateClass is how a state looks; the word beside says it.
func stateClass(state any) string {
	switch text(state) {
	case "completed", "applied", "closed", "approved", "active", "held", "PASS", "pass", "healthy", "standing", "granted", "ACTIVE", "published":
		return "good"
	case "failed", "rejected", "FAIL", "fail", "down", "blocked", "withdrawn", "refused", "went back", "WITHDRAWN":
		return "bad"
	case "running", "started", "open", "stopped", "expired", "stale", "paused", "INCONCLUSIVE", "waits", "in part", "asked", "pending", "EXPIRED", "WAITING", "insufficient":
		return "warn"
	}
	return ""
}
