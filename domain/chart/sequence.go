package chart

import (
	"fmt"
	"strings"
)

// A Look is one look of a sequential test: the effect after so many answers and
// the interval that holds at every look at once.
type Look struct {
	At        float64 // answers, or the look's number
	Estimate  float64
	Low, High float64
}

// A Sequence draws a confidence sequence against its margin. The test fails
// when the whole interval is beyond the margin, and passes when it is all on
// this side.
type Sequence struct {
	Title  string
	X, Y   string
	Looks  []Look
	Margin float64
	State  State
	Wide   float64 // 440 if it is 0
}

func (s Sequence) size() (float64, float64) {
	wide := s.Wide
	if wide <= 0 {
		wide = 440
	}
	return max(wide, 200), 220
}

func (s Sequence) words() (string, string) {
	var last *Look
	n := 0
	for i := range s.Looks {
		if l := &s.Looks[i]; finite(l.At, l.Estimate, l.Low, l.High) {
			last = l
			n++
		}
	}
	if last == nil {
		return s.Title, "No look that says anything yet."
	}
	var parts []string
	parts = append(parts, fmt.Sprintf("%d looks, the last at %s: %s, between %s and %s", n, Number(last.At), Number(last.Estimate), Number(last.Low), Number(last.High)))
	if finite(s.Margin) {
		parts = append(parts, "margin "+Number(s.Margin))
	}
	parts = append(parts, "it "+s.State.word())
	return s.Title, strings.Join(parts, ", ") + "."
}

func (s Sequence) draw(c *canvas) {
	wide, high := s.size()
	c.text(linesLeft, 14, "start", "head", fit(s.Title, wide-linesLeft-8))
	c.text(4, 28, "start", "faint", s.Y)
	var looks []Look
	var xs reach
	ys := reach{any: true}
	for _, l := range s.Looks {
		if finite(l.At, l.Estimate, l.Low, l.High) {
			looks = append(looks, l)
			xs.add(l.At)
			ys.add(l.Low, l.High, l.Estimate)
		}
	}
	if len(looks) == 0 {
		c.empty(wide, high)
		return
	}
	ys.add(s.Margin)
	x := newScale(xs.low, xs.high, max(2, int(wide/80)), linesLeft, wide-linesRight).whole()
	y := newScale(ys.low, ys.high, 5, high-linesAxis, linesTop)
	frame(c, x, y, s.X)
	class := s.State.class()
	var band strings.Builder
	for i, l := range looks {
		fmt.Fprintf(&band, "%s%s %s", []string{"L", "M"}[first(i)], px(x.at(l.At)), px(y.at(l.High)))
	}
	for i := len(looks) - 1; i >= 0; i-- {
		fmt.Fprintf(&band, "L%s %s", px(x.at(looks[i].At)), px(y.at(looks[i].Low)))
	}
	c.f(`<path class="band %s" d="%sZ"/>`, class, band.String())
	for _, l := range looks {
		c.rect("span "+class, x.at(l.At)-1, y.at(l.High), 2, y.at(l.Low)-y.at(l.High))
		c.dot(class, x.at(l.At), y.at(l.Estimate), 2.6)
	}
	c.line("axis", x.from, y.at(0), x.to, y.at(0))
	if finite(s.Margin) {
		c.line("mark", x.from, y.at(s.Margin), x.to, y.at(s.Margin))
		c.text(x.to-2, y.at(s.Margin)-3, "end", "", "margin")
	}
}

func first(i int) int {
	if i == 0 {
		return 1
	}
	return 0
}
