package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/web/plot"
)

// rolloutsPage is the table of promotions.
type rolloutsPage struct {
	Rows  []v1.Action
	Next  string
	First bool
}

func rollouts(v *visit) error {
	got, err := v1.Fetch[v1.ActionPage](v.api.ListPromotions(v.ctx(), &v1.ListPromotionsParams{Cursor: v.query("cursor")}))
	if err != nil {
		return err
	}
	return v.render("rollouts", "Rollouts", rolloutsPage{Rows: got.Items, Next: nextPage(got.Next), First: v.query("cursor") == ""})
}

// rolloutPage is one promotion and where its rollout is.
type rolloutPage struct {
	Action   v1.Action
	Rollout  v1.Rollout
	Plan     promotion.Plan
	Ladder   template.HTML
	Sequels  []template.HTML
	Last     *canary.Look
	Facts    []factRow
	Acts     []act
	Temporal string
	State    string
}

func rollout(v *visit) error {
	p, err := v.rollout()
	if err != nil {
		return err
	}
	p.Acts = v.rolloutActs(p)
	return v.render("rollout", "Rollout "+p.Action.ID, p)
}

func rolloutPart(v *visit) (part, error) {
	p, err := v.rollout()
	return part{Page: "rollout", Template: "part", Body: p, State: p.State}, err
}

func (v *visit) rollout() (rolloutPage, error) {
	id := v.path("id")
	var action v1.Action
	var view v1.Rollout
	err := together(
		func() (err error) { action, err = v1.Fetch[v1.Action](v.api.GetPromotion(v.ctx(), id, nil)); return },
		func() (err error) { view, err = v1.Fetch[v1.Rollout](v.api.GetCanary(v.ctx(), id, nil)); return },
	)
	if err != nil {
		return rolloutPage{}, err
	}
	p := rolloutPage{Action: action, Rollout: view, State: fmt.Sprint(action.State, view.Paused, ended(view))}
	if len(action.Plan) > 0 {
		if err := json.Unmarshal(action.Plan, &p.Plan); err != nil {
			return p, fmt.Errorf("plan of %s: %w", id, err)
		}
	}
	p.Temporal = v.workflowLink(action.WorkflowID)
	looks := make([]canary.Look, len(view.Looks))
	for i, text := range view.Looks {
		if err := json.Unmarshal(text, &looks[i]); err != nil {
			return p, fmt.Errorf("look of %s: %w", id, err)
		}
	}
	if len(looks) > 0 {
		p.Last = &looks[len(looks)-1]
	}
	if p.Plan.Canary != nil {
		p.Ladder = chart.HTML(ladder(p.Plan, view))
	}
	p.Sequels = sequences(looks)
	p.Facts = factRows(view.Facts)
	return p, nil
}

// A factRow is a fact, or several looks in a row that came to the same: the
// newest of them.
type factRow struct {
	v1.RolloutFact
	Times int
	Since time.Time // of the first
}

func factRows(facts []v1.RolloutFact) []factRow {
	var rows []factRow
	for _, f := range facts {
		if last := len(rows) - 1; last >= 0 && f.Kind == v1.RolloutFactKindLook && rows[last].Kind == f.Kind && rows[last].Verdict == f.Verdict && rows[last].Step.Number == f.Step.Number {
			rows[last].RolloutFact, rows[last].Times = f, rows[last].Times+1
			continue
		}
		rows = append(rows, factRow{f, 1, f.At})
	}
	return rows
}

// ended says whether a rollout has come to its end, and whether it went back.
func ended(r v1.Rollout) string {
	out := ""
	for _, f := range r.Facts {
		switch f.Kind {
		case v1.RolloutFactKindBack:
			out = "back"
		case v1.RolloutFactKindEnd:
			if out == "" {
				out = "end"
			}
		}
	}
	return out
}

// ladder draws the steps of the plan and where the rollout is on them.
func ladder(plan promotion.Plan, r v1.Rollout) chart.Ladder {
	l := chart.Ladder{Title: "Steps"}
	end := ended(r)
	for _, s := range plan.Canary.Steps(plan.Regions) {
		rung := chart.Rung{Label: s.Region + " " + chart.Number(float64(s.ShareBP)/100) + " %", Share: float64(s.ShareBP) / canary.Whole}
		if s.Shadow() {
			rung.Label = s.Region + " shadow"
		}
		at := r.Step.Number
		switch {
		case at == 0:
		case s.Number < at || end == "end":
			rung.State = chart.Pass
		case s.Number == at:
			rung.Now, rung.State = end == "", chart.Hold
			if end == "back" {
				rung.State = chart.Fail
			}
		}
		if end == "back" && s.Number < at {
			rung.State = chart.Fail
		}
		l.Rungs = append(l.Rungs, rung)
	}
	return l
}

// sequences draws each guardrail's looks against its margin.
func sequences(looks []canary.Look) []template.HTML {
	drawn := plot.Canary(looks)
	out := make([]template.HTML, len(drawn))
	for i, d := range drawn {
		out[i] = chart.HTML(d)
	}
	return out
}

// rolloutActs are what can be done with a rollout where it is.
func (v *visit) rolloutActs(p rolloutPage) []act {
	role := v.lacks("operator", "admin")
	id := p.Action.ID
	off := when(p.Action.State != "started", fmt.Sprintf("The promotion is %s.", p.Action.State))
	none := when(p.Plan.Canary == nil, "Everybody gets the version at once.")
	idle := when(p.Rollout.Step.Number == 0, "The rollout has not begun: the promotion waits for its approvers.")
	over := when(ended(p.Rollout) != "", "The rollout is over.")
	on := func(name, label string) act {
		return act{Name: name, Label: label, Link: link("rollouts", id, "steer"), Fields: map[string]string{"do": name}, Reason: true}
	}
	abort := on("abort", "Abort and go back")
	abort.Danger, abort.Type = true, "abort"
	return []act{
		on("pause", "Pause").unless(off, none, over, idle, when(p.Rollout.Paused, "It is paused already."), role),
		on("resume", "Resume").unless(off, none, over, idle, when(!p.Rollout.Paused, "It is not paused."), role),
		abort.unless(off, none, over, idle, role),
	}
}

// steerRollout asks for one of the three.
func steerRollout(v *visit) error {
	id, do := v.path("id"), v.field("do")
	if do == "abort" && v.field("typed") != "abort" {
		return &refusal{422, "Nothing was done", "To abort, type the word abort into the form."}
	}
	_, err := v1.Fetch[v1.RolloutState](v.api.SteerCanary(v.ctx(), id, nil, v1.SteerRequest{Do: v1.SteerRequestDo(do), Reason: v.field("reason")}, v.once()))
	if err != nil {
		return err
	}
	return v.redirect(link("rollouts", id) + "?done=rollout-" + do)
}
