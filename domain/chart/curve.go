package chart

import (
	"fmt"
	"strings"
)

// A Bin is one point of a calibration curve.
type Bin struct {
	Score, Rate float64 // in [0, 1]
	N           int64
}

// A Curve draws mean score against share of positives, the size of a point by
// its rows, beside the diagonal that good scores lie on.
type Curve struct {
	Title string
	Bins  []Bin
}

const curveSide = 240

func (v Curve) size() (float64, float64) { return curveSide, curveSide }

func (v Curve) words() (string, string) {
	var parts []string
	for _, p := range v.Bins {
		if finite(p.Score, p.Rate) {
			parts = append(parts, fmt.Sprintf("score %s: %s of %d rows", Number(p.Score), Number(p.Rate), p.N))
		}
	}
	return fmt.Sprintf("%s: share of positives over mean score, %d bins", v.Title, len(v.Bins)), strings.Join(parts, "; ")
}

func (v Curve) draw(c *canvas) {
	var most int64 = 1
	for _, p := range v.Bins {
		most = max(most, p.N)
	}
	x := scale{low: 0, high: 1, from: 26, to: curveSide - 14}
	y := scale{low: 0, high: 1, from: curveSide - 26, to: 20}
	c.rect("box", x.from, y.to, x.to-x.from, y.from-y.to)
	c.line("mark", x.from, y.from, x.to, y.to)
	var points []Point
	for _, p := range v.Bins {
		points = append(points, Point{p.Score, p.Rate})
	}
	Series{Points: points}.draw(c, 0, x, y)
	for _, p := range v.Bins {
		if finite(p.Score, p.Rate) {
			c.dot("dot s0", x.at(p.Score), y.at(p.Rate), 2+4*float64(max(0, p.N))/float64(most))
		}
	}
	for _, t := range []float64{0, 0.5, 1} {
		c.text(x.at(t), curveSide-12, "middle", "", Number(t))
		c.text(x.from-4, y.at(t)+4, "end", "", Number(t))
	}
	c.text((x.from+x.to)/2, curveSide-2, "middle", "faint", "mean score")
	c.text(4, 12, "start", "faint", "share of positives")
}
