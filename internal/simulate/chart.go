package simulate

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// A chart is lines over the rounds.
type chart struct {
	title, unit string
	lines       []line
}

type line struct {
	name   string
	points [][2]float64 // round, value
}

// Geometry of a chart, in its own units.
const (
	chartWidth, chartHeight = 720, 400
	left, right, top, foot  = 84, 24, 56, 64
)

// colours of the lines, in order; legible on white and told apart by those who
// do not see red and green.
func colour(i int) string {
	all := []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"}
	return all[i%len(all)]
}

// SVG draws the chart. Coordinates are rounded to a tenth, so that equal
// results are equal bytes.
func (c chart) SVG() []byte {
	x, y := c.spans()
	atX := func(v float64) float64 { return left + (v-x.low)/(x.high-x.low)*(chartWidth-left-right) }
	atY := func(v float64) float64 { return chartHeight - foot - (v-y.low)/(y.high-y.low)*(chartHeight-top-foot) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, "<title>%s (simulated)</title>\n<desc>%s</desc>\n", html.EscapeString(c.title), html.EscapeString(Note))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15">%s <tspan fill="#b00020">(simulated)</tspan></text>`+"\n", left, html.EscapeString(c.title))
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, atY(v), chartWidth-right, atY(v), left-8, atY(v)+4, number(v))
	}
	for _, v := range x.ticks() {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#888"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			atX(v), chartHeight-foot, atX(v), chartHeight-foot+5, atX(v), chartHeight-foot+20, number(v))
	}
	fmt.Fprintf(&b, `<path d="M%d %d V%d H%d" fill="none" stroke="#888"/>`+"\n", left, top, chartHeight-foot, chartWidth-right)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">round</text><text x="%d" y="%d">%s</text>`+"\n",
		(left+chartWidth-right)/2, chartHeight-foot+42, 8, top-10, html.EscapeString(c.unit))
	for i, l := range c.lines {
		var path strings.Builder
		for j, p := range l.points {
			fmt.Fprintf(&path, "%s%.1f %.1f", []string{" L", "M"}[b2i(j == 0)], atX(p[0]), atY(p[1]))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colour(i))
		for _, p := range l.points {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n", atX(p[0]), atY(p[1]), colour(i))
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
			left+i*150, chartHeight-14, colour(i), left+i*150+15, chartHeight-5, html.EscapeString(l.name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A span is a stretch of an axis.
type span struct{ low, high, step float64 }

// spans returns the axes: values begin at 0.
func (c chart) spans() (x, y span) {
	xs, ys := [2]float64{math.Inf(1), math.Inf(-1)}, [2]float64{0, 0}
	for _, l := range c.lines {
		for _, p := range l.points {
			xs = [2]float64{min(xs[0], p[0]), max(xs[1], p[0])}
			ys = [2]float64{min(ys[0], p[1]), max(ys[1], p[1])}
		}
	}
	if xs[0] > xs[1] {
		xs = [2]float64{0, 1}
	}
	return round10(xs[0], xs[1]), round10(ys[0], ys[1])
}

// round10 widens a stretch to whole steps of 1, 2 or 5 times a power of ten,
// about five of them.
func round10(low, high float64) span {
	if high <= low {
		high = low + 1
	}
	raw := (high - low) / 5
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{5, 2, 1} {
		if m*power >= raw {
			step = m * power
		}
	}
	return span{math.Floor(low/step) * step, math.Ceil(high/step-1e-9) * step, step}
}

func (s span) ticks() []float64 {
	var out []float64
	for i := 0; ; i++ {
		v := s.low + float64(i)*s.step
		if v > s.high+s.step/2 {
			return out
		}
		out = append(out, v)
	}
}

// number shows a tick without the noise of its last bits.
func number(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return strconv.FormatFloat(math.Round(v/unit.size*1000)/1000, 'f', -1, 64) + unit.name
		}
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}
