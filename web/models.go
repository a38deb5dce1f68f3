package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// modelsPage is the table of models.
type modelsPage struct {
	Rows  []v1.Model
	Next  string
	First bool
}

func models(v *visit) error {
	got, err := v1.Fetch[v1.ModelPage](v.api.ListModels(v.ctx(), &v1.ListModelsParams{Cursor: v.query("cursor")}))
	if err != nil {
		return err
	}
	return v.render("models", "Models", modelsPage{Rows: got.Items, Next: nextPage(got.Next), First: v.query("cursor") == ""})
}

// modelPage is a model: its versions, what names them, and what ran when.
type modelPage struct {
	Model    v1.Model
	Aliases  []v1.Alias
	Names    map[int][]string // of a version
	At       string           // as asked; a time of UTC without its zone
	Then     *v1.ModelHistory
	ThenNone string // why there is no answer
}

// formTime is what an input of a date and a time sends.
const formTime = "2006-01-02T15:04"

func model(v *visit) error {
	id := v.path("id")
	got, aliases, err := v.model(id)
	if err != nil {
		return err
	}
	p := modelPage{Model: got, Aliases: aliases.Items, Names: namesOf(got, aliases.Items), At: v.query("at")}
	slices.SortFunc(p.Model.Versions, func(a, b v1.ModelVersion) int { return cmp.Compare(b.Version, a.Version) })
	if p.At != "" {
		if err := p.then(v, id); err != nil {
			return err
		}
	}
	return v.render("model", "Model "+id, p)
}

// model returns a model and what names its versions.
func (v *visit) model(id string) (got v1.Model, aliases v1.AliasList, err error) {
	err = together(
		func() (err error) { got, err = v1.Fetch[v1.Model](v.api.GetModel(v.ctx(), id, nil)); return },
		func() (err error) {
			aliases, err = v1.Fetch[v1.AliasList](v.api.ListAliases(v.ctx(), id, &v1.ListAliasesParams{}))
			return
		},
	)
	return got, aliases, err
}

// then asks what answered at a time.
func (p *modelPage) then(v *visit, id string) error {
	at, err := time.Parse(formTime, p.At)
	if err != nil {
		p.ThenNone = "That is no time: write it as 2026-11-22T12:00, in UTC."
		return nil
	}
	at = at.Add(time.Minute - time.Microsecond) // the whole minute that was typed
	then, err := v1.Fetch[v1.ModelHistory](v.api.GetModelHistory(v.ctx(), id, &v1.GetModelHistoryParams{At: at}))
	var said *v1.ProblemError
	if errors.As(err, &said) && (said.Status == http.StatusNotFound || said.Status == http.StatusBadRequest || said.Status == http.StatusUnprocessableEntity) {
		p.ThenNone = sentence(cmp.Or(said.Detail, said.Title))
		return nil
	}
	p.Then = &then
	return err
}

// namesOf is what names each version: the environments that it is the champion
// of, and its aliases.
func namesOf(m v1.Model, aliases []v1.Alias) map[int][]string {
	names := map[int][]string{}
	for environment, version := range m.Champions {
		names[version] = append(names[version], "champion of "+environment)
	}
	for _, a := range aliases {
		if a.Alias != "champion" {
			names[a.Version] = append(names[a.Version], fmt.Sprintf("%s in %s", a.Alias, a.Environment))
		}
	}
	for _, list := range names {
		slices.Sort(list)
	}
	return names
}

// versionPage is one version: where it comes from, and how good it is beside
// what runs.
type versionPage struct {
	Model    v1.Model
	Version  v1.ModelVersion
	Names    []string
	Run      *v1.Run
	Graph    template.HTML
	Card     *scorecard.Card
	Champion int // version that it is held against; 0 for none
	Beside   *scorecard.Card
	Rows     []cardRow
	Lacking  string // why there is no card
}

// A cardRow is a figure of the version beside the champion's.
type cardRow struct {
	Dimension, Critical string
	Class               string // how its verdict looks
	Figure              scorecard.Figure
	Champion            *scorecard.Figure
	Bar, ChampionBar    template.HTML
}

func version(v *visit) error {
	id := v.path("id")
	number, err := strconv.Atoi(v.path("version"))
	if err != nil {
		return errNoPage
	}
	got, aliases, err := v.model(id)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(got.Versions, func(m v1.ModelVersion) bool { return m.Version == number })
	if at < 0 {
		return errNoPage
	}
	p := versionPage{Model: got, Version: got.Versions[at], Names: namesOf(got, aliases.Items)[number], Champion: championBeside(got, number)}
	err = together(
		func() error {
			if p.Version.Run == "" {
				return nil
			}
			run, err := v1.Fetch[v1.Run](v.api.GetRun(v.ctx(), p.Version.Run, nil))
			if run.ID != "" {
				p.Run = &run
			}
			return absent(err)
		},
		func() (err error) { p.Card, p.Lacking, err = v.card(id, number); return },
		func() (err error) {
			if p.Champion > 0 {
				p.Beside, _, err = v.card(id, p.Champion)
			}
			return
		},
	)
	if err != nil {
		return err
	}
	p.Graph = chart.HTML(provenance(p))
	p.Rows = besides(p.Card, p.Beside)
	return v.render("version", fmt.Sprintf("%s version %d", id, number), p)
}

// absent is an error but for "not found".
func absent(err error) error {
	var said *v1.ProblemError
	if errors.As(err, &said) && said.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// championBeside is the champion that a version is held against: production's
// where there is one, and never itself.
func championBeside(m v1.Model, number int) int {
	for _, environment := range []string{"production", "staging", "dev"} {
		if c := m.Champions[environment]; c > 0 && c != number {
			return c
		}
	}
	return 0
}

// card reads a version's scorecard; a version without one says why.
func (v *visit) card(id string, number int) (*scorecard.Card, string, error) {
	got, err := v1.Fetch[v1.Scorecard](v.api.GetScorecard(v.ctx(), id, &v1.GetScorecardParams{Version: number}))
	var said *v1.ProblemError
	if errors.As(err, &said) && said.Status < http.StatusInternalServerError && said.Status != http.StatusUnauthorized {
		return nil, sentence(cmp.Or(said.Detail, said.Title)), nil
	}
	if err != nil {
		return nil, "", err
	}
	var card scorecard.Card
	if err := json.Unmarshal(got.Card, &card); err != nil {
		return nil, "", fmt.Errorf("scorecard of %s version %d: %w", id, number, err)
	}
	return &card, "", nil
}

// provenance draws what a version was made of.
func provenance(p versionPage) chart.Graph {
	name := fmt.Sprintf("%s %d", p.Model.ID, p.Version.Version)
	g := chart.Graph{Title: "Where it comes from", Nodes: []chart.Node{{ID: "version", Kind: "version", Label: name, Chosen: true}}}
	add := func(id, kind, label, to string) {
		g.Nodes = append(g.Nodes, chart.Node{ID: id, Kind: kind, Label: label})
		g.Edges = append(g.Edges, chart.Edge{From: id, To: to})
	}
	add("weights", "weights", shortDigest(p.Version.Weights.Digest), "version")
	if p.Version.Run == "" {
		return g
	}
	add("run", "run", p.Version.Run, "weights")
	if p.Run == nil {
		return g
	}
	add("round", "round", strconv.Itoa(p.Version.Round), "weights")
	g.Edges = append(g.Edges, chart.Edge{From: "run", To: "round"})
	for _, t := range p.Run.Tenants {
		add("tenant "+t, "sites of", t, "run")
		for _, f := range p.Run.Params.Features {
			add("feature "+t+" "+f, "feature", f, "tenant "+t)
		}
	}
	return g
}

// besides lays the figures of two cards beside each other.
func besides(card, champion *scorecard.Card) []cardRow {
	if card == nil {
		return nil
	}
	var rows []cardRow
	for _, d := range card.Dimensions {
		for _, f := range d.Figures {
			row := cardRow{Dimension: d.Name, Figure: f, Bar: figureBar(f), Class: stateClass(f.Status)}
			if d.Critical {
				row.Critical = "critical"
			}
			if other := figureOf(champion, d.Name, f.Name); other != nil {
				row.Champion, row.ChampionBar = other, figureBar(*other)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func figureOf(card *scorecard.Card, dimension, name string) *scorecard.Figure {
	if card == nil {
		return nil
	}
	for _, d := range card.Dimensions {
		for _, f := range d.Figures {
			if d.Name == dimension && f.Name == name {
				return &f
			}
		}
	}
	return nil
}

// figureBar draws a figure; what says too little is grey.
func figureBar(f scorecard.Figure) template.HTML {
	if f.Status == scorecard.NoData {
		return ""
	}
	state := map[scorecard.Status]chart.State{scorecard.Pass: chart.Pass, scorecard.Fail: chart.Fail}[f.Status]
	return chart.HTML(chart.Bar{Interval: chart.Interval{Name: f.Name, Estimate: f.Value, Low: f.Low, High: f.High, Margin: f.Limit, State: state}, Share: f.Unit == "share", Unit: f.Unit})
}
