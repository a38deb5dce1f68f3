package chart

import (
	"fmt"
	"strings"
)

// A Region is a region's part of the traffic and its health.
type Region struct {
	Name   string
	Weight float64
	State  State
	Note   string // a few words, as "2 of 3 endpoints"
}

// Regions draws a tile a region, filled by its share of all weights. The title
// says what the weights are.
type Regions struct {
	Title   string
	Regions []Region
}

const (
	tileWide, tileHigh, tileGap = 136, 76, 8
	tileColumns                 = 3
	mostTiles                   = 60
)

func (r Regions) shown() []Region { return r.Regions[:min(len(r.Regions), mostTiles)] }

func (r Regions) size() (float64, float64) {
	rows := (len(r.shown()) + tileColumns - 1) / tileColumns
	return 8 + tileColumns*(tileWide+tileGap), float64(26 + max(1, rows)*(tileHigh+tileGap))
}

func (r Regions) total() float64 {
	sum := 0.0
	for _, one := range r.Regions {
		if finite(one.Weight) && one.Weight > 0 {
			sum += one.Weight
		}
	}
	return sum
}

func (r Regions) words() (string, string) {
	if len(r.Regions) == 0 {
		return r.Title, "No region is known."
	}
	var parts []string
	for _, one := range r.shown() {
		parts = append(parts, fmt.Sprintf("%s: %s, %s", one.Name, one.share(r.total()), one.said()))
	}
	if more := len(r.Regions) - mostTiles; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more are not drawn", more))
	}
	return r.Title, strings.Join(parts, "; ") + "."
}

func (r Region) part(total float64) float64 {
	if !finite(r.Weight) || r.Weight <= 0 || total <= 0 {
		return 0
	}
	return r.Weight / total
}

func (r Region) share(total float64) string {
	if !finite(r.Weight) {
		return "not known"
	}
	return Number(100*r.part(total)) + " % of all"
}

func (r Region) health() string {
	switch r.State {
	case Pass:
		return "healthy"
	case Hold:
		return "in part"
	case Fail:
		return "down"
	}
	return "not heard of"
}

func (r Region) said() string {
	if r.Note == "" {
		return r.health()
	}
	return r.health() + ", " + r.Note
}

func (r Regions) draw(c *canvas) {
	wide, high := r.size()
	c.text(4, 14, "start", "head", fit(r.Title, wide-8))
	if len(r.Regions) == 0 {
		c.empty(wide, high)
		return
	}
	for i, one := range r.shown() {
		x := float64(4 + (i%tileColumns)*(tileWide+tileGap))
		y := float64(24 + (i/tileColumns)*(tileHigh+tileGap))
		c.rect("box", x, y, tileWide, tileHigh)
		c.dot(one.State.class(), x+12, y+15, 5)
		c.text(x+22, y+19, "start", "head", fit(one.Name, tileWide-30))
		c.text(x+8, y+35, "start", "", one.share(r.total()))
		c.text(x+8, y+50, "start", "faint", fit(one.said(), tileWide-14))
		c.rect("track", x+8, y+58, tileWide-16, 8)
		c.rect(one.State.class(), x+8, y+58, (tileWide-16)*one.part(r.total()), 8)
	}
}

// Latencies draws percentiles against a budget, in milliseconds.
type Latencies struct {
	Title         string
	P50, P95, P99 float64 // NaN: not known
	Budget        float64 // of the 95th percentile
}

func (l Latencies) size() (float64, float64) { return 240, 66 }

func (l Latencies) words() (string, string) {
	text := l.Title
	for _, p := range l.parts() {
		if finite(p.value) {
			text += fmt.Sprintf(", %s %s ms", p.name, Number(p.value))
		} else {
			text += fmt.Sprintf(", %s not known", p.name)
		}
	}
	return fmt.Sprintf("%s; the budget of p95 is %s ms: %s", text, Number(l.Budget), l.State().word()), ""
}

// State says whether the 95th percentile is inside its budget.
func (l Latencies) State() State {
	switch {
	case !finite(l.P95, l.Budget) || l.Budget <= 0:
		return Open
	case l.P95 < l.Budget:
		return Pass
	}
	return Fail
}

type percentile struct {
	name  string
	value float64
	state State
}

func (l Latencies) parts() []percentile {
	return []percentile{{"p50", l.P50, Open}, {"p95", l.P95, l.State()}, {"p99", l.P99, Open}}
}

func (l Latencies) draw(c *canvas) {
	r := reach{any: true}
	r.add(l.P50, l.P95, l.P99, l.Budget)
	x := scale{low: 0, high: max(r.high*1.05, 1), from: 30, to: 164}
	for i, p := range l.parts() {
		y := float64(4 + 20*i)
		c.text(2, y+12, "start", "", p.name)
		c.rect("track", x.from, y+3, x.to-x.from, 10)
		words := "not known"
		if finite(p.value) {
			c.rect(p.state.class(), x.from, y+3, x.at(max(0, p.value))-x.from, 10)
			words = Number(p.value) + " ms"
		}
		c.text(170, y+12, "start", "", words)
	}
	if finite(l.Budget) && l.Budget > 0 {
		c.line("mark", x.at(l.Budget), 2, x.at(l.Budget), 62)
	}
}
