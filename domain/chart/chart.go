// Package chart draws what people decide by: as SVG, from values alone.
//
// One drawing serves three places. [HTML] gives an element for a page that
// serves [Style] in its own style sheet, so that a content security policy needs
// no inline styles. [File] gives a whole SVG document with that style inside,
// for a report or the command line. Colours are classes and follow the reader's
// light or dark mode; nothing is told by colour alone.
//
//	page := chart.HTML(chart.Lines{Title: "accuracy", Y: "%", Series: series})
//	err := os.WriteFile("accuracy.svg", chart.File(chart.Lines{...}), 0o644)
//
// Invariant: equal values are equal bytes. Every drawing has a name and a text
// that says what it shows, every text is escaped, no attribute is a style or a
// handler, and a value that is no number is left out and counted, never drawn.
package chart

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// A Drawing is one of the kinds of this package.
type Drawing interface {
	size() (wide, high float64)
	words() (title, desc string)
	draw(*canvas)
}

// HTML returns the drawing as an element of a page that serves [Style].
func HTML(d Drawing) template.HTML {
	return template.HTML(render(d, "")) //nolint:gosec // canvas escapes every text
}

// File returns the drawing as an SVG document of its own, with its style inside.
func File(d Drawing) []byte {
	return []byte(render(d, "<style>"+Style+fileStyle+"</style>") + "\n")
}

func render(d Drawing, style string) string {
	wide, high := d.size()
	title, desc := d.words()
	c := &canvas{}
	space := ""
	if style != "" { // a document needs its name space, an element of a page has it
		space = ` xmlns="http://www.w3.org/2000/svg"`
	}
	c.f(`<svg%s class="chart" role="img" viewBox="0 0 %s %s" width="%s" height="%s">`, space, px(wide), px(high), px(wide), px(high))
	c.f(`<title>%s</title><desc>%s</desc>`, html.EscapeString(title), html.EscapeString(desc))
	c.b.WriteString(style)
	if style != "" {
		c.f(`<rect class="paper" width="%s" height="%s"/>`, px(wide), px(high))
	}
	d.draw(c)
	c.b.WriteString("</svg>")
	return c.b.String()
}

// A canvas collects elements.
type canvas struct{ b strings.Builder }

func (c *canvas) f(format string, args ...any) { fmt.Fprintf(&c.b, format, args...) }

// text writes a word at a place; anchor is start, middle or end.
func (c *canvas) text(x, y float64, anchor, class, words string) {
	c.f(`<text x="%s" y="%s"`, px(x), px(y))
	if anchor != "start" {
		c.f(` text-anchor="%s"`, anchor)
	}
	if class != "" {
		c.f(` class="%s"`, class)
	}
	c.f(`>%s</text>`, html.EscapeString(words))
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	c.f(`<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, px(x1), px(y1), px(x2), px(y2))
}

func (c *canvas) rect(class string, x, y, wide, high float64) {
	c.f(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>`, class, px(x), px(y), px(max(0, wide)), px(max(0, high)))
}

func (c *canvas) dot(class string, x, y, r float64) {
	c.f(`<circle class="%s" cx="%s" cy="%s" r="%s"/>`, class, px(x), px(y), px(r))
}

// px rounds a coordinate to a tenth, so that equal results are equal bytes.
func px(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(v*10)/10+0, 'f', -1, 64) // + 0: no negative zero
}

// empty says in the middle of a drawing that there is nothing to draw.
func (c *canvas) empty(wide, high float64) {
	c.text(wide/2, high/2, "middle", "faint", "nothing to draw yet")
}

// fit shortens a text to what about fits into a width.
func fit(s string, wide float64) string {
	const perRune = 6.2 // of the style's 11 px text
	most := max(2, int(wide/perRune))
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most-1]) + "…"
}

// A State is what a value says; it decides colour and mark.
type State string

// The states. What says too little is Open: grey, and never green.
const (
	Open State = "open"
	Pass State = "pass"
	Hold State = "hold"
	Fail State = "fail"
)

// class guards against a state that is none of ours.
func (s State) class() string {
	switch s {
	case Pass, Hold, Fail:
		return string(s)
	}
	return string(Open)
}

func (s State) word() string {
	switch s {
	case Pass:
		return "passes"
	case Hold:
		return "holds"
	case Fail:
		return "fails"
	}
	return "says too little"
}

// finite says whether a value can be drawn.
func finite(values ...float64) bool {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
