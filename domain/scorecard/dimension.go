package scorecard

import (
	"fmt"
	"math"
	"slices"
)

// FormatVersion is that of the card's JSON, which only gains fields.
const FormatVersion = 2

// Dimensions of a card, in its order.
const (
	Performance = "performance"
	Calibration = "calibration"
	Fairness    = "fairness"
	Drift       = "drift"
	Resilience  = "resilience"
	Privacy     = "privacy"
)

// A Figure is one measured number with its interval, where there is one, and
// its verdict. Numbers are rounded to a millionth.
type Figure struct {
	Name       string   `json:"name"`
	Unit       string   `json:"unit"` // "share", "index", "seconds", "epsilon", "count", "nats", "sd"
	N          int64    `json:"n,omitempty"`
	Value      float64  `json:"value"`
	Low        *float64 `json:"low,omitempty"`
	High       *float64 `json:"high,omitempty"`
	Limit      *float64 `json:"limit,omitempty"`
	AtLeast    bool     `json:"atLeast,omitempty"` // the limit is a least, not a most
	Status     Status   `json:"status"`
	ReportOnly bool     `json:"reportOnly,omitempty"` // says something and decides nothing
	Detail     string   `json:"detail,omitempty"`
}

// A Dimension is a group of figures. Its score is 100 times the share of
// figures that pass among those with data, after Kayenta.
type Dimension struct {
	Name     string   `json:"name"`
	Status   Status   `json:"status"`
	Critical bool     `json:"critical"`
	Score    int      `json:"score"`
	Figures  []Figure `json:"figures"`
	Curve    []Point  `json:"curve,omitempty"` // of calibration
	Notes    []string `json:"notes,omitempty"`
}

// A Point of the calibration curve.
type Point struct {
	N     int64   `json:"n"`
	Score float64 `json:"score"`
	Rate  float64 `json:"rate"`
}

// round6 keeps six decimals, so that a card reads the same wherever it was
// computed. What is not a number is 0; such a figure never passes.
func round6(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return math.Round(x*1e6) / 1e6
}

func pointer(x float64) *float64 {
	x = round6(x)
	return &x
}

// most judges a value with its interval against the greatest that is good.
func most(f Figure, value, low, high, limit float64, enough bool) Figure {
	f.Value, f.Low, f.High, f.Limit = round6(value), pointer(low), pointer(high), pointer(limit)
	f.Status = between(high <= limit, low > limit, enough && !math.IsNaN(value))
	return f
}

// least judges a value with its interval against the least that is good.
func least(f Figure, value, low, high, limit float64, enough bool) Figure {
	f.Value, f.Low, f.High, f.Limit, f.AtLeast = round6(value), pointer(low), pointer(high), pointer(limit), true
	f.Status = between(low >= limit, high < limit, enough && !math.IsNaN(value))
	return f
}

// plain judges a value that has no interval.
func plain(f Figure, value, limit float64, enough bool) Figure {
	f.Value, f.Limit = round6(value), pointer(limit)
	f.Status = between(value <= limit, value > limit, enough && !math.IsNaN(value))
	return f
}

// told is a figure that decides nothing.
func told(f Figure, value float64) Figure {
	f.Value, f.ReportOnly, f.Status = round6(value), true, Pass
	if math.IsNaN(value) || math.IsInf(value, 0) {
		f.Status = NoData
	}
	return f
}

func between(good, bad, enough bool) Status {
	switch {
	case !enough:
		return Insufficient
	case good:
		return Pass
	case bad:
		return Fail
	}
	return Insufficient
}

// closed fills in a dimension's score, and its status: that of its worst figure
// that decides anything. Figures without data decide nothing as long as another
// has data.
func (d Dimension) closed() Dimension {
	var passed, data int
	d.Status = NoData
	for _, f := range d.Figures {
		if f.ReportOnly || f.Status == NoData {
			continue
		}
		data++
		if f.Status == Pass {
			passed++
		}
		d.Status = worse(d.Status, f.Status)
	}
	d.Score = 100 * passed / max(1, data)
	return d
}

// worse is the verdict on two figures with data.
func worse(a, b Status) Status {
	order := []Status{NoData, Pass, Insufficient, Fail}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// A Decision is what a card means for a promotion.
type Decision string

// Decisions. Closed and Unproven stop a promotion, and nobody decides otherwise:
// what is missing is counted, or it was not declared to matter.
const (
	Open     Decision = "open"     // every critical dimension passes
	Unproven Decision = "unproven" // a critical one says too little
	Closed   Decision = "closed"   // a critical one fails
)

// A Gate is what a card means for a promotion, and why.
type Gate struct {
	Decision Decision `json:"decision"`
	Reasons  []string `json:"reasons,omitempty"` // one for each dimension that stops it
}

// Gate judges the critical dimensions, and nothing else: one red one closes the
// gate whatever the others are, and one without data or with too little of it
// leaves it unproven. A card without critical dimensions proves nothing and
// stops nothing.
func (c Card) Gate() Gate {
	g := Gate{Decision: Open}
	for _, d := range c.Dimensions {
		if !d.Critical || d.Status == Pass {
			continue
		}
		if d.Status == Fail {
			g.Decision = Closed
		} else if g.Decision == Open {
			g.Decision = Unproven
		}
		g.Reasons = append(g.Reasons, d.reason())
	}
	return g
}

// reason is a dimension's verdict with the figures that it comes from.
func (d Dimension) reason() string {
	text := fmt.Sprintf("%s is %s", d.Name, d.Status)
	for _, f := range d.Figures {
		if !f.ReportOnly && f.Status == d.Status && f.Status != Pass {
			text += ": " + f.Name
			if f.Detail != "" {
				text += " (" + f.Detail + ")"
			}
			break
		}
	}
	return text
}
