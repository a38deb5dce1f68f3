package chart

import (
	"fmt"
	"math"
	"strings"
)

// A Rung is one step of a rollout.
type Rung struct {
	Label string  // as "eu 25 %"
	Share float64 // 0 to 1
	State State   // Pass: behind it; Hold: it waits; Fail: here it went back; Open: to come
	Now   bool
}

// A Ladder draws the steps of a rollout from the smallest share to everybody.
type Ladder struct {
	Title string
	Rungs []Rung
}

const rungWide, ladderHigh = 72, 150

func (l Ladder) size() (float64, float64) {
	return float64(16 + rungWide*max(4, len(l.Rungs))), ladderHigh
}

func (l Ladder) words() (string, string) {
	if len(l.Rungs) == 0 {
		return l.Title, "No steps."
	}
	var parts []string
	for _, r := range l.Rungs {
		text := r.Label + ": " + map[State]string{Pass: "done", Hold: "waits", Fail: "went back", Open: "to come"}[State(r.State.class())]
		if r.Now {
			text += ", now"
		}
		parts = append(parts, text)
	}
	return l.Title, strings.Join(parts, "; ") + "."
}

func (l Ladder) draw(c *canvas) {
	wide, high := l.size()
	c.text(8, 14, "start", "head", fit(l.Title, wide-16))
	if len(l.Rungs) == 0 {
		c.empty(wide, high)
		return
	}
	const foot, room = ladderHigh - 26, ladderHigh - 26 - 40
	for i, r := range l.Rungs {
		share := min(1, max(0, r.Share))
		if !finite(r.Share) {
			share = 0
		}
		// Square roots: a step of 1 % is to be seen beside one of 100 %.
		tall := max(4, room*math.Sqrt(share))
		x := float64(8 + rungWide*i)
		c.rect("track", x, foot-room, rungWide-8, room)
		class := r.State.class()
		if class == string(Open) {
			class = "span open" // it has not been climbed
		}
		if r.Now {
			class += " now"
		}
		c.rect(class, x, foot-tall, rungWide-8, tall)
		mark := map[State]string{Pass: "✓", Hold: "‖", Fail: "✕"}[r.State]
		c.text(x+(rungWide-8)/2, foot-room-5, "middle", "", strings.TrimSpace(mark+map[bool]string{true: " now"}[r.Now]))
		c.text(x+(rungWide-8)/2, foot+15, "middle", "", fit(r.Label, rungWide-2))
	}
}

// A Meter draws a share of a whole with a mark, as privacy spent of a budget.
type Meter struct {
	Title    string
	Value    float64
	Most     float64
	State    State
	Unit     string
	WideHint float64 // 220 if it is 0
}

func (m Meter) size() (float64, float64) {
	if m.WideHint > 0 {
		return max(40, m.WideHint), 14
	}
	return 220, 14
}

func (m Meter) words() (string, string) {
	if !finite(m.Value, m.Most) || m.Most <= 0 {
		return fmt.Sprintf("%s: nothing to draw yet", m.Title), ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s of %s %s", m.Title, Number(m.Value), Number(m.Most), m.Unit)), ""
}

func (m Meter) draw(c *canvas) {
	wide, _ := m.size()
	c.rect("track", 1, 3, wide-2, 8)
	if finite(m.Value, m.Most) && m.Most > 0 {
		c.rect(m.State.class(), 1, 3, (wide-2)*min(1, max(0, m.Value/m.Most)), 8)
	}
}

// A Spark draws a short line without axes, for a cell of a table.
type Spark struct {
	Title  string
	Values []float64
}

func (s Spark) size() (float64, float64) { return 100, 20 }

func (s Spark) words() (string, string) {
	return Series{Name: s.Title, Points: s.points()}.words(), ""
}

func (s Spark) points() []Point {
	out := make([]Point, len(s.Values))
	for i, v := range s.Values {
		out[i] = Point{float64(i + 1), v}
	}
	return out
}

func (s Spark) draw(c *canvas) {
	var r reach
	r.add(s.Values...)
	if !r.any {
		c.line("axis", 2, 10, 98, 10)
		return
	}
	if r.low == r.high {
		r.low, r.high = r.low-1, r.high+1
	}
	x := scale{low: 1, high: max(2, float64(len(s.Values))), from: 3, to: 97}
	Series{Points: s.points()}.draw(c, 0, x, scale{low: r.low, high: r.high, from: 17, to: 3})
}
