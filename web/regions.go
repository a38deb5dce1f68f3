package web

import (
	"fmt"
	"html/template"
	"slices"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/web/plot"
)

// regionsPage is where models run and how that goes.
type regionsPage struct {
	Map       v1.RegionMap
	Picture   template.HTML
	Endpoints []endpointRow
	Loads     []loadRow
	Calls     int64
}

// An endpointRow is a runtime and how the calls of the last hour went.
type endpointRow struct {
	v1.RegionEndpoint
	Calls, Failed int64
	Health        string
	Class         string
}

// A loadRow is calls from one region to another against the budget of P6.
type loadRow struct {
	v1.RegionLoad
	Within bool
	Bars   template.HTML
	Says   string
	Class  string
}

func regions(v *visit) error {
	p, err := regionsOf(v)
	if err != nil {
		return err
	}
	return v.render("regions", "Regions and routes", p)
}

func regionsPart(v *visit) (part, error) {
	p, err := regionsOf(v)
	return part{Page: "regions", Template: "part", Body: p}, err
}

func regionsOf(v *visit) (regionsPage, error) {
	got, err := v1.Fetch[v1.RegionMap](v.api.ListRegions(v.ctx(), nil))
	if err != nil {
		return regionsPage{}, err
	}
	p := regionsPage{Map: got}
	for _, l := range got.Loads {
		p.Calls += l.Calls
		p.Loads = append(p.Loads, loadOf(l, got.Budget))
	}
	tiles := map[string]*chart.Region{}
	var names []string
	tile := func(name string) *chart.Region {
		if tiles[name] == nil {
			tiles[name] = &chart.Region{Name: name}
			names = append(names, name)
		}
		return tiles[name]
	}
	for _, r := range got.Regions {
		tile(r.Region)
	}
	count := map[string]int{}
	for _, e := range got.Endpoints {
		row := endpointRow{RegionEndpoint: e}
		for _, l := range got.Loads {
			if l.Endpoint == e.Name && l.Region == e.Region {
				row.Calls, row.Failed = row.Calls+l.Calls, row.Failed+l.Failed
			}
		}
		var state chart.State
		row.Health, row.Class, state = health(row.Calls, row.Failed)
		t := tile(e.Region)
		t.Weight += float64(row.Calls)
		count[e.Region]++
		t.State = worse(t.State, state)
		p.Endpoints = append(p.Endpoints, row)
	}
	slices.Sort(names)
	picture := chart.Regions{Title: "Share of the calls of the last hour"}
	for _, name := range names {
		t := *tiles[name]
		t.Note = plural(count[name], "endpoint", "endpoints")
		picture.Regions = append(picture.Regions, t)
	}
	p.Picture = chart.HTML(picture)
	return p, nil
}

// health says how a runtime answered: in part, from one failure in a hundred.
func health(calls, failed int64) (word, class string, state chart.State) {
	switch {
	case calls == 0:
		return "not asked", "", chart.Open
	case failed*2 >= calls:
		return "down", "bad", chart.Fail
	case failed*100 >= calls:
		return "in part", "warn", chart.Hold
	}
	return "healthy", "good", chart.Pass
}

// worse is the worse of what two endpoints of a region say; a region of which
// only some were asked is judged by those.
func worse(a, b chart.State) chart.State {
	order := []chart.State{"", chart.Open, chart.Pass, chart.Hold, chart.Fail}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

func loadOf(l v1.RegionLoad, b v1.LatencyBudget) loadRow {
	row := loadRow{RegionLoad: l, Within: l.From == "" || l.From == l.Region}
	bars := chart.Latencies{Title: fmt.Sprintf("%s to %s", l.From, l.Endpoint), P50: l.P50Ms, P95: l.P95Ms, P99: l.P99Ms, Budget: plot.Budget(l, b)}
	switch {
	case l.Calls == l.Failed: // there is no latency to speak of
		row.Says, row.Class = "no answers", "bad"
	case bars.State() == chart.Pass:
		row.Says, row.Class = "within budget", "good"
	default:
		row.Says, row.Class = "over budget", "bad"
	}
	if l.Calls > l.Failed {
		row.Bars = chart.HTML(bars)
	}
	return row
}
