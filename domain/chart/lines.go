package chart

import (
	"fmt"
	"strings"
)

// A Point is one value.
type Point struct{ X, Y float64 }

// A Series is one line; where a value is no number the line has a gap.
type Series struct {
	Name   string
	Points []Point
}

// A Mark is a level that values are held against, drawn as a dashed line.
type Mark struct {
	Name string
	Y    float64
}

// Lines draws values over rounds or time: convergence, bytes, privacy spent,
// drift.
type Lines struct {
	Title  string
	Note   string // said beside the title and in the text, as "simulated"
	Source string // where the values are from; said in the text alone
	X, Y   string // what the axes count
	Series []Series
	Marks  []Mark
	// Floating lets the values' axis begin at the least of them and not at 0.
	Floating bool
	// Wide and High are 440 and 240 if they are 0.
	Wide, High float64
}

const (
	linesLeft, linesRight, linesTop, linesAxis = 52, 12, 34, 34
	legendRow                                  = 16
)

func (l Lines) size() (float64, float64) {
	wide, high := l.Wide, l.High
	if wide <= 0 {
		wide = 440
	}
	if high <= 0 {
		high = 240
	}
	return max(wide, 160), max(high, 140)
}

func (l Lines) words() (string, string) {
	title := l.Title
	if l.Note != "" {
		title += " (" + l.Note + ")"
	}
	var parts []string
	for _, s := range l.Series {
		parts = append(parts, s.words())
	}
	for _, m := range l.Marks {
		if finite(m.Y) {
			parts = append(parts, fmt.Sprintf("%s at %s", m.Name, Number(m.Y)))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing to draw yet")
	}
	return title, strings.TrimSpace(l.Source + " " + strings.Join(parts, "; ") + ".")
}

// words says what a reader of the line would take from it.
func (s Series) words() string {
	var r reach
	var last Point
	drawn := 0
	for _, p := range s.Points {
		if finite(p.X, p.Y) {
			r.add(p.Y)
			last = p
			drawn++
		}
	}
	left := ""
	if n := len(s.Points) - drawn; n > 0 {
		left = fmt.Sprintf(", %d left out that are no numbers", n)
	}
	if drawn == 0 {
		return s.Name + ": no values" + left
	}
	return fmt.Sprintf("%s: %d values, least %s, most %s, last %s at %s%s", s.Name, drawn, Number(r.low), Number(r.high), Number(last.Y), Number(last.X), left)
}

func (l Lines) draw(c *canvas) {
	wide, high := l.size()
	rows := l.legend(wide)
	foot := high - linesAxis - legendRow*float64(len(rows))
	var xs, ys reach
	for _, s := range l.Series {
		for _, p := range s.Points {
			if finite(p.X, p.Y) {
				xs.add(p.X)
				ys.add(p.Y)
			}
		}
	}
	c.text(linesLeft, 14, "start", "head", fit(l.heading(), wide-linesLeft-linesRight))
	c.text(4, 28, "start", "faint", l.Y)
	if !xs.any {
		c.empty(wide, high)
		return
	}
	for _, m := range l.Marks {
		ys.add(m.Y)
	}
	if !l.Floating {
		ys.add(0)
	}
	x := newScale(xs.low, xs.high, max(2, int(wide/80)), linesLeft, wide-linesRight)
	if xs.low == float64(int64(xs.low)) && xs.high == float64(int64(xs.high)) {
		x = x.whole() // rounds are counted
	}
	y := newScale(ys.low, ys.high, max(2, int((foot-linesTop)/34)), foot, linesTop)
	frame(c, x, y, l.X)
	for _, m := range l.Marks {
		if finite(m.Y) {
			c.line("mark", x.from, y.at(m.Y), x.to, y.at(m.Y))
			c.text(x.from+4, y.at(m.Y)-3, "start", "", m.Name)
		}
	}
	for i, s := range l.Series {
		s.draw(c, i, x, y)
	}
	for n, row := range rows {
		at := float64(linesLeft)
		for _, i := range row {
			level := high - legendRow*float64(len(rows)-n) + 8
			c.line(seriesClass("line", i), at, level-4, at+16, level-4)
			c.text(at+20, level, "start", "", fit(l.Series[i].Name, wide-linesLeft-30))
			at += legendWide(l.Series[i].Name)
		}
	}
}

func (l Lines) heading() string {
	title, _ := l.words()
	return title
}

// legend puts the names of the series into rows that fit.
func (l Lines) legend(wide float64) [][]int {
	if len(l.Series) < 2 {
		return nil
	}
	var rows [][]int
	room := 0.0
	for i, s := range l.Series {
		if need := legendWide(s.Name); len(rows) == 0 || need > room {
			rows = append(rows, nil)
			room = wide - linesLeft - linesRight
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], i)
		room -= legendWide(s.Name)
	}
	return rows
}

func legendWide(name string) float64 { return 36 + 6.2*float64(len([]rune(name))) }

// frame draws axes, ticks and their numbers.
func frame(c *canvas, x, y scale, xName string) {
	for _, v := range y.ticks() {
		c.line("grid", x.from, y.at(v), x.to, y.at(v))
		c.text(x.from-6, y.at(v)+4, "end", "", Number(v))
	}
	for _, v := range x.ticks() {
		c.line("axis", x.at(v), y.from, x.at(v), y.from+4)
		c.text(x.at(v), y.from+16, "middle", "", Number(v))
	}
	c.f(`<path class="axis" d="M%s %sV%sH%s"/>`, px(x.from), px(y.to), px(y.from), px(x.to))
	if xName != "" {
		c.text((x.from+x.to)/2, y.from+29, "middle", "faint", xName)
	}
}

// Beyond this many points a line has no dots, and beyond the other it is thinned
// to what its width can show.
const (
	mostDots   = 60
	mostPoints = 800
)

func (s Series) draw(c *canvas, i int, x, y scale) {
	points := thin(s.Points)
	var path strings.Builder
	pen := "M"
	for _, p := range points {
		if !finite(p.X, p.Y) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&path, "%s%s %s", pen, px(x.at(p.X)), px(y.at(p.Y)))
		pen = "L"
	}
	if path.Len() == 0 {
		return
	}
	c.f(`<path class="%s" d="%s"/>`, seriesClass("line", i), path.String())
	if len(points) > mostDots {
		return
	}
	for _, p := range points {
		if finite(p.X, p.Y) {
			c.dot(seriesClass("dot", i), x.at(p.X), y.at(p.Y), 2.2)
		}
	}
}

// thin keeps of each stretch of a long series its least and its greatest value,
// in their order: no peak is lost.
func thin(points []Point) []Point {
	if len(points) <= mostPoints {
		return points
	}
	stretch := (len(points) + mostPoints/2 - 1) / (mostPoints / 2)
	var out []Point
	for from := 0; from < len(points); from += stretch {
		part := points[from:min(from+stretch, len(points))]
		low, high := -1, -1
		for i, p := range part {
			if !finite(p.X, p.Y) {
				continue
			}
			if low < 0 || p.Y < part[low].Y {
				low = i
			}
			if high < 0 || p.Y > part[high].Y {
				high = i
			}
		}
		switch {
		case low < 0:
			out = append(out, part[0]) // a gap stays a gap
		case low == high:
			out = append(out, part[low])
		default:
			out = append(out, part[min(low, high)], part[max(low, high)])
		}
	}
	return out
}

// seriesClass names one of six looks; they differ in dashes too, for those who
// do not tell the colours apart.
func seriesClass(kind string, i int) string { return fmt.Sprintf("%s s%d", kind, i%6) }
