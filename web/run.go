package web

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/web/plot"
)

// runPage is one run.
type runPage struct {
	Run      v1.Run
	Progress v1.RunProgress
	Plots    []template.HTML
	Rounds   []roundRow // newest first
	Older    int        // the newest round of the next page; 0: there is none
	Before   int        // rounds below this one are shown; 0: the newest
	Uploaded int64
	Acts     []act
	Temporal string
	State    string
}

// A roundRow is a round with what was sent in it.
type roundRow struct {
	v1.Round
	Sent                      v1.RoundTraffic
	Asked, Accepted, Rejected int
	Dropped                   []string
	Causes                    []string
}

// roundsShown is how many rounds a page lists.
const roundsShown = 50

func run(v *visit) error {
	p, err := v.run()
	if err != nil {
		return err
	}
	p.Acts = v.runActs(p.Run)
	return v.render("run", "Run "+p.Run.ID, p)
}

func runPart(v *visit) (part, error) {
	p, err := v.run()
	return part{Page: "run", Template: "part", Body: p, State: p.State}, err
}

func (v *visit) run() (runPage, error) {
	id := v.path("id")
	var got v1.Run
	var progress v1.RunProgress
	err := together(
		func() (err error) { got, err = v1.Fetch[v1.Run](v.api.GetRun(v.ctx(), id, nil)); return },
		func() (err error) {
			progress, err = v1.Fetch[v1.RunProgress](v.api.GetRunProgress(v.ctx(), id, nil))
			return
		},
	)
	if err != nil {
		return runPage{}, err
	}
	before, _ := strconv.Atoi(v.query("before")) // what is no number is the newest
	p := runPage{Run: got, Progress: progress, Before: before, State: fmt.Sprint(got.Status, got.Paused)}
	p.Temporal = v.workflowLink(got.WorkflowID)
	rows := roundRows(got.Rounds, progress.Rounds)
	p.Plots = plots(got, progress, rows)
	for _, r := range progress.Rounds {
		p.Uploaded += r.UploadedBytes
	}
	slices.Reverse(rows)
	if before > 0 {
		rows = slices.DeleteFunc(rows, func(r roundRow) bool { return r.Round.Number >= before })
	}
	if len(rows) > roundsShown {
		rows = rows[:roundsShown]
		p.Older = rows[roundsShown-1].Round.Number
	}
	p.Rounds = rows
	return p, nil
}

// workflowLink is a workflow's page of Temporal's Web UI; "" where there is none.
func (v *visit) workflowLink(id string) string {
	if v.c.opts.TemporalUI == "" || id == "" {
		return ""
	}
	return v.c.opts.TemporalUI + "/namespaces/" + url.PathEscape(v.c.opts.Namespace) + "/workflows/" + url.PathEscape(id)
}

func roundRows(rounds []v1.Round, traffic []v1.RoundTraffic) []roundRow {
	sent := make(map[int]v1.RoundTraffic, len(traffic))
	for _, t := range traffic {
		sent[t.Number] = t
	}
	rows := make([]roundRow, len(rounds))
	for i, r := range rounds {
		row := roundRow{Round: r, Sent: sent[r.Number]}
		if r.Cause != "" {
			row.Causes = append(row.Causes, r.Cause)
		}
		for _, g := range r.Regions {
			row.Asked, row.Accepted, row.Rejected = row.Asked+g.Selected, row.Accepted+g.Accepted, row.Rejected+g.Rejected
			row.Dropped = append(row.Dropped, g.Dropped...)
			if g.Cause != "" {
				row.Causes = append(row.Causes, g.Region+": "+g.Cause)
			}
		}
		rows[i] = row
	}
	return rows
}

// plots draws the run over its rounds; the rounds are in order.
func plots(run v1.Run, progress v1.RunProgress, rows []roundRow) []template.HTML {
	note := ""
	if run.Simulated {
		note = "simulated"
	}
	var asked, accepted, dropped, bytes []chart.Point
	var up int64
	for _, r := range rows {
		x := float64(r.Round.Number)
		if r.Asked > 0 {
			asked = append(asked, chart.Point{X: x, Y: float64(r.Asked)})
			accepted = append(accepted, chart.Point{X: x, Y: float64(r.Accepted)})
			if r.Status == "open" {
				continue // who is out is known at its end
			}
			dropped = append(dropped, chart.Point{X: x, Y: float64(max(0, r.Asked-r.Accepted-r.Rejected))})
		}
	}
	for _, t := range progress.Rounds {
		up += t.UploadedBytes
		bytes = append(bytes, chart.Point{X: float64(t.Number), Y: float64(up)})
	}
	out := []template.HTML{
		chart.HTML(plot.Accuracy(run)),
		chart.HTML(plot.Loss(run)),
		chart.HTML(chart.Lines{Title: "Sites", Note: note, X: "round", Y: "sites", Series: []chart.Series{{Name: "asked", Points: asked}, {Name: "accepted", Points: accepted}, {Name: "did not answer", Points: dropped}}}),
		chart.HTML(chart.Lines{Title: "Bytes that sites sent so far", Note: note, X: "round", Y: "bytes", Series: []chart.Series{{Name: "bytes", Points: bytes}}}),
	}
	if progress.Privacy.Spent > 0 || progress.Privacy.Limit > 0 {
		epsilon := plot.Privacy(progress)
		epsilon.Note = note
		out = append(out, chart.HTML(epsilon))
	}
	return out
}

// runActs are what can be done with a run in its state.
func (v *visit) runActs(r v1.Run) []act {
	role := v.lacks("data-scientist", "operator", "admin")
	over := when(r.Status != "accepted" && r.Status != "running", fmt.Sprintf("The run is over: %s.", r.Status))
	return []act{
		act{Name: "pause", Label: "Hold after the open round", Link: link("runs", r.ID, "pause"), Reason: true}.unless(over, when(r.Paused, "It holds already."), role),
		act{Name: "resume", Label: "Resume", Link: link("runs", r.ID, "resume"), Reason: true}.unless(over, when(!r.Paused, "It is not held."), role),
		act{Name: "stop", Label: "Stop after the open round", Link: link("runs", r.ID, "stop"), Danger: true, Reason: true}.unless(over, role),
	}
}

// steerRun asks for one of the three.
func steerRun(what string) func(*visit) error {
	return func(v *visit) error {
		id, body := v.path("id"), v1.StopRequest{Reason: v.field("reason")}
		var resp *http.Response
		var err error
		switch what {
		case "pause":
			resp, err = v.api.PauseRun(v.ctx(), id, nil, body, v.once())
		case "resume":
			resp, err = v.api.ResumeRun(v.ctx(), id, nil, body, v.once())
		default:
			resp, err = v.api.StopRun(v.ctx(), id, nil, body, v.once())
		}
		if _, err := v1.Fetch[v1.RunAccepted](resp, err); err != nil {
			return err
		}
		return v.redirect(link("runs", id) + "?done=run-" + what)
	}
}
