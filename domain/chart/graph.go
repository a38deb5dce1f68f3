package chart

import (
	"fmt"
	"slices"
	"strings"
)

// A Node is a thing with a name; Kind is said above it.
type Node struct {
	ID, Kind, Label string
	Chosen          bool
}

// An Edge says that To came from From.
type Edge struct{ From, To string }

// A Graph draws where things come from, left to right: a node stands one column
// after the last of those that it came from.
type Graph struct {
	Title string
	Nodes []Node
	Edges []Edge
}

const (
	nodeWide, nodeHigh = 148, 40
	columnGap, rowGap  = 36, 12
	mostNodes          = 60
)

// layers returns the nodes by column. Edges to nothing, and those that close a
// circle, are left out.
func (g Graph) layers() (columns [][]Node, edges []Edge) {
	nodes := g.Nodes[:min(len(g.Nodes), mostNodes)]
	depth := make(map[string]int, len(nodes))
	for _, n := range nodes {
		depth[n.ID] = 0
	}
	for _, e := range g.Edges {
		_, from := depth[e.From]
		_, to := depth[e.To]
		if from && to && e.From != e.To && !slices.Contains(edges, e) {
			edges = append(edges, e)
		}
	}
	for round := 0; round <= len(nodes); round++ {
		moved := false
		for _, e := range edges {
			if d := depth[e.From] + 1; d > depth[e.To] && d < len(nodes) {
				depth[e.To] = d
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	edges = slices.DeleteFunc(edges, func(e Edge) bool { return depth[e.From] >= depth[e.To] })
	used := 0
	for _, n := range nodes {
		used = max(used, depth[n.ID])
	}
	columns = make([][]Node, used+1)
	for _, n := range nodes {
		columns[depth[n.ID]] = append(columns[depth[n.ID]], n)
	}
	columns = slices.DeleteFunc(columns, func(c []Node) bool { return len(c) == 0 })
	return columns, edges
}

func (g Graph) size() (float64, float64) {
	columns, _ := g.layers()
	tall := 1
	for _, c := range columns {
		tall = max(tall, len(c))
	}
	n := max(1, len(columns))
	return float64(16 + n*nodeWide + (n-1)*columnGap), float64(30 + tall*(nodeHigh+rowGap))
}

func (g Graph) words() (string, string) {
	if len(g.Nodes) == 0 {
		return g.Title, "Nothing is known of where it comes from."
	}
	_, edges := g.layers()
	names := make(map[string]string, len(g.Nodes))
	for _, n := range g.Nodes {
		names[n.ID] = strings.TrimSpace(n.Kind + " " + n.Label)
	}
	parts := make([]string, 0, len(edges)+1)
	for _, e := range edges {
		parts = append(parts, names[e.To]+" from "+names[e.From])
	}
	if more := len(g.Nodes) - mostNodes; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more are not drawn", more))
	}
	return g.Title, fmt.Sprintf("%d things. %s.", len(g.Nodes), strings.Join(parts, "; "))
}

func (g Graph) draw(c *canvas) {
	wide, high := g.size()
	c.text(8, 14, "start", "head", fit(g.Title, wide-16))
	if len(g.Nodes) == 0 {
		c.empty(wide, high)
		return
	}
	columns, edges := g.layers()
	type place struct{ x, y float64 }
	at := map[string]place{}
	for i, column := range columns {
		top := 24 + (high-30-float64(len(column)*(nodeHigh+rowGap)))/2
		for j, n := range column {
			at[n.ID] = place{float64(8 + i*(nodeWide+columnGap)), top + float64(j*(nodeHigh+rowGap))}
		}
	}
	for _, e := range edges {
		a, b := at[e.From], at[e.To]
		x1, y1, x2, y2 := a.x+nodeWide, a.y+nodeHigh/2, b.x, b.y+nodeHigh/2
		c.f(`<path class="edge" d="M%s %sC%s %s %s %s %s %s"/>`, px(x1), px(y1), px(x1+columnGap/2), px(y1), px(x2-columnGap/2), px(y2), px(x2), px(y2))
	}
	for _, column := range columns {
		for _, n := range column {
			p := at[n.ID]
			class := "box"
			if n.Chosen {
				class += " chosen"
			}
			c.rect(class, p.x, p.y, nodeWide, nodeHigh)
			c.text(p.x+8, p.y+15, "start", "faint", fit(n.Kind, nodeWide-14))
			c.text(p.x+8, p.y+31, "start", "", fit(n.Label, nodeWide-14))
		}
	}
}
