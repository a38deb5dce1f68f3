package chart

import (
	"fmt"
	"strings"
)

// An Interval is an estimate, what it may be, and what it is held against.
type Interval struct {
	Name      string
	Estimate  float64
	Low, High *float64 // absent: no interval is known
	Margin    *float64 // absent: it is held against nothing
	State     State
}

// Intervals draws estimates one under the other over one axis.
type Intervals struct {
	Title string
	Unit  string
	Rows  []Interval
	Wide  float64 // 440 if it is 0
	Names float64 // width of the rows' names; 120 if it is 0
}

const (
	intervalRow  = 26
	intervalName = 120
	// intervalMost rows are drawn; the rest is for the table beside.
	intervalMost = 40
)

func (v Intervals) rows() []Interval { return v.Rows[:min(len(v.Rows), intervalMost)] }

func (v Intervals) size() (float64, float64) {
	wide := v.Wide
	if wide <= 0 {
		wide = 440
	}
	return max(wide, v.names()+120), float64(28 + intervalRow*max(1, len(v.rows())) + 24)
}

func (v Intervals) names() float64 {
	if v.Names > 0 {
		return v.Names
	}
	return intervalName
}

func (v Intervals) words() (string, string) {
	parts := make([]string, 0, len(v.Rows)+1)
	for _, row := range v.rows() {
		parts = append(parts, row.words(v.Unit))
	}
	if more := len(v.Rows) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more are not drawn", more))
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing to draw yet")
	}
	return v.Title, strings.Join(parts, "; ") + "."
}

func (i Interval) words(unit string) string {
	if unit != "" {
		unit = " " + unit
	}
	text := i.Name + ": "
	if finite(i.Estimate) {
		text += Number(i.Estimate) + unit
	} else {
		text += "no estimate"
	}
	if i.known() {
		text += fmt.Sprintf(", between %s and %s", Number(*i.Low), Number(*i.High))
	}
	if i.Margin != nil && finite(*i.Margin) {
		text += ", margin " + Number(*i.Margin)
	}
	return text + ", " + i.State.word()
}

func (i Interval) known() bool { return i.Low != nil && i.High != nil && finite(*i.Low, *i.High) }

// reach grows r to hold the row.
func (i Interval) reach(r *reach) {
	r.add(i.Estimate)
	for _, p := range []*float64{i.Low, i.High, i.Margin} {
		if p != nil {
			r.add(*p)
		}
	}
}

func (v Intervals) draw(c *canvas) {
	wide, high := v.size()
	c.text(4, 14, "start", "head", fit(v.Title, wide-8))
	r := reach{any: true} // 0, no effect, is always on it
	drawn := false
	for _, row := range v.rows() {
		row.reach(&r)
		drawn = drawn || finite(row.Estimate) || row.known()
	}
	if !drawn {
		c.empty(wide, high)
		return
	}
	x := newScale(r.low, r.high, max(2, int((wide-v.names())/70)), v.names(), wide-24)
	foot := high - 22
	for _, t := range x.ticks() {
		c.line("grid", x.at(t), 24, x.at(t), foot)
		c.text(x.at(t), foot+14, "middle", "", Number(t))
	}
	c.line("axis", x.at(0), 24, x.at(0), foot)
	for n, row := range v.rows() {
		y := float64(24 + intervalRow*n + intervalRow/2)
		c.text(4, y+4, "start", "", fit(row.Name, v.names()-14))
		row.draw(c, x, y, 5)
	}
	c.text(wide-4, 14, "end", "faint", v.Unit)
}

// draw draws the row around a height: the interval as a bar, the margin as a
// dashed line, the estimate as a dot, hollow where it says too little.
func (i Interval) draw(c *canvas, x scale, y, half float64) {
	class := i.State.class()
	if i.known() {
		c.rect("span "+class, x.at(*i.Low), y-half, max(1.5, x.at(*i.High)-x.at(*i.Low)), 2*half)
	}
	if i.Margin != nil && finite(*i.Margin) {
		c.line("mark", x.at(*i.Margin), y-half-4, x.at(*i.Margin), y+half+4)
	}
	if finite(i.Estimate) {
		c.dot(class, x.at(i.Estimate), y, 3.5)
	}
}

// A Bar draws one interval without words, for a cell of a table. Where Share is
// set the axis is from 0 to 1.
type Bar struct {
	Interval
	Share bool
	Unit  string
}

const barWide, barHigh = 220, 18

func (b Bar) size() (float64, float64) { return barWide, barHigh }

func (b Bar) words() (string, string) {
	return b.Interval.words(b.Unit), ""
}

func (b Bar) draw(c *canvas) {
	r := reach{any: true}
	b.reach(&r)
	if b.Share {
		r.add(1)
	}
	if r.low == r.high {
		r.high = r.low + 1
	}
	x := scale{low: r.low, high: r.high, from: 5, to: barWide - 5}
	c.line("axis", x.from, barHigh/2, x.to, barHigh/2)
	b.Interval.draw(c, x, barHigh/2, 4)
}
