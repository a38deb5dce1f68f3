package web

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/lineage"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// evidence is what is known of what a plan would put into use.
type evidence struct {
	Figures  []figure
	Status   scorecard.Status // of the candidate's card
	Score    int
	Champion int // version that the figures are beside
	Version  *v1.ModelVersion
	Lineage  []source
	Grants   []lineage.Grant
	Lost     []lineage.Withdrawn
	Replay   *v1.ReplayResult
	Point    *v1.RecoveryPoint
}

// A figure is one number of a scorecard with its interval, beside the champion's.
type figure struct {
	Group, Name, Unit string
	Value             reading
	Beside            *reading
	Limit             string
	Status            scorecard.Status
	Advisory          bool
	Bar               *bar
}

// A reading is a value with its 95 % interval, as text.
type reading struct{ Value, Interval string }

// A bar draws an interval on a line of 200 units.
type bar struct {
	Low, Value, High, Limit int
	HasLimit                bool
	Text                    string
}

// A source is something that a version was made from.
type source struct{ Namespace, Name string }

// plain reads a document of the API that is of a type of the domain.
func plain(doc v1.JSON, into any) error { return json.Unmarshal(doc, into) }

// read fills in what the plan is about; what cannot be read, the page says.
func (e *evidence) read(v *visit, p *requestPage) error {
	questions := []func() error{func() error {
		if points, err := v1.Fetch[v1.RecoveryPointPage](v.api.ListRecoveryPoints(v.ctx(), &v1.ListRecoveryPointsParams{Limit: 1})); err == nil && len(points.Items) > 0 {
			e.Point = &points.Items[0]
		}
		return nil
	}}
	if p.Plan.Version != nil {
		questions = append(questions, func() error { e.card(v, p); return nil }, func() error { e.origin(v, p); return nil })
	}
	if p.Plan.Policy != nil && v.query("replay") != "" {
		questions = append(questions, func() error { e.replay(v, p); return nil })
	}
	return together(questions...)
}

// card reads the candidate's scorecard and, beside it, the champion's.
func (e *evidence) card(v *visit, p *requestPage) {
	read := func(version int) (scorecard.Card, error) {
		got, err := v1.Fetch[v1.Scorecard](v.api.GetScorecard(v.ctx(), p.Plan.ModelID, &v1.GetScorecardParams{Version: version}))
		var card scorecard.Card
		if err == nil {
			err = plain(got.Card, &card)
		}
		return card, err
	}
	var card, other scorecard.Card
	champion := p.Plan.Observed.Champion
	unread := errNoPage
	err := together(
		func() (err error) { card, err = read(p.Plan.Version.Number); return },
		func() error {
			if champion > 0 && champion != p.Plan.Version.Number {
				other, unread = read(champion)
			}
			return nil
		},
	)
	if err != nil {
		p.lacks("the scorecard", err)
		return
	}
	e.Status, e.Score = card.Status, card.Score
	beside := map[string]scorecard.Figure{}
	if unread == nil {
		e.Champion = champion
		for _, d := range other.Dimensions {
			for _, f := range d.Figures {
				beside[d.Name+"/"+f.Name] = f
			}
		}
	}
	for _, d := range card.Dimensions {
		for _, f := range d.Figures {
			row := figure{Group: d.Name, Name: f.Name, Unit: f.Unit, Value: readingOf(f), Status: f.Status, Advisory: f.ReportOnly || !d.Critical, Bar: barOf(f)}
			if f.Limit != nil {
				row.Limit = map[bool]string{true: "at least ", false: "at most "}[f.AtLeast] + quantity(*f.Limit, f.Unit)
			}
			if other, ok := beside[d.Name+"/"+f.Name]; ok && other.N > 0 {
				r := readingOf(other)
				row.Beside = &r
			}
			e.Figures = append(e.Figures, row)
		}
	}
	if len(card.Dimensions) > 0 {
		return
	}
	for _, m := range card.Metrics {
		share := func(bp int64) float64 { return float64(bp) / 10000 }
		low, high, limit := share(m.LowBP), share(m.HighBP), share(m.TargetBP)
		f := scorecard.Figure{Name: m.Name, Unit: "share", N: m.N, Value: share(m.ValueBP), Low: &low, High: &high, Limit: &limit, Status: m.Status}
		e.Figures = append(e.Figures, figure{Group: "runs", Name: m.Name, Unit: "share", Value: readingOf(f), Limit: quantity(limit, "share"), Status: m.Status, Bar: barOf(f)})
	}
}

func readingOf(f scorecard.Figure) reading {
	if f.Status == scorecard.NoData {
		return reading{Value: "no data"}
	}
	r := reading{Value: quantity(f.Value, f.Unit)}
	if f.Low != nil && f.High != nil {
		r.Interval = quantity(*f.Low, f.Unit) + " to " + quantity(*f.High, f.Unit)
	}
	return r
}

// quantity writes a value in its unit.
func quantity(x float64, unit string) string {
	switch unit {
	case "share":
		return fmt.Sprintf("%.2f %%", 100*x)
	case "count":
		return grouped(int64(math.Round(x)))
	case "seconds":
		return inWords(time.Duration(x * float64(time.Second)))
	default:
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", x), "0"), ".")
	}
}

// barOf draws shares only: other units have no ends to draw between.
func barOf(f scorecard.Figure) *bar {
	if f.Unit != "share" || f.Low == nil || f.High == nil || f.Status == scorecard.NoData {
		return nil
	}
	at := func(x float64) int { return int(math.Round(200 * min(max(x, 0), 1))) }
	b := &bar{Low: at(*f.Low), Value: at(f.Value), High: at(*f.High)}
	b.Text = "from " + quantity(*f.Low, f.Unit) + " to " + quantity(*f.High, f.Unit)
	if f.Limit != nil {
		b.Limit, b.HasLimit = at(*f.Limit), true
		b.Text += ", limit " + quantity(*f.Limit, f.Unit)
	}
	return b
}

// origin reads where a version comes from: its run, what that read, and by
// whose consent.
func (e *evidence) origin(v *visit, p *requestPage) {
	model, err := v1.Fetch[v1.Model](v.api.GetModel(v.ctx(), p.Plan.ModelID, nil))
	if err != nil {
		p.lacks("the version", err)
		return
	}
	at := slices.IndexFunc(model.Versions, func(x v1.ModelVersion) bool { return x.Version == p.Plan.Version.Number })
	if at < 0 {
		return
	}
	got := model.Versions[at]
	if e.Version = &got; got.Run == "" {
		return
	}
	events, err := v1.Fetch[v1.LineageEvents](v.api.GetRunLineage(v.ctx(), got.Run, nil))
	if err != nil {
		p.lacks("the lineage", err)
		return
	}
	seen, granted, lost := map[source]bool{}, map[string]bool{}, map[string]bool{}
	for _, doc := range events.Events {
		var event lineage.Event
		if plain(doc, &event) != nil {
			continue // of a later form
		}
		for _, d := range event.Inputs {
			s := source{d.Namespace, d.Name}
			if !seen[s] && strings.HasPrefix(d.Name, "feature/") {
				seen[s] = true
				e.Lineage = append(e.Lineage, s)
			}
		}
		if consent := event.Run.Facets.Consent; consent != nil {
			for _, g := range consent.Grants {
				if !granted[g.Tenant+"/"+g.Feature] {
					granted[g.Tenant+"/"+g.Feature] = true
					e.Grants = append(e.Grants, g)
				}
			}
			for _, w := range consent.Withdrawn {
				if !lost[w.Tenant] {
					lost[w.Tenant] = true
					e.Lost = append(e.Lost, w)
				}
			}
		}
	}
}

// replay decides the last week again under the plan's document.
func (e *evidence) replay(v *visit, p *requestPage) {
	var request v1.ReplayRequest
	if err := json.Unmarshal(*p.Plan.Policy, &request.Document); err != nil {
		p.lacks("the replay", err)
		return
	}
	got, err := v1.Fetch[v1.ReplayResult](v.api.ReplayPolicy(v.ctx(), nil, request))
	if err != nil {
		p.lacks("the replay", err)
		return
	}
	e.Replay = &got
}
